//! Ping, and the other checks of a checkout.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use futures_lite::future::poll_once;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use super::clock::Clock;
use super::peer::{Peer, ping};
use crate::adapter::{CloseReason, Pool, TcpConn, TcpManager, builder};
use crate::client::{
    SocketWatch, counts_add_up, echo, pool_of, talk, wait_until, wait_until_closed,
};
use suites::server::Server;

pub(crate) async fn ping_is_called_before_a_connection_is_lent() {
    let peer = Peer::start();
    let pool = peer.pool().build().await.unwrap();
    let id = pool.get().await.unwrap().id();
    for round in 1..=3 {
        let mut conn = pool.get().await.unwrap();
        assert_eq!((conn.id(), peer.pings()), (id, round));
        echo(&mut *conn, b"text").await.unwrap();
    }
}

/// The Go library pings a connection that it has just opened.
pub(crate) async fn new_connection_is_lent_without_a_ping() {
    let peer = Peer::start();
    let pool = peer.pool().build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    echo(&mut *conn, b"text").await.unwrap();
    assert_eq!(peer.pings(), 0);
}

/// The Go library pings at every `Get`, as `ping_after` zero does.
pub(crate) async fn ping_is_skipped_within_a_second_of_use_by_default() {
    let clock = Clock::new();
    let peer = Peer::start();
    let manager = TcpManager::new(peer.address()).ping(ping);
    let pool = Pool::builder(manager, clock.clone()).build().await.unwrap();
    drop(pool.get().await.unwrap());
    clock.advance(Duration::from_millis(999));
    drop(pool.get().await.unwrap());
    clock.advance(Duration::from_millis(999));
    drop(pool.get().await.unwrap());
    assert_eq!(peer.pings(), 0);
    clock.advance(Duration::from_millis(1_000));
    drop(pool.get().await.unwrap());
    assert_eq!(peer.pings(), 1);
}

pub(crate) async fn connection_whose_ping_fails_is_discarded_and_another_is_tried() {
    let peer = Peer::start();
    let pool = peer.pool().build().await.unwrap();
    let healthy = pool.get().await.unwrap();
    let failing = pool.get().await.unwrap();
    let id = healthy.id();
    peer.fail_pings_of(&failing);
    // The last connection returned is tried first.
    drop(healthy);
    drop(failing);
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.id(), id);
    echo(&mut *conn, b"text").await.unwrap();
    wait_until_closed(&pool, CloseReason::PingFailed, 1).await;
    assert_eq!((pool.stats().created, peer.pings()), (2, 2));
}

pub(crate) async fn peer_receives_nothing_without_a_ping() {
    let server = Server::start();
    let pool = builder(TcpManager::new(server.address()))
        .ping_after(Duration::ZERO)
        .build()
        .await
        .unwrap();
    for _ in 0..3 {
        drop(pool.get().await.unwrap());
    }
    assert_eq!(pool.stats().created, 1);
    let mut socket = server.accept();
    socket.set_nonblocking(true).unwrap();
    let error = socket.read(&mut [0; 1]).expect_err("got bytes or the end of the stream");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

pub(crate) async fn checks_run_in_the_order_lifetime_idle_time_ping() {
    let clock = Clock::new();
    let server = Server::start();
    let manager = TcpManager::new(server.address()).ping(async |conn| {
        conn.write_all(b"PING").await?;
        Err(io::Error::other("scripted ping failure"))
    });
    let pool = Pool::builder(manager, clock.clone())
        .max_size(1)
        .max_lifetime(Duration::from_secs(10))
        .lifetime_jitter(0.0)
        .idle_timeout(Duration::from_secs(5))
        .ping_after(Duration::ZERO)
        .evict_interval(None)
        .build()
        .await
        .unwrap();
    let mut sockets = Vec::new();
    for idle in [10, 5, 4, 0] {
        let mut conn = pool.get().await.unwrap();
        assert_eq!(conn.uses(), 1);
        let mut socket = server.accept();
        talk(&mut *conn, &mut socket).await;
        sockets.push(socket);
        drop(conn);
        clock.advance(Duration::from_secs(idle));
    }
    wait_until(&pool, |stats| stats.closed.total() == 3 && counts_add_up(stats)).await;
    let received: Vec<_> = sockets.drain(..3).map(read_to_end).collect();
    assert_eq!(received, ["", "", "PING"]);
    let stats = pool.stats();
    for reason in [CloseReason::Lifetime, CloseReason::Idle, CloseReason::PingFailed] {
        assert_eq!(stats.closed.get(reason), 1, "{reason:?}: {stats}");
    }
}

/// Returns everything that the client sends until it closes.
fn read_to_end(mut socket: impl Read) -> String {
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text
}

/// The ping in the README of the Go library reads one byte with a short timeout, and takes a
/// timeout for health, and a byte as well: the next user misses that byte.
async fn sample_ping(conn: &mut TcpConn) -> io::Result<()> {
    match poll_once(conn.read(&mut [0; 1])).await {
        None | Some(Ok(1)) => Ok(()),
        Some(Ok(_)) => Err(ErrorKind::UnexpectedEof.into()),
        Some(Err(error)) => Err(error),
    }
}

pub(crate) async fn unsolicited_bytes_are_found_before_the_sample_ping_consumes_them() {
    for pinged in [false, true] {
        let server = Server::start();
        let mut manager = TcpManager::new(server.address());
        if pinged {
            manager = manager.ping(sample_ping);
        }
        let pool = builder(manager).ping_after(Duration::ZERO).max_size(1).build().await.unwrap();
        let conn = pool.get().await.unwrap();
        let (id, client) = (conn.id(), SocketWatch::on(&conn));
        drop(conn);
        let mut socket = server.accept();
        socket.write_all(b"+late").unwrap();
        client.wait_readable();
        let mut conn = pool.get().await.unwrap();
        assert_ne!(conn.id(), id);
        talk(&mut *conn, &mut server.accept()).await;
        wait_until_closed(&pool, CloseReason::Unsolicited, 1).await;
    }
}

pub(crate) async fn dead_connection_is_found_without_the_sample_ping() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let client = SocketWatch::on(&conn);
    drop(conn);
    drop(server.accept());
    client.wait_readable();
    let mut conn = pool.get().await.unwrap();
    talk(&mut *conn, &mut server.accept()).await;
    wait_until_closed(&pool, CloseReason::Dead, 1).await;
}

pub(crate) async fn sample_ping_keeps_a_quiet_connection() {
    let server = Server::start();
    let pool = builder(TcpManager::new(server.address()).ping(sample_ping))
        .ping_after(Duration::ZERO)
        .build()
        .await
        .unwrap();
    let id = pool.get().await.unwrap().id();
    let mut socket = server.accept();
    for _ in 0..3 {
        let mut conn = pool.get().await.unwrap();
        assert_eq!(conn.id(), id);
        talk(&mut *conn, &mut socket).await;
    }
}
