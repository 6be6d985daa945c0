//! The entry of one waiting `get` in the wait queue.

use std::task::Waker;

use crate::error::connect_error::ConnectError;
use crate::machine::wait_queue::Source;
use crate::time::Instant;

/// The waker and the result of one wait. `C` is a connection, `E` the manager's error.
pub(crate) struct Waiter<C, E> {
    /// Taken when it is used: cloning it under the lock would run foreign code, and a waiter that is
    /// woken brings a new one if it has to wait on.
    pub(crate) waker: Option<Waker>,
    pub(crate) result: Option<Result<Assigned<C>, WaitError<E>>>,
}

/// A connection for a waiter.
pub(crate) struct Assigned<C> {
    pub(crate) conn: C,
    pub(crate) source: Source,
    /// When its last check passed, if none is left.
    pub(crate) verified_at: Option<Instant>,
}

impl<C> Assigned<C> {
    pub(crate) fn unverified(conn: C, source: Source) -> Self {
        Assigned { conn, source, verified_at: None }
    }
}

/// Why a wait ended without a connection.
pub(crate) enum WaitError<E> {
    Closed,
    /// Nothing is idle, and the queue is full.
    Exhausted,
    TimedOut,
    Connect(ConnectError<E>),
}

impl<C, E> Waiter<C, E> {
    /// Sets the result and returns the waker.
    pub(crate) fn resolve(&mut self, result: Result<Assigned<C>, WaitError<E>>) -> Option<Waker> {
        self.result = Some(result);
        self.waker.take()
    }

    /// Replaces the waker, unless both wake the same task. Returns the waker that is not needed, to
    /// be dropped after unlocking.
    pub(crate) fn set_waker(&mut self, waker: Waker) -> Option<Waker> {
        match &mut self.waker {
            Some(same) if same.will_wake(&waker) => Some(waker),
            old => old.replace(waker),
        }
    }
}
