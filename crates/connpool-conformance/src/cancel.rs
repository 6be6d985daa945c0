//! Futures dropped at every poll: no capacity is lost.

use std::time::Duration;

use connpool_core::{Backoff, BoxFuture, Builder, Pool};
use futures_lite::future::{poll_once, zip};

use crate::env::{Env, Guard, LONG, MILLI};
use connpool_testkit::FaultyManager;
use connpool_testkit::{Behavior, Call};

/// Drops a `get` while its connect is pending.
pub(crate) async fn get_can_be_dropped_at_every_poll_of_a_connect(env: Env) {
    for behavior in [
        Behavior::Succeed,
        Behavior::Yield(2),
        Behavior::Take(3 * MILLI),
        Behavior::YieldThenFail(1),
        Behavior::Panic,
    ] {
        at_every_poll(&env, |env| async move {
            let case = Case::new(&env, 0, |pool| pool.increment(2)).await;
            case.backend.next(Call::Connect, [behavior]);
            let get = case.get();
            (case, get)
        })
        .await;
    }
}

/// Drops a `get` while its connection is checked.
pub(crate) async fn get_can_be_dropped_at_every_poll_of_a_check(env: Env) {
    at_every_poll(&env, |env| async move {
        let case = Case::new(&env, 2, |pool| pool).await;
        case.backend.next(Call::Ping, [Behavior::YieldThenFail(1), Behavior::Yield(2)]);
        let get = case.get();
        (case, get)
    })
    .await;
    at_every_poll(&env, |env| async move {
        let case = Case::new(&env, 2, |pool| pool).await;
        case.backend.next(Call::Ping, [Behavior::Panic, Behavior::Hang]);
        case.backend.next(Call::Connect, [Behavior::Yield(1)]);
        let get = case.get();
        (case, get)
    })
    .await;
}

/// Drops a `get` while it waits.
pub(crate) async fn get_can_be_dropped_at_every_poll_of_a_wait(env: Env) {
    for ping in [Behavior::Succeed, Behavior::Yield(1), Behavior::Fail] {
        at_every_poll(&env, |env| async move {
            let mut case = Case::new(&env, 0, |pool| pool.max_size(1)).await;
            case.held = env.hold(&case.pool, 1).await;
            case.backend.next(Call::Ping, [ping]);
            let get = case.get();
            (case, get)
        })
        .await;
    }
}

/// Drops a `get` while the pool is paused.
pub(crate) async fn get_from_a_paused_pool_can_be_dropped_at_every_poll(env: Env) {
    at_every_poll(&env, |env| async move {
        let case = Case::new(&env, 1, |pool| pool.max_size(1)).await;
        case.pool.pause();
        let (pool, env_) = (case.pool.clone(), env.clone());
        let resumes = async move {
            env_.sleep(2 * MILLI).await;
            pool.resume();
        };
        drop(env.spawn(resumes));
        let get = case.get();
        (case, get)
    })
    .await;
}

/// Drops a `get` that keeps waiting after failed connects, with `fail_fast_after(None)`.
pub(crate) async fn get_that_outlasts_failures_can_be_dropped_at_every_poll(env: Env) {
    at_every_poll(&env, |env| async move {
        let case = Case::new(&env, 0, |pool| pool.fail_fast_after(None)).await;
        let behaviors = [Behavior::Fail, Behavior::HangUp, Behavior::Panic, Behavior::Yield(1)];
        case.backend.next(Call::Connect, behaviors);
        let get = case.get();
        (case, get)
    })
    .await;
}

/// Drops two `get_many` calls, one that holds connections already and one that waits for its turn.
pub(crate) async fn get_many_can_be_dropped_at_every_poll(env: Env) {
    at_every_poll(&env, |env| async move {
        let mut case = Case::new(&env, 1, |pool| pool).await;
        case.held = env.hold(&case.pool, 1).await;
        case.backend.next(Call::Ping, [Behavior::Yield(1)]);
        let get_many = || {
            let pool = case.pool.clone();
            async move { drop(pool.get_many(2).await) }
        };
        let both = zip(get_many(), get_many());
        let both: BoxFuture = Box::pin(async move { _ = both.await });
        (case, both)
    })
    .await;
}

/// Drops a `close`.
pub(crate) async fn close_can_be_dropped_at_every_poll(env: Env) {
    at_every_poll(&env, |env| async move {
        let mut case = Case::new(&env, 1, |pool| pool).await;
        case.held = env.hold(&case.pool, 2).await;
        case.held.pop();
        case.backend.always(Call::Close, Behavior::Yield(2));
        let pool = case.pool.clone();
        let close: BoxFuture = Box::pin(async move { _ = pool.close(LONG).await });
        (case, close)
    })
    .await;
}

