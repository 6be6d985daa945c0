//! Connects: failures, timeouts, backoff and limits.

use std::time::Duration;

use connpool_core::{Backoff, CloseReason, ConnectError, GetError, Phase};

use crate::env::{Env, LONG, MILLI, SHORT, all_waiting, closed, waiting};
use connpool_testkit::{Behavior, Call, ScriptedError};

/// P12: every connect fails. database/sql, `TestPendingConnsAfterErr`.
pub(crate) async fn each_waiter_gets_the_error_of_a_failed_connect(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Hold]).always(Call::Connect, Behavior::Fail);
    let pool = backend.pool().max_size(2).backoff(pause(MILLI)).breaker(None).build_lazy().unwrap();
    let waiters = all_waiting(6, || pool.get()).await;
    env.release(&backend, Call::Connect, Behavior::Fail).await;
    for get in waiters {
        match get.await {
            Err(GetError::Connect(ConnectError::Failed(_))) => {}
            other => panic!("{other:?}"),
        }
    }
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.size), (0, 0));
    // A probe for the callers that were told may start at any time.
    env.until_stats(&pool, |stats| stats.connect_failed == backend.calls(Call::Connect) as u64)
        .await;
    backend.clear_script();
    env.assert_full_capacity(&pool, &backend).await;
}

/// The first failed connect of a pool that never had a connection fails all waiters at once.
pub(crate) async fn first_failed_connect_fails_all_waiters(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Hold]);
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let waiters = all_waiting(5, || pool.get_owned()).await;
    env.release(&backend, Call::Connect, Behavior::Fail).await;
    for get in waiters {
        let error = get.await.unwrap_err();
        assert_eq!(error.connect_error(), Some(&ScriptedError(1)), "{error}");
        assert!(error.to_string().contains("cannot connect: refused"), "{error}");
    }
    env.assert_full_capacity(&pool, &backend).await;
}

/// A cold start at a server that refuses some connections.
pub(crate) async fn failed_connect_beside_others_fails_no_waiter(env: Env) {
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend.pool().max_size(3).build_lazy().unwrap();
    let start = env.now();
    let waiters = all_waiting(5, || pool.get_owned()).await;
    env.until(|| backend.held(Call::Connect) == 3).await;
    env.release(&backend, Call::Connect, Behavior::Fail).await;
    for _ in 0..2 {
        env.release(&backend, Call::Connect, Behavior::Succeed).await;
    }
    backend.clear_script();
    for get in waiters {
        // On a busy machine the connects may have taken so long that they counted as hanging.
        if let Err(error) = get.await {
            assert!(env.now().since(start) >= Duration::from_millis(800), "{error}");
        }
    }
    env.assert_full_capacity(&pool, &backend).await;
}

/// Fails a connect whose waiter was served by a return.
pub(crate) async fn failed_connect_without_a_waiter_fails_no_get(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    backend.next(Call::Connect, [Behavior::Hold]);
    let get = waiting(pool.get()).await;
    drop(held);
    assert_eq!(get.await.unwrap().id(), 1);
    env.release(&backend, Call::Connect, Behavior::Fail).await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.connect_failed, stats.success), (1, 2));
    env.assert_full_capacity(&pool, &backend).await;
}

/// With `fail_fast_after(None)` a failed connect fails no waiter.
pub(crate) async fn waiters_outlast_failed_connects_without_fail_fast(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Fail; 3]);
    let pool = backend.pool().max_size(3).fail_fast_after(None).build_lazy().unwrap();
    let results = env
        .run_tasks(3, |_| {
            let pool = pool.clone();
            async move { pool.get().await.is_ok() }
        })
        .await;
    assert_eq!(results, [true; 3]);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.success, stats.request), (3, 3));
    assert_eq!(stats.connect_failed, 3);
    // A later timeout does not carry an error from before the recovery.
    let _all = env.hold(&pool, 3).await;
    let error = pool.get_timeout(MILLI).await.unwrap_err();
    assert!(
        matches!(&error, GetError::Timeout { diagnosis, .. } if diagnosis.last_error.is_none())
    );
}

/// P19: a timeout carries its cause. HikariCP, `testLastErrorTimeout`.
pub(crate) async fn timeout_carries_the_last_connect_error(env: Env) {
    env.use_longest_backoff();
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Fail);
    let pool = backend.pool().fail_fast_after(None).backoff(pause(LONG)).build_lazy().unwrap();
    let _first = waiting(pool.get()).await;
    env.until_stats(&pool, |stats| stats.connecting == 0).await;
    let error = pool.get_timeout(SHORT).await.unwrap_err();
    let GetError::Timeout { phase, diagnosis } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*phase, Phase::Connect, "the get waited for a connect");
    let last = diagnosis
        .last_error
        .as_ref()
        .and_then(|last| last.downcast_ref::<ConnectError<ScriptedError>>());
    let Some(ConnectError::Failed(refused)) = last else {
        panic!("{error:?}");
    };
    assert_eq!(**refused, ScriptedError(1));
}

