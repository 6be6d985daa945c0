//! A wrapper of the runtime under test that counts tasks and timers.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use connpool_core::{BoxFuture, Instant, Runtime, RuntimeId};

/// Forwards every call to the runtime under test and counts it. Can drop new tasks, replace the random
/// numbers, and let the wall clock leap.
pub(crate) struct CountingRuntime {
    runtime: Arc<dyn Runtime>,
    spawned: AtomicUsize,
    timers: AtomicUsize,
    alive: Arc<AtomicUsize>,
    refuses_tasks: AtomicBool,
    fixed_random: Mutex<Option<u64>>,
    /// How far the wall clock has leapt, in nanoseconds.
    leapt: AtomicU64,
}

impl CountingRuntime {
    pub(crate) fn new(runtime: Arc<dyn Runtime>) -> Self {
        CountingRuntime {
            runtime,
            spawned: AtomicUsize::new(0),
            timers: AtomicUsize::new(0),
            alive: Arc::default(),
            refuses_tasks: AtomicBool::new(false),
            fixed_random: Mutex::new(None),
            leapt: AtomicU64::new(0),
        }
    }

    /// Returns the number of tasks spawned so far.
    pub(crate) fn spawned(&self) -> usize {
        self.spawned.load(Ordering::SeqCst)
    }

    /// Returns the number of timers created so far.
    pub(crate) fn timers(&self) -> usize {
        self.timers.load(Ordering::SeqCst)
    }

    /// Returns the number of tasks that have not ended.
    pub(crate) fn tasks(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    pub(crate) fn refuse_tasks(&self, refuse: bool) {
        self.refuses_tasks.store(refuse, Ordering::SeqCst);
    }

    /// Lets the wall clock leap ahead by `span`.
    pub(crate) fn leap(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.leapt.fetch_add(nanos, Ordering::SeqCst);
    }

    /// Makes every later random number equal to `random`.
    pub(crate) fn set_random(&self, random: u64) {
        *self.fixed_random.lock().unwrap_or_else(PoisonError::into_inner) = Some(random);
    }
}

impl CountingRuntime {
    /// Counts a task. Drops it and returns `None` if tasks are refused.
    fn counted(&self, task: BoxFuture) -> Option<BoxFuture> {
        self.spawned.fetch_add(1, Ordering::SeqCst);
        if self.refuses_tasks.load(Ordering::SeqCst) {
            return None;
        }
        let alive = Alive::begin(&self.alive);
        Some(Box::pin(async move {
            let _alive = alive;
            task.await;
        }))
    }
}

impl Runtime for CountingRuntime {
    fn now(&self) -> Instant {
        self.runtime.now()
    }

    fn wall(&self) -> Instant {
        let leapt = self.leapt.load(Ordering::SeqCst);
        Instant::from_nanos(self.runtime.wall().as_nanos().saturating_add(leapt))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        self.timers.fetch_add(1, Ordering::SeqCst);
        self.runtime.sleep_until(at)
    }

    fn spawn(&self, task: BoxFuture) {
        if let Some(task) = self.counted(task) {
            self.runtime.spawn(task);
        }
    }

    fn current(&self) -> Option<RuntimeId> {
        self.runtime.current()
    }

    fn home(&self) -> Option<RuntimeId> {
        self.runtime.home()
    }

    fn spawn_at_home(&self, task: BoxFuture) {
        if let Some(task) = self.counted(task) {
            self.runtime.spawn_at_home(task);
        }
    }

    fn random(&self) -> u64 {
        let fixed = *self.fixed_random.lock().unwrap_or_else(PoisonError::into_inner);
        fixed.unwrap_or_else(|| self.runtime.random())
    }

    fn unconstrained(&self, probe: &mut dyn FnMut()) {
        self.runtime.unconstrained(probe);
    }

    fn poll_coop(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.runtime.poll_coop(cx)
    }
}

/// Counts a task until it is dropped.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Alive(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
