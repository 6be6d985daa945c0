//! A stopped and continued process, and a blocked thread.

use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::poll_once;

use super::client::{echo, pool_of, wait_until, wait_until_closed};
use super::counting::CountingManager;
use super::kernel::{eventually, stop_process};
use crate::adapter::{CloseReason, TcpManager, builder};
use suites::server::{Echo, LIMIT};

const STOP: Duration = Duration::from_millis(1500);

pub(crate) async fn sweeps_missed_by_a_stopped_process_are_not_made_up() {
    const EVERY: Duration = Duration::from_millis(20);
    let server = Echo::start();
    let manager = CountingManager::new(TcpManager::new(server.address()));
    let count = manager.count.clone();
    let pool = builder(manager).min_size(4).evict_interval(EVERY).build().await.unwrap();
    let rounds = || count.probes() / 4;
    eventually("a sweep", || rounds() > 0).await;
    let (start, before) = (Instant::now(), rounds());
    stop_process(STOP);
    eventually("another sweep", || rounds() > before + 1).await;
    let due = (start.elapsed() - STOP).as_nanos() / EVERY.as_nanos();
    // One sweep in progress at the stop, one overdue, and one in progress now.
    let made = u128::from(rounds() - before);
    assert!(made <= due + 3, "{made} sweeps in the time of {due}");
    assert_eq!(pool.stats().available, 4);
}

pub(crate) async fn connections_expired_in_a_stopped_process_are_replaced_within_max_connecting() {
    let server = Echo::start();
    let manager = CountingManager::new(TcpManager::new(server.address()));
    let count = manager.count.clone();
    let pool = builder(manager)
        .min_size(8)
        .max_connecting(2)
        .max_lifetime(STOP)
        .evict_interval(Duration::from_millis(20))
        .connect_timeout(LIMIT)
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    let mut held = pool.get().await.unwrap();
    stop_process(STOP);
    // Expired, but borrowed.
    echo(&mut *held, b"hello").await.unwrap();
    drop(held);
    // The new connections may have expired again before this check.
    wait_until(&pool, |stats| stats.lifetime_closed >= 8).await;
    wait_until(&pool, |stats| stats.size == 8 && stats.connecting == 0).await;
    let max = count.max_connecting_seen();
    assert!((1..=2).contains(&max), "{max} connects at once");
    let stats = pool.stats();
    assert_eq!((stats.connect_failed, stats.success), (0, 1), "{stats}");
    assert_eq!(stats.closed.total(), stats.lifetime_closed, "{stats}");
    echo(&mut *pool.get().await.unwrap(), b"hello").await.unwrap();
}

pub(crate) async fn connections_idle_in_a_stopped_process_are_closed_down_to_min_size() {
    let server = Echo::start();
    let pool = pool_of(server.address())
        .min_size(3)
        .idle_timeout(STOP)
        .evict_interval(Duration::from_millis(20))
        .build()
        .await
        .unwrap();
    let mut guards = Vec::new();
    for _ in 0..8 {
        guards.push(pool.get().await.unwrap());
    }
    drop(guards);
    stop_process(STOP);
    wait_until_closed(&pool, CloseReason::Idle, 5).await;
    let stats = pool.stats();
    assert_eq!((stats.available, stats.created), (3, 8), "{stats}");
}

pub(crate) async fn get_polled_after_its_deadline_takes_a_connection_that_came_before_it() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let time = Duration::from_millis(50);
    let mut waiting = Box::pin(pool.get_timeout(time));
    assert!(poll_once(&mut waiting).await.is_none());
    drop(conn);
    // No task runs on this thread meanwhile.
    thread::sleep(2 * time);
    echo(&mut *waiting.await.unwrap(), b"hello").await.unwrap();
}

pub(crate) async fn get_polled_after_its_deadline_takes_a_connection_that_came_after_it() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let time = Duration::from_millis(50);
    let mut waiting = Box::pin(pool.get_timeout(time));
    assert!(poll_once(&mut waiting).await.is_none());
    thread::sleep(2 * time);
    drop(conn);
    echo(&mut *waiting.await.unwrap(), b"hello").await.unwrap();
}
