//! Unresponsive peers: they read and never reply.

use std::io::Read;
use std::time::Duration;

use futures_lite::future::poll_once;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use super::client::{assert_connect_timed_out, pool_of, talk, wait_until, wait_until_closed};
use super::counting::CountingManager;
use super::handshake::{HandshakeServer, send_hello};
use crate::adapter::{Builder, CloseReason, Manager, Pool, TcpConn, TcpManager, builder};
use suites::server::{LIMIT, Server};

/// Starts building a pool that pings before every checkout but the first of a connection.
fn pinging(server: &Server) -> Builder<TcpManager> {
    let manager = TcpManager::new(server.address()).ping(async |conn| {
        conn.write_all(b"ping").await?;
        conn.read_exact(&mut [0; 4]).await
    });
    builder(manager).ping_after(Duration::ZERO).get_timeout(LIMIT)
}

/// Opens `count` connections and returns them.
async fn fill<M: Manager<Connection = TcpConn>>(pool: &Pool<M>, count: usize) {
    let mut guards = Vec::new();
    for _ in 0..count {
        guards.push(pool.get().await.unwrap());
    }
    drop(guards);
    assert_eq!(pool.stats().available, count);
}

pub(crate) async fn get_opens_a_new_connection_after_a_silent_one() {
    let server = Server::start();
    let pool = pinging(&server)
        .max_size(10)
        .ping_timeout(Duration::from_millis(30))
        .build()
        .await
        .unwrap();
    fill(&pool, 9).await;
    let _silent = server.accept_many(9);
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.uses(), 1, "{}", pool.stats());
    talk(&mut *conn, &mut server.accept()).await;
    wait_until_closed(&pool, CloseReason::PingTimeout, 1).await;
    let stats = pool.stats();
    assert_eq!((stats.available, stats.created), (8, 10), "{stats}");
}

pub(crate) async fn silent_connections_do_not_extend_the_get_deadline() {
    let server = Server::start();
    let pool = pinging(&server).ping_timeout(LIMIT).build().await.unwrap();
    fill(&pool, 5).await;
    let _silent = server.accept_many(5);
    // A third of the time for a ping, the rest for a new connection.
    let conn = pool.get_timeout(Duration::from_millis(600)).await.unwrap();
    assert_eq!(conn.uses(), 1);
    // A connection whose reply may still arrive is not reused.
    wait_until_closed(&pool, CloseReason::Cancelled, 1).await;
    assert_eq!(pool.stats().available, 4);
}

pub(crate) async fn guard_with_a_silent_peer_frees_its_slot_on_drop() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let mut silent = server.accept();
    conn.write_all(b"a request").await.unwrap();
    assert!(poll_once(conn.read(&mut [0; 8])).await.is_none());
    let mut waiting = Box::pin(pool.get());
    assert!(poll_once(&mut waiting).await.is_none());
    drop(conn);
    assert_eq!(pool.stats().closed.total(), 1);
    let mut conn = waiting.await.unwrap();
    talk(&mut *conn, &mut server.accept()).await;
    wait_until_closed(&pool, CloseReason::NotReusable, 1).await;
    assert_eq!(silent.read(&mut [0; 16]).unwrap(), 9, "the request did not arrive");
}

pub(crate) async fn hanging_handshake_ends_at_connect_timeout_and_closes_its_socket() {
    let server = HandshakeServer::start();
    let pool = builder(server.manager())
        .max_size(1)
        .connect_timeout(Duration::from_millis(30))
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    assert_connect_timed_out(pool.get().await);
    wait_until(&pool, |stats| stats.connecting == 0).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.connect_failed), (0, 1), "{stats}");
    assert_eq!(server.accept().await.read(&mut [0; 1]).unwrap(), 0);
}

pub(crate) async fn hanging_handshake_of_a_dropped_get_ends_at_connect_timeout() {
    let server = HandshakeServer::start();
    let pool = builder(server.manager())
        .max_size(1)
        .connect_timeout(Duration::from_millis(30))
        .build()
        .await
        .unwrap();
    assert!(poll_once(pool.get()).await.is_none());
    let mut silent = server.accept().await;
    wait_until(&pool, |stats| stats.connect_failed == 1 && stats.connecting == 0).await;
    assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
}

pub(crate) async fn max_connecting_limits_concurrent_handshakes() {
    let server = HandshakeServer::start();
    let manager = CountingManager::new(server.manager());
    let count = manager.count.clone();
    let pool = with_long_timeouts(manager).max_size(6).max_connecting(2).build().await.unwrap();
    let gets: Vec<_> = (0..6).map(|_| crate::spawn(pool.get_owned())).collect();
    wait_until(&pool, |stats| stats.waiting == 6 && stats.connecting == 2).await;
    let mut ends = Vec::new();
    for created in 1..=6 {
        let mut end = server.accept().await;
        send_hello(&mut end);
        ends.push(end);
        wait_until(&pool, |stats| stats.created == created).await;
    }
    let mut guards = Vec::new();
    for get in gets {
        guards.push(get.await.unwrap());
    }
    assert_eq!(count.max_connecting_seen(), 2);
    assert_eq!(pool.stats().size, 6);
}

pub(crate) async fn waiter_for_a_slow_handshake_takes_an_earlier_return() {
    let server = HandshakeServer::start();
    let pool = with_long_timeouts(server.manager()).max_size(2).build().await.unwrap();
    let get = crate::spawn(pool.get_owned());
    let mut quick = server.accept().await;
    send_hello(&mut quick);
    let first = get.await.unwrap();
    let id = first.id();

    let get = crate::spawn(pool.get_owned());
    let mut slow = server.accept().await;
    drop(first);
    let mut second = get.await.unwrap();
    assert_eq!(second.id(), id);
    talk(&mut *second, &mut quick).await;
    // The handshake continues, and its connection becomes idle.
    send_hello(&mut slow);
    wait_until(&pool, |stats| stats.available == 1).await;
    let mut late = pool.get().await.unwrap();
    talk(&mut *late, &mut slow).await;
}

/// Starts building a pool with long timeouts.
fn with_long_timeouts<M: Manager>(manager: M) -> Builder<M> {
    builder(manager).get_timeout(LIMIT).connect_timeout(LIMIT)
}
