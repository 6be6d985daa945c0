//! What the pool knows of its backend's troubles: failures in a row, when to try again, and with
//! how many connects at once.

use std::time::Duration;

use crate::config::{Backoff, Breaker};
use crate::machine::breaker::Happening;
use crate::machine::slab::{Count, Sequence};
use crate::time::{jittered, random_part};
use crate::{BreakerState, Instant};

/// Failures in a row, the pause they call for, and how many connects may be under way after it.
#[derive(Debug)]
pub(crate) struct Trouble {
    backoff: Backoff,
    breaker: Option<Breaker>,
    state: BreakerState,
    failures: Count,
    failed_at: Instant,
    retry_at: Option<Instant>,
    /// How many connects may be under way at once (slow start); `None`: any number.
    window: Option<usize>,
    /// One for each time that the window was narrowed.
    closings: Sequence,
}

/// A pause shorter than this would be none: with nobody to wake at its end, only a spin.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// How many connects may be under way at once after users lost several connections.
const CAUTIOUS_WINDOW: usize = 4;

/// By how much of it, at most, the pause before a probe is shortened at random.
const PROBE_JITTER: f64 = 0.1;

impl Trouble {
    pub(crate) fn new(backoff: Backoff, breaker: Option<Breaker>) -> Self {
        Trouble {
            backoff,
            breaker,
            state: BreakerState::Closed,
            failures: Count::default(),
            failed_at: Instant::ORIGIN,
            retry_at: None,
            window: None,
            closings: Sequence::default(),
        }
    }

    /// Other settings. Without a breaker none is open; a pause longer than they allow ends when the
    /// longest that they do allow does.
    pub(crate) fn reconfigure(&mut self, backoff: Backoff, breaker: Option<Breaker>) {
        if (backoff, breaker) == (self.backoff, self.breaker) {
            return;
        }
        (self.backoff, self.breaker) = (backoff, breaker);
        if breaker.is_none() {
            self.state = self.state.after(Happening::Removed);
        }
        if let Some(until) = self.retry_at {
            let longest = match (self.state, breaker) {
                (BreakerState::Open | BreakerState::HalfOpen, Some(breaker)) => breaker.probe_every,
                _ => backoff.max,
            };
            self.pause(self.failed_at, longest);
            self.retry_at = self.retry_at.min(Some(until));
        }
    }

    /// A connect failed. Those that fail during a pause began before it and count as one with the
    /// failure that began it, unless it is the probe that failed.
    pub(crate) fn failed(&mut self, now: Instant, draw: u64) {
        self.failed_at = now;
        self.set_window(1);
        if self.state != BreakerState::HalfOpen && self.pausing(now) {
            return;
        }
        let backoff = random_part(self.ceiling(), draw);
        self.failures.one_more();
        let failures = self.failures.get();
        let breaker = self.breaker.filter(|breaker| {
            usize::try_from(breaker.failures).is_ok_and(|enough| failures >= enough)
        });
        self.state = self.state.after(Happening::Failed {
            enough: breaker.is_some(),
        });
        let pause = breaker.map_or(backoff, |breaker| {
            jittered(breaker.probe_every, PROBE_JITTER, draw)
        });
        self.pause(now, pause);
    }

    /// Connections were lost, and maybe the backend with them: slow start, without a pause.
    pub(crate) fn is_suspected(&mut self) {
        self.narrow_window(1);
    }

    /// Users lost connections, for whatever reason: some caution, that costs little if all is well.
    pub(crate) fn is_doubted(&mut self) {
        self.narrow_window(CAUTIOUS_WINDOW);
    }

    /// A connect begins. If it is a probe, the next one is not due before `probe_every`, should
    /// nobody tell what became of this one.
    pub(crate) fn begins(&mut self, now: Instant) {
        if let (BreakerState::Open | BreakerState::HalfOpen, Some(breaker)) =
            (self.state, self.breaker)
        {
            self.pause(now, breaker.probe_every);
        }
        self.state = self.state.after(Happening::Begins);
    }

