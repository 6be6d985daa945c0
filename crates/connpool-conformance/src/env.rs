//! The environment of a scenario: the runtime under test and helpers built on it.

use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use connpool_core::{CloseReason, GetError, Instant, Pool, PooledConnection, Runtime, Stats};
use futures_lite::future::{or, poll_once};

use crate::counting_runtime::CountingRuntime;
use crate::join_handle::JoinHandle;
use crate::watchdog::panic_after;
use connpool_testkit::assert_stats;
use connpool_testkit::{Behavior, Call};
use connpool_testkit::{FaultyManager, silence_scripted_panics};

/// The time after a failed connect from which a new caller waits for a probe instead of failing.
pub(crate) const NOT_TOLD_AFTER: Duration = Duration::from_millis(1_200);

pub(crate) const MILLI: Duration = Duration::from_millis(1);
/// Long enough to separate two instants on a coarse clock.
pub(crate) const SHORT: Duration = Duration::from_millis(10);
/// An upper bound for every wait, so that a failing scenario ends.
pub(crate) const LONG: Duration = Duration::from_secs(10);
/// The limit of a whole scenario, in real time.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) type Guard = PooledConnection<'static, FaultyManager>;

/// The runtime under test, with helpers for scenarios. Clones share the same runtime.
///
/// The counters of a pool are relaxed and ordered with nothing else; its gauges are read under its
/// lock. A scenario therefore waits for a gauge ([`until_stats`](Env::until_stats)) or for a task
/// ([`spawn`](Env::spawn)) before it compares counters: everything that led to the gauge is visible
/// with it. State observed by the manager gives no such guarantee: a connection is dropped before the
/// pool counts it.
#[derive(Clone)]
pub(crate) struct Env {
    runtime: Arc<CountingRuntime>,
}

/// Runs a scenario to completion on `runtime`, for at most a minute of real time, and waits until no
/// task is left.
pub(crate) async fn run<F>(runtime: Arc<dyn Runtime>, scenario: fn(Env) -> F)
where
    F: Future<Output = ()>,
{
    silence_scripted_panics();
    let env = Env { runtime: Arc::new(CountingRuntime::new(runtime)) };
    let whole = async {
        scenario(env.clone()).await;
        env.until(|| env.tasks() == 0).await;
    };
    or(whole, panic_after(LIMIT)).await;
}

// ---- the runtime

impl Env {
    pub(crate) fn runtime(&self) -> &dyn Runtime {
        &*self.runtime
    }

    /// Lets the wall clock leap ahead by `span`.
    pub(crate) fn leap(&self, span: Duration) {
        self.runtime.leap(span);
    }

    /// Returns the runtime for a pool with a manager of the scenario's own.
    pub(crate) fn shared_runtime(&self) -> Arc<CountingRuntime> {
        Arc::clone(&self.runtime)
    }

    pub(crate) fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// Sleeps until the clock has advanced by `span`. Checks the clock again after the timer, since a
    /// coarse clock may lag behind it.
    pub(crate) async fn sleep(&self, span: Duration) {
        let later = |span| self.now().checked_add(span).expect("an instant in range");
        let end = later(span);
        self.runtime.sleep_until(end).await;
        while self.now() < end {
            self.runtime.sleep_until(later(MILLI)).await;
        }
    }

    /// Spawns a task and returns a handle to its output.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let (task, completer) = JoinHandle::new();
        self.runtime.spawn(Box::pin(async move { completer.complete(future.await) }));
        task
    }

    /// Runs `count` tasks, each given its index, and returns their outputs in order.
    pub(crate) async fn run_tasks<F>(
        &self,
        count: usize,
        task: impl Fn(usize) -> F,
    ) -> Vec<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let tasks: Vec<_> = (0..count).map(|nth| self.spawn(task(nth))).collect();
        let mut outputs = Vec::with_capacity(count);
        for task in tasks {
            outputs.push(task.await);
        }
        outputs
    }

    /// Waits until the condition holds. Panics after 10 s.
    #[track_caller]
    pub(crate) fn until(
        &self,
        mut condition: impl FnMut() -> bool + Send,
    ) -> impl Future<Output = ()> + Send {
        self.poll_until(Location::caller(), move || (!condition()).then_some(()))
    }

    /// Calls `check` every millisecond until it returns `None`. Panics after 10 s with the value that
    /// it last returned.
    async fn poll_until<E: Debug>(
        &self,
        caller: &Location<'_>,
        mut check: impl FnMut() -> Option<E>,
    ) {
        let start = self.now();
        while let Some(last) = check() {
            assert!(
                self.now().since(start) < LONG,
                "{caller}: condition not met within {LONG:?}; last value: {last:?}"
            );
            self.sleep(MILLI).await;
        }
    }

    /// Returns the numbers of tasks spawned and timers created so far.
    pub(crate) fn spawned_and_timers(&self) -> (usize, usize) {
        (self.runtime.spawned(), self.runtime.timers())
    }

    /// Returns the number of tasks that have not ended.
    pub(crate) fn tasks(&self) -> usize {
        self.runtime.tasks()
    }

    /// Makes the runtime drop new tasks, or accept them again.
    pub(crate) fn refuse_tasks(&self, refuse: bool) {
        self.runtime.refuse_tasks(refuse);
    }

    /// Makes every later backoff as long as its jitter allows.
    pub(crate) fn use_longest_backoff(&self) {
        self.runtime.set_random(u64::MAX);
    }
}

