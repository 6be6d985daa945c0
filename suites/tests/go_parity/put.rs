//! `conn.Close()`, which is the drop of a guard.

use std::io::Read;
use std::pin::pin;
use std::time::Duration;

use futures_lite::future::poll_once;

use super::clock::Clock;
use crate::adapter::CloseReason;
use crate::client::{echo, pool_of, talk, wait_until_closed};
use suites::server::{Echo, Server};

pub(crate) async fn returned_connection_is_lent_again() {
    let server = Server::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let mut socket = server.accept();
    talk(&mut *conn, &mut socket).await;
    let id = conn.id();
    drop(conn);
    assert_eq!((pool.stats().active, pool.stats().available), (0, 1));
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.id(), id);
    talk(&mut *conn, &mut socket).await;
}

pub(crate) async fn connection_marked_unusable_is_destroyed_on_return() {
    let server = Server::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let mut socket = server.accept();
    conn.mark_unusable();
    talk(&mut *conn, &mut socket).await;
    drop(conn);
    assert_eq!(socket.read(&mut [0; 1]).unwrap(), 0, "the socket is still open");
    let stats = pool.stats();
    assert_eq!((stats.size, stats.closed.get(CloseReason::Marked)), (0, 1));
}

pub(crate) async fn destroyed_connection_makes_room_for_another() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let (id, _socket) = (conn.id(), server.accept());
    let mut waiting = pin!(pool.get());
    assert!(poll_once(waiting.as_mut()).await.is_none());
    conn.mark_unusable();
    drop(conn);
    let mut conn = waiting.await.unwrap();
    assert_ne!(conn.id(), id);
    talk(&mut *conn, &mut server.accept()).await;
}

pub(crate) async fn connection_returned_to_a_stopped_pool_is_destroyed() {
    let server = Server::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let mut socket = server.accept();
    assert_eq!(pool.close(Duration::ZERO).await.still_out.len(), 1);
    talk(&mut *conn, &mut socket).await;
    drop(conn);
    wait_until_closed(&pool, CloseReason::PoolClosed, 1).await;
    assert_eq!(socket.read(&mut [0; 1]).unwrap(), 0, "the socket is still open");
}

pub(crate) async fn return_restarts_the_idle_time() {
    let clock = Clock::new();
    let server = Echo::start();
    let pool = clock
        .pool_of(server.address())
        .idle_timeout(Duration::from_secs(10))
        .evict_interval(None)
        .build()
        .await
        .unwrap();
    let id = pool.get().await.unwrap().id();
    for _ in 0..5 {
        clock.advance(Duration::from_secs(9));
        let conn = pool.get().await.unwrap();
        assert_eq!(conn.id(), id);
        // Time in use is not idle time.
        clock.advance(Duration::from_secs(60));
        drop(conn);
    }
    clock.advance(Duration::from_secs(10));
    assert_ne!(pool.get().await.unwrap().id(), id);
    wait_until_closed(&pool, CloseReason::Idle, 1).await;
}

pub(crate) async fn connection_returned_beyond_max_idle_is_destroyed() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(3).max_idle(1);
    let pool = pool.build().await.unwrap();
    let one = pool.get().await.unwrap();
    let others = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let id = one.id();
    drop(one);
    drop(others);
    wait_until_closed(&pool, CloseReason::Overflow, 2).await;
    assert_eq!((pool.stats().size, pool.stats().available), (1, 1));
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.id(), id);
    echo(&mut *conn, b"hello").await.unwrap();
}

pub(crate) async fn all_connections_may_be_idle_by_default() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(3).build().await.unwrap();
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(pool.get().await.unwrap());
    }
    drop(others);
    let stats = pool.stats();
    assert_eq!((stats.available, stats.closed.total()), (3, 0), "{stats}");
}
