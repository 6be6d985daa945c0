//! Notices that time has passed which the monotonic clock did not count, as in a suspend.

use std::time::Duration;

use crate::config::PoolConfig;
use crate::time::Instant;

/// A clock that is corrected by less than this has not leapt.
const LEAST: Duration = Duration::from_secs(1);

/// How long a connection must have been idle for a `get` to have the clocks compared, and how long a
/// comparison is good for. A `get` from a busy pool needs none.
pub(crate) const COMPARED_AFTER: Duration = Duration::from_millis(100);

/// Compares the monotonic clock with the wall clock.
#[derive(Debug, Clone)]
pub(crate) struct LeapDetector {
    /// A forward drift above this is a leap.
    tolerance: Duration,
    /// The last readings of the two clocks.
    last: Option<(Instant, Instant)>,
}

impl LeapDetector {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        LeapDetector { tolerance: tolerance(config), last: None }
    }

    /// Applies new settings.
    pub(crate) fn reconfigure(&mut self, config: &PoolConfig) {
        self.tolerance = tolerance(config);
    }

    /// Takes readings of both clocks. Returns by how much the wall clock has run ahead of the monotonic
    /// one since the last readings, if that is a leap. The first readings are never one.
    ///
    /// A wall clock that was set back counts from there. Readings of several threads may come in another
    /// order than they were taken; both clocks then seem to go back, which is no leap either.
    pub(crate) fn compare(&mut self, now: Instant, wall: Instant) -> Option<Duration> {
        let (last_now, last_wall) = self.last.replace((now, wall))?;
        let ahead = wall.since(last_wall).saturating_sub(now.since(last_now));
        (ahead > self.tolerance).then_some(ahead)
    }
}

fn tolerance(config: &PoolConfig) -> Duration {
    config.ping_after.unwrap_or_default().max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the leaps among these readings of the monotonic and the wall clock, in milliseconds.
    fn leaps(ping_after: Option<Duration>, readings: &[(u64, u64)]) -> Vec<u128> {
        let config = PoolConfig { ping_after, ..PoolConfig::default() };
        let mut detector = LeapDetector::new(&config);
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let compared = readings.iter().map(|(now, wall)| detector.compare(at(*now), at(*wall)));
        compared.flatten().map(|by| by.as_millis()).collect()
    }

    #[test]
    fn leap_is_a_forward_drift_above_ping_after_and_above_a_second() {
        let second = Some(LEAST);
        assert_eq!(leaps(second, &[(0, 7_000)]), [], "the first readings");
        assert_eq!(leaps(second, &[(0, 7_000), (500, 8_500)]), []);
        assert_eq!(leaps(second, &[(0, 7_000), (500, 8_501)]), [1_001]);
        assert_eq!(leaps(None, &[(0, 0), (0, 1_000), (0, 2_001)]), [1_001]);
        assert_eq!(leaps(Some(Duration::ZERO), &[(0, 0), (0, 1_000), (0, 2_001)]), [1_001]);
        assert_eq!(leaps(Some(LEAST * 5), &[(0, 0), (0, 5_000), (0, 10_001)]), [5_001]);
        assert_eq!(leaps(Some(Duration::MAX), &[(0, 0), (0, 10_000_000)]), []);
    }

    #[test]
    fn clock_that_was_set_back_counts_from_there() {
        assert_eq!(leaps(None, &[(0, 9_000), (100, 5_000), (200, 5_100)]), []);
        assert_eq!(leaps(None, &[(0, 9_000), (100, 5_000), (200, 8_000)]), [2_900]);
    }

    #[test]
    fn readings_out_of_order_are_no_leap() {
        assert_eq!(leaps(None, &[(500, 9_500), (400, 9_400), (600, 9_600)]), []);
    }

    #[test]
    fn largest_readings_do_not_overflow() {
        let mut detector = LeapDetector::new(&PoolConfig::default());
        let end = Instant::from_nanos(u64::MAX);
        assert_eq!(detector.compare(Instant::ORIGIN, Instant::ORIGIN), None);
        assert_eq!(detector.compare(Instant::ORIGIN, end), Some(Duration::from_nanos(u64::MAX)));
        assert_eq!(detector.compare(end, Instant::ORIGIN), None);
    }
}
