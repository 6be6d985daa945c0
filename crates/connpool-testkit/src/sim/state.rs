//! The state of a simulated runtime, and its timers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use connpool_core::{BoxFuture, Instant};
use rand::RngExt;
use rand::rngs::StdRng;

use super::tasks::{TaskWaker, Tasks};
use super::trace::Trace;

/// The state shared by the clones of a `SimRuntime`.
pub(super) struct State {
    pub(super) now: Instant,
    /// How far the wall clock is ahead of `now`, in nanoseconds.
    pub(super) wall_ahead: u64,
    pub(super) rng: StdRng,
    pub(super) executors: Vec<Executor>,
    /// The executor whose task is being polled.
    pub(super) current: Option<usize>,
    pub(super) timers: BTreeMap<(Instant, u64), Waker>,
    pub(super) next_timer: u64,
    pub(super) spawned: usize,
    pub(super) timers_created: usize,
    pub(super) trace: Trace,
}

/// One executor, with its tasks.
#[derive(Default)]
pub(super) struct Executor {
    pub(super) tasks: Tasks,
    pub(super) frozen: bool,
    pub(super) shut_down: bool,
}

impl State {
    /// Draws whether `block_on` polls its own future next rather than one of the ready tasks.
    pub(super) fn draws_main(&mut self) -> bool {
        let others: usize = self.executors.iter().map(Executor::ready).sum();
        self.rng.random_range(0..=others) == 0
    }

    /// Takes the future of a ready task out for a poll.
    pub(super) fn start_poll(&mut self) -> Option<Polled> {
        let ready: usize = self.executors.iter().map(Executor::ready).sum();
        if ready == 0 {
            return None;
        }
        let mut drawn = self.rng.random_range(0..ready);
        for (executor, one) in self.executors.iter_mut().enumerate() {
            let ready = one.ready();
            if drawn < ready {
                let (number, future, waker) = one.tasks.start_poll(drawn)?;
                self.trace.record(number as u64);
                let before = self.current.replace(executor);
                return Some(Polled { executor, before, number, future, waker });
            }
            drawn -= ready;
        }
        None
    }

    /// Ends the poll of a task. Returns what is to be dropped after unlocking.
    pub(super) fn end_poll(&mut self, polled: Polled, ended: bool) -> Option<BoxFuture> {
        self.current = polled.before;
        let tasks = &mut self.executors[polled.executor].tasks;
        if ended {
            tasks.remove(polled.number);
            Some(polled.future)
        } else {
            tasks.end_poll(polled.number, polled.future)
        }
    }
}

impl Executor {
    fn ready(&self) -> usize {
        if self.frozen { 0 } else { self.tasks.ready() }
    }
}

/// A task that is being polled.
pub(super) struct Polled {
    executor: usize,
    /// The executor that was polling before, from within whose poll this one happens.
    before: Option<usize>,
    number: usize,
    pub(super) future: BoxFuture,
    pub(super) waker: Arc<TaskWaker>,
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
