//! Slow graceful closes, and pools that are resized or closed under load.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::Duration;

use futures_lite::AsyncWriteExt;
use futures_lite::future::poll_once;

use super::client::{counts_add_up, echo, pool_of, talk, wait_until, wait_until_closed};
use super::handshake::{HandshakeServer, send_hello};
use super::kernel::eventually;
use crate::adapter::{
    Builder, CloseReason, GetError, Manager, StreamOf, TcpConn, TcpManager, builder,
};
use suites::server::{Echo, LIMIT, Server};

// ---- graceful close

/// Plain TCP with a graceful close that writes until it is stopped.
struct EndlessClose(TcpManager);

impl Manager for EndlessClose {
    type Connection = TcpConn;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpConn> {
        self.0.connect().await
    }

    fn stream(&self) -> Option<StreamOf<TcpConn>> {
        Some(|conn| conn)
    }

    fn needs_reset(&self) -> bool {
        false
    }

    async fn close(&self, mut conn: TcpConn, _: CloseReason) {
        while conn.write_all(&[0; 65536]).await.is_ok() {}
    }
}

/// Starts building a pool that closes idle connections after a millisecond.
fn endless_close(server: &Server) -> Builder<EndlessClose> {
    builder(EndlessClose(TcpManager::new(server.address())))
        .idle_timeout(Duration::from_millis(1))
        .evict_interval(Duration::from_millis(1))
        .get_timeout(LIMIT)
}

/// Waits until a graceful close has begun.
async fn wait_for_close(end: &TcpStream) {
    end.set_nonblocking(true).unwrap();
    eventually("a graceful close", || end.peek(&mut [0; 1]).is_ok()).await;
    end.set_nonblocking(false).unwrap();
}

/// Reads to the end of the stream, which fails with a timeout if the other side is open.
fn read_to_end(mut end: TcpStream) {
    if let Err(error) = io::copy(&mut end, &mut io::sink()) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

pub(crate) async fn unread_graceful_close_does_not_delay_a_get() {
    let server = Server::start();
    let pool = endless_close(&server).max_size(2).close_timeout(None).build().await.unwrap();
    drop(pool.get().await.unwrap());
    let unread = server.accept();
    wait_for_close(&unread).await;
    let mut one = pool.get().await.unwrap();
    talk(&mut *one, &mut server.accept()).await;
    // The graceful close keeps its slot until a get needs it.
    let stats = pool.stats();
    assert_eq!((stats.size, stats.closed.total()), (2, 0), "{stats}");
    let mut two = pool.get().await.unwrap();
    talk(&mut *two, &mut server.accept()).await;
    wait_until_closed(&pool, CloseReason::Idle, 1).await;
    read_to_end(unread);
}

pub(crate) async fn unread_graceful_close_ends_at_close_timeout() {
    let server = Server::start();
    let pool =
        endless_close(&server).close_timeout(Duration::from_millis(30)).build().await.unwrap();
    drop(pool.get().await.unwrap());
    let unread = server.accept();
    wait_until(&pool, |stats| stats.size == 0).await;
    wait_until_closed(&pool, CloseReason::Idle, 1).await;
    read_to_end(unread);
}

pub(crate) async fn unread_graceful_closes_do_not_delay_close() {
    let server = Server::start();
    let pools = [
        endless_close(&server).close_timeout(Duration::from_millis(30)),
        endless_close(&server).close_timeout(None),
    ];
    for (pool, (limit, timed_out)) in
        pools.into_iter().zip([(LIMIT, false), (Duration::from_millis(30), true)])
    {
        let pool = pool.idle_timeout(None).min_size(2).build().await.unwrap();
        let unread = server.accept_many(2);
        let report = pool.close(limit).await;
        assert_eq!((report.timed_out, report.still_out.len()), (timed_out, 0), "{report:?}");
        drop(unread);
        wait_until(&pool, |stats| stats.size == 0).await;
        wait_until_closed(&pool, CloseReason::PoolClosed, 2).await;
    }
}

// ---- resize

pub(crate) async fn shrunk_pool_closes_returned_connections_beyond_max_size() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(6).build().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..6 {
        let conn = pool.get().await.unwrap();
        held.push((conn, server.accept()));
    }
    pool.resize(2).unwrap();
    // Borrowed connections stay open.
    for (conn, end) in &mut held {
        talk(&mut **conn, end).await;
    }
    assert_eq!(pool.stats().size, 6);
    for (left, (conn, mut end)) in (2..6).rev().zip(held.drain(2..)) {
        drop(conn);
        wait_until(&pool, |stats| stats.size == left).await;
        assert_eq!(end.read(&mut [0; 1]).unwrap(), 0);
    }
    for (conn, mut end) in held {
        drop(conn);
        let mut again = pool.get().await.unwrap();
        talk(&mut *again, &mut end).await;
    }
    wait_until_closed(&pool, CloseReason::Shrunk, 4).await;
}

