//! The one timer that waits have in common.

use crate::machine::count::Sequence;
use crate::time::Instant;

/// Decides when the timer that waits share is to fire: no later than the first of their deadlines.
///
/// It is set anew only for an earlier deadline, and after it has fired. A wait that ends before its deadline
/// leaves it as it is, so in a pool whose waits all have the same limit a wait costs no timer.
#[derive(Debug, Clone)]
pub(crate) struct WaitTimer {
    /// When it fires; `NEVER` if it is not set.
    at: Instant,
    numbers: Sequence,
    /// Whether the shell has still to set it.
    is_due: bool,
}

/// A timer to be set. A later one replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DueTimer {
    pub(crate) at: Instant,
    pub(crate) number: u64,
}

impl Default for WaitTimer {
    fn default() -> Self {
        WaitTimer { at: Instant::NEVER, numbers: Sequence::default(), is_due: false }
    }
}

impl WaitTimer {
    /// Has the timer fire at `deadline` at the latest.
    #[inline]
    pub(crate) fn cover(&mut self, deadline: Instant) {
        if deadline < self.at {
            self.at = deadline;
            self.numbers.next();
            self.is_due = true;
        }
    }

    /// Takes the timer that is to be set. The caller sets it.
    #[inline]
    pub(crate) fn take_due(&mut self) -> Option<DueTimer> {
        let is_due = std::mem::take(&mut self.is_due);
        is_due.then(|| DueTimer { at: self.at, number: self.numbers.last() })
    }

    /// Records that a timer has fired. Returns `false` if another one has replaced it.
    pub(crate) fn fired(&mut self, number: u64) -> bool {
        let is_the_last = number == self.numbers.last() && self.at < Instant::NEVER;
        if is_the_last {
            *self = WaitTimer { numbers: self.numbers.clone(), ..WaitTimer::default() };
        }
        is_the_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn timer_is_set_for_an_earlier_deadline_only() {
        let mut timer = WaitTimer::default();
        timer.cover(at(10));
        assert_eq!(timer.take_due(), Some(DueTimer { at: at(10), number: 1 }));
        timer.cover(at(10));
        timer.cover(at(20));
        assert_eq!(timer.take_due(), None);
        timer.cover(at(5));
        timer.cover(at(3));
        assert_eq!(timer.take_due(), Some(DueTimer { at: at(3), number: 3 }));
        assert!(!timer.fired(1), "the first one was replaced");
        assert!(timer.fired(3) && !timer.fired(3));
        timer.cover(at(20));
        assert_eq!(timer.take_due(), Some(DueTimer { at: at(20), number: 4 }));
    }

    #[test]
    fn wait_without_a_limit_needs_no_timer() {
        let mut timer = WaitTimer::default();
        timer.cover(Instant::NEVER);
        assert_eq!(timer.take_due(), None);
    }
}
