//! The pool's runtime on tokio.

use std::future::{Future, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use connpool_core::{BoxFuture, Instant, Runtime};
use connpool_tcp::RecentClock;
use pin_project_lite::pin_project;
use rand::Rng;
use tokio::runtime::Handle;
use tokio::task::coop;
use tokio::time;

/// Runs a pool on tokio. Pass it to [`Pool::builder`](connpool_core::Pool::builder).
///
/// Tasks and timers go to the tokio runtime of the calling code. Outside of any runtime they go to
/// the one in which this value was created. If there is neither, tasks are dropped and timers fire
/// at once, so a `get` that has to wait fails with a timeout.
///
/// The clock is tokio's, which the timers use as well. With `tokio::time::pause`, which needs the
/// feature `test-util`, the pool's time stands still, too. In a program that cannot pause it, ages
/// of half a second and more are measured by the [coarse clock](connpool_tcp::RecentClock) of the
/// system, and [leaps of the clock](connpool_core::Runtime::wall) are noticed.
///
/// # Panics
///
/// The runtime needs its time driver, and its I/O driver for TCP: build it with `enable_all`.
/// Without the time driver, tokio panics when the pool arms its first timer.
#[derive(Debug, Clone)]
pub struct TokioRuntime {
    fallback: Option<Handle>,
    start: time::Instant,
    recent: RecentClock,
}

impl TokioRuntime {
    /// Creates a runtime that remembers the tokio runtime it is created in, if any, as the fallback
    /// for calls from outside.
    pub fn new() -> Self {
        TokioRuntime {
            fallback: Handle::try_current().ok(),
            start: time::Instant::now(),
            recent: RecentClock::new(),
        }
    }

    fn handle(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.fallback.clone())
    }
}

impl Default for TokioRuntime {
    fn default() -> Self {
        TokioRuntime::new()
    }
}

impl Runtime for TokioRuntime {
    fn now(&self) -> Instant {
        // tokio's clock is paused per runtime: outside of it, `now` would read the system's clock.
        #[cfg(feature = "test-util")]
        let _entered = match Handle::try_current() {
            Ok(_) => None,
            Err(_) => self.fallback.as_ref().map(Handle::enter),
        };
        let elapsed = time::Instant::now().saturating_duration_since(self.start);
        Instant::ORIGIN.checked_add(elapsed).unwrap_or_default()
    }

    fn recent(&self) -> Instant {
        if pause_support::is_available() {
            return self.now();
        }
        self.recent.now()
    }

    fn wall(&self) -> Instant {
        // A clock that a test has paused is not suspended.
        if pause_support::is_available() {
            return self.now();
        }
        self.recent.wall()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        let Some(at) = self.start.checked_add(Duration::from_nanos(at.as_nanos())) else {
            return Box::pin(pending());
        };
        // Inside a task the runtime is known. Elsewhere it is looked up, which costs an increment
        // and a decrement of a shared reference count.
        let handle = match tokio::task::try_id() {
            Some(_) => None,
            None => match self.handle() {
                None => return Box::pin(ready(())),
                handle => handle,
            },
        };
        let _entered = handle.as_ref().map(Handle::enter);
        Box::pin(Timer { sleep: tokio::time::sleep_until(at) })
    }

    fn spawn(&self, task: BoxFuture) {
        // A runtime that has ended drops the task, as `Runtime::spawn` allows.
        if let Some(handle) = self.handle() {
            drop(handle.spawn(task));
        }
    }

    fn random(&self) -> u64 {
        rand::rng().next_u64()
    }

    fn unconstrained(&self, probe: &mut dyn FnMut()) {
        let mut once = Some(probe);
        let probe = std::future::poll_fn(|_| {
            if let Some(probe) = once.take() {
                probe();
            }
            Poll::Ready(())
        });
        let probe = pin!(tokio::task::unconstrained(probe));
        let _ = probe.poll(&mut Context::from_waker(Waker::noop()));
    }

    fn poll_coop(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Outside of a runtime there is no budget, and this is ready.
        coop::poll_proceed(cx).map(|unit| unit.made_progress())
    }
}

/// Detects whether tokio's clock can be paused, in which case the pool must not use the system's
/// coarse clock: that one does not pause.
///
/// The clock can be paused if any crate in the build enables tokio's feature `test-util`. There is
/// no `cfg` for the features of a dependency, so this module tests whether the function
/// `tokio::time::pause` exists, by name resolution: names from a glob import inside a function body
/// take precedence over items of the enclosing module. In `is_available`, `pause` is therefore
/// `tokio::time::pause`, which returns `()`, if that exists, and otherwise the `pause` below, which
/// returns `NotAvailable`. The return type tells which of the two it is.
mod pause_support {
    pub(super) fn is_available() -> bool {
        // Shadows the `pause` below if tokio has one.
        #[allow(unused_imports, clippy::wildcard_imports)]
        use tokio::time::*;
        is_tokios(pause)
    }

    /// The fallback for a tokio without `pause`. Never called.
    #[allow(dead_code)]
    fn pause() -> NotAvailable {
        NotAvailable
    }

    struct NotAvailable;

    trait PauseResult {
        const IS_TOKIOS: bool;
    }

    impl PauseResult for () {
        const IS_TOKIOS: bool = true;
    }

    impl PauseResult for NotAvailable {
        const IS_TOKIOS: bool = false;
    }

    fn is_tokios<A: PauseResult>(_: fn() -> A) -> bool {
        A::IS_TOKIOS
    }

    #[cfg(test)]
    mod tests {
        /// The dev-dependencies enable `test-util`.
        #[test]
        fn pausable_clock_is_detected() {
            assert!(super::is_available());
        }
    }
}

pin_project! {
    /// A timer that fires when its runtime ends. tokio's own panics when it is polled after that.
    struct Timer {
        #[pin]
        sleep: tokio::time::Sleep,
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.project().sleep;
        catch_unwind(AssertUnwindSafe(|| sleep.poll(cx))).unwrap_or(Poll::Ready(()))
    }
}
