//! Reacts to failed connects: how long to back off, how many connects may then run at once, and when
//! callers are told.

use std::time::Duration;

use crate::config::{Backoff, Breaker, PoolConfig};
use crate::machine::breaker::{BreakerState, Input};
use crate::machine::connects::HANGS_AFTER;
use crate::machine::count::{Count, Sequence};
use crate::time::{Instant, Nanos, earliest, jittered};

/// The failures in a row, the pause that follows them, and the slow start after it.
#[derive(Debug, Default, Clone)]
pub(crate) struct BackoffState {
    backoff: Backoff,
    breaker_config: Option<Breaker>,
    fail_fast_after: Option<Duration>,
    pub(crate) breaker: BreakerState,
    pub(crate) failures: Count,
    /// When the first of the failures in a row began, and when the last one ended.
    failing_since: Instant,
    failed_at: Instant,
    /// The last failure says nothing about the backend, and no caller is told.
    was_dropped: bool,
    /// A connection opened then proved good, or brought no doubt.
    succeeded_at: Instant,
    has_connected: bool,
    /// When the last connection opened.
    opened_at: Option<Instant>,
    /// The number of permanent failures in a row, two at most.
    permanent: u8,
    /// When the pause ends or ended, if no caller asks.
    pub(crate) retry_at: Option<Instant>,
    /// The start and the random draw of the pause that is shortened while a caller asks.
    paused_at: Instant,
    draw: u64,
    /// The number of connects that may run at once (slow start); `None` for no limit.
    limit: Option<usize>,
    /// Advances each time `limit` is narrowed, so that a connect that started before can tell.
    pub(crate) limit_epochs: Sequence,
    /// The number of checkouts when they were last counted, and when it last changed.
    lendings: u64,
    lent_at: Option<Instant>,
}

/// The shortest pause. A shorter one would spin, since the maintenance task would never sleep.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// The connect limit after users lost several connections.
pub(crate) const CAUTIOUS_LIMIT: usize = 4;

/// The largest fraction by which a pause is shortened at random.
const JITTER: f64 = 0.15;

/// The longest pause while a caller asks, in an outage that is younger than [`YOUNG`].
const YOUNG_PAUSE: Duration = Duration::from_millis(250);
const YOUNG: Duration = Duration::from_secs(5);

/// The jitter of the first of these pauses. The clients of a backend fail at the same moment, and their next
/// attempts should not come at one moment too. With more, an outage could begin with six attempts in a
/// second.
const FIRST_JITTER: f64 = 0.4;

/// The longest pause while a caller asks.
const ASKED_PAUSE: Duration = Duration::from_secs(1);

/// A failure is told to new callers for this long. It is longer than [`ASKED_PAUSE`], so that during
/// an outage there is always one to tell.
const TOLD_FOR: Duration = Duration::from_millis(1_100);

/// A connect that failed, or a connection that failed its first check.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Failure {
    /// The start of the connect. A failure is as old as that.
    pub(crate) began: Instant,
    /// Repeating it is pointless, says the manager.
    pub(crate) is_permanent: bool,
    /// Something is open that the failure does not concern.
    pub(crate) beside_open: bool,
    /// The connect ended with its runtime, which says nothing about the backend.
    pub(crate) was_dropped: bool,
    pub(crate) draw: u64,
}

