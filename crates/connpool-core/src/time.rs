//! Time without a clock: instants that a [`Runtime`](crate::Runtime) returns, with checked arithmetic.
#![allow(clippy::arithmetic_side_effects)]

use std::fmt;
use std::time::Duration;

/// A point in time: nanoseconds since the epoch of the [`Runtime`](crate::Runtime) that returned it.
///
/// Instants of different runtimes are unrelated. Arithmetic is checked: a sum that does not fit, 584 years
/// after the epoch, is `None`, which deadlines treat as never.
///
/// # Examples
///
/// ```
/// use connpool_core::Instant;
/// use std::time::Duration;
///
/// let start = Instant::from_nanos(1_000);
/// let later = start.checked_add(Duration::from_secs(1)).unwrap();
/// assert_eq!(later.since(start), Duration::from_secs(1));
/// assert_eq!(start.since(later), Duration::ZERO);
/// assert_eq!(start.checked_add(Duration::MAX), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The epoch.
    pub const ORIGIN: Instant = Instant(0);

    /// Later than every event.
    pub(crate) const NEVER: Instant = Instant(u64::MAX);

    /// Creates the instant `nanos` nanoseconds after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Instant(nanos)
    }

    /// Returns the nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns this instant plus `span`; `None` if the sum does not fit.
    pub fn checked_add(self, span: Duration) -> Option<Instant> {
        let nanos = u64::try_from(span.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Instant)
    }

    /// Returns the time since `earlier`; zero if that is later.
    ///
    /// Zero and not an error, since a coarse clock may lag behind a deadline that a timer has proven.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns whether at least `span` has passed since `earlier`.
    #[inline]
    pub(crate) fn is_past(self, earlier: Instant, span: impl Into<Nanos>) -> bool {
        let span = span.into();
        self.0.saturating_sub(earlier.0) >= span.0 && span != Nanos::NEVER
    }
}

/// A duration in nanoseconds; values beyond `u64` saturate to `NEVER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nanos(pub(crate) u64);

impl Nanos {
    pub(crate) const NEVER: Nanos = Nanos(u64::MAX);
    pub(crate) const ZERO: Nanos = Nanos(0);

    /// Returns the instant this long after `start`; `None` if never.
    pub(crate) fn after(self, start: Instant) -> Option<Instant> {
        self.as_duration().and_then(|span| start.checked_add(span))
    }

    /// Returns the duration; `None` if never.
    pub(crate) fn as_duration(self) -> Option<Duration> {
        (self != Nanos::NEVER).then(|| Duration::from_nanos(self.0))
    }
}

impl From<Duration> for Nanos {
    #[inline]
    fn from(span: Duration) -> Self {
        u64::try_from(span.as_nanos()).map_or(Nanos::NEVER, Nanos)
    }
}

impl From<Option<Duration>> for Nanos {
    fn from(span: Option<Duration>) -> Self {
        span.map_or(Nanos::NEVER, Nanos::from)
    }
}

/// Returns the earliest of these instants, or the shortest of these durations. `None` means never.
pub(crate) fn earliest<T: Ord, const N: usize>(of: [Option<T>; N]) -> Option<T> {
    of.into_iter().flatten().min()
}

/// 2^64 divided by the golden ratio: its multiples lie evenly spread over all of `u64`.
pub(crate) const FIBONACCI_HASH: u64 = 0x9E37_79B9_7F4A_7C15;

/// Prints a duration for people: `32.1 s`, `250.0 ms`.
pub(crate) struct HumanDuration(pub(crate) Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HumanDuration(span) = self;
        let text = format!("{span:.1?}");
        let unit = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit);
        write!(f, "{number} {unit}")
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instant({:?})", Duration::from_nanos(self.0))
    }
}

/// Shortens `limit` by a random part of the fraction `jitter` of it.
///
/// Subtracted, never added, so that a limit stays a limit. `draw` is uniform over all of `u64`.
pub(crate) fn jittered(limit: Duration, jitter: f64, draw: u64) -> Duration {
    // 32 bits each for the fraction and the draw keep the product of all three within u128.
    let fraction = (jitter.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u128;
    let draw = u128::from(draw >> 32);
    let most = (limit.as_nanos() * fraction) >> 32;
    let cut = (most * draw) >> 32;
    from_nanos_u128(limit.as_nanos().saturating_sub(cut))
}

fn from_nanos_u128(nanos: u128) -> Duration {
    const PER_SECOND: u128 = 1_000_000_000;
    match u64::try_from(nanos / PER_SECOND) {
        Ok(seconds) => Duration::new(seconds, (nanos % PER_SECOND) as u32),
        Err(_) => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_shortens_and_never_lengthens() {
        let limit = Duration::from_secs(100);
        for draw in [0, 1, u64::MAX / 2, u64::MAX] {
            let cut = jittered(limit, 0.1, draw);
            assert!(cut <= limit && cut >= Duration::from_secs(90), "{cut:?}");
        }
        assert_eq!(jittered(limit, 0.0, u64::MAX), limit);
        assert_eq!(jittered(limit, 0.5, 0), limit);
    }

    #[test]
    fn jitter_spreads_over_the_whole_fraction_even_of_the_longest_limit() {
        for limit in [Duration::from_secs(1), Duration::from_secs(86_400 * 365), Duration::MAX] {
            let least = jittered(limit, 1.0, u64::MAX);
            assert!(least.as_secs_f64() < limit.as_secs_f64() * 1e-6, "{limit:?} {least:?}");
            let middle = jittered(limit, 1.0, u64::MAX / 2).as_secs_f64() / limit.as_secs_f64();
            assert!((0.49..0.51).contains(&middle), "{limit:?} {middle}");
        }
    }

    #[test]
    fn duration_that_does_not_fit_is_never() {
        let end = Instant::from_nanos(u64::MAX);
        for never in [None, Some(Duration::MAX), Some(Duration::from_nanos(u64::MAX))] {
            assert_eq!(Nanos::from(never), Nanos::NEVER);
            assert!(!end.is_past(Instant::ORIGIN, Nanos::from(never)));
        }
        assert!(end.is_past(Instant::ORIGIN, Duration::from_nanos(u64::MAX - 1)));
        assert!(Instant::ORIGIN.is_past(Instant::ORIGIN, Nanos::ZERO));
        let second = Duration::from_secs(1);
        assert_eq!(Nanos::from(second).as_duration(), Some(second));
        assert_eq!(Nanos::NEVER.as_duration(), None);
    }

    #[test]
    fn human_duration_has_one_digit_after_the_point() {
        let cases = [
            (32_100_000_000, "32.1 s"),
            (250_000_000, "250.0 ms"),
            (1_500, "1.5 µs"),
            (0, "0.0 ns"),
        ];
        for (nanos, text) in cases {
            assert_eq!(HumanDuration(Duration::from_nanos(nanos)).to_string(), text);
        }
    }

    #[test]
    fn instant_that_does_not_fit_is_none() {
        assert_eq!(Instant::ORIGIN.checked_add(Duration::MAX), None);
        assert_eq!(Instant::from_nanos(u64::MAX).checked_add(Duration::from_nanos(1)), None);
        assert_eq!(
            Instant::from_nanos(1).checked_add(Duration::from_nanos(1)),
            Some(Instant::from_nanos(2))
        );
    }
}
