//! Backends that are down: the errors that callers get, and the connects of the pool meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use connpool_core::{Event, GetError, Manager, Pool, Severity, StreamOf};
use connpool_testkit::{Behavior, Call, FaultyConn, FaultyManager, ScriptedError};

use crate::env::{Env, LONG, MILLI, SHORT, all_waiting, waiting};

/// A pool that was connected waits for the backend, and no `get` fails.
pub(crate) async fn restart_fails_no_get(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    for mut conn in env.hold(&pool, 2).await {
        conn.mark_unusable();
    }
    backend.next(Call::Connect, [Behavior::Fail, Behavior::Fail]);
    for get in all_waiting(4, || pool.get()).await {
        let conn = get.await.unwrap();
        assert!(conn.id() > 2, "{}", conn.id());
    }
    assert_eq!(pool.stats().connect_failed, 2);
    env.assert_full_capacity(&pool, &backend).await;
}

/// With `fail_fast_after` zero, the first failure is told although the pool was connected.
pub(crate) async fn zero_fail_fast_after_tells_the_first_failure(env: Env) {
    let backend = env.backend();
    let builder = backend.pool().max_size(1).fail_fast_after(Duration::ZERO);
    let pool = builder.build_lazy().unwrap();
    env.hold(&pool, 1).await.pop().unwrap().mark_unusable();
    backend.next(Call::Connect, [Behavior::Fail]);
    let error = pool.get().await.map(|conn| conn.id()).unwrap_err();
    assert!(error.connect_error().is_some(), "{error}");
    env.assert_full_capacity(&pool, &backend).await;
}

/// A connect that hangs is not waited for: another one serves the caller.
pub(crate) async fn hanging_connect_holds_up_no_other(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Hang]);
    let pool = backend.pool().max_size(2).connect_timeout(LONG * 2).build_lazy().unwrap();
    let conn = pool.get_timeout(LONG).await.unwrap();
    assert_eq!((pool.stats().connecting, pool.stats().connect_failed), (1, 0));
    drop(conn);
    assert!(!pool.close(LONG).await.timed_out);
}

/// Connects that hang are given up by `clear`, and their slots are free.
pub(crate) async fn clear_abandons_hanging_connects(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Hang, Behavior::Hang]);
    let pool = backend.pool().max_size(2).connect_timeout(None).build_lazy().unwrap();
    let waiters = all_waiting(2, || pool.get()).await;
    // Each has asked the backend, so that no later connect hangs.
    env.until(|| backend.calls(Call::Connect) == 2).await;
    pool.clear();
    for get in waiters {
        drop(get.await.unwrap());
    }
    assert_eq!(pool.stats().connect_failed, 0);
    env.assert_full_capacity(&pool, &backend).await;
}

/// A paused pool connects neither for waiters nor for `min_size`.
pub(crate) async fn nothing_is_dialled_while_paused(env: Env) {
    let backend = env.backend();
    let builder = backend.pool().min_size(2).max_size(2).evict_interval(MILLI);
    let pool = builder.build_lazy().unwrap();
    pool.pause();
    let get = waiting(pool.get()).await;
    env.sleep(SHORT).await;
    assert_eq!((backend.calls(Call::Connect), pool.stats().connecting), (0, 0));
    pool.resume();
    drop(get.await.unwrap());
    env.until_stats(&pool, |stats| stats.size == 2).await;
    env.assert_full_capacity(&pool, &backend).await;
}

/// A manager whose failed connects are permanent, as with a wrong password.
struct Rejected(FaultyManager);

impl Manager for Rejected {
    type Connection = FaultyConn;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<FaultyConn, ScriptedError> {
        self.0.connect().await
    }

    fn stream(&self) -> Option<StreamOf<FaultyConn>> {
        self.0.stream()
    }

    fn severity(&self, _: &ScriptedError) -> Severity {
        Severity::Permanent
    }
}

/// After a permanent error no connect starts unless a caller waits, and callers get the error at once.
pub(crate) async fn permanent_error_is_told_and_not_retried_unasked(env: Env) {
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Fail);
    let runtime = env.shared_runtime();
    let builder = Pool::builder(Rejected(backend.clone()), runtime).min_size(2).max_size(4);
    let pool = builder.evict_interval(MILLI).fail_fast_after(None).build_lazy().unwrap();
    let error = pool.get().await.map(|conn| conn.id()).unwrap_err();
    assert!(matches!(error, GetError::Connect(_)), "{error}");
    // The maintenance task may have started a connect for `min_size` before the first one failed.
    env.until(|| pool.stats().connecting == 0).await;
    let calls = backend.calls(Call::Connect);
    env.sleep(MILLI * 600).await;
    assert_eq!(backend.calls(Call::Connect), calls, "it connected although no caller waits");
    // A new password, perhaps.
    backend.clear_script();
    pool.clear();
    drop(pool.get().await.unwrap());
    assert!(!pool.close(LONG).await.timed_out);
}

/// `start` opens `min_size` connections without a `get`, however often connects fail.
pub(crate) async fn start_opens_min_size_in_the_background(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Fail, Behavior::Fail]);
    let pool = backend.pool().min_size(3).max_size(4).fail_fast_after(None).start().unwrap();
    pool.warm_up().await.unwrap();
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.available, stats.request), (3, 0));
    env.assert_full_capacity(&pool, &backend).await;
}

/// The error of a failed ping reaches the observer and the `Diagnosis`, and no text shows the `Debug` of
/// the manager's error, which may hold a secret.
pub(crate) async fn failed_check_says_why_and_shows_no_debug(env: Env) {
    let backend = env.backend();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let texts = Arc::clone(&seen);
    let pool = backend
        .pool()
        .max_size(1)
        .ping_after(Duration::ZERO)
        .observer(move |_: &str, event: &Event<'_>| {
            let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
            texts.push((event.label(), format!("{event:?}")));
        })
        .build_lazy()
        .unwrap();
    env.fill(&pool, 1).await;
    backend.next(Call::Ping, [Behavior::Fail]);
    backend.always(Call::Connect, Behavior::Hold);
    let why = ScriptedError(1).to_string();
    // On a busy machine the first one may run out of time before its ping.
    let error = loop {
        let error = pool.get_timeout(SHORT).await.map(|conn| conn.id()).unwrap_err();
        if error.to_string().contains(&why) {
            break error;
        }
    };
    let secret = format!("{:?}", ScriptedError(1));
    assert!(!format!("{error:?}").contains(&secret), "{error:?}");
    {
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(seen.iter().all(|(_, text)| !text.contains(&secret)), "{seen:?}");
        let failed = seen.iter().find(|(label, _)| *label == "check_failed");
        assert!(failed.is_some_and(|(_, text)| text.contains(&why)), "{seen:?}");
    }
    assert!(!pool.close(LONG).await.timed_out);
}

/// An error that was no lack of time is no timeout, and one that was is not told as a failed connect.
pub(crate) async fn only_a_lack_of_time_is_a_timeout(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    backend.next(Call::Connect, [Behavior::HangUp]);
    let error = pool.get().await.map(|conn| conn.id()).unwrap_err();
    assert!(matches!(error, GetError::Connect(_)) && !error.is_timeout(), "{error}");
    assert!(!pool.close(LONG).await.timed_out);
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let error = pool.get_timeout(SHORT).await.map(|conn| conn.id()).unwrap_err();
    assert!(matches!(error, GetError::Timeout { .. }) && error.is_timeout(), "{error}");
    assert!(!pool.close(LONG).await.timed_out);
}
