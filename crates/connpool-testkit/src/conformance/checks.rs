//! What is found out about a connection before it is lent.

use std::time::Duration;

use connpool_core::{Builder, CloseReason, GetError, Liveness, Phase};

use super::host::{Host, LONG, MILLI, SHORT, closed, waiting};
use crate::{Behavior, Call, FaultyManager};

/// P15: dead idle ones. pgxpool, `TestPoolAcquireChecksIdleConns`.
pub async fn three_dead_idle_connections_cost_one_get_nothing(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().build_lazy().unwrap();
    host.fill(&pool, 3).await;
    backend.hang_up_all();
    assert_eq!(pool.get().await.unwrap().id(), 4);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, stats.created, stats.success), (1, 4, 4));
    assert_eq!(closed(&pool, CloseReason::Dead), 3);
    assert_eq!(backend.goodbyes(), [0; 0]);
}

/// P16: a slow ping. pgxpool, `TestPoolAcquirePingTimeout`.
pub async fn a_ping_that_takes_too_long_costs_its_connection_only(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .ping_after(Duration::ZERO)
        .ping_timeout(SHORT)
        .build_lazy()
        .unwrap();
    host.fill(&pool, 2).await;
    backend.next(Call::Ping, [Behavior::Hang]);
    assert_eq!(pool.get().await.unwrap().id(), 1);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.ping_failed), (2, 1));
    assert_eq!(closed(&pool, CloseReason::PingTimeout), 1);
}

/// P26: expired while waiting. database/sql, issue 32530.
pub async fn a_connection_that_expires_on_its_way_to_a_waiter_is_replaced(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(1)
        .max_lifetime(2 * SHORT)
        .lifetime_jitter(0.0)
        .evict_interval(None)
        .build_lazy()
        .unwrap();
    let held = host.hold(&pool, 1).await;
    let get = waiting(pool.get()).await;
    // Handed over young, and too old when its new user comes to look at it; on a machine that is
    // very slow, too old when it comes back.
    drop(held);
    host.sleep(3 * SHORT).await;
    let guard = get.await.unwrap();
    assert_eq!((guard.id(), backend.alive()), (2, 1));
    assert_eq!(host.rest(&pool, &backend, 1).await.lifetime_closed, 1);
}

/// P8: the limit while every second check fails and closing takes its time. Commons Pool,
/// `testMaxTotalInvariant`.
pub async fn slow_goodbyes_and_failing_checks_never_lead_beyond_max_size(host: Host) {
    let backend = host.backend();
    backend.always(Call::Close, Behavior::Take(2 * MILLI));
    backend.next(Call::Ping, [Behavior::Fail, Behavior::Succeed].repeat(25));
    let pool = backend
        .pool()
        .max_size(3)
        .max_uses(3)
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    host.run_tasks(5, |_| {
        let (host, pool) = (host.clone(), pool.clone());
        async move {
            for _ in 0..10 {
                let _guard = pool.get().await.unwrap();
                host.sleep(MILLI).await;
            }
        }
    })
    .await;
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success), (50, 50));
    assert!(backend.peak() <= 3, "{} at once", backend.peak());
}

/// P13: a backend that is down for a while. Commons Pool, `testLivenessOnTransientFactoryFailure`.
pub async fn who_waits_is_served_when_the_backend_is_back(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(1)
        .fail_fast(false)
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    let held = host.hold(&pool, 1).await;
    let get = waiting(pool.get()).await;
    backend.next(Call::Ping, [Behavior::Fail]);
    backend.next(Call::Connect, [Behavior::Fail, Behavior::Fail]);
    drop(held);
    assert_eq!(get.await.unwrap().id(), 2);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.ping_failed), (2, 1));
    assert_eq!((stats.connect_failed, stats.success), (2, 2));
}

