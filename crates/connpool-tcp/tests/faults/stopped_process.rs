//! A process that is stopped and continued, and a thread that is kept from its tasks.

use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::poll_once;

use super::client::{echo, pool_of, until, until_closed};
use super::counting::Counted;
use super::kernel::{eventually, stand_still};
use super::server::{Echo, LIMIT};
use crate::adapter::{CloseReason, TcpManager, builder};

const STOP: Duration = Duration::from_millis(1500);

pub(crate) async fn sweeps_missed_by_a_stopped_process_are_not_made_up() {
    const EVERY: Duration = Duration::from_millis(20);
    let server = Echo::start();
    let manager = Counted::new(TcpManager::new(server.address()));
    let count = manager.count.clone();
    let pool = builder(manager)
        .min_size(4)
        .evict_interval(EVERY)
        .build()
        .await
        .unwrap();
    let rounds = || count.looks() / 4;
    eventually("a round", || rounds() > 0).await;
    let (start, before) = (Instant::now(), rounds());
    stand_still(STOP);
    eventually("another round", || rounds() > before + 1).await;
    let due = (start.elapsed() - STOP).as_nanos() / EVERY.as_nanos();
    // The one that was under way, the one that was due, and the one that is under way.
    let made = u128::from(rounds() - before);
    assert!(made <= due + 3, "{made} rounds in the time of {due}");
    assert_eq!(pool.stats().available, 4);
}

pub(crate) async fn connections_expired_in_a_stopped_process_are_replaced_within_max_connecting() {
    let server = Echo::start();
    let manager = Counted::new(TcpManager::new(server.address()));
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
    let mut out = pool.get().await.unwrap();
    stand_still(STOP);
    // It is over age, but its user has it.
    echo(&mut *out, b"hello").await.unwrap();
    drop(out);
    // Those that are new may be over age again before this looks.
    until(&pool, |stats| stats.lifetime_closed >= 8).await;
    until(&pool, |stats| stats.size == 8 && stats.connecting == 0).await;
    let most = count.most_connecting();
    assert!((1..=2).contains(&most), "{most} connects at once");
    let stats = pool.stats();
    assert_eq!((stats.connect_failed, stats.success), (0, 1), "{stats}");
    assert_eq!(stats.closed.total(), stats.lifetime_closed, "{stats}");
    echo(&mut *pool.get().await.unwrap(), b"hello")
        .await
        .unwrap();
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
    stand_still(STOP);
    until_closed(&pool, CloseReason::Idle, 5).await;
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
    // Nothing runs on this thread meanwhile.
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