// ---- a pool on it

impl Env {
    pub(crate) fn backend(&self) -> FaultyManager {
        FaultyManager::new(Arc::clone(&self.runtime))
    }

    /// Waits until the statistics of the pool meet the condition. Panics after 10 s.
    #[track_caller]
    pub(crate) fn until_stats(
        &self,
        pool: &Pool<FaultyManager>,
        mut condition: impl FnMut(&Stats) -> bool + Send,
    ) -> impl Future<Output = ()> + Send {
        self.poll_until(Location::caller(), move || {
            let stats = pool.stats();
            (!condition(&stats)).then_some(stats)
        })
    }

    /// Waits until a call is held, and releases it.
    #[track_caller]
    pub(crate) fn release(
        &self,
        backend: &FaultyManager,
        call: Call,
        behavior: Behavior,
    ) -> impl Future<Output = ()> + Send {
        self.until(move || backend.release(call, behavior))
    }

    /// Checks out `count` connections at once.
    pub(crate) async fn hold(&self, pool: &Pool<FaultyManager>, count: usize) -> Vec<Guard> {
        let mut held = Vec::with_capacity(count);
        for nth in 1..=count {
            match pool.get_owned().await {
                Ok(guard) => held.push(guard),
                Err(error) => panic!("connection {nth} of {count}: {error}"),
            }
        }
        held
    }

    /// Opens `count` connections and returns them. Each was used once; the last one returned has the
    /// highest id.
    pub(crate) async fn fill(&self, pool: &Pool<FaultyManager>, count: usize) {
        drop(self.hold(pool, count).await);
        self.until_stats(pool, |stats| stats.available == count).await;
    }

    /// Waits until no connect is pending and no caller waits, with `out` connections borrowed, and
    /// checks that the statistics agree with the connections that exist.
    #[track_caller]
    pub(crate) fn until_at_rest(
        &self,
        pool: &Pool<FaultyManager>,
        backend: &FaultyManager,
        out: usize,
    ) -> impl Future<Output = Stats> + Send {
        let mut rest = Stats::default();
        let caller = Location::caller();
        async move {
            // A sweep may take a connection at any time, so all is checked on one reading.
            self.poll_until(caller, || {
                let stats = pool.stats();
                let observed = backend.observed();
                let counts = (stats.active, stats.connecting, stats.waiting, stats.size);
                if counts != (out, 0, 0, observed.alive()) || pool.stats() != stats {
                    return Some(stats);
                }
                assert_stats(&stats, &observed, pool.config().max_size, 0);
                rest = stats;
                None
            })
            .await;
            rest
        }
    }

    /// Checks that no capacity was lost: `max_size` connections can be borrowed at once.
    pub(crate) async fn assert_full_capacity(
        &self,
        pool: &Pool<FaultyManager>,
        backend: &FaultyManager,
    ) {
        // Callers are told of a failed connect for a while; the probe that follows it ends that.
        let start = self.now();
        while let Err(error) = pool.get().await {
            let is_told = matches!(error, GetError::Connect(_));
            assert!(self.now().since(start) < LONG && is_told, "{error}");
            self.sleep(MILLI).await;
        }
        let all = self.hold(pool, pool.config().max_size).await;
        self.until_at_rest(pool, backend, all.len()).await;
        drop(all);
        self.until_at_rest(pool, backend, 0).await;
    }
}

/// Returns the number of connections closed for `reason`.
pub(crate) fn closed(pool: &Pool<FaultyManager>, reason: CloseReason) -> u64 {
    pool.stats().closed.get(reason)
}

/// Polls `future` once and checks that it is pending: a `get` is then in the wait queue.
pub(crate) async fn waiting<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    let ended = poll_once(&mut future).await.is_some();
    assert!(!ended, "the future was ready at its first poll");
    future
}

/// Starts `count` gets, one after the other, and checks that each of them waits.
pub(crate) async fn all_waiting<F: Future>(count: usize, get: impl Fn() -> F) -> Vec<Pin<Box<F>>> {
    let mut waiters = Vec::with_capacity(count);
    for _ in 0..count {
        waiters.push(waiting(get()).await);
    }
    waiters
}
