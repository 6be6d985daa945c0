//! Guards on other threads, in tasks, and after the end of the pool.

use std::io::Read;
use std::time::Duration;

use futures_lite::future::poll_once;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::adapter::CloseReason;
use crate::client::{counts_add_up, echo, pool_of, talk, wait_until, wait_until_closed};
use suites::server::{Echo, LIMIT, Server};

pub(crate) async fn guard_can_be_dropped_on_a_thread_without_a_runtime() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(2).build().await.unwrap();
    let good = pool.get_owned().await.unwrap();
    let mut bad = pool.get_owned().await.unwrap();
    let id = good.id();
    bad.mark_unusable();
    std::thread::spawn(move || drop((good, bad))).join().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.available), (1, 1), "{stats}");
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.id(), id);
    echo(&mut *conn, b"hello").await.unwrap();
    drop(conn);

    // The same with a waiter, which is served from the other thread.
    let only = [pool.get_owned().await.unwrap(), pool.get_owned().await.unwrap()];
    let mut waiting = Box::pin(pool.get());
    assert!(poll_once(&mut waiting).await.is_none());
    let thread = std::thread::spawn(move || drop(only));
    let mut conn = waiting.await.unwrap();
    thread.join().unwrap();
    echo(&mut *conn, b"hello").await.unwrap();
}

pub(crate) async fn guard_can_be_dropped_after_the_pool() {
    let server = Server::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let mut conn = pool.get_owned().await.unwrap();
    let mut end = server.accept();
    drop(pool);
    talk(&mut *conn, &mut end).await;
    drop(conn);
    assert_eq!(end.read(&mut [0; 1]).unwrap(), 0, "the socket is still open");
}

pub(crate) async fn detached_connection_works_without_the_pool() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let mut detached = pool.get().await.unwrap().detach();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.detached), (0, 1));
    let mut other = pool.get().await.unwrap();
    echo(&mut *other, b"pooled").await.unwrap();
    drop(other);
    drop(pool);
    echo(&mut detached, b"detached").await.unwrap();
    echo(&mut detached, b"and again").await.unwrap();
}

pub(crate) async fn connection_can_be_borrowed_in_a_task() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let pool_ref = pool.clone();
    let task = crate::spawn(async move {
        let mut conn = pool_ref.get().await.unwrap();
        echo(&mut *conn, b"from a task").await.unwrap();
        conn.id()
    });
    let id = task.await;
    // A guard can leave its task.
    let task = crate::spawn(pool.get_owned());
    let mut conn = task.await.unwrap();
    assert_eq!(conn.id(), id);
    echo(&mut *conn, b"from outside").await.unwrap();
}

pub(crate) async fn exchange_in_a_task_can_borrow_locals() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let pool_ref = pool.clone();
    let task = crate::spawn(async move {
        let request = String::from("a request");
        let mut replies = Vec::new();
        let mut conn = pool_ref.get().await.unwrap();
        let length = conn
            .exchange(async |conn| {
                conn.write_all(request.as_bytes()).await?;
                let mut reply = vec![0; request.len()];
                conn.read_exact(&mut reply).await?;
                replies.push(reply);
                Ok::<_, std::io::Error>(request.len())
            })
            .await
            .unwrap();
        assert_eq!(replies, [request.as_bytes()]);
        length
    });
    assert_eq!(task.await, 9);
    let stats = pool.stats();
    assert_eq!((stats.available, stats.closed.total()), (1, 0));
}

pub(crate) async fn tasks_share_fewer_connections_than_tasks() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(3).get_timeout(LIMIT).build().await.unwrap();
    let tasks: Vec<_> = (0..24_u32)
        .map(|number| {
            let pool = pool.clone();
            crate::spawn(async move {
                for round in 0..20_u32 {
                    let mut conn = pool.get().await.unwrap();
                    let text = format!("task {number}, round {round}");
                    echo(&mut *conn, text.as_bytes()).await.unwrap();
                    assert!(pool.stats().size <= 3);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
    let stats = pool.stats();
    assert_eq!((stats.request, stats.success), (480, 480), "{stats}");
    assert_eq!(stats.closed.total(), 0, "{stats}");
    assert!(stats.created <= 3 && stats.waiting == 0, "{stats}");
    wait_until(&pool, counts_add_up).await;
}

pub(crate) async fn cancelled_get_keeps_its_connection_in_the_pool() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    // The connect continues without the get.
    assert!(poll_once(pool.get()).await.is_none());
    wait_until(&pool, |stats| stats.available == 1).await;
    let conn = pool.get().await.unwrap();
    assert!(poll_once(pool.get()).await.is_none());
    assert_eq!(pool.stats().waiting, 0);
    // Assigned a connection and dropped before taking it.
    let mut waiting = Box::pin(pool.get());
    assert!(poll_once(&mut waiting).await.is_none());
    let id = conn.id();
    drop(conn);
    drop(waiting);
    assert_eq!(pool.get().await.unwrap().id(), id);
    assert_eq!(pool.stats().created, 1);
}

pub(crate) async fn closed_pool_closes_its_sockets() {
    let server = Server::start();
    let pool = pool_of(server.address()).min_size(3).build().await.unwrap();
    let held = pool.get_owned().await.unwrap();
    let report = pool.close(Duration::ZERO).await;
    assert_eq!(report.still_out.len(), 1);
    drop(held);
    let report = pool.close(LIMIT).await;
    assert_eq!((report.still_out.len(), report.timed_out), (0, false));
    for mut end in server.accept_many(3) {
        assert_eq!(end.read(&mut [0; 1]).unwrap(), 0);
    }
    wait_until_closed(&pool, CloseReason::PoolClosed, 3).await;
    assert!(pool.get().await.unwrap_err().is_closed());
}