/// Step 3: cheapest first, and no further than the first thing that is wrong.
pub async fn a_check_ends_at_the_first_thing_that_is_wrong(host: Host) {
    type Settings = fn(Builder<FaultyManager>) -> Builder<FaultyManager>;
    type Trouble = fn(&FaultyManager);
    let all_wrong: Trouble = |backend| {
        backend.hang_up_all();
        backend.next(Call::Ping, [Behavior::Fail]);
        backend.next(Call::Reset, [Behavior::Fail]);
    };
    let answers_wrong: Trouble = |backend| {
        backend.next(Call::Ping, [Behavior::Fail]);
        backend.next(Call::Reset, [Behavior::Fail]);
    };
    let reset_wrong: Trouble = |backend| _ = backend.next(Call::Reset, [Behavior::Fail]);
    let says_too_much: Trouble = |backend| _ = backend.next(Call::Ping, [Behavior::Speak]);
    let as_it_is: Settings = |pool| pool;
    let soon_old: Settings = |pool| pool.max_lifetime(MILLI).idle_timeout(MILLI);
    let soon_idle: Settings = |pool| pool.idle_timeout(MILLI);
    // With how many looks, pings and resets it was found.
    let cases = [
        (soon_old, all_wrong, CloseReason::Lifetime, [0, 0, 0]),
        (soon_idle, all_wrong, CloseReason::Idle, [0, 0, 0]),
        (as_it_is, all_wrong, CloseReason::Dead, [1, 0, 0]),
        (as_it_is, answers_wrong, CloseReason::PingFailed, [1, 1, 0]),
        (as_it_is, reset_wrong, CloseReason::ResetFailed, [1, 1, 1]),
        (as_it_is, says_too_much, CloseReason::Unsolicited, [2, 1, 1]),
    ];
    for (settings, trouble, reason, expected) in cases {
        let backend = host.backend();
        backend.with_resets();
        let pool = settings(backend.pool())
            .max_size(1)
            .ping_after(Duration::ZERO)
            .evict_interval(None)
            .build_lazy()
            .unwrap();
        drop(pool.get().await.unwrap());
        host.sleep(2 * MILLI).await;
        trouble(&backend);
        let guard = pool.get().await.unwrap();
        assert_eq!(guard.id(), 2, "{reason:?}");
        host.until(|| closed(&pool, reason) == 1).await;
        // Each of the two connections was looked at when it was new.
        let looks = backend.probes() - 2;
        let taken = [looks, backend.calls(Call::Ping), backend.calls(Call::Reset)];
        assert_eq!(taken, expected, "{reason:?}");
        assert_eq!(pool.stats().closed.total(), 1);
    }
}

/// Step 3: three at most.
pub async fn three_bad_ones_are_enough_and_then_only_a_new_one_will_do(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    host.fill(&pool, 5).await;
    backend.always(Call::Ping, Behavior::Fail);
    let guard = pool.get().await.unwrap();
    assert_eq!((guard.id(), backend.calls(Call::Ping)), (6, 3));
    let stats = host.rest(&pool, &backend, 1).await;
    assert_eq!((stats.ping_failed, stats.available), (3, 2));
}

/// Step 3, in a pool that is full.
pub async fn three_bad_ones_make_room_for_a_new_one(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(3)
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    host.fill(&pool, 3).await;
    backend.always(Call::Ping, Behavior::Fail);
    let guard = pool.get().await.unwrap();
    assert_eq!(guard.id(), 4);
    assert_eq!(host.rest(&pool, &backend, 1).await.size, 1);
    assert_eq!(backend.peak(), 3);
}

/// Fine print: a new connection is lent after a look only.
pub async fn a_new_connection_is_neither_pinged_nor_reset(host: Host) {
    let backend = host.backend();
    backend.with_resets();
    let pool = backend
        .pool()
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    let _guard = pool.get().await.unwrap();
    assert_eq!(backend.probes(), 1);
    assert_eq!(
        (backend.calls(Call::Ping), backend.calls(Call::Reset)),
        (0, 0)
    );
}

