//! `get`: what is lent, what is opened, and what is not.

use std::time::Duration;

use connpool_core::{BuildError, CloseReason, GetError, IdleOrder, Phase};
use futures_lite::future::poll_once;

use super::host::{Host, LONG, MILLI, SHORT, closed, waiting};
use crate::{Behavior, Call};

/// Step 1.
pub async fn a_closed_pool_lends_nothing(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().build_lazy().unwrap();
    host.fill(&pool, 1).await;
    pool.close(LONG).await;
    assert!(matches!(pool.get().await, Err(GetError::Closed)));
    let hasty = pool.get_timeout(Duration::ZERO).await;
    assert!(matches!(hasty, Err(GetError::Closed)));
    assert!(matches!(pool.try_get(), Err(GetError::Closed)));
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success), (4, 1));
    assert_eq!((stats.size, closed(&pool, CloseReason::PoolClosed)), (0, 1));
}

/// Step 2.
pub async fn a_connection_is_lent_again_and_no_other_opened(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().build_lazy().unwrap();
    for uses in 1..=5 {
        let guard = pool.get().await.unwrap();
        assert_eq!((guard.id(), guard.uses()), (1, uses));
    }
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success, stats.created), (5, 5, 1));
    assert_eq!((stats.wait_count, stats.available), (0, 1));
}

/// Step 2, and "no timer before the first wait".
pub async fn what_is_idle_is_lent_without_a_task_or_a_timer(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().evict_interval(None).build_lazy().unwrap();
    host.fill(&pool, 1).await;
    let before = host.spawned_and_timers();
    for _ in 0..10 {
        let got = poll_once(pool.get()).await;
        assert!(got.expect("ready at its first poll").is_ok());
    }
    assert_eq!(host.spawned_and_timers(), before);
    // Nothing but the one background task is left.
    host.until(|| host.tasks() == 1).await;
}

/// Step 2: which one, if there are several.
pub async fn the_idle_order_says_which_one_is_lent(host: Host) {
    for (order, expected) in [
        (IdleOrder::LastUsedFirst, [3, 3, 3]),
        (IdleOrder::RoundRobin, [1, 2, 3]),
    ] {
        let backend = host.backend();
        let pool = backend.pool().idle_order(order).build_lazy().unwrap();
        host.fill(&pool, 3).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(pool.get().await.unwrap().id());
        }
        assert_eq!(ids, expected, "{order:?}");
    }
}

/// Fine print: `build_lazy`.
pub async fn a_lazy_pool_opens_nothing_before_it_is_asked(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().min_size(2).build_lazy().unwrap();
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    host.sleep(MILLI).await;
    assert_eq!((backend.calls(Call::Connect), host.tasks()), (0, 0));
    drop(pool.get().await.unwrap());
    host.until_stats(&pool, |stats| stats.available == 2).await;
    assert_eq!(host.rest(&pool, &backend, 0).await.created, 2);
}

/// Fine print: `build`.
pub async fn a_pool_is_built_with_its_first_connections(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().min_size(3).build().await.unwrap();
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.available, stats.request), (3, 3, 0));
    host.lends_all(&pool, &backend).await;
}

/// Fine print: `build`, when it cannot be.
pub async fn a_pool_that_cannot_be_built_leaves_nothing(host: Host) {
    let backend = host.backend();
    backend.next(Call::Connect, [Behavior::Succeed, Behavior::Fail]);
    let built = backend.pool().min_size(2).build().await;
    assert!(matches!(built, Err(BuildError::Connect(_))));
    backend.next(Call::Connect, [Behavior::Panic]);
    let built = backend.pool().min_size(1).build().await;
    assert!(matches!(built, Err(BuildError::Panicked(_))));
    backend.next(Call::Connect, [Behavior::Hang]);
    let built = backend.pool().min_size(1).get_timeout(SHORT).build().await;
    assert!(matches!(built, Err(BuildError::Timeout)));
    host.until(|| host.tasks() == 0).await;
    assert_eq!(backend.alive(), 0);
}

/// Step 4.
pub async fn the_pool_grows_in_batches_and_not_beyond_its_size(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(5)
        .increment(3)
        .build_lazy()
        .unwrap();
    for (held, size) in [(1, 3), (2, 3), (3, 3), (4, 5), (5, 5)] {
        let guards = host.hold(&pool, held).await;
        let stats = host.rest(&pool, &backend, held).await;
        assert_eq!((stats.size, stats.created), (size, size as u64));
        drop(guards);
    }
    assert_eq!(backend.calls(Call::Connect), 5);
}

/// Step 4: a batch only while fewer are under way than people in line.
pub async fn no_batch_begins_while_enough_are_under_way(host: Host) {
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend
        .pool()
        .max_size(20)
        .increment(4)
        .build_lazy()
        .unwrap();
    let mut line = Vec::new();
    for connecting in [4, 4, 4, 4, 8] {
        line.push(waiting(pool.get_owned()).await);
        assert_eq!(pool.stats().connecting, connecting);
    }
    for _ in 0..8 {
        host.release(&backend, Call::Connect, Behavior::Succeed)
            .await;
    }
    let mut held = Vec::new();
    for get in line {
        held.push(get.await.unwrap());
    }
    let stats = host.rest(&pool, &backend, 5).await;
    assert_eq!((stats.created, stats.available), (8, 3));
}

