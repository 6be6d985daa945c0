//! Pings and limits with real connections.

use std::io;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::adapter::{Builder, CloseReason, TcpConn, TcpManager, builder};
use crate::client::{SocketWatch, echo, talk, wait_until_closed};
use suites::server::{Echo, LIMIT, Server};

/// Starts building a pool of one connection that pings before every checkout but its first.
fn pinging(manager: TcpManager) -> Builder<TcpManager> {
    builder(manager).max_size(1).ping_after(Duration::ZERO)
}

pub(crate) async fn answered_ping_keeps_the_connection() {
    let server = Echo::start();
    let manager = TcpManager::new(server.address()).ping(async |conn| {
        conn.write_all(b"are you there?\n").await?;
        let mut reply = [0; 15];
        conn.read_exact(&mut reply).await
    });
    let pool = pinging(manager).ping_timeout(LIMIT).build().await.unwrap();
    let id = pool.get().await.unwrap().id();
    for _ in 0..5 {
        let mut conn = pool.get().await.unwrap();
        assert_eq!(conn.id(), id);
        echo(&mut *conn, b"hello\n").await.unwrap();
    }
    assert_eq!(pool.stats().ping_failed, 0);
    assert_eq!(pool.stats().created, 1);
}

pub(crate) async fn wrongly_answered_ping_replaces_the_connection() {
    /// An async function works like a closure.
    async fn ping(conn: &mut TcpConn) -> io::Result<()> {
        conn.write_all(b"PING\n").await?;
        let mut reply = [0; 5];
        conn.read_exact(&mut reply).await?;
        match &reply {
            b"PONG\n" => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
    let server = Echo::start();
    let manager = TcpManager::new(server.address()).ping(ping);
    let pool = pinging(manager).ping_timeout(LIMIT).build().await.unwrap();
    let id = pool.get().await.unwrap().id();
    let mut conn = pool.get().await.unwrap();
    assert_ne!(conn.id(), id);
    echo(&mut *conn, b"hello\n").await.unwrap();
    wait_until_closed(&pool, CloseReason::PingFailed, 1).await;
    assert_eq!(pool.stats().ping_failed, 1);
}

pub(crate) async fn unanswered_ping_replaces_the_connection() {
    let server = Server::start();
    let manager = TcpManager::new(server.address()).ping(async |conn| {
        conn.write_all(b"PING\n").await?;
        let mut reply = [0; 5];
        conn.read_exact(&mut reply).await
    });
    let pool = pinging(manager)
        .ping_timeout(Duration::from_millis(20))
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    let first = pool.get().await.unwrap();
    let id = first.id();
    let _silent = server.accept();
    drop(first);
    let mut conn = pool.get().await.unwrap();
    assert_ne!(conn.id(), id);
    talk(&mut *conn, &mut server.accept()).await;
    wait_until_closed(&pool, CloseReason::PingTimeout, 1).await;
    assert_eq!(pool.stats().ping_failed, 1);
}

pub(crate) async fn ping_is_not_sent_on_a_dead_connection() {
    let server = Server::start();
    let manager = TcpManager::new(server.address())
        .ping(async |_conn| Err(io::Error::other("pinged a dead connection")));
    let pool = pinging(manager).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let client = SocketWatch::on(&conn);
    drop(conn);
    drop(server.accept());
    client.wait_readable();
    let _next = pool.get().await.unwrap();
    wait_until_closed(&pool, CloseReason::Dead, 1).await;
}

pub(crate) async fn connection_past_its_lifetime_is_replaced() {
    let server = Echo::start();
    let pool = builder(TcpManager::new(server.address()))
        .max_lifetime(Duration::ZERO)
        .build()
        .await
        .unwrap();
    for _ in 0..3 {
        let mut conn = pool.get().await.unwrap();
        assert_eq!(conn.uses(), 1);
        echo(&mut *conn, b"hello").await.unwrap();
    }
    wait_until_closed(&pool, CloseReason::Lifetime, 3).await;
    assert_eq!(pool.stats().lifetime_closed, 3);
}

pub(crate) async fn connection_past_idle_timeout_is_closed() {
    let server = Echo::start();
    let pool = builder(TcpManager::new(server.address()))
        .idle_timeout(Duration::from_millis(1))
        .evict_interval(Duration::from_millis(5))
        .build()
        .await
        .unwrap();
    drop(pool.get().await.unwrap());
    wait_until_closed(&pool, CloseReason::Idle, 1).await;
    assert_eq!((pool.stats().idle_closed, pool.stats().size), (1, 0));
}
