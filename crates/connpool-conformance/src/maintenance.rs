//! The maintenance task: sweeps, `min_size`, and its lifetime.

use std::time::Duration;

use connpool_core::{BuildError, CloseReason};
use futures_lite::future::yield_now;

use crate::env::{Env, LONG, MILLI, SHORT, closed, waiting};
use connpool_testkit::{Behavior, Call};

/// Closes connections idle for `idle_timeout` until `min_size` are left.
pub(crate) async fn idle_timeout_shrinks_the_pool_to_min_size(env: Env) {
    let backend = env.backend();
    let pool =
        backend.pool().min_size(2).idle_timeout(SHORT).evict_interval(MILLI).build_lazy().unwrap();
    drop(env.hold(&pool, 5).await);
    env.until_stats(&pool, |stats| (stats.size, stats.idle_closed) == (2, 3)).await;
    env.sleep(2 * SHORT).await;
    env.until_stats(&pool, |stats| stats.available == 2).await;
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (5, 3));
    assert_eq!(backend.graceful_closes().len(), 3);
    // The connections kept for `min_size` can be checked out.
    env.until(|| pool.try_get().is_ok()).await;
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (5, 3));
}

/// Replaces connections older than `max_lifetime`.
pub(crate) async fn expired_connections_are_replaced_to_keep_min_size(env: Env) {
    let backend = env.backend();
    let pool =
        backend.pool().min_size(2).max_lifetime(SHORT).evict_interval(MILLI).build().await.unwrap();
    env.until_stats(&pool, |stats| stats.lifetime_closed >= 4).await;
    env.until_stats(&pool, |stats| stats.available == 2).await;
    assert!(backend.graceful_closes().len() >= 4);
    assert!(backend.peak() <= 10);
}

/// Closes dead idle connections and restores `min_size`.
pub(crate) async fn sweep_closes_dead_idle_connections(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().min_size(1).evict_interval(MILLI).build_lazy().unwrap();
    drop(env.hold(&pool, 3).await);
    backend.hang_up_all();
    env.until(|| closed(&pool, CloseReason::Dead) == 3).await;
    env.until_stats(&pool, |stats| stats.available == 1).await;
    assert_eq!((pool.stats().created, backend.graceful_closes()), (4, vec![]));
}

/// Replaces connections that were marked unusable.
pub(crate) async fn min_size_is_restored_after_connections_are_lost(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().min_size(3).build().await.unwrap();
    let mut held = env.hold(&pool, 3).await;
    held.iter_mut().for_each(|guard| guard.mark_unusable());
    drop(held);
    env.until_stats(&pool, |stats| stats.available == 3).await;
    assert_eq!(env.until_at_rest(&pool, &backend, 0).await.created, 6);
}

/// A connection under a sweep probe stays available to `get`.
pub(crate) async fn sweep_probe_hides_no_connection(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).evict_interval(Duration::ZERO).build_lazy().unwrap();
    env.fill(&pool, 1).await;
    let mut gets = 1;
    // Each get makes one probe; the sweep makes the others.
    while backend.probes() < gets + 20 {
        assert_eq!(pool.get().await.unwrap().id(), 1);
        gets += 1;
        // Both let the maintenance task run; only the sleep advances the clock.
        if gets % 2 == 0 {
            env.sleep(MILLI).await;
        } else {
            yield_now().await;
        }
    }
    env.until_stats(&pool, |stats| stats.available == 1).await;
    let stats = pool.stats();
    assert_eq!((stats.created, stats.success), (1, gets as u64));
}

/// P9: checkout against eviction. Commons Pool, `testConcurrentBorrowAndEvict`.
pub(crate) async fn concurrent_checkout_and_eviction_lose_nothing(env: Env) {
    for idle_timeout in [Duration::ZERO, MILLI] {
        let backend = env.backend();
        let pool = backend
            .pool()
            .max_size(1)
            .idle_timeout(idle_timeout)
            .evict_interval(Duration::ZERO)
            .build_lazy()
            .unwrap();
        env.run_tasks(2, |_| {
            let (env, pool) = (env.clone(), pool.clone());
            async move {
                for nth in 0..500 {
                    drop(pool.get().await.unwrap());
                    if nth % 10 == 0 {
                        env.sleep(MILLI).await;
                    }
                }
            }
        })
        .await;
        env.until_stats(&pool, |stats| stats.size == 0).await;
        let stats = env.until_at_rest(&pool, &backend, 0).await;
        assert_eq!((stats.success, backend.peak()), (1_000, 1));
        assert_eq!(stats.idle_closed, stats.created);
    }
}

