//! `clear` and `resize`, while everything runs.

use connpool_core::CloseReason;
use futures_lite::future::poll_once;

use super::host::{Host, MILLI, closed, waiting};
use crate::{Behavior, Call};

/// P25: generations. puddle, `Reset`; MongoDB's connection monitoring and pooling; HikariCP 1836.
pub async fn clear_reaches_what_is_idle_out_and_under_way(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(5).build_lazy().unwrap();
    let mut held = host.hold(&pool, 4).await;
    backend.next(Call::Connect, [Behavior::Hold]);
    let get = waiting(pool.get_owned()).await;
    // One of them goes to the one in line, and the connect goes on.
    held.pop();
    held.push(get.await.unwrap());
    held.truncate(2);
    let stats = pool.stats();
    assert_eq!((stats.available, stats.active, stats.connecting), (2, 2, 1));
    pool.clear();
    host.until(|| backend.alive() == 2).await;
    drop(held);
    host.until(|| backend.alive() == 0).await;
    host.release(&backend, Call::Connect, Behavior::Succeed)
        .await;
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, stats.created), (0, 5));
    assert_eq!(closed(&pool, CloseReason::Cleared), 5);
    assert_eq!(backend.goodbyes(), [0; 0]);
    assert_eq!(pool.get().await.unwrap().id(), 6);
    host.lends_all(&pool, &backend).await;
}

/// Those in line get what is begun after it.
pub async fn who_waits_when_the_pool_is_cleared_gets_a_newer_one(host: Host) {
    // For a connect.
    let backend = host.backend();
    backend.next(Call::Connect, [Behavior::Hold]);
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let get = waiting(pool.get()).await;
    pool.clear();
    host.release(&backend, Call::Connect, Behavior::Succeed)
        .await;
    let guard = get.await.unwrap();
    assert_eq!(guard.id(), 2);
    // For a return.
    let get = waiting(pool.get()).await;
    pool.clear();
    drop(guard);
    let guard = get.await.unwrap();
    assert_eq!(guard.id(), 3);
    // And who has been handed one already.
    let get = waiting(pool.get()).await;
    drop(guard);
    pool.clear();
    assert_eq!(get.await.unwrap().id(), 4);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.connect_failed), (4, 0));
    assert_eq!(closed(&pool, CloseReason::Cleared), 3);
}

/// Smaller: the idle at once, the others as they come back.
pub async fn a_pool_made_smaller_closes_the_idle_now_and_the_rest_on_return(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(6).build_lazy().unwrap();
    let mut held = host.hold(&pool, 6).await;
    held.truncate(4);
    pool.resize(3).unwrap();
    host.until_stats(&pool, |stats| stats.size == 4).await;
    assert_eq!(backend.goodbyes(), [5, 6]);
    held.pop();
    host.until_stats(&pool, |stats| stats.size == 3).await;
    assert_eq!(pool.stats().available, 0);
    drop(held);
    assert_eq!(pool.stats().available, 3);
    assert_eq!(closed(&pool, CloseReason::Shrunk), 3);
    let held = host.hold(&pool, 3).await;
    assert!(pool.get_timeout(MILLI).await.unwrap_err().is_timeout());
    drop(held);
    assert_eq!((pool.stats().size, pool.config().max_size), (3, 3));
}

/// Smaller, with somebody in line.
pub async fn who_waits_in_a_pool_made_smaller_waits_until_it_is_small_enough(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(3).build_lazy().unwrap();
    let mut held = host.hold(&pool, 3).await;
    let mut get = waiting(pool.get()).await;
    pool.resize(1).unwrap();
    held.pop();
    held.pop();
    host.until_stats(&pool, |stats| stats.size == 1).await;
    assert!(poll_once(&mut get).await.is_none(), "served too early");
    held.pop();
    assert_eq!(get.await.unwrap().id(), 1);
}

/// Larger: those in line are served at once, as many as there is room for.
pub async fn a_pool_made_larger_serves_those_in_line(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    let mut line = Vec::new();
    for _ in 0..3 {
        line.push(waiting(pool.get_owned()).await);
    }
    pool.resize(3).unwrap();
    let mut last = line.pop().unwrap();
    let mut served = Vec::new();
    for get in line {
        served.push(get.await.unwrap());
    }
    assert!(poll_once(&mut last).await.is_none(), "beyond max_size");
    drop((held, served));
    drop(last.await.unwrap());
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.available), (3, 3));
}

/// Smaller, with connects under way.
pub async fn connects_beyond_a_smaller_size_are_closed_when_they_are_there(host: Host) {
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend.pool().max_size(4).build_lazy().unwrap();
    let mut line = Vec::new();
    for _ in 0..4 {
        line.push(waiting(pool.get_owned()).await);
    }
    pool.resize(1).unwrap();
    for _ in 0..4 {
        host.release(&backend, Call::Connect, Behavior::Succeed)
            .await;
    }
    // Each of the four is served in its turn, by the one that is left.
    for get in line {
        drop(get.await.unwrap());
    }
    host.until_stats(&pool, |stats| (stats.size, stats.available) == (1, 1))
        .await;
    assert_eq!(closed(&pool, CloseReason::Shrunk), 3);
    assert_eq!(pool.stats().created, 4);
}

/// A size that cannot be changes nothing.
pub async fn a_size_that_cannot_be_is_refused(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(5).min_size(2).build_lazy().unwrap();
    assert!(pool.resize(0).is_err() && pool.resize(1).is_err());
    host.lends_all(&pool, &backend).await;
    assert_eq!(pool.config().max_size, 5);
}
