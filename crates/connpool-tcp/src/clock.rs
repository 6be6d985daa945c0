//! A monotonic clock that is cheap to read and coarse, and the wall clock of the same kind.

use connpool_core::Instant;

/// A monotonic clock with two readings: a precise one, and one that costs about a fifth of
/// [`std::time::Instant::now`] and lags behind by some milliseconds.
///
/// On Linux the latter is `CLOCK_MONOTONIC_COARSE`, the kernel's time of its last tick, which comes
/// every 1 to 10 ms. On other systems it is the precise clock.
#[derive(Debug, Clone, Copy)]
pub struct RecentClock(source::Start);

impl RecentClock {
    /// Creates a clock that is at its [`ORIGIN`](Instant::ORIGIN) now.
    ///
    /// Its readings are never ahead of `start.elapsed()` for any `start` taken from
    /// [`std::time::Instant::now`] before this call.
    pub fn new() -> Self {
        RecentClock(source::start())
    }

    /// Returns the time as of a few milliseconds ago.
    #[inline]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(source::nanos_since(self.0))
    }

    /// Returns the time. Costs less than [`std::time::Instant::elapsed`], which it agrees with.
    #[inline]
    pub fn precise(&self) -> Instant {
        Instant::from_nanos(source::precise_nanos_since(self.0))
    }

    /// Returns the time of the system's wall clock as of a few milliseconds ago, since the Unix epoch. It
    /// goes on while the machine is suspended, and jumps when it is set: see
    /// [`Runtime::wall`](connpool_core::Runtime::wall).
    #[inline]
    pub fn wall(&self) -> Instant {
        Instant::from_nanos(source::wall_nanos())
    }
}

impl Default for RecentClock {
    fn default() -> Self {
        RecentClock::new()
    }
}

#[cfg(all(target_os = "linux", not(connpool_portable)))]
mod source {
    use rustix::time::{ClockId, Timespec, clock_gettime};

    /// Nanoseconds of the system's monotonic clock.
    pub(super) type Start = u64;

    pub(super) fn start() -> Start {
        // The precise clock: a coarse reading would lie in the past already, and later ones could
        // run ahead of a precise clock started before this one.
        nanos(clock_gettime(ClockId::Monotonic))
    }

    #[inline]
    pub(super) fn nanos_since(start: Start) -> u64 {
        nanos(clock_gettime(ClockId::MonotonicCoarse)).saturating_sub(start)
    }

    #[inline]
    pub(super) fn precise_nanos_since(start: Start) -> u64 {
        nanos(clock_gettime(ClockId::Monotonic)).saturating_sub(start)
    }

    #[inline]
    pub(super) fn wall_nanos() -> u64 {
        nanos(clock_gettime(ClockId::RealtimeCoarse))
    }

    #[inline]
    fn nanos(time: Timespec) -> u64 {
        // Neither field is negative, unless the wall clock is set to before 1970, and 64 bits of
        // nanoseconds last for 584 years.
        (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
    }
}

#[cfg(any(not(target_os = "linux"), connpool_portable))]
mod source {
    use std::time;

    pub(super) type Start = time::Instant;

    pub(super) fn start() -> Start {
        time::Instant::now()
    }

    pub(super) fn nanos_since(start: Start) -> u64 {
        nanos(start.elapsed())
    }

    pub(super) fn precise_nanos_since(start: Start) -> u64 {
        nanos_since(start)
    }

    pub(super) fn wall_nanos() -> u64 {
        time::SystemTime::now().duration_since(time::UNIX_EPOCH).map_or(0, nanos)
    }

    fn nanos(span: time::Duration) -> u64 {
        u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time;

    use super::*;

    #[test]
    fn coarse_clock_is_monotonic_never_ahead_and_at_most_50_ms_behind() {
        let precise = time::Instant::now();
        let recent = RecentClock::new();
        let mut last = recent.now();
        loop {
            let before = precise.elapsed();
            let now = recent.now();
            assert!(now <= recent.precise());
            let after = precise.elapsed();
            assert!(recent.precise().since(Instant::ORIGIN) <= precise.elapsed());
            assert!(now >= last, "{now:?} comes after {last:?}");
            assert!(now.since(Instant::ORIGIN) <= after, "{now:?} at {after:?}");
            last = now;
            if before.as_millis() > 100 {
                break assert!(now.since(Instant::ORIGIN).as_millis() > 50, "{now:?}");
            }
        }
    }

    #[test]
    fn wall_clock_is_at_most_50_ms_behind_the_systems() {
        let recent = RecentClock::new();
        let system = || time::SystemTime::now().duration_since(time::UNIX_EPOCH).unwrap();
        let before = system();
        let wall = recent.wall().since(Instant::ORIGIN);
        let after = system();
        assert!(wall <= after, "{wall:?} is ahead of {after:?}");
        assert!(wall + time::Duration::from_millis(50) > before, "{wall:?} at {before:?}");
    }
}
