//! The state of a simulated runtime, and its timers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use connpool_core::Instant;
use rand::RngExt;
use rand::rngs::StdRng;

use super::tasks::Tasks;
use super::trace::Trace;

/// The state shared by the clones of a `SimRuntime`.
pub(super) struct State {
    pub(super) now: Instant,
    /// How far the wall clock is ahead of `now`, in nanoseconds.
    pub(super) wall_ahead: u64,
    pub(super) rng: StdRng,
    pub(super) tasks: Tasks,
    pub(super) timers: BTreeMap<(Instant, u64), Waker>,
    pub(super) next_timer: u64,
    pub(super) spawned: usize,
    pub(super) timers_created: usize,
    pub(super) shut_down: bool,
    pub(super) trace: Trace,
}

impl State {
    /// Draws whether `block_on` polls its own future next rather than one of the ready tasks.
    pub(super) fn draws_main(&mut self) -> bool {
        let others = self.tasks.ready();
        self.rng.random_range(0..=others) == 0
    }
}

/// Removes itself from the timers when dropped, so that the clock does not stop at an unused deadline.
pub(super) struct Timer {
    state: Arc<Mutex<State>>,
    at: Instant,
    key: Option<(Instant, u64)>,
}

impl Timer {
    pub(super) fn new(state: Arc<Mutex<State>>, at: Instant) -> Self {
        Timer { state, at, key: None }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.now >= self.at {
            return Poll::Ready(());
        }
        let key = *self.key.get_or_insert_with(|| {
            state.next_timer += 1;
            (self.at, state.next_timer)
        });
        state.timers.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let waker = state.timers.remove(&key);
            drop(state);
            drop(waker);
        }
    }
}
