//! tokio as the pool sees it.

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
use tokio::time;

/// The tokio runtime, for [`Pool::builder`](connpool_core::Pool::builder).
///
/// Tasks and timers go to the runtime that the calling code runs in, or else to the one that this
/// value was made in. With neither, tasks are dropped and timers fire at once: a `get` that would
/// have to wait then ends in a timeout.
///
/// Its clock is tokio's, the one that the timers go by: with `tokio::time::pause`, for which there
/// is the feature `test-util`, the pool's time stands still as well. In a program that cannot pause it,
/// ages of half a second and more are told by the [coarse clock](connpool_tcp::RecentClock) of the system.
///
/// The runtime needs its time driver, and for TCP its I/O driver: `enable_all`. tokio panics at the
/// first timer without.
#[derive(Debug, Clone)]
pub struct TokioRuntime {
    made_in: Option<Handle>,
    epoch: time::Instant,
    recent: RecentClock,
}

impl TokioRuntime {
    /// The runtime that this is called in, if any.
    pub fn new() -> Self {
        TokioRuntime {
            made_in: Handle::try_current().ok(),
            epoch: time::Instant::now(),
            recent: RecentClock::new(),
        }
    }

    fn handle(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.made_in.clone())
    }
}

impl Default for TokioRuntime {
    fn default() -> Self {
        TokioRuntime::new()
    }
}

impl Runtime for TokioRuntime {
    fn now(&self) -> Instant {
        // A paused clock is that of its runtime; a thread outside of any would see the real one.
        #[cfg(feature = "test-util")]
        let _entered = match Handle::try_current() {
            Ok(_) => None,
            Err(_) => self.made_in.as_ref().map(Handle::enter),
        };
        let elapsed = time::Instant::now().saturating_duration_since(self.epoch);
        Instant::ORIGIN.checked_add(elapsed).unwrap_or_default()
    }

    fn recent(&self) -> Instant {
        if pausing::is_possible() {
            return self.now();
        }
        self.recent.now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        let Some(at) = self.epoch.checked_add(Duration::from_nanos(at.as_nanos())) else {
            return Box::pin(pending());
        };
        // A task is in its runtime, and asking for the handle costs two changes of a shared count.
        let handle = match tokio::task::try_id() {
            Some(_) => None,
            None => match self.handle() {
                None => return Box::pin(ready(())),
                handle => handle,
            },
        };
        let _entered = handle.as_ref().map(Handle::enter);
        Box::pin(Timer {
            sleep: tokio::time::sleep_until(at),
        })
    }

    fn spawn(&self, task: BoxFuture) {
        // A runtime that has ended drops the task, as the contract has it.
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
}

/// Whether tokio's clock can be paused, which the system's own would not notice.
///
/// It can be if anybody in the program has turned on tokio's feature `test-util`; a crate cannot ask for
/// the features of another one, but it can ask what there is in it.
mod pausing {
    pub(super) fn is_possible() -> bool {
        // Names that come with a `*` into a block go before those outside of it.
        #[allow(unused_imports, clippy::wildcard_imports)]
        use tokio::time::*;
        returns_nothing(pause)
    }

    /// In the place of tokio's, if that has none.
    #[allow(dead_code)]
    fn pause() -> NoPause {
        NoPause
    }

    struct NoPause;

    trait Answer {
        const IS_NOTHING: bool;
    }

    impl Answer for () {
        const IS_NOTHING: bool = true;
    }

    impl Answer for NoPause {
        const IS_NOTHING: bool = false;
    }

    fn returns_nothing<A: Answer>(_: fn() -> A) -> bool {
        A::IS_NOTHING
    }

    #[cfg(test)]
    mod tests {
        /// The tests turn it on.
        #[test]
        fn a_clock_that_can_be_paused_is_known() {
            assert!(super::is_possible());
        }
    }
}

pin_project! {
    /// A timer that fires when its runtime ends, where tokio's own panics.
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