    /// Nobody will tell what became of the probe: if there was one, the next is due.
    pub(crate) fn probe_is_gone(&mut self) {
        if self.state == BreakerState::HalfOpen {
            self.retry_at = None;
        }
    }

    /// A connect ended well: there may be one more at once. With a window of `enough` there is no
    /// need of one.
    pub(crate) fn connected(&mut self, enough: usize) {
        let wider = self.window.map(|window| window.saturating_add(1));
        self.window = wider.filter(|window| *window < enough);
    }

    /// A connection opened at `born` proved good. One that is older than the last failure says
    /// nothing about how the backend is now.
    pub(crate) fn proved_good(&mut self, born: Instant) {
        if born < self.failed_at {
            return;
        }
        self.failures = Count::default();
        self.retry_at = None;
        self.state = self.state.after(Happening::ProvedGood);
    }

    /// Whether it is too early to try again.
    pub(crate) fn pausing(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|retry_at| now < retry_at)
    }

    /// When the pause ends, or ended.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// How many connects may be under way at once.
    pub(crate) fn window(&self) -> usize {
        match self.state {
            BreakerState::Closed => self.window.unwrap_or(usize::MAX),
            BreakerState::Open | BreakerState::HalfOpen => 1,
        }
    }

    /// A number that changes when the window is narrowed: whoever began before may have to stand back.
    pub(crate) fn closing(&self) -> u64 {
        self.closings.last()
    }

    pub(crate) fn failures(&self) -> usize {
        self.failures.get()
    }

    pub(crate) fn breaker(&self) -> BreakerState {
        self.state
    }

    /// When the last failure was, of those that are not over.
    pub(crate) fn last_failure_at(&self) -> Option<Instant> {
        (self.failures() > 0).then_some(self.failed_at)
    }

    fn narrow_window(&mut self, most: usize) {
        if self.window() > most {
            self.set_window(most);
        }
    }

    fn set_window(&mut self, most: usize) {
        self.window = Some(most);
        self.closings.next();
    }

    fn pause(&mut self, now: Instant, pause: Duration) {
        // A pause too long to be told must not read as no pause.
        self.retry_at = now
            .checked_add(pause.max(SHORTEST_PAUSE))
            .or(Some(Instant::NEVER));
    }

    fn ceiling(&self) -> Duration {
        let Backoff { first, max, factor } = self.backoff;
        let growth = i32::try_from(self.failures.get()).map_or(f64::INFINITY, |n| factor.powi(n));
        let ceiling = first.as_secs_f64() * growth;
        // Infinity and what no Duration can hold are beyond `max` as well; NaN is zero times
        // infinity, and a pause that begins at zero stays there.
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

    fn trouble(first: Duration, max: Duration, factor: f64) -> Trouble {
        Trouble::new(Backoff { first, max, factor }, None)
    }

    #[test]
    fn pauses_double_up_to_the_largest() {
        let mut trouble = Trouble::new(Backoff::default(), None);
        let mut ceilings = Vec::new();
        let mut now = millis(0);
        for _ in 0..9 {
            ceilings.push(trouble.ceiling().as_millis());
            trouble.failed(now, u64::MAX);
            now = trouble.retry_at().unwrap();
        }
        assert_eq!(ceilings, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn failures_of_one_moment_count_once() {
        let mut trouble = Trouble::new(Backoff::default(), None);
        for _ in 0..10 {
            trouble.failed(millis(1), u64::MAX);
        }
        assert_eq!(trouble.failures(), 1);
        assert!(trouble.pausing(millis(2)));
        assert!(!trouble.pausing(millis(51)));
    }

    #[test]
    fn a_good_connection_ends_it() {
        let mut trouble = Trouble::new(Backoff::default(), None);
        trouble.failed(millis(1), u64::MAX);
        trouble.proved_good(millis(0));
        assert!(trouble.pausing(millis(1)), "an old one proves nothing");
        trouble.proved_good(millis(1));
        assert!(!trouble.pausing(millis(1)));
        assert_eq!(trouble.failures(), 0);
    }

    #[test]
    fn extremes_neither_panic_nor_overflow() {
        for first in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            for factor in [1.0, 2.0, f64::MAX] {
                let mut trouble = trouble(first, Duration::MAX, factor);
                for _ in 0..2_000 {
                    trouble.failed(millis(0), u64::MAX);
                    trouble.retry_at = None;
                }
                assert_eq!(trouble.ceiling() == Duration::ZERO, first == Duration::ZERO);
            }
        }
    }

    fn probing(failures: u32, probe_every: Duration) -> Trouble {
        let breaker = Breaker {
            failures,
            probe_every,
        };
        Trouble::new(Backoff::default(), Some(breaker))
    }

    fn fail_at_the_end_of_the_pause(trouble: &mut Trouble, draw: u64) -> Duration {
        let now = trouble.retry_at().unwrap_or(millis(0));
        trouble.begins(now);
        trouble.failed(now, draw);
        trouble.retry_at().unwrap().since(now)
    }

    #[test]
    fn enough_failures_open_the_breaker_and_a_good_connection_closes_it() {
        let mut trouble = probing(3, Duration::from_secs(1));
        for _ in 0..2 {
            fail_at_the_end_of_the_pause(&mut trouble, u64::MAX);
            assert_eq!(trouble.breaker(), BreakerState::Closed);
        }
        let shortest = fail_at_the_end_of_the_pause(&mut trouble, u64::MAX);
        assert_eq!(trouble.breaker(), BreakerState::Open);
        assert!((900..=901).contains(&shortest.as_millis()), "{shortest:?}");
        let longest = fail_at_the_end_of_the_pause(&mut trouble, 0);
        assert_eq!(longest, Duration::from_secs(1));
        let now = trouble.retry_at().unwrap();
        trouble.begins(now);
        assert_eq!(trouble.breaker(), BreakerState::HalfOpen);
        trouble.connected(10);
        assert_eq!(trouble.window(), 1, "one probe, until it has proved good");
        assert!(trouble.pausing(now));
        trouble.proved_good(now);
        assert_eq!(trouble.breaker(), BreakerState::Closed);
        assert!(!trouble.pausing(now));
        assert_eq!((trouble.window(), trouble.failures()), (2, 0));
    }

    #[test]
    fn a_probe_that_fails_at_once_counts_although_it_is_in_its_own_pause() {
        let mut trouble = probing(1, Duration::from_secs(1));
        fail_at_the_end_of_the_pause(&mut trouble, 0);
        fail_at_the_end_of_the_pause(&mut trouble, 0);
        assert_eq!(trouble.failures(), 2);
        assert_eq!(trouble.breaker(), BreakerState::Open);
    }

    #[test]
    fn the_window_is_one_after_a_failure_and_grows_until_there_is_none() {
        let mut trouble = Trouble::new(Backoff::default(), None);
        assert_eq!(trouble.window(), usize::MAX);
        let before = trouble.closing();
        trouble.failed(millis(0), 0);
        assert_ne!(trouble.closing(), before);
        let mut windows = vec![trouble.window()];
        for _ in 0..3 {
            trouble.connected(4);
            windows.push(trouble.window());
        }
        assert_eq!(windows, [1, 2, 3, usize::MAX]);
    }

    #[test]
    fn the_extremes_of_probe_every_neither_spin_nor_overflow() {
        for (every, pause) in [
            (Duration::ZERO, Some(SHORTEST_PAUSE)),
            (Duration::from_nanos(1), Some(SHORTEST_PAUSE)),
            (Duration::MAX, None),
        ] {
            let mut trouble = probing(1, every);
            trouble.failed(millis(0), 0);
            let never = Instant::from_nanos(u64::MAX);
            let expected = pause.and_then(|pause| millis(0).checked_add(pause));
            assert_eq!(trouble.retry_at(), Some(expected.unwrap_or(never)));
        }
    }
}
