//! Shuttle's tasks as a runtime.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use shuttle::future::JoinHandle;
use shuttle::rand::{RngCore, thread_rng};

use crate::model_tests::fake::Clock;
use crate::runtime::{BoxFuture, Runtime};
use crate::time::Instant;

/// Clones are the same runtime.
#[derive(Clone, Default)]
pub(super) struct Shuttle {
    pub(super) clock: Clock,
    running: Arc<AtomicUsize>,
}

impl Runtime for Shuttle {
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
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(Arc::clone(&self.running));
        drop(spawn(async move {
            task.await;
            drop(running);
        }));
    }

    fn random(&self) -> u64 {
        thread_rng().next_u64()
    }
}

impl Shuttle {
    /// The number of tasks that have not ended.
    pub(super) fn tasks(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    shuttle::future::spawn(hears_every_wake(future))
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    shuttle::future::block_on(hears_every_wake(future))
}

/// Shuttle's locks wait with the waker of the task that takes them. What wakes the task meanwhile
/// would be taken for the lock's, and lost; and the lock's would be taken for the task's, which polls
/// again, takes the lock again, and wakes all others who wait for it. So the future has a waker of
/// its own, and is polled when that was used.
async fn hears_every_wake<T>(future: impl Future<Output = T>) -> T {
    let ear = Arc::new(Ear { woken: AtomicBool::new(true), task: Mutex::new(None) });
    let waker = Waker::from(Arc::clone(&ear));
    let mut future = pin!(future);
    poll_fn(|cx| {
        *ear.task() = Some(cx.waker().clone());
        if !ear.woken.swap(false, Ordering::SeqCst) {
            return Poll::Pending;
        }
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        if ear.woken.load(Ordering::SeqCst) {
            cx.waker().wake_by_ref();
        }
        polled
    })
    .await
}

struct Ear {
    woken: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Ear {
    fn task(&self) -> MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Ear {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.task().iter().for_each(Waker::wake_by_ref);
    }
}