/// With `evict_interval` off, limits, connects and graceful closes still work.
pub(crate) async fn evict_interval_none_stops_only_the_sweep(env: Env) {
    let backend = env.backend();
    let pool = backend
        .pool()
        .min_size(1)
        .max_idle(2)
        .idle_timeout(MILLI)
        .evict_interval(None)
        .fail_fast_after(None)
        .build()
        .await
        .unwrap();
    let mut held = env.hold(&pool, 4).await;
    backend.next(Call::Connect, [Behavior::Fail, Behavior::Fail]);
    held.drain(..2).for_each(|mut guard| guard.mark_unusable());
    drop(held);
    env.sleep(SHORT).await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.available, stats.idle_closed), (2, 0));
    // Graceful closes, connects and backoff continue.
    pool.resize(1).unwrap();
    env.until(|| backend.graceful_closes().len() == 1).await;
    pool.clear();
    env.until_stats(&pool, |stats| stats.available == 1).await;
    assert_eq!(pool.stats().connect_failed, 2);
}

/// A pool has one maintenance task, which holds the pool weakly.
pub(crate) async fn maintenance_task_ends_with_the_last_handle(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().evict_interval(Duration::MAX).build_lazy().unwrap();
    env.fill(&pool, 3).await;
    env.until(|| env.tasks() == 1).await;
    let clone = pool.clone();
    drop(pool);
    env.sleep(MILLI).await;
    assert_eq!((env.tasks(), backend.alive()), (1, 3));
    drop(clone);
    env.until(|| env.tasks() == 0).await;
    assert_eq!((backend.graceful_closes().len(), backend.alive()), (3, 0));

    // A pool without connections.
    let backend = env.backend();
    let pool = backend.pool().evict_interval(Duration::MAX).build_lazy().unwrap();
    env.hold(&pool, 1).await[0].mark_unusable();
    env.until(|| (backend.alive(), env.tasks()) == (0, 1)).await;
    drop(pool);
    env.until(|| env.tasks() == 0).await;
}

/// The maintenance task starts the connect when a guard frees its slot.
pub(crate) async fn freed_slot_is_used_without_polling_the_waiter(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let mut guard = pool.get_owned().await.unwrap();
    let get = waiting(pool.get()).await;
    guard.mark_unusable();
    drop(guard);
    // The waiter is not polled until its connection is ready.
    env.until_stats(&pool, |stats| (stats.size, stats.waiting) == (1, 0)).await;
    assert_eq!(get.await.unwrap().id(), 2);
    assert_eq!(env.until_at_rest(&pool, &backend, 0).await.created, 2);
}

/// A pool recovers when its runtime accepts tasks again.
pub(crate) async fn runtime_that_refuses_tasks_loses_no_capacity(env: Env) {
    let backend = env.backend();
    env.refuse_tasks(true);
    let built = backend.pool().min_size(1).build().await;
    assert!(matches!(built, Err(BuildError::NoRuntime)));
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    assert!(pool.get_timeout(SHORT).await.unwrap_err().is_timeout());
    let stats = pool.stats();
    assert_eq!((stats.size, stats.connecting, stats.waiting), (0, 0, 0));

    env.refuse_tasks(false);
    env.assert_full_capacity(&pool, &backend).await;
    assert_eq!(backend.alive(), 2);
}

/// The maintenance task of a closed pool ends when everything has come back.
pub(crate) async fn connection_returned_to_a_closed_pool_goes_through_close(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_uses(1).build_lazy().unwrap();
    let guard = pool.get_owned().await.unwrap();
    pool.close(Duration::ZERO).await;
    drop(guard);
    env.until(|| backend.alive() == 0).await;
    assert_eq!(backend.closes(), [(1, CloseReason::MaxUses)]);
    assert_eq!(closed(&pool, CloseReason::MaxUses), 1);
    assert!(!pool.close(LONG).await.timed_out);
    env.until(|| env.tasks() == 0).await;
}