/// Drops a `build`.
pub(crate) async fn build_can_be_dropped_at_every_poll(env: Env) {
    let mut ended = false;
    for polls in 0..40 {
        let backend = env.backend();
        backend
            .next(Call::Connect, [Behavior::Yield(1), Behavior::Take(MILLI), Behavior::Yield(2)]);
        let mut build = Box::pin(backend.pool().min_size(3).build());
        let mut built = None;
        for _ in 0..polls {
            built = poll_once(&mut build).await;
            if built.is_some() {
                break;
            }
            env.sleep(MILLI).await;
        }
        drop(build);
        if let Some(pool) = built {
            assert_eq!(pool.unwrap().stats().size, 3);
            ended = true;
        }
        env.until(|| backend.alive() == 0).await;
        if ended {
            break;
        }
    }
    assert!(ended, "the future never completed");
}

/// P24: every combination of backend outcomes. deadpool, `test_cancellations`.
pub(crate) async fn every_backend_outcome_leaves_full_capacity(env: Env) {
    let behaviors = [Behavior::Succeed, Behavior::Fail, Behavior::Yield(2), Behavior::Hang];
    // The scripts wait for timeouts most of the time, so many of them run at once.
    env.run_tasks(64, |nth| {
        let env = env.clone();
        let [connect, ping, reset] = [nth / 16, nth / 4 % 4, nth % 4].map(|nth| behaviors[nth]);
        async move {
            for close in behaviors {
                all_capacity_is_left_by(&env, [connect, ping, reset, close]).await;
            }
        }
    })
    .await;
}

/// The shortest backoff.
const SHORTEST: Backoff = Backoff::new(MILLI, MILLI, 1.0);

/// A pool in the state in which a future is dropped.
struct Case {
    backend: FaultyManager,
    pool: Pool<FaultyManager>,
    /// Returned after the second poll.
    held: Vec<Guard>,
}

impl Case {
    /// Builds a pool that pings before every reuse, with `filled` idle connections.
    async fn new(
        env: &Env,
        filled: usize,
        settings: impl FnOnce(Builder<FaultyManager>) -> Builder<FaultyManager>,
    ) -> Self {
        let backend = env.backend();
        let builder = backend
            .pool()
            .max_size(2)
            .ping_after(Duration::ZERO)
            .ping_timeout(2 * MILLI)
            .reset_timeout(2 * MILLI)
            .connect_timeout(2 * MILLI)
            .close_timeout(2 * MILLI)
            .backoff(SHORTEST)
            .breaker(None);
        let pool = settings(builder).build_lazy().unwrap();
        env.fill(&pool, filled).await;
        let held = Vec::new();
        Case { backend, pool, held }
    }

    fn get(&self) -> BoxFuture {
        let get = self.pool.get_owned();
        Box::pin(async move { drop(get.await) })
    }
}

/// Drops the future of `make` after every number of polls, a millisecond apart, until it completes.
/// Afterwards the pool must have its full capacity or, if it was closed, no connection.
async fn at_every_poll<F>(env: &Env, make: impl Fn(Env) -> F)
where
    F: Future<Output = (Case, BoxFuture)>,
{
    for polls in 0..40 {
        let (mut case, mut task) = make(env.clone()).await;
        let mut ended = false;
        for poll in 0..polls {
            ended = poll_once(&mut task).await.is_some();
            if ended {
                break;
            }
            env.sleep(MILLI).await;
            if poll == 1 {
                case.held.clear();
            }
        }
        drop(task);
        case.held.clear();
        case.backend.clear_script();
        // Pending connects may still fail.
        env.until_at_rest(&case.pool, &case.backend, 0).await;
        if case.pool.is_closed() {
            assert_eq!(case.backend.alive(), 0);
        } else {
            env.assert_full_capacity(&case.pool, &case.backend).await;
        }
        if ended {
            return;
        }
    }
    panic!("the future never completed");
}

async fn all_capacity_is_left_by(env: &Env, script: [Behavior; 4]) {
    let backend = env.backend();
    backend.require_reset();
    let pool = backend
        .pool()
        .max_size(2)
        .max_uses(2)
        .ping_after(Duration::ZERO)
        .ping_timeout(MILLI)
        .reset_timeout(MILLI)
        .connect_timeout(MILLI)
        .close_timeout(MILLI)
        .backoff(SHORTEST)
        .breaker(None)
        .build_lazy()
        .unwrap();
    env.fill(&pool, 1).await;
    for (call, behavior) in Call::ALL.into_iter().zip(script) {
        backend.always(call, behavior);
    }
    let limits = [Duration::ZERO, Duration::from_micros(1), MILLI, 3 * MILLI];
    env.run_tasks(limits.len(), |nth| {
        let pool = pool.clone();
        async move { drop(pool.get_timeout(limits[nth]).await) }
    })
    .await;
    backend.clear_script();
    env.until_at_rest(&pool, &backend, 0).await;
    env.assert_full_capacity(&pool, &backend).await;
    let peak = backend.peak();
    assert!(peak <= 2, "{peak} at once: {script:?}");
}
