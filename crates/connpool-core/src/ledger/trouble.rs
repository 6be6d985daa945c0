//! What the pool knows of its backend's troubles: failures in a row, and when to try again.

use std::time::Duration;

use crate::Moment;
use crate::config::Backoff;
use crate::moment::random_part;
use crate::slab::Count;

/// Failures in a row and the pause they call for.
#[derive(Debug)]
pub(crate) struct Trouble {
    backoff: Backoff,
    failures: Count,
    failed_at: Moment,
    retry_at: Option<Moment>,
}

/// A pause shorter than this would be none: with nobody to wake at its end, only a spin.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

impl Trouble {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Trouble {
            backoff,
            failures: Count::default(),
            failed_at: Moment::ORIGIN,
            retry_at: None,
        }
    }

    /// Another backoff, from the next failure on.
    pub(crate) fn set_backoff(&mut self, backoff: Backoff) {
        self.backoff = backoff;
    }

    /// A connect failed. Those that fail during a pause began before it and count as one with the
    /// failure that began it.
    pub(crate) fn failed(&mut self, now: Moment, draw: u64) {
        self.failed_at = now;
        if self.pausing(now) {
            return;
        }
        let pause = random_part(self.ceiling(), draw).max(SHORTEST_PAUSE);
        self.failures.one_more();
        // A pause too long to be told must not read as no pause.
        self.retry_at = now
            .checked_add(pause)
            .or(Some(Moment::from_nanos(u64::MAX)));
    }

    /// A connection opened at `born` proved good. One that is older than the last failure says
    /// nothing about how the backend is now.
    pub(crate) fn proved_good(&mut self, born: Moment) {
        if born < self.failed_at {
            return;
        }
        self.failures = Count::default();
        self.retry_at = None;
    }

    /// Whether it is too early to try again.
    pub(crate) fn pausing(&self, now: Moment) -> bool {
        self.retry_at.is_some_and(|retry_at| now < retry_at)
    }

    /// When the pause ends, or ended.
    pub(crate) fn retry_at(&self) -> Option<Moment> {
        self.retry_at
    }

    pub(crate) fn failures(&self) -> usize {
        self.failures.get()
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

    fn millis(n: u64) -> Moment {
        Moment::from_nanos(n * 1_000_000)
    }

    fn trouble(first: Duration, max: Duration, factor: f64) -> Trouble {
        Trouble::new(Backoff { first, max, factor })
    }

    #[test]
    fn pauses_double_up_to_the_largest() {
        let mut trouble = Trouble::new(Backoff::default());
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
        let mut trouble = Trouble::new(Backoff::default());
        for _ in 0..10 {
            trouble.failed(millis(1), u64::MAX);
        }
        assert_eq!(trouble.failures(), 1);
        assert!(trouble.pausing(millis(2)));
        assert!(!trouble.pausing(millis(51)));
    }

    #[test]
    fn a_good_connection_ends_it() {
        let mut trouble = Trouble::new(Backoff::default());
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
}
