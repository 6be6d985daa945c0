//! The ten statistics of the Go library.

use std::pin::pin;
use std::time::Duration;

use futures_lite::future::poll_once;

use super::clock::Clock;
use super::peer::Peer;
use crate::adapter::{CloseReason, Stats};
use crate::client::{counts_add_up, pool_of, wait_until, wait_until_closed};
use suites::server::{Echo, Port};

pub(crate) async fn size_counts_idle_and_active_connections() {
    let values = gauge_after_each_step(|stats| stats.size).await;
    assert_eq!(values, [2, 2, 2, 3, 3, 2]);
}

pub(crate) async fn available_counts_idle_connections() {
    let values = gauge_after_each_step(|stats| stats.available).await;
    assert_eq!(values, [2, 1, 0, 0, 1, 1]);
}

pub(crate) async fn active_counts_connections_checked_out() {
    let values = gauge_after_each_step(|stats| stats.active).await;
    assert_eq!(values, [0, 1, 2, 3, 2, 1]);
}

/// Returns a gauge after the build, three gets, a return, and a return of a marked connection.
async fn gauge_after_each_step(gauge: impl Fn(&Stats) -> usize) -> [usize; 6] {
    let server = Echo::start();
    let pool = pool_of(server.address()).min_size(2).build().await.unwrap();
    let read = || gauge(&pool.stats());
    let built = read();
    let mut one = pool.get().await.unwrap();
    let first = read();
    let two = pool.get().await.unwrap();
    let second = read();
    let _three = pool.get().await.unwrap();
    let third = read();
    drop(two);
    let returned = read();
    one.mark_unusable();
    drop(one);
    [built, first, second, third, returned, read()]
}

pub(crate) async fn request_counts_every_get() {
    let (requests, _) = four_gets_of_which_two_succeed().await;
    assert_eq!(requests, 4);
}

pub(crate) async fn success_counts_every_served_get() {
    let (_, successes) = four_gets_of_which_two_succeed().await;
    assert_eq!(successes, 2);
}

async fn four_gets_of_which_two_succeed() -> (u64, u64) {
    let port = Port::bind();
    let pool = pool_of(port.address()).max_size(1).build().await.unwrap();
    assert!(pool.get().await.is_err(), "connected to a closed port");
    let _server = port.listen().echo();
    // Otherwise the next caller would be told of the failure.
    pool.clear();
    let conn = pool.get().await.unwrap();
    assert!(pool.get_timeout(Duration::ZERO).await.is_err());
    drop(conn);
    let _conn = pool.get().await.unwrap();
    (pool.stats().request, pool.stats().success)
}

pub(crate) async fn idle_closed_counts_connections_past_idle_timeout() {
    let stats = close_three(Some(Duration::from_secs(1)), None).await;
    assert_eq!(closed(&stats), (3, 0, 0), "{stats}");
}

pub(crate) async fn lifetime_closed_counts_connections_past_max_lifetime() {
    let stats = close_three(None, Some(Duration::from_secs(1))).await;
    assert_eq!(closed(&stats), (0, 3, 0), "{stats}");
}

/// Returns the statistics after a get has found three connections past a limit.
async fn close_three(idle_timeout: Option<Duration>, max_lifetime: Option<Duration>) -> Stats {
    let clock = Clock::new();
    let server = Echo::start();
    let pool = clock
        .pool_of(server.address())
        .increment(3)
        .max_size(3)
        .idle_timeout(idle_timeout)
        .max_lifetime(max_lifetime)
        .evict_interval(None)
        .build()
        .await
        .unwrap();
    drop(pool.get().await.unwrap());
    wait_until(&pool, |stats| stats.available == 3).await;
    clock.advance(Duration::from_secs(1));
    drop(pool.get().await.unwrap());
    wait_until(&pool, |stats| stats.closed.total() == 3 && counts_add_up(stats)).await;
    pool.stats()
}

pub(crate) async fn ping_failed_counts_failed_pings() {
    let peer = Peer::start();
    let pool = peer.pool().max_size(3).build().await.unwrap();
    let all = [pool.get().await.unwrap(), pool.get().await.unwrap(), pool.get().await.unwrap()];
    all.iter().for_each(|conn| peer.fail_pings_of(conn));
    drop(all);
    drop(pool.get().await.unwrap());
    wait_until_closed(&pool, CloseReason::PingFailed, 3).await;
    assert_eq!(closed(&pool.stats()), (0, 0, 3));
}

fn closed(stats: &Stats) -> (u64, u64, u64) {
    (stats.idle_closed, stats.lifetime_closed, stats.ping_failed)
}

pub(crate) async fn wait_count_counts_every_get_that_waits_at_max_size() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(2).build().await.unwrap();
    let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
    assert_eq!(pool.stats().wait_count, 0, "a connect was counted as a wait");
    for count in 1..=3 {
        assert!(poll_once(pool.get()).await.is_none());
        assert_eq!(pool.stats().wait_count, count);
    }
    drop(held);
    drop(pool.get().await.unwrap());
    assert_eq!(pool.stats().wait_count, 3);
}

pub(crate) async fn wait_time_adds_up_the_time_of_all_waits() {
    let clock = Clock::new();
    let server = Echo::start();
    let pool = clock.pool_of(server.address()).max_size(1);
    let pool = pool.build().await.unwrap();
    let held = pool.get().await.unwrap();
    assert_eq!(pool.stats().wait_time, Duration::ZERO);
    let mut waiting = pin!(pool.get());
    assert!(poll_once(waiting.as_mut()).await.is_none());
    clock.advance(Duration::from_secs(3));
    drop(held);
    let _held = waiting.await.unwrap();
    assert_eq!(pool.stats().wait_time, Duration::from_secs(3));
    // A get that times out counts as well.
    let mut waiting = pin!(pool.get_timeout(Duration::from_secs(4)));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    clock.advance(Duration::from_secs(4));
    assert!(waiting.await.is_err());
    assert_eq!(pool.stats().wait_time, Duration::from_secs(7));
}
