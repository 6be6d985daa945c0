//! Holds the timer that waits share.

use crate::runtime::BoxFuture;
use crate::util::sync::Mutex;

/// The timer that was set last, with its number.
#[derive(Default)]
pub(crate) struct TimerSlot(Mutex<Option<(u64, BoxFuture)>>);

impl TimerSlot {
    /// Keeps a timer, unless a later one was set meanwhile. Returns the one that is not needed, to be dropped
    /// without a lock.
    pub(crate) fn keep(&self, number: u64, timer: BoxFuture) -> Option<(u64, BoxFuture)> {
        let mut slot = self.0.lock();
        match &*slot {
            Some((last, _)) if *last > number => Some((number, timer)),
            _ => slot.replace((number, timer)),
        }
    }
}
