//! Reacts to failed connects: how long to back off, and how many connects may then run at once.

use std::time::Duration;

use crate::config::{Backoff, Breaker};
use crate::machine::breaker::{BreakerState, Input};
use crate::machine::count::{Count, Sequence};
use crate::time::{Instant, jittered, random_part};

/// The failures in a row, the pause that follows them, and the slow start after it.
#[derive(Debug, Default, Clone)]
pub(crate) struct BackoffState {
    backoff: Backoff,
    breaker_config: Option<Breaker>,
    pub(crate) breaker: BreakerState,
    pub(crate) failures: Count,
    failed_at: Instant,
    /// When the pause ends or ended.
    pub(crate) retry_at: Option<Instant>,
    /// The number of connects that may run at once (slow start); `None` for no limit.
    limit: Option<usize>,
    /// Advances each time `limit` is narrowed, so that a connect that started before can tell.
    pub(crate) limit_epochs: Sequence,
}

/// The shortest pause. A shorter one would spin, since the maintenance task would never sleep.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// The connect limit after users lost several connections.
pub(crate) const CAUTIOUS_LIMIT: usize = 4;

/// The largest fraction by which the pause before a probe is shortened at random.
const PROBE_JITTER: f64 = 0.1;

impl BackoffState {
    pub(crate) fn new(backoff: Backoff, breaker: Option<Breaker>) -> Self {
        BackoffState { backoff, breaker_config: breaker, ..BackoffState::default() }
    }

    /// Applies new settings.
    ///
    /// Without a breaker the state becomes `Closed`. A pause longer than the new settings allow is
    /// cut to the longest they allow.
    pub(crate) fn reconfigure(&mut self, backoff: Backoff, breaker: Option<Breaker>) {
        if (backoff, breaker) == (self.backoff, self.breaker_config) {
            return;
        }
        (self.backoff, self.breaker_config) = (backoff, breaker);
        if breaker.is_none() {
            self.breaker = self.breaker.after(Input::Removed);
        }
        if let Some(until) = self.retry_at {
            let longest = match (self.breaker, breaker) {
                (BreakerState::Open | BreakerState::HalfOpen, Some(breaker)) => breaker.probe_every,
                _ => backoff.max,
            };
            self.pause(self.failed_at, longest);
            self.retry_at = self.retry_at.min(Some(until));
        }
    }

    /// Records a failed connect, or a connection that was dead on arrival. Its slot is freed
    /// separately.
    ///
    /// Connects that fail during a pause started before it and count as one with the failure that
    /// began it, unless the failed connect is the probe.
    pub(crate) fn failed(&mut self, now: Instant, draw: u64) {
        self.failed_at = now;
        self.set_limit(1);
        if self.breaker != BreakerState::HalfOpen && self.backing_off(now) {
            return;
        }
        let backoff = random_part(self.ceiling(), draw);
        self.failures.inc();
        let failures = self.failures.get();
        let breaker = self.breaker_config.filter(|breaker| {
            usize::try_from(breaker.failures).is_ok_and(|enough| failures >= enough)
        });
        self.breaker = self.breaker.after(Input::Failed { enough: breaker.is_some() });
        let pause =
            breaker.map_or(backoff, |breaker| jittered(breaker.probe_every, PROBE_JITTER, draw));
        self.pause(now, pause);
    }

    /// Records the start of a connect.
    ///
    /// If it is a probe, the next probe is due after `probe_every` even if the outcome of this one
    /// is never reported.
    pub(crate) fn connect_started(&mut self, now: Instant) {
        if let (BreakerState::Open | BreakerState::HalfOpen, Some(breaker)) =
            (self.breaker, self.breaker_config)
        {
            self.pause(now, breaker.probe_every);
        }
        self.breaker = self.breaker.after(Input::ConnectStarted);
    }

    /// Makes the next probe due: the outcome of the one under way will never be reported.
    pub(crate) fn probe_lost(&mut self) {
        if self.breaker == BreakerState::HalfOpen {
            self.retry_at = None;
        }
    }

    /// Widens the limit by one after a successful connect, and drops it once it reaches `enough`.
    pub(crate) fn connected(&mut self, enough: usize) {
        let wider = self.limit.map(|limit| limit.saturating_add(1));
        self.limit = wider.filter(|limit| *limit < enough);
    }

    /// Ends the pause: a connection opened at `created_at` passed a check.
    ///
    /// A connection older than the last failure says nothing about the backend as it is now, and
    /// changes nothing.
    pub(crate) fn succeeded(&mut self, created_at: Instant) {
        if created_at < self.failed_at {
            return;
        }
        self.failures = Count::default();
        self.retry_at = None;
        self.breaker = self.breaker.after(Input::Succeeded);
    }

