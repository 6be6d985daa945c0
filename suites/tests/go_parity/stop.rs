//! `Stop`, and calls after it.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use futures_lite::future::{poll_once, yield_now, zip};

use crate::adapter::{CloseReason, GetError};
use crate::client::{counts_add_up, echo, pool_of, wait_until, wait_until_closed};
use suites::server::{Echo, LIMIT, Server};

pub(crate) async fn stop_closes_every_connection() {
    let server = Server::start();
    let pool = pool_of(server.address())
        .min_size(3)
        .evict_interval(Duration::from_millis(1))
        .build()
        .await
        .unwrap();
    let borrowed = pool.get_owned().await.unwrap();
    let report = pool.close(Duration::ZERO).await;
    assert_eq!(report.still_out.len(), 1);
    drop(borrowed);
    let report = pool.close(LIMIT).await;
    assert_eq!((report.still_out.len(), report.timed_out), (0, false));
    for mut socket in server.accept_many(3) {
        assert_eq!(socket.read(&mut [0; 1]).unwrap(), 0, "the socket is still open");
    }
    wait_until_closed(&pool, CloseReason::PoolClosed, 3).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.connecting), (0, 0), "{stats}");
    assert!(!server.has_pending_connection(), "a closed pool maintained min_size");
}

pub(crate) async fn stop_waits_for_borrowed_connections() {
    let server = Echo::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let mut conn = pool.get_owned().await.unwrap();
    let mut stop = Box::pin(pool.close(LIMIT));
    assert!(poll_once(&mut stop).await.is_none());
    echo(&mut *conn, b"still in use").await.unwrap();
    drop(conn);
    let report = stop.await;
    assert_eq!((report.closed, report.still_out.len()), (1, 0));
}

pub(crate) async fn stop_wakes_every_waiter() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).get_timeout(None).build().await.unwrap();
    let _held = pool.get().await.unwrap();
    let waiting: Vec<_> = (0..3).map(|_| crate::spawn(pool.get_owned())).collect();
    wait_until(&pool, |stats| stats.waiting == 3).await;
    pool.close(Duration::ZERO).await;
    for get in waiting {
        assert!(get.await.unwrap_err().is_closed());
    }
}

pub(crate) async fn get_after_stop_returns_closed() {
    let server = Echo::start();
    let pool = pool_of(server.address()).min_size(1).build().await.unwrap();
    assert!(!pool.is_closed());
    pool.close(LIMIT).await;
    assert!(pool.is_closed());
    for error in [pool.get().await, pool.try_get()].map(Result::unwrap_err) {
        assert!(matches!(error, GetError::Closed), "{error:?}");
        assert_eq!(error.to_string(), "the pool is closed");
    }
}

pub(crate) async fn stop_can_be_repeated() {
    let server = Echo::start();
    let pool = pool_of(server.address()).min_size(2).build().await.unwrap();
    let (one, other) = zip(pool.close(LIMIT), pool.close(LIMIT)).await;
    assert!(!one.timed_out && !other.timed_out);
    let again = pool.close(LIMIT).await;
    assert_eq!((again.closed, again.still_out.len()), (0, 0));
    let stats = pool.stats();
    assert_eq!((stats.size, stats.closed.total()), (0, 2), "{stats}");
    assert!(counts_add_up(&stats), "{stats}");
}

/// A pool of the Go library that is dropped without `Stop` stays alive in its evictor.
pub(crate) async fn dropped_pool_stops_by_itself() {
    let server = Server::start();
    let pool = pool_of(server.address()).min_size(2).build().await.unwrap();
    let other = pool.clone();
    drop(pool);
    assert!(!other.is_closed());
    drop(other);
    for socket in server.accept_many(2) {
        wait_until_ended(&socket).await;
    }
}

/// Waits for the end of a stream without blocking: this thread may have to run the close.
async fn wait_until_ended(mut socket: &TcpStream) {
    socket.set_nonblocking(true).unwrap();
    let start = Instant::now();
    while socket.read(&mut [0; 1]).ok() != Some(0) {
        assert!(start.elapsed() < LIMIT, "the socket stays open");
        yield_now().await;
    }
}
