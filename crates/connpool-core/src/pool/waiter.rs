//! The cell that a waiting `get` shares with the queue.

use std::task::Waker;

use crate::error::connect_error::ConnectError;
use crate::machine::wait_queue::Source;
use crate::util::sync::Mutex;

/// The waker and the answer of one waiter. The waiter and the queue share it, so that the waiter can collect
/// its answer without the lock of the pool.
///
/// A waiter that was taken out of the queue is answered once, under the lock of the pool or soon after. Its own
/// lock is the last one taken, and no foreign code runs under it.
///
/// `C` is a connection, `E` the manager's error.
pub(crate) struct WaiterCell<C, E>(Mutex<CellState<C, E>>);

struct CellState<C, E> {
    /// Taken when it is used: cloning it under a lock would run foreign code, and a waiter that is woken
    /// brings a new one if it has to wait on.
    waker: Option<Waker>,
    answer: Option<Answer<C, E>>,
    /// The waiter has left, although it is to be answered.
    is_abandoned: bool,
    /// The timer that waits share says that its time is up.
    is_late: bool,
}

/// The answer to a waiter: a connection or an error.
pub(crate) type Answer<C, E> = Result<Assigned<C>, WaitError<E>>;

/// A connection for a waiter.
pub(crate) struct Assigned<C> {
    pub(crate) conn: C,
    pub(crate) source: Source,
}

/// Why a wait ended without a connection.
pub(crate) enum WaitError<E> {
    Closed,
    /// Nothing is idle, and the queue is full.
    Exhausted,
    TimedOut,
    Connect(ConnectError<E>),
}

impl<C, E> Default for WaiterCell<C, E> {
    fn default() -> Self {
        WaiterCell(Mutex::new(CellState {
            waker: None,
            answer: None,
            is_abandoned: false,
            is_late: false,
        }))
    }
}

impl<C, E> WaiterCell<C, E> {
    /// Gives the answer, and returns the waker of the waiter; returns the answer if the waiter has left.
    pub(crate) fn answer(&self, answer: Answer<C, E>) -> Result<Option<Waker>, Answer<C, E>> {
        let mut state = self.0.lock();
        if state.is_abandoned {
            return Err(answer);
        }
        state.answer = Some(answer);
        Ok(state.waker.take())
    }

    /// Gives the answer to a waiter that is taken out of the queue under the same lock of the pool, so that it
    /// cannot leave in between. Returns its waker.
    pub(crate) fn answer_queued(&self, answer: Answer<C, E>) -> Option<Waker> {
        let mut state = self.0.lock();
        state.answer = Some(answer);
        state.waker.take()
    }

    /// Leaves, after the waiter was taken out of the queue. Returns the answer, if it has come.
    pub(crate) fn abandon(&self) -> Option<Answer<C, E>> {
        let mut state = self.0.lock();
        let answer = state.answer.take();
        state.is_abandoned = answer.is_none();
        answer
    }

    /// Takes the answer, if it has come.
    pub(crate) fn take_answer(&self) -> Option<Answer<C, E>> {
        self.0.lock().answer.take()
    }

    /// Notes that the time is up, and takes the waker.
    pub(crate) fn expire(&self) -> Option<Waker> {
        let mut state = self.0.lock();
        state.is_late = true;
        state.waker.take()
    }

    /// Returns whether the time is up.
    pub(crate) fn is_late(&self) -> bool {
        self.0.lock().is_late
    }

    /// Takes the waker, to be used or dropped without a lock.
    pub(crate) fn take_waker(&self) -> Option<Waker> {
        self.0.lock().waker.take()
    }

    /// Replaces the waker, unless both wake the same task. Returns the waker that is not needed, to be dropped
    /// without a lock.
    pub(crate) fn set_waker(&self, waker: Waker) -> Option<Waker> {
        match &mut self.0.lock().waker {
            Some(same) if same.will_wake(&waker) => Some(waker),
            old => old.replace(waker),
        }
    }

    /// Empties the cell. Returns whether it can be used for another waiter, and the waker, to be dropped
    /// without a lock.
    pub(crate) fn clear(&self) -> (bool, Option<Waker>) {
        let mut state = self.0.lock();
        state.is_late = false;
        (!state.is_abandoned, state.waker.take())
    }
}
