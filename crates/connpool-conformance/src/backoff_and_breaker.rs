//! Connects to a failing backend: slow start, the breaker, bursts of broken connections, and leaps of the clock.

use connpool_core::{Backoff, Breaker, BreakerState, CloseReason};

use crate::env::{Env, LONG, MILLI, NOT_TOLD_AFTER, all_waiting, closed, waiting};
use connpool_testkit::{Behavior, Call, ScriptedError};

/// Slow start: one connect after a failure, and one more for each success.
pub(crate) async fn connects_start_slowly_after_a_failure(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(8).backoff(SHORTEST).breaker(None).build_lazy().unwrap();
    // The second one is the probe for the caller that was told.
    backend.next(Call::Connect, [Behavior::Fail, Behavior::Fail]);
    assert!(pool.get().await.is_err());
    env.sleep(NOT_TOLD_AFTER).await;
    backend.always(Call::Connect, Behavior::Hold);
    let waiters = all_waiting(8, || pool.get()).await;
    for at_once in [1, 2, 4, 1] {
        // A released connect has ended only when the pool has counted it.
        env.until(|| backend.held(Call::Connect) == at_once && pool.stats().connecting == at_once)
            .await;
        for _ in 0..at_once {
            env.release(&backend, Call::Connect, Behavior::Succeed).await;
        }
    }
    for get in waiters {
        assert!(get.await.is_ok());
    }
    backend.clear_script();
    env.assert_full_capacity(&pool, &backend).await;
}

/// A connect that has not started when another one fails is aborted and does not count as failed.
pub(crate) async fn connect_failures_equal_connect_attempts(env: Env) {
    env.use_longest_backoff();
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Fail);
    let pause = Backoff::new(LONG, LONG, 1.0);
    let pool =
        backend.pool().max_size(50).fail_fast_after(None).backoff(pause).build_lazy().unwrap();
    let waiters = all_waiting(50, || pool.get()).await;
    env.until_stats(&pool, |stats| stats.connecting == 0).await;
    assert_eq!(pool.stats().waiting, 50);
    drop(waiters);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    let attempts = backend.calls(Call::Connect);
    assert_eq!(stats.connect_failed, attempts as u64);
    assert!((1..=50).contains(&attempts), "{attempts} attempts");
}

/// An open breaker fails all waiters with the last error, and those that come later.
pub(crate) async fn open_breaker_fails_all_waiters_at_once(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Hold]).always(Call::Connect, Behavior::Fail);
    let pool = backend.pool().max_size(1).breaker(probe_every(LONG)).build_lazy().unwrap();
    let waiters = all_waiting(3, || pool.get()).await;
    assert_eq!(pool.stats().breaker, BreakerState::Closed);
    env.release(&backend, Call::Connect, Behavior::Fail).await;
    for get in waiters {
        let error = get.await.unwrap_err();
        assert_eq!(error.connect_error(), Some(&ScriptedError(1)), "{error}");
    }
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(stats.breaker, BreakerState::Open);
    assert!(stats.to_string().ends_with(" breaker=open"), "{stats}");
    let late = pool.get().await.unwrap_err();
    assert!(late.connect_error().is_some(), "{late}");
}

/// An open breaker keeps waiters while a borrowed connection may be returned.
pub(crate) async fn open_breaker_keeps_waiters_that_a_return_can_serve(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).breaker(probe_every(LONG)).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    backend.always(Call::Connect, Behavior::Hold);
    let first = waiting(pool.get()).await;
    let second = waiting(pool.get()).await;
    env.release(&backend, Call::Connect, Behavior::Fail).await;
    env.until_stats(&pool, |stats| stats.connect_failed == 1).await;
    assert_ne!(pool.stats().breaker, BreakerState::Closed);
    drop(held);
    assert_eq!(first.await.unwrap().id(), 1);
    assert_eq!(second.await.unwrap().id(), 1);
}

/// The breaker goes from open through half open to closed.
pub(crate) async fn successful_probe_connect_closes_the_breaker(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Fail, Behavior::Fail, Behavior::Fail, Behavior::Hold]);
    let pool = backend
        .pool()
        .max_size(4)
        .fail_fast_after(None)
        .breaker(probe_every(MILLI))
        .build_lazy()
        .unwrap();
    let get = waiting(pool.get()).await;
    env.until(|| backend.held(Call::Connect) == 1).await;
    let stats = pool.stats();
    assert_eq!((stats.breaker, stats.connecting), (BreakerState::HalfOpen, 1));
    env.release(&backend, Call::Connect, Behavior::Succeed).await;
    drop(get.await.unwrap());
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.breaker, stats.connect_failed), (BreakerState::Closed, 3));
    env.assert_full_capacity(&pool, &backend).await;
}

/// After a burst the remaining connections are pinged once, whatever `ping_after` is.
pub(crate) async fn burst_of_three_broken_connections_has_the_others_pinged(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(6).ping_after(None).build_lazy().unwrap();
    env.fill(&pool, 6).await;
    for id in [4, 5, 6] {
        backend.hang_up(id);
    }
    let first = env.hold(&pool, 1).await;
    assert_eq!((first[0].id(), backend.calls(Call::Ping)), (7, 0));
    let others = env.hold(&pool, 3).await;
    assert_eq!(backend.calls(Call::Ping), 3);
    drop((first, others));
    env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(closed(&pool, CloseReason::Dead), 3);
    drop(env.hold(&pool, 4).await);
    assert_eq!(backend.calls(Call::Ping), 3, "each once");
    env.assert_full_capacity(&pool, &backend).await;
}

/// The wall clock runs on while the monotonic clock stands still, as in a suspend. What was idle is pinged
/// once, long before `ping_after`.
pub(crate) async fn leap_of_the_clock_has_idle_connections_pinged(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(3).ping_after(LONG * 6).build_lazy().unwrap();
    env.fill(&pool, 3).await;
    env.leap(LONG * 360);
    env.sleep(MILLI * 150).await;
    backend.next(Call::Ping, [Behavior::Fail]);
    let held = env.hold(&pool, 3).await;
    assert_eq!(backend.calls(Call::Ping), 3);
    assert_eq!(held.iter().filter(|held| held.id() > 3).count(), 1, "one ping failed");
    drop(held);
    env.sleep(MILLI * 150).await;
    drop(env.hold(&pool, 3).await);
    assert_eq!(backend.calls(Call::Ping), 3, "each once");
    env.assert_full_capacity(&pool, &backend).await;
}

/// The shortest backoff.
const SHORTEST: Backoff = Backoff::new(MILLI, MILLI, 1.0);

/// Builds a breaker that opens at the first failure.
fn probe_every(probe_every: std::time::Duration) -> Breaker {
    Breaker::new(1, probe_every)
}
