//! A runtime around [`SimRuntime`] that counts what is asked of it, and ends what spins.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::panicking;
use std::time::Duration;

use connpool_core::{BoxFuture, Instant, Runtime};
use connpool_testkit::SimRuntime;

/// Clones are the same runtime.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) sim: SimRuntime,
    counts: Arc<Counts>,
}

struct Counts {
    reads: AtomicUsize,
    polls: AtomicUsize,
    most: usize,
    grain: AtomicU64,
}

impl Watched {
    /// Panics when more than `most` polls, or a hundred times as many looks at the clock, were
    /// needed.
    pub(crate) fn new(sim: &SimRuntime, most: usize) -> Self {
        Watched {
            sim: sim.clone(),
            counts: Arc::new(Counts {
                reads: AtomicUsize::new(0),
                polls: AtomicUsize::new(0),
                most,
                grain: AtomicU64::new(1),
            }),
        }
    }

    /// A clock that stands still for `grain` and then jumps; timers are as exact as ever.
    pub(crate) fn coarse(self, grain: Duration) -> Self {
        let nanos = u64::try_from(grain.as_nanos()).unwrap();
        self.counts.grain.store(nanos, Ordering::SeqCst);
        self
    }

    /// How often the clock was read.
    pub(crate) fn reads(&self) -> usize {
        self.counts.reads.load(Ordering::SeqCst)
    }

    /// How many polls there were, of tasks and of what is [watched](Watched::watch).
    pub(crate) fn polls(&self) -> usize {
        self.counts.polls.load(Ordering::SeqCst)
    }

    /// Counts the polls of `future` among those of the tasks.
    pub(crate) async fn watch<F: Future>(&self, future: F) -> F::Output {
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
        assert!(polls < self.most, "it spins: {polls} polls");
    }
}

impl Runtime for Watched {
    fn now(&self) -> Instant {
        let reads = self.counts.reads.fetch_add(1, Ordering::SeqCst);
        // Once is enough: destructors look at the clock, too.
        assert!(
            reads / 100 < self.counts.most || panicking(),
            "it spins: {reads} looks at the clock"
        );
        let now = self.sim.now().as_nanos();
        Instant::from_nanos(now - now % self.counts.grain.load(Ordering::SeqCst))
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