/// A hanging connect ends at `connect_timeout`.
pub(crate) async fn connect_timeout_frees_the_slot(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Hang]);
    let pool = backend.pool().max_size(1).connect_timeout(SHORT).build_lazy().unwrap();
    let error = pool.get().await.unwrap_err();
    assert!(matches!(error, GetError::Connect(ConnectError::TimedOut)), "{error:?}");
    assert!(!error.is_timeout() && error.to_string().contains("connect_timeout"), "{error}");
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.connect_failed, stats.size), (1, 0));
    env.assert_full_capacity(&pool, &backend).await;
}

/// The connect becomes idle after the deadline of the `get` that started it.
pub(crate) async fn connect_continues_after_its_get_times_out(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Hold]);
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    match pool.get_timeout(SHORT).await {
        Err(GetError::Timeout { phase, diagnosis }) => {
            assert_eq!((phase, diagnosis.connecting), (Phase::Connect, 1));
        }
        other => panic!("{other:?}"),
    }
    env.release(&backend, Call::Connect, Behavior::Succeed).await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.available), (1, 1));
    assert_eq!((stats.connect_failed, stats.success), (0, 0));
}

/// Later calls of `get` fail with the error of the failed connect, without another connect.
pub(crate) async fn no_connect_starts_during_backoff(env: Env) {
    env.use_longest_backoff();
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Fail]);
    let pool = backend.pool().backoff(pause(LONG)).build_lazy().unwrap();
    assert!(matches!(pool.get().await, Err(GetError::Connect(_))));
    for _ in 0..3 {
        let error = pool.get_timeout(MILLI).await.unwrap_err();
        assert!(error.connect_error().is_some(), "{error}");
    }
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((backend.calls(Call::Connect), stats.connect_failed), (1, 1));
}

/// The maintenance task starts the next connect after the backoff.
pub(crate) async fn backoff_ends_without_another_get(env: Env) {
    env.use_longest_backoff();
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Fail, Behavior::Fail]);
    let pool = backend.pool().fail_fast_after(None).backoff(pause(SHORT)).build_lazy().unwrap();
    let _guard = pool.get().await.unwrap();
    assert_eq!(backend.calls(Call::Connect), 3);
}

/// A connection that dies before its first use counts as a failed connect.
pub(crate) async fn backend_that_accepts_and_hangs_up_triggers_backoff(env: Env) {
    env.use_longest_backoff();
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::HangUp);
    let pool = backend.pool().backoff(pause(LONG)).build_lazy().unwrap();
    for _ in 0..2 {
        match pool.get().await {
            Err(GetError::Connect(ConnectError::DeadOnArrival(CloseReason::Dead))) => {}
            other => panic!("{:?}", other.map(|conn| conn.id())),
        }
    }
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, closed(&pool, CloseReason::Dead)), (1, 1));
    assert_eq!((backend.calls(Call::Connect), stats.size), (1, 0));
}

/// `max_connecting` limits `build`, `get` and `min_size` together.
pub(crate) async fn max_connecting_limits_concurrent_connects(env: Env) {
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Take(MILLI));
    let pool = backend
        .pool()
        .max_size(8)
        .min_size(4)
        .increment(3)
        .max_connecting(2)
        .build()
        .await
        .unwrap();
    env.assert_full_capacity(&pool, &backend).await;
    assert_eq!(pool.stats().created, 8);
    let peak = backend.observed().most_connecting;
    assert!(peak <= 2, "{peak} at once");
}

/// P21: no connect starts for a load that has ended. HikariCP, `ConnectionPoolSizeVsThreadsTest`.
pub(crate) async fn no_connect_starts_after_the_load_has_ended(env: Env) {
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Take(SHORT));
    let pool = backend.pool().max_size(100).build_lazy().unwrap();
    env.run_tasks(50, |_| {
        let pool = pool.clone();
        async move {
            for _ in 0..20 {
                drop(pool.get().await.unwrap());
            }
        }
    })
    .await;
    let at_end = pool.stats();
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(stats.success, 1_000);
    let most = at_end.created + at_end.connecting as u64;
    assert!(stats.created <= most.min(50), "at the end of the load: {at_end}; at rest: {stats}");
}

/// A return that comes first does not cancel a pending connect, and later waiters start no other.
pub(crate) async fn pending_connect_serves_the_next_waiter(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    backend.always(Call::Connect, Behavior::Hold);
    let get = waiting(pool.get()).await;
    drop(held);
    let guard = get.await.unwrap();
    for _ in 0..3 {
        drop(waiting(pool.get()).await);
    }
    let last = waiting(pool.get()).await;
    env.release(&backend, Call::Connect, Behavior::Succeed).await;
    assert_eq!(last.await.unwrap().id(), 2);
    drop(guard);
    assert_eq!(env.until_at_rest(&pool, &backend, 0).await.created, 2);
    assert_eq!(backend.calls(Call::Connect), 2);
}

/// Builds a backoff of constant length, given the longest random numbers.
fn pause(time: Duration) -> Backoff {
    Backoff::new(time, time, 1.0)
}
