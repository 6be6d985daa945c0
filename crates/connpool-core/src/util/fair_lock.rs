//! An async lock that is strictly first in, first out.

use event_listener::{Event as Signal, EventListener};

use crate::util::panic::catch_panic;
use crate::util::sync::Mutex;

/// Admits one task at a time, in the order of arrival.
#[derive(Debug, Default)]
pub(crate) struct FairLock {
    state: Mutex<State>,
    freed: Signal,
}

#[derive(Debug, Default)]
struct State {
    locked: bool,
    /// The tasks that wait, including one that was notified and has not run yet.
    waiting: usize,
}

/// Unlocks when dropped.
#[derive(Debug)]
pub(crate) struct FairGuard<'a>(&'a FairLock);

/// A waiting task. Dropping a notified `EventListener` forwards the notification, so the count must be
/// decremented first: `drop` runs before the field is dropped.
struct Waiting<'a> {
    lock: &'a FairLock,
    listener: EventListener,
}

impl FairLock {
    pub(crate) async fn lock(&self) -> FairGuard<'_> {
        let mut waiting = {
            let mut state = self.state.lock();
            if !state.locked && state.waiting == 0 {
                state.locked = true;
                return FairGuard(self);
            }
            state.waiting = state.waiting.saturating_add(1);
            // Under the lock: a guard that is dropped after it finds this task listening.
            Waiting { lock: self, listener: self.freed.listen() }
        };
        loop {
            (&mut waiting.listener).await;
            let mut state = self.state.lock();
            if !state.locked {
                state.locked = true;
                return FairGuard(self);
            }
            waiting.listener = self.freed.listen();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.lock.state.lock();
        state.waiting = state.waiting.saturating_sub(1);
    }
}

impl Drop for FairGuard<'_> {
    fn drop(&mut self) {
        self.0.state.lock().locked = false;
        // Runs a waker, which may panic.
        let _ = catch_panic(|| self.0.freed.notify(1));
    }
}
