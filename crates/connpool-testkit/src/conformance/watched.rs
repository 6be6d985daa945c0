//! The runtime under test, counted.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use connpool_core::{BoxFuture, Instant, Runtime};

/// Passes everything on, counts it, and can be told to take no tasks and to draw no lots.
pub(super) struct Watched {
    runtime: Arc<dyn Runtime>,
    spawned: AtomicUsize,
    timers: AtomicUsize,
    alive: Arc<AtomicUsize>,
    refuses_tasks: AtomicBool,
    draw: Mutex<Option<u64>>,
}

impl Watched {
    pub(super) fn new(runtime: Arc<dyn Runtime>) -> Self {
        Watched {
            runtime,
            spawned: AtomicUsize::new(0),
            timers: AtomicUsize::new(0),
            alive: Arc::default(),
            refuses_tasks: AtomicBool::new(false),
            draw: Mutex::new(None),
        }
    }

    /// How many tasks were ever spawned.
    pub(super) fn spawned(&self) -> usize {
        self.spawned.load(Ordering::SeqCst)
    }

    /// How many timers were ever made.
    pub(super) fn timers(&self) -> usize {
        self.timers.load(Ordering::SeqCst)
    }

    /// How many tasks have not ended.
    pub(super) fn tasks(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    pub(super) fn refuse_tasks(&self, refuse: bool) {
        self.refuses_tasks.store(refuse, Ordering::SeqCst);
    }

    /// From now on every random number is this one.
    pub(super) fn draw_always(&self, draw: u64) {
        *self.draw.lock().unwrap_or_else(PoisonError::into_inner) = Some(draw);
    }
}

impl Runtime for Watched {
    fn now(&self) -> Instant {
        self.runtime.now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        self.timers.fetch_add(1, Ordering::SeqCst);
        self.runtime.sleep_until(at)
    }

    fn spawn(&self, task: BoxFuture) {
        self.spawned.fetch_add(1, Ordering::SeqCst);
        if self.refuses_tasks.load(Ordering::SeqCst) {
            return drop(task);
        }
        let alive = Alive::begin(&self.alive);
        self.runtime.spawn(Box::pin(async move {
            let _alive = alive;
            task.await;
        }));
    }

    fn random(&self) -> u64 {
        let draw = *self.draw.lock().unwrap_or_else(PoisonError::into_inner);
        draw.unwrap_or_else(|| self.runtime.random())
    }

    fn unconstrained(&self, probe: &mut dyn FnMut()) {
        self.runtime.unconstrained(probe);
    }
}

/// A task that has not ended.
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
