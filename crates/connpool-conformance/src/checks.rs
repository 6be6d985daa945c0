//! Health checks of a connection before it is reused.

use std::time::Duration;

use connpool_core::{Builder, CloseReason, GetError, Liveness, Phase, ResetWhen};

use crate::env::{Env, LONG, MILLI, SHORT, closed, waiting};
use connpool_testkit::FaultyManager;
use connpool_testkit::{Behavior, Call};

/// P15: dead idle connections. pgxpool, `TestPoolAcquireChecksIdleConns`.
pub(crate) async fn get_replaces_three_dead_idle_connections(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    env.fill(&pool, 3).await;
    backend.hang_up_all();
    assert_eq!(pool.get().await.unwrap().id(), 4);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, stats.created, stats.success), (1, 4, 4));
    assert_eq!(closed(&pool, CloseReason::Dead), 3);
    assert_eq!(backend.graceful_closes(), [0; 0]);
}

/// P16: a slow ping. pgxpool, `TestPoolAcquirePingTimeout`.
pub(crate) async fn ping_timeout_closes_its_connection_only(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().ping_after(Duration::ZERO).ping_timeout(SHORT).build_lazy().unwrap();
    env.fill(&pool, 2).await;
    backend.next(Call::Ping, [Behavior::Hang]);
    // Peers vanish together, so the other old connection is not tried.
    assert_eq!(pool.get().await.unwrap().id(), 3);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.ping_failed, stats.available), (3, 1, 2));
    assert_eq!(closed(&pool, CloseReason::PingTimeout), 1);
}

/// P26: expired while waiting. database/sql, issue 32530.
pub(crate) async fn connection_that_expires_before_its_waiter_is_polled_is_replaced(env: Env) {
    let backend = env.backend();
    let pool = backend
        .pool()
        .max_size(1)
        .max_lifetime(2 * SHORT)
        .lifetime_jitter(0.0)
        .evict_interval(None)
        .build_lazy()
        .unwrap();
    let held = env.hold(&pool, 1).await;
    let get = waiting(pool.get()).await;
    // The connection is young when it is assigned and expired when the waiter is polled. On a very
    // slow machine it has expired already at its return.
    drop(held);
    env.sleep(3 * SHORT).await;
    let guard = get.await.unwrap();
    assert_eq!((guard.id(), backend.alive()), (2, 1));
    assert_eq!(env.until_at_rest(&pool, &backend, 1).await.lifetime_closed, 1);
}

/// P8: `max_size` while every second check fails and closes are slow. Commons Pool,
/// `testMaxTotalInvariant`.
pub(crate) async fn slow_closes_and_failing_checks_never_exceed_max_size(env: Env) {
    let backend = env.backend();
    backend.always(Call::Close, Behavior::Take(2 * MILLI));
    backend.next(Call::Ping, [Behavior::Fail, Behavior::Succeed].repeat(25));
    let pool =
        backend.pool().max_size(3).max_uses(3).ping_after(Duration::ZERO).build_lazy().unwrap();
    env.run_tasks(5, |_| {
        let (env, pool) = (env.clone(), pool.clone());
        async move {
            for _ in 0..10 {
                let _guard = pool.get().await.unwrap();
                env.sleep(MILLI).await;
            }
        }
    })
    .await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success), (50, 50));
    assert!(backend.peak() <= 3, "{} at once", backend.peak());
}

/// P13: a backend that is down for a while. Commons Pool, `testLivenessOnTransientFactoryFailure`.
pub(crate) async fn waiter_is_served_after_the_backend_recovers(env: Env) {
    let backend = env.backend();
    let pool = backend
        .pool()
        .max_size(1)
        .fail_fast_after(None)
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    let held = env.hold(&pool, 1).await;
    let get = waiting(pool.get()).await;
    backend.next(Call::Ping, [Behavior::Fail]);
    backend.next(Call::Connect, [Behavior::Fail, Behavior::Fail]);
    drop(held);
    assert_eq!(get.await.unwrap().id(), 2);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.ping_failed), (2, 1));
    assert_eq!((stats.connect_failed, stats.success), (2, 2));
}

