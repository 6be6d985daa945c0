//! Goodbyes that take long, and pools that are resized or closed in the midst of everything.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::Duration;

use futures_lite::AsyncWriteExt;
use futures_lite::future::poll_once;

use super::client::{adds_up, echo, pool_of, talk, until, until_closed};
use super::handshake::{Greeter, greet};
use super::kernel::eventually;
use super::server::{Echo, LIMIT, Server};
use crate::adapter::{
    Builder, CloseReason, GetError, Liveness, Manager, TcpConn, TcpManager, builder,
};

// ---- goodbyes

/// Plain TCP with more to say at the end than anybody reads.
struct Loquacious(TcpManager);

impl Manager for Loquacious {
    type Connection = TcpConn;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpConn> {
        self.0.connect().await
    }

    fn needs_reset(&self) -> bool {
        false
    }

    fn liveness(&self, conn: &mut TcpConn) -> Liveness {
        conn.liveness()
    }

    async fn close(&self, mut conn: TcpConn) {
        while conn.write_all(&[0; 65536]).await.is_ok() {}
    }
}

/// A pool that says goodbye to whatever is idle.
fn loquacious(server: &Server) -> Builder<Loquacious> {
    builder(Loquacious(TcpManager::new(server.address())))
        .idle_timeout(Duration::from_millis(1))
        .evict_interval(Duration::from_millis(1))
        .get_timeout(LIMIT)
}

/// Waits until a goodbye is under way.
async fn begins(end: &TcpStream) {
    end.set_nonblocking(true).unwrap();
    eventually("a goodbye", || end.peek(&mut [0; 1]).is_ok()).await;
    end.set_nonblocking(false).unwrap();
}

/// Reads what there is, which has an end if the other side is closed.
fn has_an_end(mut end: TcpStream) {
    if let Err(error) = io::copy(&mut end, &mut io::sink()) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

pub(crate) async fn unread_graceful_close_does_not_delay_a_get() {
    let server = Server::start();
    let pool = loquacious(&server)
        .max_size(2)
        .close_timeout(None)
        .build()
        .await
        .unwrap();
    drop(pool.get().await.unwrap());
    let deaf = server.accept();
    begins(&deaf).await;
    let mut one = pool.get().await.unwrap();
    talk(&mut *one, &mut server.accept()).await;
    // It goes on, in its slot, until somebody has need of that.
    let stats = pool.stats();
    assert_eq!((stats.size, stats.closed.total()), (2, 0), "{stats}");
    let mut two = pool.get().await.unwrap();
    talk(&mut *two, &mut server.accept()).await;
    until_closed(&pool, CloseReason::Idle, 1).await;
    has_an_end(deaf);
}

pub(crate) async fn unread_graceful_close_ends_at_close_timeout() {
    let server = Server::start();
    let pool = loquacious(&server)
        .close_timeout(Duration::from_millis(30))
        .build()
        .await
        .unwrap();
    drop(pool.get().await.unwrap());
    let deaf = server.accept();
    until(&pool, |stats| stats.size == 0).await;
    until_closed(&pool, CloseReason::Idle, 1).await;
    has_an_end(deaf);
}

pub(crate) async fn unread_graceful_closes_do_not_delay_close() {
    let server = Server::start();
    let pools = [
        loquacious(&server).close_timeout(Duration::from_millis(30)),
        loquacious(&server).close_timeout(None),
    ];
    for (pool, (limit, timed_out)) in pools
        .into_iter()
        .zip([(LIMIT, false), (Duration::from_millis(30), true)])
    {
        let pool = pool.idle_timeout(None).min_size(2).build().await.unwrap();
        let deaf = server.accept_many(2);
        let report = pool.close(limit).await;
        assert_eq!(
            (report.timed_out, report.still_out.len()),
            (timed_out, 0),
            "{report:?}"
        );
        drop(deaf);
        until(&pool, |stats| stats.size == 0).await;
        until_closed(&pool, CloseReason::PoolClosed, 2).await;
    }
}

// ---- resize

pub(crate) async fn shrunk_pool_closes_returned_connections_beyond_max_size() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(6).build().await.unwrap();
    let mut lent = Vec::new();
    for _ in 0..6 {
        let conn = pool.get().await.unwrap();
        lent.push((conn, server.accept()));
    }
    pool.resize(2).unwrap();
    // It takes nobody's connection away.
    for (conn, end) in &mut lent {
        talk(&mut **conn, end).await;
    }
    assert_eq!(pool.stats().size, 6);
    for (left, (conn, mut end)) in (2..6).rev().zip(lent.drain(2..)) {
        drop(conn);
        until(&pool, |stats| stats.size == left).await;
        assert_eq!(end.read(&mut [0; 1]).unwrap(), 0);
    }
    for (conn, mut end) in lent {
        drop(conn);
        let mut again = pool.get().await.unwrap();
        talk(&mut *again, &mut end).await;
    }
    until_closed(&pool, CloseReason::Shrunk, 4).await;
}

