//! What the scenarios need of the runtime under test.

use std::fmt::Debug;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use connpool_core::{CloseReason, Instant, Pool, PooledConnection, Runtime, Stats};
use futures_lite::future::{or, poll_once};

use super::job::Job;
use super::watchdog::panic_after;
use super::watched::Watched;
use crate::{
    Behavior, Call, FaultyManager, assert_at_rest, assert_invariants, silence_scripted_panics,
};

pub(super) const MILLI: Duration = Duration::from_millis(1);
/// Long enough to tell before from after.
pub(super) const SHORT: Duration = Duration::from_millis(10);
/// Longer than anything takes: a bound so that a failure ends.
pub(super) const LONG: Duration = Duration::from_secs(10);
/// All of a scenario, in real time.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) type Guard = PooledConnection<'static, FaultyManager>;

/// The runtime under test, and what can be done on it. Clones are the same one.
///
/// What a scenario reads must have happened before. The pool's counters are ordered with nothing
/// else; its gauges are read under its lock, as the manager's truth is under the manager's. So a
/// scenario waits for a gauge of the pool ([`until_stats`](Host::until_stats)) or for a task
/// ([`spawn`](Host::spawn)), and then the counters are exact: all that led there is visible with it.
/// What the manager has seen is no such sign: a connection is gone before the pool has counted it.
#[derive(Clone)]
pub struct Host {
    runtime: Arc<Watched>,
}

/// Runs a scenario to its end on `runtime`, for a minute at most, and sees that it leaves no task
/// behind.
pub(super) async fn run<F>(runtime: Arc<dyn Runtime>, scenario: fn(Host) -> F)
where
    F: Future<Output = ()>,
{
    silence_scripted_panics();
    let host = Host {
        runtime: Arc::new(Watched::new(runtime)),
    };
    let whole = async {
        scenario(host.clone()).await;
        host.until(|| host.tasks() == 0).await;
    };
    or(whole, panic_after(LIMIT)).await;
}

// ---- the runtime

impl Host {
    pub(super) fn runtime(&self) -> &dyn Runtime {
        &*self.runtime
    }

    pub(super) fn now(&self) -> Instant {
        self.runtime.now()
    }

    /// Sleeps until the clock has moved by `span`: a coarse one may lag behind the timer.
    pub(super) async fn sleep(&self, span: Duration) {
        let later = |span| self.now().checked_add(span).expect("too late to tell");
        let end = later(span);
        self.runtime.sleep_until(end).await;
        while self.now() < end {
            self.runtime.sleep_until(later(MILLI)).await;
        }
    }

    /// A task of its own, and its end.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Job<T> {
        let (job, promise) = Job::new();
        self.runtime
            .spawn(Box::pin(async move { promise.keep(future.await) }));
        job
    }

    /// `count` tasks, each told its number, run to their ends.
    pub(super) async fn run_tasks<F>(
        &self,
        count: usize,
        task: impl Fn(usize) -> F,
    ) -> Vec<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let jobs: Vec<_> = (0..count).map(|nth| self.spawn(task(nth))).collect();
        let mut outputs = Vec::with_capacity(count);
        for job in jobs {
            outputs.push(job.await);
        }
        outputs
    }

    /// Waits until it is so, and fails when it is not so for long.
    #[track_caller]
    pub(super) fn until(
        &self,
        mut is_so: impl FnMut() -> bool + Send,
    ) -> impl Future<Output = ()> + Send {
        self.look_until(Location::caller(), move || (!is_so()).then_some(()))
    }

    /// Looks every millisecond until nothing is found that is not so yet, and fails after a while with
    /// what was found.
    async fn look_until<E: Debug>(
        &self,
        caller: &Location<'_>,
        mut look: impl FnMut() -> Option<E>,
    ) {
        let start = self.now();
        while let Some(found) = look() {
            assert!(
                self.now().since(start) < LONG,
                "{caller}: not so after {LONG:?}: {found:?}"
            );
            self.sleep(MILLI).await;
        }
    }

    /// How many tasks were ever spawned, and how many timers made.
    pub(super) fn spawned_and_timers(&self) -> (usize, usize) {
        (self.runtime.spawned(), self.runtime.timers())
    }

    /// How many tasks have not ended.
    pub(super) fn tasks(&self) -> usize {
        self.runtime.tasks()
    }

    /// From now on new tasks are dropped, or taken again.
    pub(super) fn refuse_tasks(&self, refuse: bool) {
        self.runtime.refuse_tasks(refuse);
    }

    /// From now on every pause after a failure is as long as it may be.
    pub(super) fn draw_the_longest_pauses(&self) {
        self.runtime.draw_always(u64::MAX);
    }
}

// ---- a pool on it

impl Host {
    pub(super) fn backend(&self) -> FaultyManager {
        FaultyManager::new(Arc::clone(&self.runtime))
    }

    /// Waits until the figures of the pool are such.
    #[track_caller]
    pub(super) fn until_stats(
        &self,
        pool: &Pool<FaultyManager>,
        mut are_such: impl FnMut(&Stats) -> bool + Send,
    ) -> impl Future<Output = ()> + Send {
        self.look_until(Location::caller(), move || {
            let stats = pool.stats();
            (!are_such(&stats)).then_some(stats)
        })
    }

    /// Waits until a call is held, and lets it go on.
    #[track_caller]
    pub(super) fn release(
        &self,
        backend: &FaultyManager,
        op: Call,
        act: Behavior,
    ) -> impl Future<Output = ()> + Send {
        self.until(move || backend.release(op, act))
    }

    /// `count` connections, held at once.
    pub(super) async fn hold(&self, pool: &Pool<FaultyManager>, count: usize) -> Vec<Guard> {
        let mut held = Vec::with_capacity(count);
        for nth in 1..=count {
            match pool.get_owned().await {
                Ok(guard) => held.push(guard),
                Err(error) => panic!("connection {nth} of {count}: {error}"),
            }
        }
        held
    }

    /// Opens `count` connections, and leaves them idle: used once, the last one last.
    pub(super) async fn fill(&self, pool: &Pool<FaultyManager>, count: usize) {
        drop(self.hold(pool, count).await);
        self.until_stats(pool, |stats| stats.available == count)
            .await;
    }

    /// Waits until nothing is under way and nobody waits, with `out` connections on loan; then the
    /// books must agree with what exists.
    #[track_caller]
    pub(super) fn rest(
        &self,
        pool: &Pool<FaultyManager>,
        backend: &FaultyManager,
        out: usize,
    ) -> impl Future<Output = Stats> + Send {
        let rests = self.until_stats(pool, move |stats| {
            (stats.active, stats.connecting, stats.waiting) == (out, 0, 0)
        });
        async move {
            rests.await;
            assert_at_rest(pool, backend, out);
            assert_invariants(pool, backend, pool.config().max_size, 0);
            pool.stats()
        }
    }

    /// The pool has lost nothing: it lends all that it may, at once.
    pub(super) async fn lends_all(&self, pool: &Pool<FaultyManager>, backend: &FaultyManager) {
        let all = self.hold(pool, pool.config().max_size).await;
        self.rest(pool, backend, all.len()).await;
        drop(all);
        self.rest(pool, backend, 0).await;
    }
}

/// How many connections were closed for this reason.
pub(super) fn closed(pool: &Pool<FaultyManager>, reason: CloseReason) -> u64 {
    pool.stats().closed.get(reason)
}

/// A future that has been polled once and has to wait: a `get` that stands in line.
pub(super) async fn waiting<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    let ended = poll_once(&mut future).await.is_some();
    assert!(!ended, "it did not have to wait");
    future
}
