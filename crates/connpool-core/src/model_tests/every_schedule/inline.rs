//! A runtime without threads: the thread that wakes a task runs it, after the pool has unlocked.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Notify;

use crate::model_tests::fake::Clock;
use crate::runtime::{BoxFuture, Runtime};
use crate::time::Instant;

/// Clones are the same runtime.
#[derive(Clone, Default)]
pub(super) struct Inline {
    pub(super) clock: Clock,
    /// If set, the clock moves on to the next timer when nothing is ready.
    hurries: bool,
    tasks: Arc<Mutex<Vec<Running>>>,
}

struct Running {
    /// Taken out while it is being polled.
    task: Option<BoxFuture>,
    flag: Arc<Flag>,
}

/// The waker of a task. No loom in it, since the pool's events wake under a lock of theirs.
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Runtime for Inline {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        self.clock.sleep_until(at)
    }

    fn shares_wait_timer(&self) -> bool {
        true
    }

    fn spawn(&self, task: BoxFuture) {
        self.tasks()
            .push(Running { task: Some(task), flag: Arc::new(Flag(AtomicBool::new(true))) });
    }

    fn random(&self) -> u64 {
        u64::MAX / 2
    }
}

impl Inline {
    pub(super) fn in_a_hurry() -> Self {
        Inline { hurries: true, ..Inline::default() }
    }

    /// Runs tasks until none is ready, or if in a hurry until no timer is left either. To be called
    /// after whatever may have woken a task.
    pub(super) fn run(&self) {
        self.run_ready();
        while self.hurries && self.clock.tick() {
            self.run_ready();
        }
    }

    /// A task that another thread is just running is left to that thread, which looks again.
    fn run_ready(&self) {
        while let Some((mut task, flag)) = self.take_ready() {
            let waker = Waker::from(Arc::clone(&flag));
            let ended = task.as_mut().poll(&mut Context::from_waker(&waker));
            let mut tasks = self.tasks();
            let place = tasks.iter().position(|job| Arc::ptr_eq(&job.flag, &flag));
            match (place, ended) {
                (Some(place), Poll::Pending) => {
                    tasks[place].task = Some(task);
                    continue;
                }
                (Some(place), Poll::Ready(())) => drop(tasks.swap_remove(place)),
                // Forgotten meanwhile.
                (None, _) => {}
            }
            drop(tasks);
            drop(task);
        }
    }

    /// Waits for `future` on the thread that calls it, and runs what it wakes.
    pub(super) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.block_on_with(future, || ())
    }

    /// The same with a waker that calls `hook` when it is used, and when it is dropped.
    pub(super) fn block_on_with<F: Future>(&self, future: F, hook: impl Hook) -> F::Output {
        let parker = Arc::new(Parker { notify: Notify::new(), hook });
        let waker = Waker::from(Arc::clone(&parker));
        let mut future = pin!(future);
        loop {
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
            self.run();
            match polled {
                Poll::Ready(output) => return output,
                Poll::Pending => parker.notify.wait(),
            }
        }
    }

    /// Drops all tasks, as a runtime that ends.
    pub(super) fn forget_tasks(&self) {
        let tasks = std::mem::take(&mut *self.tasks());
        drop(tasks);
        self.run();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.tasks().is_empty()
    }

    fn take_ready(&self) -> Option<(BoxFuture, Arc<Flag>)> {
        let mut tasks = self.tasks();
        let ready = |job: &&mut Running| job.task.is_some() && job.flag.0.load(Ordering::SeqCst);
        let job = tasks.iter_mut().find(ready)?;
        job.flag.0.store(false, Ordering::SeqCst);
        Some((job.task.take()?, Arc::clone(&job.flag)))
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Running>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The target of a waker.
pub(super) trait Hook: Fn() + Send + Sync + 'static {}

impl<F: Fn() + Send + Sync + 'static> Hook for F {}

/// The waker of a thread. If it is never used, loom reports a deadlock.
struct Parker<H: Hook> {
    notify: Notify,
    hook: H,
}

/// A waker for which no thread waits.
pub(super) fn hooked(hook: impl Hook) -> Waker {
    Waker::from(Arc::new(Parker { notify: Notify::new(), hook }))
}

impl<H: Hook> Wake for Parker<H> {
    fn wake(self: Arc<Self>) {
        (self.hook)();
        self.notify.notify();
    }
}

impl<H: Hook> Drop for Parker<H> {
    fn drop(&mut self) {
        (self.hook)();
    }
}
