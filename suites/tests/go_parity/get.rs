//! `Get(ctx)`: from the idle set, by growth, and by waiting.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use futures_lite::future::poll_once;

use super::clock::Clock;
use super::peer::Peer;
use crate::adapter::{CloseReason, GetError, Phase, TcpManager, builder};
use crate::client::{echo, pool_of, talk, wait_until, wait_until_closed};
use suites::server::{Echo, Server};

pub(crate) async fn idle_connection_is_lent_without_waiting() {
    let server = Echo::start();
    let pool = pool_of(server.address()).min_size(1).build().await.unwrap();
    let got = poll_once(pool.get()).await;
    let mut conn = got.expect("not ready at the first poll").unwrap();
    echo(&mut *conn, b"hello").await.unwrap();
    assert_eq!(pool.stats().wait_count, 0);
}

pub(crate) async fn get_and_return_allocate_nothing() {
    let server = Echo::start();
    let manager = TcpManager::new(server.address());
    let pool = builder(manager)
        .idle_timeout(Duration::from_secs(30))
        .max_lifetime(Duration::from_secs(300))
        .build()
        .await
        .unwrap();
    let mut conn = pool.get().await.unwrap();
    echo(&mut *conn, b"hello").await.unwrap();
    let id = conn.id();
    drop(conn);
    // Allocations are counted per thread, and this thread does nothing else meanwhile.
    let info = measure(|| {
        for _ in 0..100 {
            let mut context = Context::from_waker(Waker::noop());
            let got = pin!(pool.get()).poll(&mut context);
            assert!(matches!(got, Poll::Ready(Ok(conn)) if conn.id() == id));
        }
    });
    assert_eq!(info.count_total, 0, "{info:?}");
}

pub(crate) async fn pool_grows_up_to_max_size() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(4).build().await.unwrap();
    let mut guards = Vec::new();
    for size in 1..=4 {
        let mut conn = pool.get().await.unwrap();
        talk(&mut *conn, &mut server.accept()).await;
        guards.push(conn);
        assert_eq!(pool.stats().size, size);
    }
    assert!(poll_once(pool.get()).await.is_none());
    assert_eq!((pool.stats().size, pool.stats().connecting), (4, 0));
    assert!(!server.has_pending_connection());
}

pub(crate) async fn get_at_max_size_waits_for_a_return() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let (id, mut end) = (conn.id(), server.accept());
    let waiting = crate::spawn(pool.get_owned());
    wait_until(&pool, |stats| stats.waiting == 1).await;
    drop(conn);
    let mut conn = waiting.await.unwrap();
    assert_eq!(conn.id(), id);
    talk(&mut *conn, &mut end).await;
    assert!(!server.has_pending_connection());
}

pub(crate) async fn waiters_are_served_in_fifo_order() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let mut conn = pool.get_owned().await.unwrap();
    let mut gets: Vec<_> = (0..5).map(|_| Box::pin(pool.get_owned())).collect();
    for get in &mut gets {
        assert!(poll_once(get).await.is_none());
    }
    while !gets.is_empty() {
        let next = gets.remove(0);
        drop(conn);
        for get in &mut gets {
            assert!(poll_once(get).await.is_none(), "a later waiter overtook");
        }
        conn = next.await.unwrap();
    }
    echo(&mut *conn, b"hello").await.unwrap();
}

pub(crate) async fn get_ends_at_its_deadline() {
    let clock = Clock::new();
    let server = Echo::start();
    let pool = clock.pool_of(server.address()).max_size(1);
    let pool = pool.build().await.unwrap();
    let _held = pool.get().await.unwrap();
    let limit = Duration::from_secs(5);
    let mut waiting = pin!(pool.get_timeout(limit));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    clock.advance(limit - Duration::from_nanos(1));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    clock.advance(Duration::from_nanos(1));
    match waiting.await {
        Err(GetError::Timeout { phase, diagnosis }) => {
            assert_eq!((phase, diagnosis.waited), (Phase::Wait, limit));
        }
        other => panic!("{other:?}"),
    }
}

/// The Go library has no limit besides that of the context.
pub(crate) async fn get_without_a_deadline_waits_forever() {
    let clock = Clock::new();
    let server = Echo::start();
    let pool = clock.pool_of(server.address()).max_size(1);
    let pool = pool.get_timeout(None).build().await.unwrap();
    let held = pool.get().await.unwrap();
    let mut waiting = pin!(pool.get());
    assert!(poll_once(waiting.as_mut()).await.is_none());
    clock.advance(Duration::from_secs(3_600 * 24 * 365));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    drop(held);
    echo(&mut *waiting.await.unwrap(), b"hello").await.unwrap();
}

pub(crate) async fn cancelled_get_loses_nothing() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let id = conn.id();
    let mut cancelled = Box::pin(pool.get());
    let mut waiting = Box::pin(pool.get());
    assert!(poll_once(&mut cancelled).await.is_none());
    assert!(poll_once(&mut waiting).await.is_none());
    // The first waiter is assigned the connection and dropped before it takes it.
    drop(conn);
    drop(cancelled);
    let mut conn = waiting.await.unwrap();
    assert_eq!(conn.id(), id);
    echo(&mut *conn, b"hello").await.unwrap();
    assert!(poll_once(pool.get()).await.is_none());
    let stats = pool.stats();
    assert_eq!((stats.size, stats.waiting), (1, 0), "{stats}");
}

pub(crate) async fn get_opens_a_new_connection_after_three_unhealthy_ones() {
    let peer = Peer::start();
    let pool = peer.pool().max_size(5).build().await.unwrap();
    let mut guards = Vec::new();
    for _ in 0..5 {
        let conn = pool.get().await.unwrap();
        peer.fail_pings_of(&conn);
        guards.push(conn);
    }
    drop(guards);
    let mut conn = pool.get().await.unwrap();
    echo(&mut *conn, b"text").await.unwrap();
    assert_eq!((conn.id(), conn.uses(), peer.pings()), (6, 1, 3));
    wait_until_closed(&pool, CloseReason::PingFailed, 3).await;
    let stats = pool.stats();
    assert_eq!((stats.active, stats.available), (1, 2), "{stats}");
    assert_eq!((stats.request, stats.success), (6, 6), "{stats}");
}

pub(crate) async fn get_that_may_not_wait_returns_exhausted() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).max_waiters(0);
    let pool = pool.build().await.unwrap();
    let _held = pool.get().await.expect("the pool did not grow");
    for refused in [pool.get().await, pool.try_get()] {
        match refused {
            Err(GetError::Exhausted(diagnosis)) => {
                assert_eq!((diagnosis.size, diagnosis.max_size), (1, 1));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(pool.stats().waiting, 0);
}
