//! The background: what happens without anybody asking.

use std::time::Duration;

use connpool_core::{BuildError, CloseReason};
use futures_lite::future::yield_now;

use super::host::{Host, LONG, MILLI, SHORT, closed, waiting};
use crate::{Behavior, Call};

/// Retires what is idle too long, down to `min_size`.
pub async fn what_nobody_wants_is_closed_down_to_min_size(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .min_size(2)
        .idle_timeout(SHORT)
        .evict_interval(MILLI)
        .build_lazy()
        .unwrap();
    drop(host.hold(&pool, 5).await);
    host.until_stats(&pool, |stats| (stats.size, stats.idle_closed) == (2, 3))
        .await;
    host.sleep(2 * SHORT).await;
    host.until_stats(&pool, |stats| stats.available == 2).await;
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (5, 3));
    assert_eq!(backend.goodbyes().len(), 3);
}

/// Retires what is over age, and keeps `min_size`.
pub async fn what_is_too_old_is_replaced_to_keep_min_size(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .min_size(2)
        .max_lifetime(SHORT)
        .evict_interval(MILLI)
        .build()
        .await
        .unwrap();
    host.until_stats(&pool, |stats| stats.lifetime_closed >= 4)
        .await;
    host.until_stats(&pool, |stats| stats.available == 2).await;
    assert!(backend.goodbyes().len() >= 4);
    assert!(backend.peak() <= 10);
}

/// Finds the dead.
pub async fn dead_idle_connections_are_found_without_anybody_asking(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .min_size(1)
        .evict_interval(MILLI)
        .build_lazy()
        .unwrap();
    drop(host.hold(&pool, 3).await);
    backend.hang_up_all();
    host.until(|| closed(&pool, CloseReason::Dead) == 3).await;
    host.until_stats(&pool, |stats| stats.available == 1).await;
    assert_eq!((pool.stats().created, backend.goodbyes()), (4, vec![]));
}

/// Keeps `min_size` when connections are lost in use.
pub async fn min_size_is_kept_up_when_users_lose_connections(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().min_size(3).build().await.unwrap();
    let mut held = host.hold(&pool, 3).await;
    held.iter_mut().for_each(|guard| guard.mark_unusable());
    drop(held);
    host.until_stats(&pool, |stats| stats.available == 3).await;
    assert_eq!(host.rest(&pool, &backend, 0).await.created, 6);
}

/// Never hides healthy idle connections from getters.
pub async fn a_look_in_the_background_hides_no_connection(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(2)
        .evict_interval(Duration::ZERO)
        .build_lazy()
        .unwrap();
    host.fill(&pool, 1).await;
    let mut gets = 1;
    // A get takes one look; the others are the background's.
    while backend.probes() < gets + 20 {
        assert_eq!(pool.get().await.unwrap().id(), 1);
        gets += 1;
        // Both give the driver its turn; only one of them lets time pass.
        if gets % 2 == 0 {
            host.sleep(MILLI).await;
        } else {
            yield_now().await;
        }
    }
    host.until_stats(&pool, |stats| stats.available == 1).await;
    let stats = pool.stats();
    assert_eq!((stats.created, stats.success), (1, gets as u64));
}

/// P9: borrowing against eviction. Commons Pool, `testConcurrentBorrowAndEvict`.
pub async fn borrowing_and_evicting_do_not_get_into_each_others_way(host: Host) {
    for idle_timeout in [Duration::ZERO, MILLI] {
        let backend = host.backend();
        let pool = backend
            .pool()
            .max_size(1)
            .idle_timeout(idle_timeout)
            .evict_interval(Duration::ZERO)
            .build_lazy()
            .unwrap();
        host.run_tasks(2, |_| {
            let (host, pool) = (host.clone(), pool.clone());
            async move {
                for nth in 0..500 {
                    drop(pool.get().await.unwrap());
                    if nth % 10 == 0 {
                        host.sleep(MILLI).await;
                    }
                }
            }
        })
        .await;
        host.until_stats(&pool, |stats| stats.size == 0).await;
        let stats = host.rest(&pool, &backend, 0).await;
        assert_eq!((stats.success, backend.peak()), (1_000, 1));
        assert_eq!(stats.idle_closed, stats.created);
    }
}

/// `evict_interval` `None` stops the looks at idle connections, and nothing else.
pub async fn without_an_evict_interval_only_the_looks_stop(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .min_size(1)
        .max_idle(2)
        .idle_timeout(MILLI)
        .evict_interval(None)
        .fail_fast(false)
        .build()
        .await
        .unwrap();
    let mut held = host.hold(&pool, 4).await;
    backend.next(Call::Connect, [Behavior::Fail, Behavior::Fail]);
    held.drain(..2).for_each(|mut guard| guard.mark_unusable());
    drop(held);
    host.sleep(SHORT).await;
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.available, stats.idle_closed), (2, 0));
    // Goodbyes, connects and pauses go on.
    pool.resize(1).unwrap();
    host.until(|| backend.goodbyes().len() == 1).await;
    pool.clear();
    host.until_stats(&pool, |stats| stats.available == 1).await;
    assert_eq!(pool.stats().connect_failed, 2);
}

/// One task a pool, which holds it weakly.
pub async fn one_task_a_pool_and_it_ends_with_the_last_handle(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .evict_interval(Duration::MAX)
        .build_lazy()
        .unwrap();
    host.fill(&pool, 3).await;
    host.until(|| host.tasks() == 1).await;
    let clone = pool.clone();
    drop(pool);
    host.sleep(MILLI).await;
    assert_eq!((host.tasks(), backend.alive()), (1, 3));
    drop(clone);
    host.until(|| host.tasks() == 0).await;
    assert_eq!((backend.goodbyes().len(), backend.alive()), (3, 0));
}

/// A drop that frees capacity rouses the driver, which begins what is wanted.
pub async fn freed_capacity_is_used_though_nobody_polls(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let mut guard = pool.get_owned().await.unwrap();
    let get = waiting(pool.get()).await;
    guard.mark_unusable();
    drop(guard);
    // The one in line is not polled until its connection is there.
    host.until_stats(&pool, |stats| (stats.size, stats.waiting) == (1, 0))
        .await;
    assert_eq!(get.await.unwrap().id(), 2);
    assert_eq!(host.rest(&pool, &backend, 0).await.created, 2);
}

/// With neither a driver nor anybody in line, connections are dropped in place.
pub async fn a_runtime_that_takes_no_tasks_loses_nothing(host: Host) {
    let backend = host.backend();
    host.refuse_tasks(true);
    let built = backend.pool().min_size(1).build().await;
    assert!(matches!(built, Err(BuildError::NoRuntime)));
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    assert!(pool.get_timeout(SHORT).await.unwrap_err().is_timeout());
    let stats = pool.stats();
    assert_eq!((stats.size, stats.connecting, stats.waiting), (0, 0, 0));

    host.refuse_tasks(false);
    host.lends_all(&pool, &backend).await;
    assert_eq!(backend.alive(), 2);
}

/// A guard that comes back to a pool without a driver.
pub async fn without_a_driver_what_is_over_its_limits_is_dropped_in_place(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_uses(1).build_lazy().unwrap();
    let guard = pool.get_owned().await.unwrap();
    pool.close(Duration::ZERO).await;
    host.until(|| host.tasks() == 0).await;
    drop(guard);
    assert_eq!((backend.alive(), backend.goodbyes()), (0, vec![]));
    assert_eq!(closed(&pool, CloseReason::MaxUses), 1);
    assert!(!pool.close(LONG).await.timed_out);
}
