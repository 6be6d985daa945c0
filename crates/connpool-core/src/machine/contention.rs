//! Paces the connects to a backend that is up, but cannot accept all of them.

use std::time::Duration;

use crate::machine::count::Count;
use crate::time::{Instant, earliest, jittered};

/// The longest time from one connect to the next, after a failure. A pool that has no connection tries more
/// often, so that such pools get theirs first; a caller that waits is still tried for once a second.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The number of successes that end contention. Each halves the pause.
const ENOUGH: usize = 3;

/// The number of successes that are left after the first one that follows a failure.
const ENOUGH_AT_FIRST: usize = 2;

/// The largest fraction by which a pause is shortened at random.
const JITTER: f64 = 0.15;

/// Failures that are further apart are no contention.
const WITHIN: Duration = Duration::from_secs(10);

/// A success this long after a failure ended no outage: connects are at most a second apart in one.
const ENDS_AN_OUTAGE_WITHIN: Duration = Duration::from_secs(2);

/// Detects that connects fail and succeed by turns, and keeps them apart then.
///
/// A backend that is down fails every connect, and one that is back accepts each. If a connect fails
/// soon after a success has ended an outage, the backend accepts fewer connects than its clients start:
/// a pool that has a connection and starts the next one at once takes the place of a pool that has none.
/// The success that ends an outage is treated alike, but for a shorter time: all clients of a backend
/// return at the same moment.
#[derive(Debug, Default, Clone)]
pub(crate) struct Contention {
    /// The number of successes that are left to its end; zero if there is none.
    left: Count,
    failed_at: Option<Instant>,
    /// A connection has proved good since the last failure.
    has_succeeded: bool,
    /// When the last connect started, or the last connection proved good.
    since: Instant,
    draw: u64,
}

impl Contention {
    pub(crate) fn connect_started(&mut self, now: Instant) {
        self.since = now;
    }

    /// Records a failed connect, which starts contention if it follows a success that follows a failure.
    pub(crate) fn failed(&mut self, now: Instant, draw: u64) {
        let is_recent = self.failed_at.is_some_and(|at| !now.is_past(at, WITHIN));
        let is_contended = is_recent && (self.has_succeeded || self.left.get() > 0);
        self.left = Count::default();
        if is_contended {
            (0..ENOUGH).for_each(|_| self.left.inc());
        }
        (self.failed_at, self.has_succeeded, self.draw) = (Some(now), false, draw);
    }

    /// Records a new connection that proved good, or brought no doubt.
    pub(crate) fn succeeded(&mut self, now: Instant) {
        let ends_an_outage =
            self.failed_at.is_some_and(|at| !now.is_past(at, ENDS_AN_OUTAGE_WITHIN));
        let is_first = !std::mem::replace(&mut self.has_succeeded, true);
        if self.left.get() > 0 {
            self.left.dec();
        } else if is_first && ends_an_outage {
            (0..ENOUGH_AT_FIRST).for_each(|_| self.left.inc());
        }
        self.since = now;
    }

    /// Forgets all failures: the connections of the pool are lost, or the user says that the backend is
    /// well.
    pub(crate) fn forget(&mut self) {
        *self = Contention { since: self.since, ..Contention::default() };
    }

    /// Returns when the next connect is due; `None` if it is not held up.
    pub(crate) fn due_at(&self) -> Option<Instant> {
        let left = u32::try_from(self.left.get()).ok().filter(|left| *left > 0)?;
        let halvings = u32::try_from(ENOUGH).unwrap_or(left).saturating_sub(left);
        let longest = jittered(LONGEST_PAUSE, JITTER, self.draw);
        let pause = longest.checked_div(2_u32.saturating_pow(halvings))?;
        let forgotten_at = self.failed_at.and_then(|at| at.checked_add(WITHIN));
        earliest([self.since.checked_add(pause), forgotten_at])
    }