/// Step 3: a younger proof of life saves the ping.
pub async fn a_ping_is_saved_within_ping_after(host: Host) {
    for (after, pings) in [
        (Some(Duration::ZERO), 2),
        (Some(Duration::MAX), 0),
        (None, 0),
    ] {
        let backend = host.backend();
        let pool = backend.pool().ping_after(after).build_lazy().unwrap();
        for _ in 0..3 {
            drop(pool.get().await.unwrap());
        }
        assert_eq!(backend.calls(Call::Ping), pings, "{after:?}");
    }
}

/// Step 3: a younger proof of life saves the look.
pub async fn a_look_is_saved_within_liveness_after(host: Host) {
    for (after, looks) in [
        (Some(Duration::ZERO), 3),
        (Some(Duration::MAX), 1),
        (None, 1),
    ] {
        let backend = host.backend();
        let pool = backend
            .pool()
            .liveness_after(after)
            .ping_after(None)
            .evict_interval(None)
            .build_lazy()
            .unwrap();
        for _ in 0..3 {
            drop(pool.get().await.unwrap());
        }
        assert_eq!(backend.probes(), looks, "{after:?}");
    }
}

/// Step 3: what a look finds.
pub async fn dead_and_talkative_connections_are_replaced(host: Host) {
    let closes: fn(&FaultyManager) = |backend| backend.hang_up(1);
    let breaks: fn(&FaultyManager) = |backend| backend.break_off(1);
    let talks: fn(&FaultyManager) = |backend| backend.speak(1, b"a late reply");
    for (trouble, reason) in [
        (closes, CloseReason::Dead),
        (breaks, CloseReason::Dead),
        (talks, CloseReason::Unsolicited),
    ] {
        let backend = host.backend();
        let pool = backend.pool().max_size(1).build_lazy().unwrap();
        host.fill(&pool, 1).await;
        trouble(&backend);
        assert_eq!(pool.get().await.unwrap().id(), 2);
        let stats = host.rest(&pool, &backend, 0).await;
        assert_eq!((stats.created, closed(&pool, reason)), (2, 1));
    }
}

/// Step 3: what cannot be looked at counts as alive.
pub async fn a_connection_that_cannot_be_looked_at_is_lent(host: Host) {
    let backend = host.backend();
    backend.set_liveness(Liveness::Unknown);
    let pool = backend.pool().build_lazy().unwrap();
    host.fill(&pool, 1).await;
    assert_eq!(pool.get().await.unwrap().id(), 1);
}

/// Step 3: no connection is lent twice without a reset.
pub async fn a_connection_is_reset_between_two_users(host: Host) {
    let backend = host.backend();
    backend.with_resets();
    let pool = backend
        .pool()
        .max_size(1)
        .reset_timeout(SHORT)
        .build_lazy()
        .unwrap();
    for user in 0..3 {
        pool.get().await.unwrap().used_by(user);
    }
    assert_eq!((backend.calls(Call::Reset), backend.alive()), (2, 1));
    backend.next(Call::Reset, [Behavior::Fail, Behavior::Hang]);
    for (user, id) in [(3, 2), (4, 3)] {
        let mut guard = pool.get().await.unwrap();
        guard.used_by(user);
        assert_eq!(guard.id(), id);
    }
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!(stats.closed.get(CloseReason::ResetFailed), 1);
    assert_eq!(stats.closed.get(CloseReason::ResetTimeout), 1);
}

/// Step 3: a check that was given up half way.
pub async fn a_cancelled_check_destroys_its_connection(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(1)
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    host.fill(&pool, 1).await;
    backend.next(Call::Ping, [Behavior::Hang]);
    let get = waiting(pool.get()).await;
    assert_eq!(pool.stats().active, 1, "what is being checked is not idle");
    drop(get);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, closed(&pool, CloseReason::Cancelled)), (0, 1));
    assert_eq!(backend.goodbyes(), [0; 0]);
    host.lends_all(&pool, &backend).await;
}

