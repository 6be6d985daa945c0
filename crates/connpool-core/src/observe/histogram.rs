//! Distributions of durations.

use std::fmt;
use std::time::Duration;

use crate::util::sync::Relaxed;

/// The smallest duration that is told apart from zero, as a power of two: 64 ns.
const UNIT_BITS: u32 = 6;

/// The number of buckets for each power of two, as a power of two.
const STEP_BITS: u32 = 2;

/// The last bucket begins at 64 minutes, seven eighths of 2^42 ns, and holds all that takes longer.
const BUCKETS: usize = (42 - UNIT_BITS as usize - STEP_BITS as usize + 1) << STEP_BITS;

/// A distribution of durations, as of one moment.
///
/// Counts them in buckets, of which each is at most a quarter wider than the one before it, from 64 ns to 64
/// minutes.
///
/// # Examples
///
/// ```
/// use connpool_core::{object_fn, Pool};
/// # let sim = connpool_testkit::SimRuntime::new(1);
/// # let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
/// let pool = Pool::builder(manager, sim.clone()).histograms(true).build_lazy()?;
/// # drop(sim.block_on(pool.get()));
/// let Some(histograms) = pool.histograms() else { return Ok(()) };
/// let p99 = histograms.held.quantile(0.99);
/// println!("99 % of the connections came back within {p99:?}");
/// # Ok::<_, connpool_core::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64]>,
    sum: u64,
}

impl Histogram {
    /// Returns the number of durations.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the sum of the durations. Saturates at 584 years.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// Returns a duration that the fraction `q` of the durations does not exceed, a quarter too large at most;
    /// `None` if there are none. The median is the quantile of 0.5. A `q` below 0 or above 1 counts as that.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = (q.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut below = 0_u64;
        self.buckets().find_map(|(end, count)| {
            below = below.saturating_add(count);
            (count > 0 && below >= rank).then_some(end)
        })
    }

    /// Returns all buckets in order, each with its end, which is not part of it, and its count. The last one
    /// has no end but [`Duration::MAX`].
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.counts.iter().enumerate().map(|(bucket, count)| (end_of(bucket), *count))
    }

    /// Returns what was added since `earlier`, which must be of the same pool.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let counts = self.counts.iter().zip(&earlier.counts);
        let counts = counts.map(|(now, then)| now.saturating_sub(*then)).collect();
        Histogram { counts, sum: self.sum.saturating_sub(earlier.sum) }
    }
}

/// Prints as `count=12 p50=1.0ms p99=9.1ms`.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={}", self.count())?;
        for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            if let Some(quantile) = self.quantile(q) {
                write!(f, " {name}={quantile:.1?}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({self})")
    }
}

/// The histograms of a pool. Returned by [`Pool::histograms`](crate::Pool::histograms).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Histograms {
    /// The waits of the calls that [`Stats::wait_count`](crate::Stats::wait_count) counts. All others did not
    /// wait for a return.
    pub wait: Histogram,
    /// How long connections were borrowed. One in sixteen is measured, and counts as sixteen.
    pub held: Histogram,
    /// How long connects took that succeeded.
    pub connect: Histogram,
}

/// A histogram to which threads add.
#[derive(Debug)]
pub(crate) struct Recorder {
    counts: [Relaxed; BUCKETS],
    sum: Relaxed,
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder { counts: std::array::from_fn(|_| Relaxed::default()), sum: Relaxed::default() }
    }
}

impl Recorder {
    /// Adds a duration that counts as `weight`.
    #[inline]
    pub(crate) fn add(&self, duration: Duration, weight: u64) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get(bucket_of(nanos)) {
            count.add(weight);
        }
        self.sum.add(nanos.saturating_mul(weight));
    }

    /// Returns the sum of several.
    pub(crate) fn total<'a>(all: impl Iterator<Item = &'a Recorder>) -> Histogram {
        let mut total = Histogram { counts: vec![0; BUCKETS].into(), sum: 0 };
        for Recorder { counts, sum } in all {
            for (into, count) in total.counts.iter_mut().zip(counts) {
                *into = into.saturating_add(count.get());
            }
            total.sum = total.sum.saturating_add(sum.get());
        }
        total
    }
}

/// Returns the bucket of a number of nanoseconds.
#[inline]
fn bucket_of(nanos: u64) -> usize {
    let units = nanos >> UNIT_BITS;
    // Below 2^STEP_BITS units, each has a bucket of its own.
    let power = units.max(1).ilog2();
    let bucket = match power.checked_sub(STEP_BITS) {
        None => units,
        Some(shift) => {
            let steps = units >> shift;
            (u64::from(shift) << STEP_BITS).saturating_add(steps)
        }
    };
    (bucket as usize).min(BUCKETS.saturating_sub(1))
}

/// Returns the end of a bucket.
fn end_of(bucket: usize) -> Duration {
    let next = bucket.saturating_add(1) as u64;
    if next >= BUCKETS as u64 {
        return Duration::MAX;
    }
    let shift = (next >> STEP_BITS).saturating_sub(1);
    let steps = next.saturating_sub(shift << STEP_BITS);
    Duration::from_nanos((steps << shift) << UNIT_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(durations: impl IntoIterator<Item = Duration>) -> Histogram {
        let recorder = Recorder::default();
        durations.into_iter().for_each(|duration| recorder.add(duration, 1));
        Recorder::total([&recorder].into_iter())
    }

    #[test]
    fn each_duration_is_in_the_first_bucket_that_ends_after_it() {
        let ends: Vec<u128> = (0..BUCKETS).map(|bucket| end_of(bucket).as_nanos()).collect();
        assert!(ends.is_sorted_by(|a, b| a < b));
        let mut nanos = 0_u64;
        while nanos < u64::MAX / 2 {
            for nanos in [nanos.saturating_sub(1), nanos, nanos + 1] {
                let expected = ends.iter().position(|end| u128::from(nanos) < *end).unwrap();
                assert_eq!(bucket_of(nanos), expected, "{nanos} ns");
            }
            nanos += nanos / 8 + 7;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn buckets_are_a_quarter_wider_at_most() {
        let ends: Vec<_> = (3..BUCKETS - 1).map(end_of).collect();
        for pair in ends.windows(2) {
            assert!(pair[1] <= pair[0] * 5 / 4, "{pair:?}");
        }
    }

    #[test]
    fn quantiles_are_at_most_a_quarter_too_large() {
        let histogram = histogram((1..=1_000).map(Duration::from_micros));
        for (q, expected) in [(0.5, 500), (0.99, 990), (1.0, 1_000), (7.0, 1_000)] {
            let expected = Duration::from_micros(expected);
            let found = histogram.quantile(q).unwrap();
            assert!(expected <= found && found <= expected * 5 / 4, "{q}: {found:?}");
        }
        assert_eq!(histogram.count(), 1_000);
        assert_eq!(histogram.sum(), Duration::from_micros(500_500));
    }

    #[test]
    fn extremes_are_counted() {
        let histogram = histogram([Duration::ZERO, Duration::from_nanos(1), Duration::MAX]);
        assert_eq!(histogram.quantile(0.0), Some(Duration::from_nanos(64)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::MAX));
        assert_eq!((histogram.count(), histogram.quantile(f64::NAN).is_some()), (3, true));
        assert_eq!(self::histogram([]).quantile(0.5), None);
    }

    #[test]
    fn difference_is_what_came_since() {
        let earlier = histogram([Duration::from_millis(1)]);
        let later = histogram([Duration::from_millis(1), Duration::from_millis(9)]);
        assert_eq!(later.since(&earlier), histogram([Duration::from_millis(9)]));
    }
}