impl BackoffState {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        BackoffState {
            backoff: config.backoff,
            breaker_config: config.breaker,
            fail_fast_after: config.fail_fast_after,
            ..BackoffState::default()
        }
    }

    /// Applies new settings, and ends the pause after a permanent failure.
    ///
    /// Without a breaker the state becomes `Closed`. A pause longer than the new settings allow is
    /// cut to the longest they allow.
    pub(crate) fn reconfigure(&mut self, config: &PoolConfig) {
        self.fail_fast_after = config.fail_fast_after;
        if self.permanent > 0 {
            self.forget();
        }
        let (backoff, breaker) = (config.backoff, config.breaker);
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

    /// Records a failed connect, or a connection that was dead on arrival, and returns whether it says
    /// anything about the backend as it is now. Its slot is freed separately.
    ///
    /// Connects that fail during a pause started before it and count as one with the failure that
    /// began it, unless the failed connect is the probe. One that began before the last success says
    /// nothing about the backend as it is now.
    pub(crate) fn failed(&mut self, failure: Failure, now: Instant) -> bool {
        let Failure { began, is_permanent, beside_open, was_dropped, draw } = failure;
        if self.has_connected && began < self.succeeded_at {
            return false;
        }
        let is_probe = self.failures.get() > 0 && began >= self.failed_at;
        (self.failed_at, self.was_dropped) = (now, was_dropped);
        self.set_limit(1);
        if self.failures.get() == 0 {
            self.failing_since = began;
        }
        let was_permanent = self.is_permanent();
        // One beside something open stops nothing, two in a row do.
        self.permanent = match (is_permanent, self.permanent, beside_open) {
            (false, ..) => 0,
            (true, 0, true) => 1,
            (true, ..) => 2,
        };
        let counts_as_one = self.breaker != BreakerState::HalfOpen && self.backing_off(now, true);
        if counts_as_one && was_permanent == self.is_permanent() {
            return true;
        }
        let ceiling = self.ceiling();
        self.failures.inc();
        let failures = self.failures.get();
        let breaker = self.breaker_config.filter(|breaker| {
            usize::try_from(breaker.failures).is_ok_and(|enough| failures >= enough)
        });
        self.breaker = self.breaker.after(Input::Failed { enough: breaker.is_some() });
        // Attempts are a pause apart, however long each takes; and others have followed one that hung.
        let from_start = is_probe || now.is_past(began, HANGS_AFTER);
        (self.paused_at, self.draw) = (if from_start { began } else { now }, draw);
        let longest = breaker.map_or(ceiling, |breaker| breaker.probe_every);
        let pause = match self.is_permanent() {
            true => self.backoff.max.max(TOLD_FOR),
            false => jittered(longest, JITTER, draw),
        };
        self.pause(now, pause);
        true
    }

    /// Returns whether connects are pointless until the settings or the pool change.
    pub(crate) fn is_permanent(&self) -> bool {
        self.permanent == 2
    }

    /// Records the start of a connect.
    ///
    /// If it is a probe, the next probe is due after `probe_every` even if the outcome of this one
    /// is never reported.
    pub(crate) fn connect_started(&mut self, now: Instant) {
        if let (BreakerState::Open | BreakerState::HalfOpen, Some(breaker)) =
            (self.breaker, self.breaker_config)
        {
            self.paused_at = now;
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
    pub(crate) fn connected(&mut self, now: Instant, enough: usize) {
        let wider = self.limit.map(|limit| limit.saturating_add(1));
        self.limit = wider.filter(|limit| *limit < enough);
        self.opened_at = Some(now);
        if !self.is_unproven() {
            self.succeeded_at = now;
        }
    }

    /// Returns whether it matters how a new connection does: the last connects failed, or none has
    /// brought a good connection yet.
    pub(crate) fn is_unproven(&self) -> bool {
        self.failures.get() > 0 || !self.has_connected
    }

    /// Notes that the user was told of open connections, so that the address cannot be wrong.
    pub(crate) fn has_warmed_up(&mut self) {
        self.has_connected = true;
    }

    /// Ends the pause: a connection opened at `created_at` passed a check.
    ///
    /// A connection older than the last failure says nothing about the backend as it is now, and
    /// changes nothing.
    pub(crate) fn succeeded(&mut self, created_at: Instant) {
        if created_at < self.failed_at {
            return;
        }
        self.has_connected = true;
        self.succeeded_at = self.succeeded_at.max(created_at);
        self.forget();
    }

    /// Returns `now`, or the time of the last success if that is later.
    pub(crate) fn after_success(&self, now: Instant) -> Instant {
        now.max(self.succeeded_at)
    }

    /// Ends the pause, as if no connect had failed.
    pub(crate) fn forget(&mut self) {
        (self.failures, self.permanent) = (Count::default(), 0);
        self.retry_at = None;
        self.breaker = self.breaker.after(Input::Succeeded);
    }

    /// Like [`forget`](BackoffState::forget), and no open connection can come back.
    pub(crate) fn clear(&mut self) {
        self.forget();
        self.lent_at = None;
    }

    /// Returns when the next connect is due; `None` if it is not held up. `asked` says that a caller
    /// waits for it.
    pub(crate) fn due_at(&self, asked: bool) -> Option<Instant> {
        let retry_at = self.retry_at?;
        if self.is_permanent() {
            return Some(if asked { retry_at } else { Instant::NEVER });
        }
        let sooner = self.paused_at.checked_add(self.asked_pause()).filter(|_| asked);
        earliest([Some(retry_at), sooner])
    }

    /// Returns the longest pause while a caller asks.
    fn asked_pause(&self) -> Duration {
        let is_old = self.paused_at.is_past(self.failing_since, YOUNG);
        let (longest, jitter) = match self.failures.get() {
            _ if is_old => (ASKED_PAUSE, JITTER),
            1 => (YOUNG_PAUSE, FIRST_JITTER),
            _ => (YOUNG_PAUSE, JITTER),
        };
        jittered(longest, jitter, self.draw)
    }

    pub(crate) fn backing_off(&self, now: Instant, asked: bool) -> bool {
        self.due_at(asked).is_some_and(|due_at| now < due_at)
    }

    /// Records how many connections were checked out so far.
    pub(crate) fn count_lendings(&mut self, lendings: u64, now: Instant) {
        if std::mem::replace(&mut self.lendings, lendings) != lendings {
            self.lent_at = Some(now);
        }
    }

    /// Records that a connection is checked out now.
    pub(crate) fn lent(&mut self, now: Instant) {
        self.lent_at = Some(now);
    }

    /// Returns when the waiters are told that connects fail, if nothing changes until then.
    ///
    /// `oldest` is when the oldest connect under way began, and `something_is_open` says that a
    /// connection may come back. One that opened or was checked out longer than `fail_fast_after` ago does
    /// not count. A pool that never connected waits for the connects that began with the failed one.
    pub(crate) fn tells_at(
        &self,
        oldest: Option<Instant>,
        something_is_open: bool,
        now: Instant,
    ) -> Option<Instant> {
        let patience = Nanos::from(self.fail_fast_after);
        let comes_back = |at: Instant| patience.after(at).unwrap_or(Instant::NEVER);
        let permanent = self.is_permanent() && self.retry_at.is_some_and(|end| now < end);
        let lent_at = self.lent_at.filter(|_| something_is_open || !permanent);
        let opened_at = self.opened_at.filter(|_| something_is_open);
        let not_before = lent_at.max(opened_at).map_or(Instant::ORIGIN, comes_back);
        if permanent {
            return Some(not_before).filter(|at| *at < Instant::NEVER);
        }
        let patience = patience.as_duration()?;
        let later = |at: Instant, span: Duration| at.checked_add(span);
        let hangs = |span: Duration| oldest.and_then(|began| later(began, span));
        let patient_until = match self.has_connected {
            true => later(self.failing_since, patience)?,
            false => match oldest {
                Some(began) if began < self.failed_at => later(began, HANGS_AFTER)?,
                _ => self.failing_since,
            },
        };
        // It is also told during the probe that follows it, until that one hangs.
        let told_until = later(self.failed_at, TOLD_FOR);
        let told_for = match oldest {
            Some(began) if Some(began) < told_until => TOLD_FOR.saturating_add(HANGS_AFTER),
            _ => TOLD_FOR,
        };
        let valid = |at: Instant, span: Duration| {
            later(self.failed_at, span).is_none_or(|end| now.max(at) < end)
        };
        let failing = |at: Option<Instant>, span: Duration| {
            let at = at?.max(patient_until).max(not_before);
            (self.failures.get() > 0 && !self.was_dropped && valid(at, span)).then_some(at)
        };
        earliest([
            failing(Some(patient_until), told_for),
            failing(hangs(HANGS_AFTER), patience.saturating_add(TOLD_FOR)),
            hangs(patience.max(HANGS_AFTER))
                .filter(|_| oldest >= Some(self.succeeded_at) || !self.has_connected)
                .map(|at| at.max(not_before)),
        ])
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
mod projection;

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(n: u64) -> Instant {
        Instant::from_nanos(n * 1_000_000)
    }

    fn with(change: impl FnOnce(&mut PoolConfig)) -> BackoffState {
        let mut config = PoolConfig { breaker: None, ..PoolConfig::default() };
        change(&mut config);
        BackoffState::new(&config)
    }

    fn state(first: Duration, max: Duration, factor: f64) -> BackoffState {
        with(|config| config.backoff = Backoff { first, max, factor })
    }

    fn failure(began: Instant, draw: u64) -> Failure {
        Failure { began, draw, ..Failure::default() }
    }

    impl BackoffState {
        fn fail(&mut self, now: Instant, draw: u64) {
            assert!(self.failed(failure(now, draw), now));
        }
    }

    #[test]
    fn pauses_double_up_to_the_largest() {
        let mut state = with(|_| ());
        let mut ceilings = Vec::new();
        let mut now = millis(0);
        for _ in 0..9 {
            ceilings.push(state.ceiling().as_millis());
            state.fail(now, u64::MAX);
            now = state.retry_at.unwrap();
        }
        assert_eq!(ceilings, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000, 5000]);
    }

    #[test]
    fn failures_of_one_moment_count_once() {
        let mut state = with(|_| ());
        for _ in 0..10 {
            state.fail(millis(1), u64::MAX);
        }
        assert_eq!(state.failures.get(), 1);
        assert!(state.backing_off(millis(2), false));
        assert!(!state.backing_off(millis(251), false));
    }

    #[test]
    fn a_good_connection_ends_it() {
        let mut state = with(|_| ());
        state.fail(millis(1), u64::MAX);
        state.succeeded(millis(0));
        assert!(state.backing_off(millis(1), false), "an old one proves nothing");
        state.succeeded(millis(1));
        assert!(!state.backing_off(millis(1), false));
        assert_eq!(state.failures.get(), 0);
    }

    #[test]
    fn extremes_neither_panic_nor_overflow() {
        for first in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            for factor in [1.0, 2.0, f64::MAX] {
                let mut state = state(first, Duration::MAX, factor);
                for _ in 0..2_000 {
                    state.fail(millis(0), u64::MAX);
                    state.retry_at = None;
                }
                assert_eq!(state.ceiling() == Duration::ZERO, first == Duration::ZERO);
            }
        }
    }

    fn probing(failures: u32, probe_every: Duration) -> BackoffState {
        let breaker = Breaker { failures, probe_every };
        with(|config| config.breaker = Some(breaker))
    }

    fn fail_at_the_end_of_the_pause(state: &mut BackoffState, draw: u64) -> Duration {
        let now = state.retry_at.unwrap_or(millis(0));
        state.connect_started(now);
        state.fail(now, draw);
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
        assert!((850..=851).contains(&shortest.as_millis()), "{shortest:?}");
        let longest = fail_at_the_end_of_the_pause(&mut state, 0);
        assert_eq!(longest, Duration::from_secs(1));
        let now = state.retry_at.unwrap();
        state.connect_started(now);
        assert_eq!(state.breaker, BreakerState::HalfOpen);
        state.connected(now, 10);
        assert_eq!(state.connect_limit(), 1, "one probe, until it has proved good");
        assert!(state.backing_off(now, false));
        state.succeeded(now);
        assert_eq!(state.breaker, BreakerState::Closed);
        assert!(!state.backing_off(now, false));
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
        let mut state = with(|_| ());
        assert_eq!(state.connect_limit(), usize::MAX);
        let before = state.limit_epochs.last();
        state.fail(millis(0), 0);
        assert_ne!(state.limit_epochs.last(), before);
        let mut limits = vec![state.connect_limit()];
        for _ in 0..3 {
            state.connected(millis(0), 4);
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
            state.fail(millis(0), 0);
            let never = Instant::from_nanos(u64::MAX);
            let expected = pause.and_then(|pause| millis(0).checked_add(pause));
            assert_eq!(state.retry_at, Some(expected.unwrap_or(never)));
        }
    }
}