/// Runs the cheapest check first and stops at the first failure.
pub(crate) async fn check_stops_at_the_first_failure(env: Env) {
    type Settings = fn(Builder<FaultyManager>) -> Builder<FaultyManager>;
    type Fault = fn(&FaultyManager);
    let every_check_fails: Fault = |backend| {
        backend.hang_up_all();
        backend.next(Call::Ping, [Behavior::Fail]);
        backend.next(Call::Reset, [Behavior::Fail]);
    };
    let ping_and_reset_fail: Fault = |backend| {
        backend.next(Call::Ping, [Behavior::Fail]);
        backend.next(Call::Reset, [Behavior::Fail]);
    };
    let reset_fails: Fault = |backend| _ = backend.next(Call::Reset, [Behavior::Fail]);
    let peer_sends_unsolicited: Fault =
        |backend| _ = backend.next(Call::Ping, [Behavior::SendUnsolicited]);
    let unchanged: Settings = |pool| pool;
    let lifetime_and_idle_expire: Settings = |pool| pool.max_lifetime(MILLI).idle_timeout(MILLI);
    let idle_expires: Settings = |pool| pool.idle_timeout(MILLI);
    // The expected numbers of liveness probes, pings and resets.
    let cases = [
        (lifetime_and_idle_expire, every_check_fails, CloseReason::Lifetime, [0, 0, 0]),
        (idle_expires, every_check_fails, CloseReason::Idle, [0, 0, 0]),
        (unchanged, every_check_fails, CloseReason::Dead, [1, 0, 0]),
        (unchanged, ping_and_reset_fail, CloseReason::PingFailed, [1, 1, 0]),
        (unchanged, reset_fails, CloseReason::ResetFailed, [1, 1, 1]),
        (unchanged, peer_sends_unsolicited, CloseReason::Unsolicited, [2, 1, 1]),
    ];
    for (settings, fault, reason, expected) in cases {
        let backend = env.backend();
        backend.require_reset();
        let pool = settings(backend.pool())
            .max_size(1)
            .ping_after(Duration::ZERO)
            .reset_when(ResetWhen::OnGet)
            .evict_interval(None)
            .build_lazy()
            .unwrap();
        drop(pool.get().await.unwrap());
        env.sleep(2 * MILLI).await;
        fault(&backend);
        let guard = pool.get().await.unwrap();
        assert_eq!(guard.id(), 2, "{reason:?}");
        env.until(|| closed(&pool, reason) == 1).await;
        // Each of the two connections was probed once when it was new.
        let probes = backend.probes() - 2;
        let counted = [probes, backend.calls(Call::Ping), backend.calls(Call::Reset)];
        assert_eq!(counted, expected, "{reason:?}");
        assert_eq!(pool.stats().closed.total(), 1);
    }
}

/// A `get` checks at most three idle connections.
pub(crate) async fn get_connects_after_three_failed_checks(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    env.fill(&pool, 5).await;
    backend.always(Call::Ping, Behavior::Fail);
    let guard = pool.get().await.unwrap();
    assert_eq!((guard.id(), backend.calls(Call::Ping)), (6, 3));
    let stats = env.until_at_rest(&pool, &backend, 1).await;
    assert_eq!((stats.ping_failed, stats.available), (3, 2));
}

/// Does the same in a pool that is full.
pub(crate) async fn three_failed_checks_free_slots_for_a_connect(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(3).ping_after(Duration::ZERO).build_lazy().unwrap();
    env.fill(&pool, 3).await;
    backend.always(Call::Ping, Behavior::Fail);
    let guard = pool.get().await.unwrap();
    assert_eq!(guard.id(), 4);
    assert_eq!(env.until_at_rest(&pool, &backend, 1).await.size, 1);
    assert_eq!(backend.peak(), 3);
}

/// Only a liveness probe precedes the first use of a connection.
pub(crate) async fn new_connection_is_neither_pinged_nor_reset(env: Env) {
    let backend = env.backend();
    backend.require_reset();
    let pool = backend.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    let _guard = pool.get().await.unwrap();
    assert_eq!(backend.probes(), 1);
    assert_eq!((backend.calls(Call::Ping), backend.calls(Call::Reset)), (0, 0));
}

