//! The pool's runtime on smol.

use std::any::TypeId;
use std::cell::Cell;
use std::future::pending;
use std::task::{Context, Poll};
use std::time::{self, Duration};

use async_io::Timer;
use connpool_core::{BoxFuture, Instant, Runtime};
use connpool_tcp::RecentClock;
use futures_lite::FutureExt;
use rand::Rng;

use crate::unprobed;

/// Runs a pool on smol's global executor and timers. Pass it to
/// [`Pool::builder`](connpool_core::Pool::builder).
///
/// Both start on first use and never end, so such a pool works from any thread. Ages of half a
/// second and more are measured by the [coarse clock](connpool_tcp::RecentClock).
#[derive(Debug, Clone)]
pub struct SmolRuntime {
    epoch: time::Instant,
    recent: RecentClock,
}

impl SmolRuntime {
    /// Creates a runtime whose clock starts now.
    pub fn new() -> Self {
        let recent = RecentClock::new();
        // After the other clock, so that no timer fires before its time on that one.
        SmolRuntime { epoch: time::Instant::now(), recent }
    }
}

/// The units of work after which a task yields: as many as on tokio.
const UNITS_PER_YIELD: u8 = 128;

thread_local! {
    /// The units left to the tasks of this thread. smol has no budget of its own, for each task.
    static UNTIL_YIELD: Cell<u8> = const { Cell::new(UNITS_PER_YIELD) };
}

impl Default for SmolRuntime {
    fn default() -> Self {
        SmolRuntime::new()
    }
}

impl Runtime for SmolRuntime {
    fn now(&self) -> Instant {
        self.recent.precise()
    }

    fn recent(&self) -> Instant {
        self.recent.now()
    }

    fn wall(&self) -> Instant {
        self.recent.wall()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        match self.epoch.checked_add(Duration::from_nanos(at.as_nanos())) {
            Some(at) => async move { _ = Timer::at(at).await }.boxed(),
            None => pending().boxed(),
        }
    }

    // There is one set of timers, for all executors and threads.
    fn shares_wait_timer(&self) -> bool {
        true
    }

    fn spawn(&self, task: BoxFuture) {
        smol::spawn(task).detach();
    }

    fn random(&self) -> u64 {
        rand::rng().next_u64()
    }

    fn poll_coop(&self, cx: &mut Context<'_>) -> Poll<()> {
        match UNTIL_YIELD.get().checked_sub(1) {
            Some(left) => {
                UNTIL_YIELD.set(left);
                Poll::Ready(())
            }
            None => {
                UNTIL_YIELD.set(UNITS_PER_YIELD);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn remedy_for_unprobed(&self, connection: TypeId) -> Option<&'static str> {
        unprobed::remedy_for_unprobed(connection)
    }
}