/// Step 4: a connect belongs to the pool.
pub async fn a_connect_outlives_whoever_asked_for_it(host: Host) {
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    drop(waiting(pool.get()).await);
    let stats = pool.stats();
    assert_eq!((stats.waiting, stats.connecting), (0, 1));
    // The next one needs no connect of its own.
    let second = waiting(pool.get_owned()).await;
    host.release(&backend, Call::Connect, Behavior::Succeed)
        .await;
    assert_eq!(second.await.unwrap().id(), 1);
    assert_eq!(host.rest(&pool, &backend, 0).await.created, 1);
    assert_eq!(backend.calls(Call::Connect), 1);
}

/// Fine print: counting.
pub async fn one_get_is_one_request_however_many_it_checks(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(3)
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    host.fill(&pool, 3).await;
    backend.next(Call::Ping, [Behavior::Fail, Behavior::Fail, Behavior::Fail]);
    let mut held = host.hold(&pool, 1).await;
    let stats = host.rest(&pool, &backend, 1).await;
    assert_eq!((stats.request, stats.success, stats.ping_failed), (4, 4, 3));
    // Those that end badly are requests as well, and no successes.
    held.extend(host.hold(&pool, 2).await);
    assert!(pool.get_timeout(Duration::ZERO).await.is_err());
    drop(held);
    pool.close(LONG).await;
    assert!(pool.get().await.is_err() && pool.try_get().is_err());
    let stats = pool.stats();
    assert_eq!((stats.request, stats.success), (9, 6));
}

/// Fine print: gauges, of one moment.
pub async fn gauges_tell_who_has_what(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(4).build_lazy().unwrap();
    let mut held = host.hold(&pool, 3).await;
    held.pop();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.active, stats.available), (3, 2, 1));
    held.extend(host.hold(&pool, 1).await);
    backend.always(Call::Connect, Behavior::Hold);
    let _line = [waiting(pool.get()).await, waiting(pool.get()).await];
    let stats = pool.stats();
    assert_eq!((stats.size, stats.active, stats.available), (3, 3, 0));
    assert_eq!((stats.connecting, stats.waiting), (1, 2));
}

/// `try_get`.
pub async fn try_get_never_waits_and_starts_nothing(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .ping_after(Duration::ZERO)
        .evict_interval(None)
        .build_lazy()
        .unwrap();
    host.fill(&pool, 4).await;
    let before = (host.spawned_and_timers(), backend.calls(Call::Ping));
    let guard = pool.try_get().unwrap();
    assert_eq!(guard.id(), 4);
    // Three that are not fit are enough.
    backend.hang_up_all();
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    assert_eq!(
        (host.spawned_and_timers(), backend.calls(Call::Ping)),
        before
    );
    drop(guard);
    host.until(|| backend.alive() == 1).await;
    assert_eq!(closed(&pool, CloseReason::Dead), 3);
}

/// `try_get`, of connections that have to be reset.
pub async fn try_get_lends_a_used_connection_only_if_nothing_has_to_be_reset(host: Host) {
    let backend = host.backend();
    backend.with_resets();
    let pool = backend.pool().min_size(1).build().await.unwrap();
    drop(pool.try_get().expect("one that was never lent"));
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    drop(pool.get().await.unwrap());
    assert_eq!(backend.calls(Call::Reset), 1);
}

/// Step 6, without any time.
pub async fn a_get_without_time_takes_what_is_idle_or_nothing(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    host.fill(&pool, 1).await;
    let guard = pool.get_timeout(Duration::ZERO).await.unwrap();
    let got = poll_once(pool.get_timeout(Duration::ZERO)).await;
    match got.expect("ready at its first poll") {
        Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Wait),
        other => panic!("{other:?}"),
    }
    drop(guard);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success, stats.wait_count), (3, 2, 0));
}

/// Step 6, with all time.
pub async fn a_get_without_a_limit_waits_as_long_as_it_takes(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(1)
        .get_timeout(None)
        .build_lazy()
        .unwrap();
    let held = host.hold(&pool, 1).await;
    let get = host.spawn(waiting(pool.get_owned()).await);
    host.sleep(2 * SHORT).await;
    assert!(!get.has_ended());
    drop(held);
    assert_eq!(get.await.unwrap().id(), 1);
}

/// Guards and futures are not bound to a task.
pub async fn a_get_begun_here_can_end_there_and_its_guard_elsewhere(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    let begun = waiting(pool.get_owned()).await;
    let job = host.spawn(begun);
    host.spawn(async move { drop(held) }).await;
    let guard = job.await.unwrap();
    let id = host.spawn(async move { guard.id() }).await;
    assert_eq!(id, 1);
    host.lends_all(&pool, &backend).await;
}
