//! `get`, `try_get` and `build`: reuse, growth and counting.

use std::time::Duration;

use connpool_core::{BuildError, CloseReason, ConnectError, GetError, IdleOrder, Phase, ResetWhen};
use futures_lite::future::poll_once;

use crate::env::{Env, LONG, MILLI, SHORT, closed, waiting};
use connpool_testkit::{Behavior, Call};

/// Covers `get`, a zero timeout and `try_get`.
pub(crate) async fn closed_pool_fails_every_get(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    env.fill(&pool, 1).await;
    pool.close(LONG).await;
    assert!(matches!(pool.get().await, Err(GetError::Closed)));
    let hasty = pool.get_timeout(Duration::ZERO).await;
    assert!(matches!(hasty, Err(GetError::Closed)));
    assert!(matches!(pool.try_get(), Err(GetError::Closed)));
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success), (4, 1));
    assert_eq!((stats.size, closed(&pool, CloseReason::PoolClosed)), (0, 1));
}

/// A returned connection serves the next `get`.
pub(crate) async fn idle_connection_is_reused(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    for uses in 1..=5 {
        let guard = pool.get().await.unwrap();
        assert_eq!((guard.id(), guard.uses()), (1, uses));
    }
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success, stats.created), (5, 5, 1));
    assert_eq!((stats.wait_count, stats.available), (0, 1));
}

/// A `get` that finds an idle connection is ready at its first poll.
pub(crate) async fn idle_connection_needs_no_task_and_no_timer(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().evict_interval(None).build_lazy().unwrap();
    env.fill(&pool, 1).await;
    let before = env.spawned_and_timers();
    for _ in 0..10 {
        let got = poll_once(pool.get()).await;
        assert!(got.expect("ready at its first poll").is_ok());
    }
    assert_eq!(env.spawned_and_timers(), before);
    // Only the maintenance task is left.
    env.until(|| env.tasks() == 1).await;
}

/// Covers both values of `idle_order`.
pub(crate) async fn idle_order_selects_the_connection(env: Env) {
    for (order, expected) in
        [(IdleOrder::LastUsedFirst, [3, 3, 3]), (IdleOrder::RoundRobin, [1, 2, 3])]
    {
        let backend = env.backend();
        let pool = backend.pool().idle_order(order).build_lazy().unwrap();
        env.fill(&pool, 3).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(pool.get().await.unwrap().id());
        }
        assert_eq!(ids, expected, "{order:?}");
    }
}

/// `build_lazy` starts no task; the first `get` opens `min_size` connections.
pub(crate) async fn build_lazy_opens_nothing_before_the_first_get(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().min_size(2).build_lazy().unwrap();
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    env.sleep(MILLI).await;
    assert_eq!((backend.calls(Call::Connect), env.spawned_and_timers().0), (0, 0));
    drop(pool.get().await.unwrap());
    env.until_stats(&pool, |stats| stats.available == 2).await;
    assert_eq!(env.until_at_rest(&pool, &backend, 0).await.created, 2);
}

/// `build` waits for `min_size` connections.
pub(crate) async fn build_opens_min_size_connections(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().min_size(3).build().await.unwrap();
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.available, stats.request), (3, 3, 0));
    env.assert_full_capacity(&pool, &backend).await;
}

/// Covers a connect that fails, panics and hangs.
pub(crate) async fn failed_build_leaves_no_connection_and_no_task(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Fail]);
    let built = backend.pool().min_size(1).build().await;
    assert!(matches!(built, Err(BuildError::Connect(_))));
    backend.next(Call::Connect, [Behavior::Panic]);
    let built = backend.pool().min_size(1).build().await;
    assert!(matches!(built, Err(BuildError::Connect(ConnectError::Panicked))));
    backend.next(Call::Connect, [Behavior::Hang]);
    let built = backend.pool().min_size(1).get_timeout(SHORT).build().await;
    assert!(matches!(built, Err(BuildError::Timeout)));
    env.until(|| env.tasks() == 0).await;
    assert_eq!(backend.alive(), 0);
}

/// Grows by `increment`, at most to `max_size`.
pub(crate) async fn pool_grows_by_increment_up_to_max_size(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(5).increment(3).build_lazy().unwrap();
    for (held, size) in [(1, 3), (2, 3), (3, 3), (4, 5), (5, 5)] {
        let guards = env.hold(&pool, held).await;
        let stats = env.until_at_rest(&pool, &backend, held).await;
        assert_eq!((stats.size, stats.created), (size, size as u64));
        drop(guards);
    }
    assert_eq!(backend.calls(Call::Connect), 5);
}

/// A batch starts only while there are fewer pending connects than waiters.
pub(crate) async fn no_batch_starts_while_enough_connects_are_pending(env: Env) {
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend.pool().max_size(20).increment(4).build_lazy().unwrap();
    let mut waiters = Vec::new();
    for connecting in [4, 4, 4, 4, 8] {
        waiters.push(waiting(pool.get_owned()).await);
        assert_eq!(pool.stats().connecting, connecting);
    }
    for _ in 0..8 {
        env.release(&backend, Call::Connect, Behavior::Succeed).await;
    }
    let mut held = Vec::new();
    for get in waiters {
        held.push(get.await.unwrap());
    }
    let stats = env.until_at_rest(&pool, &backend, 5).await;
    assert_eq!((stats.created, stats.available), (8, 3));
}

