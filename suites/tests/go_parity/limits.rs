//! IdleTimeout and MaxLifetime.

use std::io::Read;
use std::time::Duration;

use super::clock::Clock;
use crate::adapter::{Builder, CloseReason, Pool, TcpManager};
use crate::client::{echo, pool_of, talk, wait_until, wait_until_closed};
use suites::server::{Echo, Server};

const SECOND: Duration = Duration::from_secs(1);

pub(crate) async fn idle_timeout_closes_idle_connections_without_a_get() {
    let limit = |pool: Builder<_>| pool.idle_timeout(Duration::from_millis(20));
    closed_without_get(limit, CloseReason::Idle).await;
}

pub(crate) async fn max_lifetime_closes_old_connections_without_a_get() {
    let limit = |pool: Builder<_>| pool.max_lifetime(Duration::from_millis(20));
    closed_without_get(limit, CloseReason::Lifetime).await;
}

async fn closed_without_get(
    limit: impl FnOnce(Builder<TcpManager>) -> Builder<TcpManager>,
    reason: CloseReason,
) {
    let server = Server::start();
    let pool =
        pool_of(server.address()).increment(3).max_size(3).evict_interval(Duration::from_millis(5));
    let pool = limit(pool).build().await.unwrap();
    drop(pool.get().await.unwrap());
    wait_until_closed(&pool, reason, 3).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.request), (0, 1), "{stats}");
    for mut end in server.accept_many(3) {
        assert_eq!(end.read(&mut [0; 1]).unwrap(), 0, "the socket is still open");
    }
}

pub(crate) async fn idle_timeout_replaces_an_idle_connection_on_get() {
    let clock = Clock::new();
    let limit = |pool: Builder<_>| pool.idle_timeout(10 * SECOND);
    replaced_on_get(&clock, limit, CloseReason::Idle).await;
}

pub(crate) async fn max_lifetime_replaces_an_old_connection_on_get() {
    let clock = Clock::new();
    let limit = |pool: Builder<_>| pool.max_lifetime(10 * SECOND).lifetime_jitter(0.0);
    replaced_on_get(&clock, limit, CloseReason::Lifetime).await;
}

async fn replaced_on_get(
    clock: &Clock,
    limit: impl FnOnce(Builder<TcpManager>) -> Builder<TcpManager>,
    reason: CloseReason,
) {
    let server = Server::start();
    let pool = clock.pool_of(server.address()).evict_interval(None);
    let pool = limit(pool).build().await.unwrap();
    let id = pool.get().await.unwrap().id();
    let mut first = server.accept();
    clock.advance(10 * SECOND - Duration::from_nanos(1));
    let mut conn = pool.try_get().unwrap();
    talk(&mut *conn, &mut first).await;
    assert_eq!(conn.id(), id);
    drop(conn);

    clock.advance(10 * SECOND);
    let mut conn = pool.get().await.unwrap();
    assert_ne!(conn.id(), id);
    talk(&mut *conn, &mut server.accept()).await;
    wait_until_closed(&pool, reason, 1).await;
    assert_eq!(first.read(&mut [0; 1]).unwrap(), 0, "the socket is still open");
}

pub(crate) async fn max_lifetime_counts_from_the_connect_of_a_busy_connection() {
    let clock = Clock::new();
    let server = Echo::start();
    let pool = clock
        .pool_of(server.address())
        .max_lifetime(100 * SECOND)
        .idle_timeout(10 * SECOND)
        .evict_interval(None)
        .build()
        .await
        .unwrap();
    let id = pool.get().await.unwrap().id();
    // The jitter shortens the lifetime by 10 of 100 seconds at most.
    for _ in 0..11 {
        clock.advance(8 * SECOND);
        assert_eq!(pool.get().await.unwrap().id(), id);
    }
    clock.advance(12 * SECOND);
    assert_ne!(pool.get().await.unwrap().id(), id);
    wait_until_closed(&pool, CloseReason::Lifetime, 1).await;
}

pub(crate) async fn lifetime_jitter_spreads_lifetimes_and_never_lengthens_them() {
    const MANY: usize = 64;
    let clock = Clock::new();
    let server = Echo::start();
    let pool = clock
        .pool_of(server.address())
        .max_size(MANY)
        .increment(MANY)
        .max_lifetime(100 * SECOND)
        .evict_interval(None)
        .build()
        .await
        .unwrap();
    drop(pool.get().await.unwrap());
    wait_until(&pool, |stats| stats.available == MANY).await;

    clock.advance(90 * SECOND - Duration::from_nanos(1));
    assert_eq!(count_usable(&pool), MANY);
    // The probability that all of them end in the same half of the range is 2^-63.
    clock.advance(5 * SECOND);
    let in_between = count_usable(&pool);
    assert!(0 < in_between && in_between < MANY, "{in_between}");
    clock.advance(5 * SECOND + Duration::from_nanos(1));
    assert_eq!(count_usable(&pool), 0);
    wait_until_closed(&pool, CloseReason::Lifetime, MANY as u64).await;
}

/// Returns how many idle connections can be checked out, and returns them.
fn count_usable(pool: &Pool<TcpManager>) -> usize {
    let mut guards = Vec::new();
    while pool.stats().available > 0 {
        guards.extend(pool.try_get().ok());
    }
    guards.len()
}

pub(crate) async fn connections_without_limits_are_not_closed_for_age() {
    let clock = Clock::new();
    let server = Echo::start();
    let pool = clock.pool_of(server.address()).build().await.unwrap();
    let id = pool.get().await.unwrap().id();
    clock.advance(3_600 * 24 * 365 * SECOND);
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.id(), id);
    echo(&mut *conn, b"hello").await.unwrap();
}

pub(crate) async fn connection_in_use_is_not_closed_before_its_return() {
    let clock = Clock::new();
    let server = Echo::start();
    let pool = clock
        .pool_of(server.address())
        .idle_timeout(SECOND)
        .max_lifetime(SECOND)
        .evict_interval(5 * SECOND)
        .build()
        .await
        .unwrap();
    let mut held = pool.get().await.unwrap();
    drop(pool.get().await.unwrap());
    clock.wait_for_a_sleep_of(&[5 * SECOND]).await;
    clock.advance(10 * SECOND);
    // The close of the other connection shows that the evictor ran.
    wait_until(&pool, |stats| stats.closed.total() == 1).await;
    echo(&mut *held, b"hello").await.unwrap();
    drop(held);
    wait_until_closed(&pool, CloseReason::Lifetime, 2).await;
}