    pub(crate) fn backing_off(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|retry_at| now < retry_at)
    }

    /// Returns how many connects may run at once.
    pub(crate) fn connect_limit(&self) -> usize {
        match self.breaker {
            BreakerState::Closed => self.limit.unwrap_or(usize::MAX),
            BreakerState::Open | BreakerState::HalfOpen => 1,
        }
    }

    /// Returns when the last connect failed, unless a success has followed.
    pub(crate) fn last_failure_at(&self) -> Option<Instant> {
        (self.failures.get() > 0).then_some(self.failed_at)
    }

    /// Narrows the limit without a pause, to one for slow start: several broken connections may mean
    /// a lost backend.
    pub(crate) fn narrow_to(&mut self, limit: usize) {
        if self.connect_limit() > limit {
            self.set_limit(limit);
        }
    }

    fn set_limit(&mut self, limit: usize) {
        self.limit = Some(limit);
        self.limit_epochs.next();
    }

    fn pause(&mut self, now: Instant, pause: Duration) {
        // A pause that is not representable must not read as no pause.
        self.retry_at = now.checked_add(pause.max(SHORTEST_PAUSE)).or(Some(Instant::NEVER));
    }

    fn ceiling(&self) -> Duration {
        let Backoff { first, max, factor } = self.backoff;
        let growth = i32::try_from(self.failures.get()).map_or(f64::INFINITY, |n| factor.powi(n));
        let ceiling = first.as_secs_f64() * growth;
        // NaN is zero times infinity: a pause that starts at zero stays zero. Infinity, and what
        // does not fit a Duration, are beyond `max` as well.
        if ceiling.is_nan() {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(ceiling).unwrap_or(max).min(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(n: u64) -> Instant {
        Instant::from_nanos(n * 1_000_000)
    }

    fn state(first: Duration, max: Duration, factor: f64) -> BackoffState {
        BackoffState::new(Backoff { first, max, factor }, None)
    }

    #[test]
    fn pauses_double_up_to_the_largest() {
        let mut state = BackoffState::new(Backoff::default(), None);
        let mut ceilings = Vec::new();
        let mut now = millis(0);
        for _ in 0..9 {
            ceilings.push(state.ceiling().as_millis());
            state.failed(now, u64::MAX);
            now = state.retry_at.unwrap();
        }
        assert_eq!(ceilings, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn failures_of_one_moment_count_once() {
        let mut state = BackoffState::new(Backoff::default(), None);
        for _ in 0..10 {
            state.failed(millis(1), u64::MAX);
        }
        assert_eq!(state.failures.get(), 1);
        assert!(state.backing_off(millis(2)));
        assert!(!state.backing_off(millis(51)));
    }

    #[test]
    fn a_good_connection_ends_it() {
        let mut state = BackoffState::new(Backoff::default(), None);
        state.failed(millis(1), u64::MAX);
        state.succeeded(millis(0));
        assert!(state.backing_off(millis(1)), "an old one proves nothing");
        state.succeeded(millis(1));
        assert!(!state.backing_off(millis(1)));
        assert_eq!(state.failures.get(), 0);
    }

    #[test]
    fn extremes_neither_panic_nor_overflow() {
        for first in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            for factor in [1.0, 2.0, f64::MAX] {
                let mut state = state(first, Duration::MAX, factor);
                for _ in 0..2_000 {
                    state.failed(millis(0), u64::MAX);
                    state.retry_at = None;
                }
                assert_eq!(state.ceiling() == Duration::ZERO, first == Duration::ZERO);
            }
        }
    }

    fn probing(failures: u32, probe_every: Duration) -> BackoffState {
        let breaker = Breaker { failures, probe_every };
        BackoffState::new(Backoff::default(), Some(breaker))
    }

    fn fail_at_the_end_of_the_pause(state: &mut BackoffState, draw: u64) -> Duration {
        let now = state.retry_at.unwrap_or(millis(0));
        state.connect_started(now);
        state.failed(now, draw);
        state.retry_at.unwrap().since(now)
    }

    #[test]
    fn enough_failures_open_the_breaker_and_a_good_connection_closes_it() {
        let mut state = probing(3, Duration::from_secs(1));
        for _ in 0..2 {
            fail_at_the_end_of_the_pause(&mut state, u64::MAX);
            assert_eq!(state.breaker, BreakerState::Closed);
        }
        let shortest = fail_at_the_end_of_the_pause(&mut state, u64::MAX);
        assert_eq!(state.breaker, BreakerState::Open);
        assert!((900..=901).contains(&shortest.as_millis()), "{shortest:?}");
        let longest = fail_at_the_end_of_the_pause(&mut state, 0);
        assert_eq!(longest, Duration::from_secs(1));
        let now = state.retry_at.unwrap();
        state.connect_started(now);
        assert_eq!(state.breaker, BreakerState::HalfOpen);
        state.connected(10);
        assert_eq!(state.connect_limit(), 1, "one probe, until it has proved good");
        assert!(state.backing_off(now));
        state.succeeded(now);
        assert_eq!(state.breaker, BreakerState::Closed);
        assert!(!state.backing_off(now));
        assert_eq!((state.connect_limit(), state.failures.get()), (2, 0));
    }

    #[test]
    fn a_probe_that_fails_at_once_counts_although_it_is_in_its_own_pause() {
        let mut state = probing(1, Duration::from_secs(1));
        fail_at_the_end_of_the_pause(&mut state, 0);
        fail_at_the_end_of_the_pause(&mut state, 0);
        assert_eq!(state.failures.get(), 2);
        assert_eq!(state.breaker, BreakerState::Open);
    }

    #[test]
    fn the_window_is_one_after_a_failure_and_grows_until_there_is_none() {
        let mut state = BackoffState::new(Backoff::default(), None);
        assert_eq!(state.connect_limit(), usize::MAX);
        let before = state.limit_epochs.last();
        state.failed(millis(0), 0);
        assert_ne!(state.limit_epochs.last(), before);
        let mut limits = vec![state.connect_limit()];
        for _ in 0..3 {
            state.connected(4);
            limits.push(state.connect_limit());
        }
        assert_eq!(limits, [1, 2, 3, usize::MAX]);
    }

    #[test]
    fn the_extremes_of_probe_every_neither_spin_nor_overflow() {
        for (every, pause) in [
            (Duration::ZERO, Some(SHORTEST_PAUSE)),
            (Duration::from_nanos(1), Some(SHORTEST_PAUSE)),
            (Duration::MAX, None),
        ] {
            let mut state = probing(1, every);
            state.failed(millis(0), 0);
            let never = Instant::from_nanos(u64::MAX);
            let expected = pause.and_then(|pause| millis(0).checked_add(pause));
            assert_eq!(state.retry_at, Some(expected.unwrap_or(never)));
        }
    }
}
