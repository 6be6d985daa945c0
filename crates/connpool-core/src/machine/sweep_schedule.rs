//! Decides when the maintenance task sweeps the idle set, and what it holds meanwhile.

use std::time::Duration;

use crate::config::PoolConfig;
use crate::time::{Instant, earliest};

/// The next sweep, and the idle connections that the maintenance task has taken out of the set.
#[derive(Debug, Default, Clone)]
pub(crate) struct SweepSchedule {
    sweep_interval: Option<Duration>,
    pub(crate) sweep_at: Option<Instant>,
    /// The sweep probes an idle connection. It is back at once, so a caller that finds it missing
    /// waits for it and needs no connect.
    pub(crate) probing: bool,
    /// An idle connection is being pinged, by a task of its own, and the sweep waits for its end. That
    /// may take long, so callers do not count on it.
    pub(crate) pinging: bool,
}

/// With a shorter interval the maintenance task would do nothing but sweep.
const SHORTEST_SWEEP_INTERVAL: Duration = Duration::from_millis(1);

impl SweepSchedule {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        SweepSchedule { sweep_interval: sweep_interval(config), ..SweepSchedule::default() }
    }

    /// Applies new settings. If the interval changes, the next sweep is at `first`, or starts with
    /// the next call of [`sweep_is_due`](SweepSchedule::sweep_is_due).
    pub(crate) fn reconfigure(&mut self, config: &PoolConfig, first: Option<Instant>) {
        let every = sweep_interval(config);
        if std::mem::replace(&mut self.sweep_interval, every) != every {
            self.sweep_at = first;
        }
    }

    /// Moves the next sweep forward to `at`, unless it is earlier.
    pub(crate) fn sweep_by(&mut self, at: Option<Instant>) {
        self.sweep_at = earliest([self.sweep_at, at]);
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