/// Steps 1 and 3: what happens to the pool meanwhile.
pub async fn nothing_is_lent_that_the_pool_gave_up_during_its_check(host: Host) {
    for closes in [false, true] {
        let backend = host.backend();
        let pool = backend
            .pool()
            .ping_after(Duration::ZERO)
            .build_lazy()
            .unwrap();
        host.fill(&pool, 1).await;
        backend.next(Call::Ping, [Behavior::Hold]);
        let get = waiting(pool.get_owned()).await;
        if closes {
            pool.close(Duration::ZERO).await;
        } else {
            pool.clear();
        }
        host.release(&backend, Call::Ping, Behavior::Succeed).await;
        let reason = match get.await {
            Ok(guard) => {
                assert_eq!(guard.id(), 2);
                CloseReason::Cleared
            }
            Err(error) => {
                assert!(error.is_closed());
                CloseReason::PoolClosed
            }
        };
        assert_eq!(reason == CloseReason::PoolClosed, closes);
        host.until(|| closed(&pool, reason) == 1).await;
        assert_eq!(backend.dropped(), [1]);
    }
}

/// Step 3, without a background that looks: limits act when a connection is lent.
pub async fn what_is_over_its_limits_is_not_lent(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(1)
        .idle_timeout(SHORT)
        .evict_interval(None)
        .build_lazy()
        .unwrap();
    host.fill(&pool, 1).await;
    host.sleep(SHORT).await;
    assert!(pool.try_get().is_err());
    assert_eq!(pool.get().await.unwrap().id(), 2);
    assert_eq!(host.rest(&pool, &backend, 0).await.idle_closed, 1);

    // However much of it the jitter takes away.
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_lifetime(SHORT)
        .lifetime_jitter(1.0)
        .evict_interval(None)
        .build_lazy()
        .unwrap();
    drop(host.hold(&pool, 3).await);
    host.sleep(SHORT).await;
    assert!(pool.try_get().is_err());
    host.until_stats(&pool, |stats| stats.lifetime_closed == 3)
        .await;
}

/// Step 6: one deadline over all of it.
pub async fn pings_that_hang_do_not_stretch_the_deadline(host: Host) {
    for ping_timeout in [None, Some(LONG)] {
        let backend = host.backend();
        let pool = backend
            .pool()
            .ping_after(Duration::ZERO)
            .ping_timeout(ping_timeout)
            .build_lazy()
            .unwrap();
        host.fill(&pool, 5).await;
        backend.always(Call::Ping, Behavior::Hang);
        match pool.get_timeout(SHORT).await {
            Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Check),
            other => panic!("{other:?}"),
        }
        let stats = host.rest(&pool, &backend, 0).await;
        assert_eq!((backend.calls(Call::Ping), stats.available), (1, 4));
        assert_eq!(closed(&pool, CloseReason::Cancelled), 1);
    }
}

/// Step 6: through the wait and the check that follows it.
pub async fn the_deadline_runs_through_wait_and_check(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(1)
        .ping_after(Duration::ZERO)
        .ping_timeout(None)
        .build_lazy()
        .unwrap();
    let held = host.hold(&pool, 1).await;
    backend.always(Call::Ping, Behavior::Hang);
    let get = waiting(pool.get_timeout(3 * SHORT)).await;
    host.sleep(SHORT).await;
    drop(held);
    match get.await {
        Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Check),
        other => panic!("{other:?}"),
    }
    assert_eq!(backend.calls(Call::Ping), 1);
}

/// Step 6: what a timeout of a wait says.
pub async fn a_timeout_of_a_wait_says_who_has_what(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().name("db").max_size(2).build_lazy().unwrap();
    let _held = host.hold(&pool, 2).await;
    let _other = waiting(pool.get()).await;
    let Err(GetError::Timeout { phase, diagnosis }) = pool.get_timeout(SHORT).await else {
        panic!("no timeout");
    };
    assert_eq!((phase, &*diagnosis.pool), (Phase::Wait, "db"));
    assert_eq!((diagnosis.size, diagnosis.max_size), (2, 2));
    assert_eq!((diagnosis.active, diagnosis.available), (2, 0));
    assert_eq!((diagnosis.connecting, diagnosis.waiting), (0, 2));
    assert!(diagnosis.last_error.is_none());
}
