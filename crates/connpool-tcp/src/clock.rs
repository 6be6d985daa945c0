//! A clock for those who ask often.

use connpool_core::Instant;

/// The time since it was made, read from a clock that costs a fifth of a precise one and lags behind it by
/// some milliseconds. On Linux that is the kernel's time of its last tick (`CLOCK_MONOTONIC_COARSE`), which
/// comes each 1 to 10 ms; elsewhere it is a precise one.
#[derive(Debug, Clone, Copy)]
pub struct RecentClock(source::Start);

impl RecentClock {
    /// A clock that is at its [`ORIGIN`](Instant::ORIGIN) now. Made after a precise one that began with
    /// `time::Instant::now()`, it is never ahead of it.
    pub fn new() -> Self {
        RecentClock(source::start())
    }

    /// What the time was a few milliseconds ago.
    #[inline]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(source::nanos_since(self.0))
    }
}

impl Default for RecentClock {
    fn default() -> Self {
        RecentClock::new()
    }
}

#[cfg(target_os = "linux")]
mod source {
    use rustix::time::{ClockId, Timespec, clock_gettime};

    /// In nanoseconds of the system's own monotonic clock.
    pub(super) type Start = u64;

    pub(super) fn start() -> Start {
        // The precise one: the coarse one would be behind already.
        nanos(clock_gettime(ClockId::Monotonic))
    }

    #[inline]
    pub(super) fn nanos_since(start: Start) -> u64 {
        nanos(clock_gettime(ClockId::MonotonicCoarse)).saturating_sub(start)
    }

    #[inline]
    fn nanos(time: Timespec) -> u64 {
        // Neither is ever negative, and 584 years of uptime are enough.
        (time.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(time.tv_nsec as u64)
    }
}

#[cfg(not(target_os = "linux"))]
mod source {
    use std::time;

    pub(super) type Start = Instant;

    pub(super) fn start() -> Start {
        time::Instant::now()
    }

    pub(super) fn nanos_since(start: Start) -> u64 {
        u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time;

    use super::*;

    #[test]
    fn it_never_goes_back_and_is_never_ahead_and_hardly_behind() {
        let precise = time::Instant::now();
        let recent = RecentClock::new();
        let mut last = recent.now();
        loop {
            let before = precise.elapsed();
            let now = recent.now();
            let after = precise.elapsed();
            assert!(now >= last, "{now:?} comes after {last:?}");
            assert!(now.since(Instant::ORIGIN) <= after, "{now:?} at {after:?}");
            last = now;
            if before.as_millis() > 100 {
                break assert!(now.since(Instant::ORIGIN).as_millis() > 50, "{now:?}");
            }
        }
    }
}