/// No ping within `ping_after` of the last proof of life.
pub(crate) async fn ping_is_skipped_within_ping_after(env: Env) {
    for (after, pings) in [(Some(Duration::ZERO), 2), (Some(Duration::MAX), 0), (None, 0)] {
        let backend = env.backend();
        let pool = backend.pool().ping_after(after).build_lazy().unwrap();
        for _ in 0..3 {
            drop(pool.get().await.unwrap());
        }
        assert_eq!(backend.calls(Call::Ping), pings, "{after:?}");
    }
}

/// No liveness probe within `liveness_after` of the last proof of life.
pub(crate) async fn liveness_probe_is_skipped_within_liveness_after(env: Env) {
    // A scenario takes less than the 60 s of the third case.
    let cases = [
        (Some(Duration::ZERO), 3),
        (Some(MILLI), 3),
        (Some(6 * LONG), 1),
        (Some(Duration::MAX), 1),
        (None, 1),
    ];
    for (after, probes) in cases {
        let backend = env.backend();
        let pool = backend
            .pool()
            .liveness_after(after)
            .ping_after(None)
            .evict_interval(None)
            .build_lazy()
            .unwrap();
        for _ in 0..3 {
            drop(pool.get().await.unwrap());
            env.sleep(2 * MILLI).await;
        }
        assert_eq!(backend.probes(), probes, "{after:?}");
    }
}

/// Covers each outcome of a liveness probe that closes the connection.
pub(crate) async fn closed_reset_and_unsolicited_connections_are_replaced(env: Env) {
    let hangs_up: fn(&FaultyManager) = |backend| backend.hang_up(1);
    let resets: fn(&FaultyManager) = |backend| backend.reset_peer(1);
    let sends: fn(&FaultyManager) = |backend| backend.send(1, b"a late reply");
    for (fault, reason) in [
        (hangs_up, CloseReason::Dead),
        (resets, CloseReason::Dead),
        (sends, CloseReason::Unsolicited),
    ] {
        let backend = env.backend();
        let pool = backend.pool().max_size(1).build_lazy().unwrap();
        env.fill(&pool, 1).await;
        fault(&backend);
        assert_eq!(pool.get().await.unwrap().id(), 2);
        let stats = env.until_at_rest(&pool, &backend, 0).await;
        assert_eq!((stats.created, closed(&pool, reason)), (2, 1));
    }
}

/// `Liveness::Unknown` counts as alive.
pub(crate) async fn connection_of_unknown_liveness_is_used(env: Env) {
    let backend = env.backend();
    backend.set_liveness(Liveness::Unknown);
    let pool = backend.pool().build_lazy().unwrap();
    env.fill(&pool, 1).await;
    assert_eq!(pool.get().await.unwrap().id(), 1);
}

/// A failed or timed-out reset closes the connection.
pub(crate) async fn connection_is_reset_between_two_users(env: Env) {
    let backend = env.backend();
    backend.require_reset();
    let pool = backend.pool().max_size(1).reset_timeout(SHORT).build_lazy().unwrap();
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
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(stats.closed.get(CloseReason::ResetFailed), 1);
    assert_eq!(stats.closed.get(CloseReason::ResetTimeout), 1);
}

/// Drops a `get` in the middle of a ping.
pub(crate) async fn cancelled_check_closes_its_connection(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).ping_after(Duration::ZERO).build_lazy().unwrap();
    env.fill(&pool, 1).await;
    backend.next(Call::Ping, [Behavior::Hang]);
    let get = waiting(pool.get()).await;
    assert_eq!(pool.stats().active, 1, "a connection under check counts as active");
    drop(get);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, closed(&pool, CloseReason::Cancelled)), (0, 1));
    assert_eq!(backend.graceful_closes(), [0; 0]);
    env.assert_full_capacity(&pool, &backend).await;
}

/// Clears or closes the pool while a connection is pinged.
pub(crate) async fn clear_and_close_take_effect_during_a_check(env: Env) {
    for closes in [false, true] {
        let backend = env.backend();
        let pool = backend.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
        env.fill(&pool, 1).await;
        backend.next(Call::Ping, [Behavior::Hold]);
        let get = waiting(pool.get_owned()).await;
        if closes {
            pool.close(Duration::ZERO).await;
        } else {
            pool.clear();
        }
        env.release(&backend, Call::Ping, Behavior::Succeed).await;
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
        env.until(|| closed(&pool, reason) == 1).await;
        assert_eq!(backend.dropped(), [1]);
    }
}

