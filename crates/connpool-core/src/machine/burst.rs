//! When the fate of some connections speaks against the others.

use std::time::Duration;

use crate::Instant;

/// How many connections found broken, within which time, make the others suspect.
const ENOUGH: usize = 3;
const WITHIN: Duration = Duration::from_secs(1);

/// Counts epochs: a connection whose last proof of life is of an older one is suspect.
///
/// An epoch and not a moment, since a pool without limits reads no clock.
#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    epoch: u64,
    /// When the last ones were found broken that have not raised it, the oldest first.
    found: [Option<Instant>; ENOUGH - 1],
    raised_at: Option<Instant>,
}

impl Suspicion {
    /// A check found a connection broken. Says whether all others are suspect from now on, which
    /// they become once in a second at most: what is found so soon after tells nothing new.
    pub(crate) fn found_broken(&mut self, now: Instant) -> bool {
        if self.raised_at.is_some_and(|at| !now.is_past(at, WITHIN)) {
            return false;
        }
        let [oldest, newer] = self.found;
        if oldest.is_some_and(|at| !now.is_past(at, WITHIN)) {
            *self = Suspicion {
                epoch: self.epoch.saturating_add(1),
                found: [None; ENOUGH - 1],
                raised_at: Some(now),
            };
            return true;
        }
        self.found = [newer, Some(now)];
        false
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of those found broken at these milliseconds raise it.
    fn raised_by(found: &[u64]) -> Vec<u64> {
        let mut suspicion = Suspicion::default();
        let raises = |at: &u64| suspicion.found_broken(Instant::from_nanos(at * 1_000_000));
        let raised: Vec<u64> = found.iter().copied().filter(raises).collect();
        assert_eq!(suspicion.epoch(), raised.len() as u64);
        raised
    }

    #[test]
    fn three_within_a_second_are_enough_and_three_that_take_longer_are_not() {
        assert_eq!(raised_by(&[0, 1]), [0; 0]);
        assert_eq!(raised_by(&[0, 500, 999]), [999]);
        assert_eq!(raised_by(&[0, 500, 1_000, 1_500, 2_000]), [0; 0]);
        assert_eq!(raised_by(&[0, 900, 1_000, 1_100]), [1_100]);
    }

    #[test]
    fn it_is_raised_once_a_second_at_most() {
        let every_100_ms: Vec<u64> = (0..30).map(|nth| nth * 100).collect();
        assert_eq!(raised_by(&every_100_ms), [200, 1_400, 2_600]);
    }
}
