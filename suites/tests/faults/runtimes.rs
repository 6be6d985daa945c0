//! Pools, guards and runtimes that outlive one another. `run` runs a future on a runtime and then
//! ends that runtime; smol's global runtime cannot be ended.

use std::future::{Future, pending};
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use futures_lite::AsyncReadExt;
use futures_lite::future::block_on;

use super::client::{counts_add_up, echo, pool_of, wait_until};
use super::kernel::{eventually, open_sockets, wait_until_open_sockets_are};
use crate::adapter::{CloseReason, Pool, PooledConnection, TcpManager};
use suites::server::{Echo, LIMIT, Server};

/// The part of a test that runs on one runtime.
pub(crate) type Part<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

type Guard = PooledConnection<'static, TcpManager>;

/// Returns a pool with `count` borrowed connections whose runtime has ended.
fn guards_of_an_ended_runtime(
    run: impl Fn(Part<'_>),
    address: String,
    count: usize,
) -> (Pool<TcpManager>, Vec<Guard>) {
    let mut result = None;
    run(Box::pin(async {
        let pool = pool_of(address).max_size(count).build().await.unwrap();
        let mut guards = Vec::new();
        for _ in 0..count {
            guards.push(pool.get_owned().await.unwrap());
        }
        result = Some((pool, guards));
    }));
    result.unwrap()
}

pub(crate) fn guards_that_outlive_their_runtime_return_their_connections(run: impl Fn(Part<'_>)) {
    let server = Server::start();
    run(Box::pin(async {}));
    let (pool, mut guards) = guards_of_an_ended_runtime(run, server.address(), 6);
    let sockets = open_sockets() - 6;
    let rest = guards.split_off(4);
    guards[0].mark_unusable();
    guards.pop().unwrap().detach();
    // On a thread without a runtime.
    thread::spawn(move || drop(guards)).join().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.available, stats.active), (4, 2, 2), "{stats}");
    assert_eq!(stats.closed.get(CloseReason::Marked), 1);
    assert!(counts_add_up(&stats), "{stats}");
    assert_eq!(open_sockets(), sockets + 4);

    let weak = pool.downgrade();
    drop(pool);
    block_on(wait_until_open_sockets_are(sockets + 2));
    drop(rest);
    block_on(wait_until_open_sockets_are(sockets));
    assert!(weak.upgrade().is_none());
}

pub(crate) fn pool_can_be_closed_after_its_runtime_ended(run: impl Fn(Part<'_>)) {
    let server = Server::start();
    run(Box::pin(async {}));
    let (pool, mut guards) = guards_of_an_ended_runtime(run, server.address(), 3);
    let sockets = open_sockets() - 3;
    guards.pop();
    let report = block_on(pool.close(Duration::ZERO));
    assert_eq!(report.still_out.len(), 2, "{report:?}");
    assert!(block_on(pool.get()).unwrap_err().is_closed());
    drop(guards);
    block_on(eventually("the pool to close", || pool.stats().size == 0));
    assert_eq!(pool.stats().closed.get(CloseReason::PoolClosed), 3);
    block_on(wait_until_open_sockets_are(sockets));
}

pub(crate) fn pool_works_in_successive_runtimes(run: impl Fn(Part<'_>)) {
    let server = Echo::start();
    let (pool, mut guards) = guards_of_an_ended_runtime(&run, server.address(), 4);
    for _ in 0..3 {
        // Some connections are idle when the next runtime starts, and some are borrowed.
        guards.truncate(2);
        let mut next = Vec::new();
        run(Box::pin(async {
            for _ in 0..2 {
                let mut conn = pool.get_owned().await.unwrap();
                echo(&mut *conn, b"hello").await.unwrap();
                next.push(conn);
            }
            let waiting = crate::spawn(pool.get_owned_timeout(LIMIT));
            wait_until(&pool, |stats| stats.waiting == 1).await;
            drop(guards.pop());
            let mut conn = waiting.await.unwrap();
            echo(&mut *conn, b"hello").await.unwrap();
            next.push(conn);
        }));
        guards.extend(next);
        let stats = pool.stats();
        assert_eq!((stats.active, stats.waiting), (4, 0), "{stats}");
        assert!(counts_add_up(&stats), "{stats}");
    }
}

pub(crate) fn maintenance_task_restarts_in_the_next_runtime(run: impl Fn(Part<'_>)) {
    let server = Echo::start();
    let mut result = None;
    run(Box::pin(async {
        let pool = pool_of(server.address())
            .min_size(2)
            .idle_timeout(Duration::from_millis(1))
            .evict_interval(Duration::from_millis(1));
        result = Some(pool.build().await.unwrap());
    }));
    let pool = result.unwrap();
    run(Box::pin(async {
        let mut guards = Vec::new();
        for _ in 0..4 {
            let mut conn = pool.get().await.unwrap();
            echo(&mut *conn, b"hello").await.unwrap();
            guards.push(conn);
        }
        drop(guards);
        wait_until(&pool, |stats| stats.idle_closed == 2 && stats.available == 2).await;
        pool.clear();
        wait_until(&pool, |stats| stats.closed.get(CloseReason::Cleared) >= 2).await;
        wait_until(&pool, |stats| stats.available == 2).await;
    }));
}

pub(crate) fn tasks_dropped_with_their_executor_return_their_connections(run: impl Fn(Part<'_>)) {
    let server = Echo::start();
    run(Box::pin(async {
        let pool = pool_of(server.address()).max_size(4).get_timeout(LIMIT).build().await.unwrap();
        let tasks = crate::Tasks::new();
        for number in 0..8 {
            let pool = pool.clone();
            tasks.spawn(async move {
                let mut conn = pool.get().await.unwrap();
                if number % 2 == 0 {
                    // The executor ends during this read.
                    let _ = conn.read(&mut [0; 1]).await;
                }
                pending().await
            });
        }
        wait_until(&pool, |stats| stats.active == 4 && stats.waiting == 4).await;
        let mut waiting = Box::pin(pool.get());
        assert!(futures_lite::future::poll_once(&mut waiting).await.is_none());
        tasks.end();
        let mut guards = vec![waiting.await.unwrap()];
        for _ in 0..3 {
            guards.push(pool.get().await.unwrap());
        }
        for conn in &mut guards {
            echo(&mut **conn, b"hello").await.unwrap();
        }
        let stats = pool.stats();
        assert_eq!((stats.active, stats.waiting), (4, 0), "{stats}");
        assert!(counts_add_up(&stats), "{stats}");
    }));
}
