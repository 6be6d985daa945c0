//! Detects bursts: several connections found broken within a short time.

use std::time::Duration;

use crate::time::Instant;

/// The number of broken connections within [`WITHIN`] that make a burst.
const ENOUGH: usize = 3;
const WITHIN: Duration = Duration::from_secs(1);

/// Reports a burst at most once per [`WITHIN`].
#[derive(Debug, Default, Clone)]
pub(crate) struct BurstDetector {
    /// The most recent finds that have not been part of a burst, oldest first.
    found: [Option<Instant>; ENOUGH - 1],
    raised_at: Option<Instant>,
}

impl BurstDetector {
    /// Records a broken connection and returns whether it completes a burst.
    ///
    /// Finds within [`WITHIN`] after a burst belong to it and are not counted.
    pub(crate) fn record(&mut self, now: Instant) -> bool {
        if self.raised_at.is_some_and(|at| !now.is_past(at, WITHIN)) {
            return false;
        }
        let [oldest, newer] = self.found;
        if oldest.is_some_and(|at| !now.is_past(at, WITHIN)) {
            *self = BurstDetector { found: [None; ENOUGH - 1], raised_at: Some(now) };
            return true;
        }
        self.found = [newer, Some(now)];
        false
    }
}

#[cfg(test)]
impl BurstDetector {
    /// Adds what later decisions can see.
    pub(crate) fn project(&self, into: &mut crate::machine::projection::Projector) {
        let BurstDetector { found, raised_at } = self;
        found.iter().chain([raised_at]).for_each(|at| into.age(*at, WITHIN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns which of the finds at these milliseconds complete a burst.
    fn bursts(found: &[u64]) -> Vec<u64> {
        let mut detector = BurstDetector::default();
        let completes = |at: &u64| detector.record(Instant::from_nanos(at * 1_000_000));
        found.iter().copied().filter(completes).collect()
    }

    #[test]
    fn three_finds_within_a_second_are_a_burst_and_three_that_take_longer_are_not() {
        assert_eq!(bursts(&[0, 1]), [0; 0]);
        assert_eq!(bursts(&[0, 500, 999]), [999]);
        assert_eq!(bursts(&[0, 500, 1_000, 1_500, 2_000]), [0; 0]);
        assert_eq!(bursts(&[0, 900, 1_000, 1_100]), [1_100]);
    }

    #[test]
    fn bursts_are_reported_at_most_once_a_second() {
        let every_100_ms: Vec<u64> = (0..30).map(|nth| nth * 100).collect();
        assert_eq!(bursts(&every_100_ms), [200, 1_400, 2_600]);
    }
}