/// A pending connect belongs to the pool, not to the `get` that started it.
pub(crate) async fn connect_outlives_the_get_that_started_it(env: Env) {
    for another_get in [true, false] {
        let backend = env.backend();
        backend.always(Call::Connect, Behavior::Hold);
        let pool = backend.pool().max_size(1).build_lazy().unwrap();
        drop(waiting(pool.get()).await);
        let stats = pool.stats();
        assert_eq!((stats.waiting, stats.connecting), (0, 1));
        // The next `get` starts no connect.
        let second = if another_get { Some(waiting(pool.get_owned()).await) } else { None };
        env.release(&backend, Call::Connect, Behavior::Succeed).await;
        if let Some(second) = second {
            assert_eq!(second.await.unwrap().id(), 1);
        }
        let stats = env.until_at_rest(&pool, &backend, 0).await;
        assert_eq!((stats.created, stats.available), (1, 1));
        assert_eq!(pool.try_get().unwrap().id(), 1);
        assert_eq!(backend.calls(Call::Connect), 1);
    }
}

/// Failed checks do not add requests.
pub(crate) async fn get_counts_one_request_however_many_connections_it_checks(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(3).ping_after(Duration::ZERO).build_lazy().unwrap();
    env.fill(&pool, 3).await;
    backend.next(Call::Ping, [Behavior::Fail, Behavior::Fail, Behavior::Fail]);
    let mut held = env.hold(&pool, 1).await;
    let stats = env.until_at_rest(&pool, &backend, 1).await;
    assert_eq!((stats.request, stats.success, stats.ping_failed), (4, 4, 3));
    // Failed gets count as requests and not as successes.
    held.extend(env.hold(&pool, 2).await);
    assert!(pool.get_timeout(Duration::ZERO).await.is_err());
    drop(held);
    pool.close(LONG).await;
    assert!(pool.get().await.is_err() && pool.try_get().is_err());
    let stats = pool.stats();
    assert_eq!((stats.request, stats.success), (9, 6));
}

/// Reads all gauges in one snapshot.
pub(crate) async fn gauges_match_the_state_of_the_pool(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(4).build_lazy().unwrap();
    let mut held = env.hold(&pool, 3).await;
    held.pop();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.active, stats.available), (3, 2, 1));
    held.extend(env.hold(&pool, 1).await);
    backend.always(Call::Connect, Behavior::Hold);
    let _waiters = [waiting(pool.get()).await, waiting(pool.get()).await];
    let stats = pool.stats();
    assert_eq!((stats.size, stats.active, stats.available), (3, 3, 0));
    assert_eq!((stats.connecting, stats.waiting), (1, 2));
}

/// `try_get` only probes idle connections.
pub(crate) async fn try_get_starts_no_task_no_timer_and_no_ping(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().ping_after(Duration::ZERO).evict_interval(None).build_lazy().unwrap();
    env.fill(&pool, 5).await;
    let before = (env.spawned_and_timers(), backend.calls(Call::Ping));
    let guard = pool.try_get().unwrap();
    assert_eq!(guard.id(), 5);
    // It gives up after three failed probes.
    for id in [2, 3, 4] {
        backend.hang_up(id);
    }
    let probes = backend.probes();
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    assert_eq!(backend.probes() - probes, 3);
    assert_eq!(pool.try_get().unwrap().id(), 1);
    assert_eq!((env.spawned_and_timers(), backend.calls(Call::Ping)), before);
    drop(guard);
    env.until(|| backend.alive() == 2).await;
    assert_eq!(closed(&pool, CloseReason::Dead), 3);
}

/// Only a connection that was never used needs no reset.
pub(crate) async fn try_get_skips_connections_that_need_a_reset(env: Env) {
    let backend = env.backend();
    backend.require_reset();
    let pool = backend.pool().min_size(2).reset_when(ResetWhen::OnGet).build().await.unwrap();
    for _ in 0..2 {
        drop(pool.try_get().expect("a connection without a previous user"));
    }
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    drop(pool.get().await.unwrap());
    assert_eq!(backend.calls(Call::Reset), 1);
}

/// A `get` with a zero timeout never waits.
pub(crate) async fn get_with_zero_timeout_takes_an_idle_connection_or_fails(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    env.fill(&pool, 1).await;
    let guard = pool.get_timeout(Duration::ZERO).await.unwrap();
    let got = poll_once(pool.get_timeout(Duration::ZERO)).await;
    match got.expect("ready at its first poll") {
        Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Wait),
        other => panic!("{other:?}"),
    }
    drop(guard);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success, stats.wait_count), (3, 2, 0));
}

/// A `get_timeout` of `None` sets no deadline.
pub(crate) async fn get_without_timeout_waits_until_a_connection_returns(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).get_timeout(None).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let get = env.spawn(waiting(pool.get_owned()).await);
    env.sleep(2 * SHORT).await;
    assert!(!get.has_ended());
    drop(held);
    assert_eq!(get.await.unwrap().id(), 1);
}

/// A `get` started in one task completes in another, and its guard moves to a third.
pub(crate) async fn get_and_guard_can_move_between_tasks(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let started = waiting(pool.get_owned()).await;
    let task = env.spawn(started);
    env.spawn(async move { drop(held) }).await;
    let guard = task.await.unwrap();
    let id = env.spawn(async move { guard.id() }).await;
    assert_eq!(id, 1);
    env.assert_full_capacity(&pool, &backend).await;
}
