//! A runtime around [`SimRuntime`] that counts polls and clock reads, and stops a pool that spins.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::panicking;
use std::time::Duration;

use connpool_core::{BoxFuture, Instant, Runtime};
use connpool_testkit::SimRuntime;

/// A counting runtime. Clones share the counters.
#[derive(Clone)]
pub(crate) struct CountingRuntime {
    pub(crate) sim: SimRuntime,
    counts: Arc<Counts>,
}

struct Counts {
    reads: AtomicUsize,
    polls: AtomicUsize,
    max_polls: usize,
    grain: AtomicU64,
}

impl CountingRuntime {
    /// Creates a runtime that panics after `max_polls` polls or a hundred times as many clock
    /// reads.
    pub(crate) fn new(sim: &SimRuntime, max_polls: usize) -> Self {
        CountingRuntime {
            sim: sim.clone(),
            counts: Arc::new(Counts {
                reads: AtomicUsize::new(0),
                polls: AtomicUsize::new(0),
                max_polls,
                grain: AtomicU64::new(1),
            }),
        }
    }

    /// Makes the clock advance in steps of `grain`. Timers stay exact.
    pub(crate) fn coarse(self, grain: Duration) -> Self {
        let nanos = u64::try_from(grain.as_nanos()).unwrap();
        self.counts.grain.store(nanos, Ordering::SeqCst);
        self
    }

    /// Returns how often the clock was read.
    pub(crate) fn reads(&self) -> usize {
        self.counts.reads.load(Ordering::SeqCst)
    }

    /// Returns the number of polls of tasks and of futures in
    /// [`count_polls`](CountingRuntime::count_polls).
    pub(crate) fn polls(&self) -> usize {
        self.counts.polls.load(Ordering::SeqCst)
    }

    /// Counts the polls of `future` with those of the tasks.
    pub(crate) async fn count_polls<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|cx| {
            self.counts.polled();
            future.as_mut().poll(cx)
        })
        .await
    }
}

impl Counts {
    fn polled(&self) {
        let polls = self.polls.fetch_add(1, Ordering::SeqCst);
        assert!(polls < self.max_polls, "the pool spins: {polls} polls");
    }
}

impl Runtime for CountingRuntime {
    fn now(&self) -> Instant {
        let reads = self.counts.reads.fetch_add(1, Ordering::SeqCst);
        // Panics only once: destructors read the clock, too.
        assert!(
            reads / 100 < self.counts.max_polls || panicking(),
            "the pool spins: {reads} clock reads"
        );
        let now = self.sim.now().as_nanos();
        Instant::from_nanos(now - now % self.counts.grain.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Instant {
        self.counts.reads.fetch_add(1, Ordering::SeqCst);
        self.sim.wall()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        self.sim.sleep_until(at)
    }

    fn spawn(&self, mut task: BoxFuture) {
        let counts = Arc::clone(&self.counts);
        self.sim.spawn(Box::pin(poll_fn(move |cx| {
            counts.polled();
            task.as_mut().poll(cx)
        })));
    }

    fn random(&self) -> u64 {
        self.sim.random()
    }
}
