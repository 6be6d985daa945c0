//! Decides when the maintenance task sweeps the idle set, and what it holds meanwhile.

use std::time::Duration;

use crate::config::PoolConfig;
use crate::machine::count::Count;
use crate::time::{Instant, earliest};

/// The next sweep, and the idle connections that the maintenance task has taken out of the set.
#[derive(Debug, Default, Clone)]
pub(crate) struct SweepSchedule {
    sweep_interval: Option<Duration>,
    keepalive: Option<Duration>,
    pub(crate) sweep_at: Option<Instant>,
    /// When to see whether the last idle connection needs a successor.
    pub(crate) successor_at: Option<Instant>,
    /// The sweep probes an idle connection. It is back at once, so a caller that finds it missing
    /// waits for it and needs no connect.
    pub(crate) probing: bool,
    /// The number of idle connections that are being pinged, each by a task of its own. That may take
    /// long, so callers do not count on them.
    pub(crate) pinging: Count,
    /// How long pings take: the mean of the last one and those before.
    ping_takes: Duration,
}

/// With a shorter interval the maintenance task would do nothing but sweep.
const SHORTEST_SWEEP_INTERVAL: Duration = Duration::from_millis(1);

/// At most this part of the idle connections is pinged at once, and at least one connection.
const PINGED_PART: usize = 10;

impl SweepSchedule {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        SweepSchedule {
            sweep_interval: sweep_interval(config),
            keepalive: config.keepalive,
            ..SweepSchedule::default()
        }
    }

    /// Applies new settings. If the interval changes, the next sweep is at `first`, or starts with
    /// the next call of [`sweep_is_due`](SweepSchedule::sweep_is_due).
    pub(crate) fn reconfigure(&mut self, config: &PoolConfig, first: Option<Instant>) {
        self.keepalive = config.keepalive;
        let every = sweep_interval(config);
        if std::mem::replace(&mut self.sweep_interval, every) != every {
            self.sweep_at = first;
        }
    }

    /// Returns how many of `idle` connections, those being pinged included, may be pinged at once: so many
    /// that a round over all of them takes half of `keepalive`.
    pub(crate) fn max_pinging(&self, idle: usize) -> usize {
        let round = self.ping_takes.saturating_mul(u32::try_from(idle).unwrap_or(u32::MAX));
        let half = self.keepalive.unwrap_or_default().as_nanos() / 2;
        let enough = round.as_nanos().div_ceil(half.max(1));
        let most = idle / PINGED_PART;
        usize::try_from(enough).unwrap_or(usize::MAX).min(most).max(1)
    }

    /// Records that a ping ended after `took`.
    pub(crate) fn pinged(&mut self, took: Duration) {
        self.pinging.dec();
        let before = if self.ping_takes.is_zero() { took } else { self.ping_takes };
        self.ping_takes = before.saturating_add(took).checked_div(2).unwrap_or(took);
    }

    /// Moves the next sweep forward to `at`, unless it is earlier.
    pub(crate) fn sweep_by(&mut self, at: Option<Instant>) {
        self.sweep_at = earliest([self.sweep_at, at]);
    }

    /// Moves the look at the last idle connection forward to `at`, unless it is earlier.
    pub(crate) fn plan_successor_by(&mut self, at: Instant) {
        self.successor_at =
            earliest([self.successor_at, Some(at).filter(|at| *at < Instant::NEVER)]);
    }

    /// Returns whether a sweep is due, and schedules the one after it. The first call starts the
    /// interval.
    pub(crate) fn sweep_is_due(&mut self, now: Instant) -> bool {
        let due = self.sweep_at.is_some_and(|at| now >= at);
        if due || self.sweep_at.is_none() {
            self.sweep_at = self.sweep_interval.and_then(|every| now.checked_add(every));
        }
        due
    }
}

/// Returns how often to sweep: at least twice within `keepalive`, so that a ping is at most half of
/// it late.
fn sweep_interval(config: &PoolConfig) -> Option<Duration> {
    let keepalive = config.keepalive.and_then(|age| age.checked_div(2));
    earliest([config.evict_interval, keepalive]).map(|every| every.max(SHORTEST_SWEEP_INTERVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_at_once_are_derived_from_their_duration_and_bounded_by_a_tenth_of_the_idle() {
        let keepalive = Some(Duration::from_secs(1));
        let config = PoolConfig { keepalive, ..PoolConfig::default() };
        let mut schedule = SweepSchedule::new(&config);
        assert_eq!(schedule.max_pinging(200), 1, "how long a ping takes is not known yet");
        let mut ping = |millis| {
            schedule.pinging.inc();
            schedule.pinged(Duration::from_millis(millis));
            [1, 19, 200, usize::MAX].map(|idle| schedule.max_pinging(idle))
        };
        assert_eq!(ping(40)[..3], [1, 1, 16]);
        assert_eq!(ping(4_000)[..3], [1, 1, 20]);
        assert_eq!(ping(0)[3], u32::MAX as usize * 1_010 / 500 + 1);
        schedule.reconfigure(&PoolConfig::default(), None);
        assert_eq!(schedule.max_pinging(9), 1);
    }
}