    /// Returns how many connects may start now.
    pub(crate) fn allowed(&self, now: Instant) -> usize {
        match self.due_at() {
            None => usize::MAX,
            Some(_) if self.failed_at.is_some_and(|at| now.is_past(at, WITHIN)) => usize::MAX,
            Some(due_at) => usize::from(now >= due_at),
        }
    }
}

#[cfg(test)]
impl Contention {
    /// Adds what later decisions can see. Draws are always the same.
    pub(crate) fn project(&self, into: &mut crate::machine::projection::Projector) {
        let Contention { left, failed_at, has_succeeded, since, draw: _ } = self;
        into.number(left.get());
        into.age(*failed_at, WITHIN);
        into.flag(*has_succeeded);
        into.age(Some(*since), LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(n: u64) -> Instant {
        Instant::from_nanos(n * 1_000_000)
    }

    /// Returns the state after a failure at 0, a success, and a failure at `again`, of a connect that
    /// started then.
    fn failed_again(again: u64) -> Contention {
        let mut state = Contention::default();
        state.failed(millis(0), 0);
        state.succeeded(millis(10));
        state.connect_started(millis(again));
        state.failed(millis(again), 0);
        state
    }

    #[test]
    fn failures_without_a_success_are_no_contention() {
        let mut state = Contention::default();
        for at in (0..5_000).step_by(250) {
            state.connect_started(millis(at));
            state.failed(millis(at), 0);
            assert_eq!(state.allowed(millis(at)), usize::MAX);
        }
    }

    #[test]
    fn first_success_after_failures_holds_up_the_next_connects() {
        let mut state = Contention::default();
        state.succeeded(millis(0));
        assert_eq!(state.due_at(), None, "without a failure nothing is held up");
        state.failed(millis(10), 0);
        state.succeeded(millis(100));
        assert_eq!([599, 600].map(|at| state.allowed(millis(at))), [0, 1]);
        state.connect_started(millis(600));
        state.succeeded(millis(600));
        assert_eq!([849, 850].map(|at| state.allowed(millis(at))), [0, 1]);
        state.connect_started(millis(850));
        state.succeeded(millis(850));
        assert_eq!(state.allowed(millis(850)), usize::MAX);
        state.failed(millis(9_000), 0);
        state.forget();
        state.failed(millis(9_000), 0);
        state.succeeded(millis(11_000));
        assert_eq!(state.due_at(), None, "that failure was no outage");
    }

    #[test]
    fn failure_after_a_success_keeps_connects_a_second_apart() {
        let mut state = failed_again(500);
        assert_eq!([1_499, 1_500].map(|at| state.allowed(millis(at))), [0, 1]);
        state.connect_started(millis(1_500));
        state.failed(millis(1_501), u64::MAX);
        let due_in = state.due_at().map(|at| at.since(millis(1_500)).as_millis());
        assert!((850..=851).contains(&due_in.unwrap()), "shortened by up to 15 %: {due_in:?}");
    }

    #[test]
    fn each_success_halves_the_pause_and_the_third_ends_it() {
        let mut state = failed_again(500);
        let mut pauses = Vec::new();
        for _ in 0..3 {
            pauses.push(state.due_at().map(|at| at.since(millis(500)).as_millis()));
            state.succeeded(millis(500));
        }
        assert_eq!(pauses, [Some(1_000), Some(500), Some(250)]);
        assert_eq!(state.due_at(), None);
        state.failed(millis(900), 0);
        assert_eq!(state.due_at(), Some(millis(1_500)), "it is back with the next failure");
    }

    #[test]
    fn failures_ten_seconds_apart_are_no_contention() {
        assert_eq!(failed_again(10_000).due_at(), None);
        let mut state = failed_again(9_999);
        state.connect_started(millis(19_998));
        assert_eq!([19_998, 19_999].map(|at| state.allowed(millis(at))), [0, usize::MAX]);
    }

    #[test]
    fn what_is_forgotten_holds_nothing_up() {
        let mut state = failed_again(500);
        state.forget();
        assert_eq!(state.allowed(millis(500)), usize::MAX);
        state.failed(millis(600), 0);
        assert_eq!(state.due_at(), None);
    }
}