pub(crate) async fn growing_the_pool_serves_waiters() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).get_timeout(LIMIT).build().await.unwrap();
    let _out = pool.get().await.unwrap();
    let gets: Vec<_> = (0..5).map(|_| crate::spawn(pool.get_owned())).collect();
    wait_until(&pool, |stats| stats.waiting == 5).await;
    pool.resize(6).unwrap();
    let mut guards = Vec::new();
    for get in gets {
        guards.push(get.await.unwrap());
    }
    for conn in &mut guards {
        echo(&mut **conn, b"hello").await.unwrap();
    }
    assert_eq!(pool.stats().size, 6);
}

pub(crate) async fn pool_can_be_resized_under_load() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(8).get_timeout(LIMIT).build().await.unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let pool = pool.clone();
            crate::spawn(async move {
                for _ in 0..40 {
                    let mut conn = pool.get().await.unwrap();
                    echo(&mut *conn, b"hello").await.unwrap();
                    let stats = pool.stats();
                    assert!(stats.size + stats.connecting <= 8, "{stats}");
                }
            })
        })
        .collect();
    for (round, size) in [1, 8, 3, 7, 2, 8, 1, 5].into_iter().enumerate() {
        pool.resize(size).unwrap();
        let some = 60 * (round as u64 + 1);
        wait_until(&pool, |stats| stats.success >= some).await;
    }
    pool.resize(2).unwrap();
    for task in tasks {
        task.await;
    }
    wait_until(&pool, |stats| stats.size <= 2 && counts_add_up(stats)).await;
    let stats = pool.stats();
    assert_eq!((stats.request, stats.success), (640, 640), "{stats}");
    let shrunk = stats.closed.get(CloseReason::Shrunk);
    assert!(shrunk > 0 && stats.closed.total() == shrunk, "{stats}");
}

// ---- close

pub(crate) async fn close_ends_idle_and_connecting_connections_and_waits_for_borrowed_ones() {
    let server = HandshakeServer::start();
    let pool = builder(server.manager()).connect_timeout(None).build().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        let get = crate::spawn(pool.get_owned());
        let mut end = server.accept().await;
        send_hello(&mut end);
        held.push((get.await.unwrap(), end));
    }
    assert!(poll_once(pool.get()).await.is_none());
    let mut connecting = server.accept().await;
    let (conn, mut idle) = held.pop().unwrap();
    drop(conn);
    let stats = pool.stats();
    assert_eq!((stats.available, stats.active, stats.connecting), (1, 2, 1));

    let report = pool.close(Duration::from_millis(20)).await;
    assert_eq!((report.closed, report.still_out.len()), (1, 2), "{report:?}");
    assert!(report.timed_out);
    for end in [&mut idle, &mut connecting] {
        assert_eq!(end.read(&mut [0; 1]).unwrap(), 0);
    }
    assert!(pool.get().await.unwrap_err().is_closed());
    assert!(pool.get_owned().await.unwrap_err().is_closed());
    assert!(pool.try_get().unwrap_err().is_closed());

    for (mut conn, mut end) in held {
        talk(&mut *conn, &mut end).await;
        let size = pool.stats().size;
        drop(conn);
        wait_until(&pool, |stats| stats.size < size).await;
        assert_eq!(end.read(&mut [0; 1]).unwrap(), 0);
    }
    let report = pool.close(LIMIT).await;
    assert_eq!((report.still_out.len(), report.timed_out), (0, false), "{report:?}");
    wait_until_closed(&pool, CloseReason::PoolClosed, 3).await;
    assert_eq!(pool.stats().connect_failed, 0, "an ended connect was counted as failed");
}

pub(crate) async fn close_fails_all_waiters() {
    let server = HandshakeServer::start();
    let pool = builder(server.manager())
        .max_size(2)
        .connect_timeout(None)
        .get_timeout(None)
        .build()
        .await
        .unwrap();
    let get = crate::spawn(pool.get_owned());
    let mut end = server.accept().await;
    send_hello(&mut end);
    let _out = get.await.unwrap();
    let gets: Vec<_> = (0..4).map(|_| crate::spawn(pool.get_owned())).collect();
    let mut connecting = server.accept().await;
    wait_until(&pool, |stats| stats.waiting == 4).await;
    let report = pool.close(Duration::ZERO).await;
    assert_eq!(report.still_out.len(), 1, "{report:?}");
    for get in gets {
        match get.await {
            Err(GetError::Closed) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(connecting.read(&mut [0; 1]).unwrap(), 0);
}