pub(crate) async fn growing_the_pool_serves_waiters() {
    let server = Echo::start();
    let pool = pool_of(server.address())
        .max_size(1)
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    let _out = pool.get().await.unwrap();
    let getters: Vec<_> = (0..5).map(|_| crate::spawn(pool.get_owned())).collect();
    until(&pool, |stats| stats.waiting == 5).await;
    pool.resize(6).unwrap();
    let mut guards = Vec::new();
    for getter in getters {
        guards.push(getter.await.unwrap());
    }
    for conn in &mut guards {
        echo(&mut **conn, b"hello").await.unwrap();
    }
    assert_eq!(pool.stats().size, 6);
}

pub(crate) async fn pool_can_be_resized_under_load() {
    let server = Echo::start();
    let pool = pool_of(server.address())
        .max_size(8)
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
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
        until(&pool, |stats| stats.success >= some).await;
    }
    pool.resize(2).unwrap();
    for task in tasks {
        task.await;
    }
    until(&pool, |stats| stats.size <= 2 && adds_up(stats)).await;
    let stats = pool.stats();
    assert_eq!((stats.request, stats.success), (640, 640), "{stats}");
    let shrunk = stats.closed.get(CloseReason::Shrunk);
    assert!(shrunk > 0 && stats.closed.total() == shrunk, "{stats}");
}

// ---- close

pub(crate) async fn close_ends_idle_and_connecting_connections_and_waits_for_borrowed_ones() {
    let server = Greeter::start();
    let pool = builder(server.manager())
        .connect_timeout(None)
        .build()
        .await
        .unwrap();
    let mut lent = Vec::new();
    for _ in 0..3 {
        let getter = crate::spawn(pool.get_owned());
        let mut end = server.meet().await;
        greet(&mut end);
        lent.push((getter.await.unwrap(), end));
    }
    assert!(poll_once(pool.get()).await.is_none());
    let mut under_way = server.meet().await;
    let (conn, mut idle) = lent.pop().unwrap();
    drop(conn);
    let stats = pool.stats();
    assert_eq!((stats.available, stats.active, stats.connecting), (1, 2, 1));

    let report = pool.close(Duration::from_millis(20)).await;
    assert_eq!(
        (report.closed, report.still_out.len()),
        (1, 2),
        "{report:?}"
    );
    assert!(report.timed_out);
    for end in [&mut idle, &mut under_way] {
        assert_eq!(end.read(&mut [0; 1]).unwrap(), 0);
    }
    assert!(pool.get().await.unwrap_err().is_closed());
    assert!(pool.get_owned().await.unwrap_err().is_closed());
    assert!(pool.try_get().unwrap_err().is_closed());

    for (mut conn, mut end) in lent {
        talk(&mut *conn, &mut end).await;
        drop(conn);
        assert_eq!(end.read(&mut [0; 1]).unwrap(), 0);
    }
    let report = pool.close(LIMIT).await;
    assert_eq!(
        (report.still_out.len(), report.timed_out),
        (0, false),
        "{report:?}"
    );
    until_closed(&pool, CloseReason::PoolClosed, 3).await;
    assert_eq!(
        pool.stats().connect_failed,
        0,
        "it was ended, it did not fail"
    );
}

pub(crate) async fn close_fails_all_waiters() {
    let server = Greeter::start();
    let pool = builder(server.manager())
        .max_size(2)
        .connect_timeout(None)
        .get_timeout(None)
        .build()
        .await
        .unwrap();
    let getter = crate::spawn(pool.get_owned());
    let mut end = server.meet().await;
    greet(&mut end);
    let _out = getter.await.unwrap();
    let getters: Vec<_> = (0..4).map(|_| crate::spawn(pool.get_owned())).collect();
    let mut under_way = server.meet().await;
    until(&pool, |stats| stats.waiting == 4).await;
    let report = pool.close(Duration::ZERO).await;
    assert_eq!(report.still_out.len(), 1, "{report:?}");
    for getter in getters {
        match getter.await {
            Err(GetError::Closed) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(under_way.read(&mut [0; 1]).unwrap(), 0);
}