/// Without a sweep, limits are enforced at checkout.
pub(crate) async fn connection_over_its_limits_is_not_checked_out(env: Env) {
    let backend = env.backend();
    let pool =
        backend.pool().max_size(1).idle_timeout(SHORT).evict_interval(None).build_lazy().unwrap();
    env.fill(&pool, 1).await;
    env.sleep(SHORT).await;
    assert!(pool.try_get().is_err());
    assert_eq!(pool.get().await.unwrap().id(), 2);
    assert_eq!(env.until_at_rest(&pool, &backend, 0).await.idle_closed, 1);

    // The lifetime limit holds whatever the jitter subtracts.
    let backend = env.backend();
    let pool = backend
        .pool()
        .max_lifetime(SHORT)
        .lifetime_jitter(1.0)
        .evict_interval(None)
        .build_lazy()
        .unwrap();
    drop(env.hold(&pool, 3).await);
    env.sleep(SHORT).await;
    assert!(pool.try_get().is_err());
    env.until_stats(&pool, |stats| stats.lifetime_closed == 3).await;
}

/// One deadline covers all checks of a `get`.
pub(crate) async fn hanging_ping_does_not_extend_the_deadline(env: Env) {
    for ping_timeout in [None, Some(LONG)] {
        let backend = env.backend();
        let pool = backend
            .pool()
            .ping_after(Duration::ZERO)
            .ping_timeout(ping_timeout)
            .build_lazy()
            .unwrap();
        env.fill(&pool, 5).await;
        backend.always(Call::Ping, Behavior::Hang);
        backend.next(Call::Connect, [Behavior::Hold]);
        match pool.get_timeout(SHORT).await {
            // On a busy machine the time may be up before the ping has had its share.
            Err(GetError::Timeout { phase: Phase::Connect | Phase::Check, .. }) => {}
            other => panic!("{other:?}"),
        }
        let released = || backend.release(Call::Connect, Behavior::Succeed);
        env.until(|| released() || pool.stats().connecting == 0).await;
        let stats = env.until_at_rest(&pool, &backend, 0).await;
        assert_eq!(backend.calls(Call::Ping), 1);
        assert!((4..=5).contains(&stats.available), "{stats}");
        assert_eq!(closed(&pool, CloseReason::Cancelled), 1);
    }
}

/// One deadline covers the wait and the check after it.
pub(crate) async fn deadline_covers_wait_and_check(env: Env) {
    let backend = env.backend();
    let pool = backend
        .pool()
        .max_size(1)
        .ping_after(Duration::ZERO)
        .ping_timeout(None)
        .build_lazy()
        .unwrap();
    let held = env.hold(&pool, 1).await;
    backend.always(Call::Ping, Behavior::Hang);
    backend.next(Call::Connect, [Behavior::Hold]);
    // Long enough for the connection to return in time on a busy machine.
    let get = waiting(pool.get_timeout(50 * SHORT)).await;
    env.sleep(SHORT).await;
    drop(held);
    match get.await {
        // On a busy machine the time may be up before the ping has had its share.
        Err(GetError::Timeout { phase: Phase::Connect | Phase::Check, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(backend.calls(Call::Ping), 1);
    backend.release(Call::Connect, Behavior::Succeed);
}

/// Compares the diagnosis of a timeout with the state of the pool.
pub(crate) async fn wait_timeout_reports_the_gauges(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().name("db").max_size(2).build_lazy().unwrap();
    let _held = env.hold(&pool, 2).await;
    let _waiter = waiting(pool.get()).await;
    let Err(GetError::Timeout { phase, diagnosis }) = pool.get_timeout(SHORT).await else {
        panic!("no timeout");
    };
    assert_eq!((phase, &*diagnosis.pool), (Phase::Wait, "db"));
    assert_eq!((diagnosis.size, diagnosis.max_size), (2, 2));
    assert_eq!((diagnosis.active, diagnosis.available), (2, 0));
    assert_eq!((diagnosis.connecting, diagnosis.waiting), (0, 2));
    assert!(diagnosis.last_error.is_none());
}
