//! Decides when the maintenance task sweeps the idle set, and what it holds meanwhile.

use std::time::Duration;

use crate::config::PoolConfig;
use crate::time::{Instant, earliest};

/// The next sweep, and the idle connections that the maintenance task has taken out of the set.
#[derive(Debug, Clone)]
pub(crate) struct SweepSchedule {
    sweep_interval: Option<Duration>,
    sweep_at: Option<Instant>,
    /// The sweep probes an idle connection. It is back at once, so a caller that finds it missing
    /// waits for it and needs no connect.
    probing: bool,
    /// An idle connection is being pinged. That may take long, so callers do not count on it.
    pinging: bool,
}

/// With a shorter interval the maintenance task would do nothing but sweep.
const SHORTEST_SWEEP_INTERVAL: Duration = Duration::from_millis(1);

impl SweepSchedule {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        SweepSchedule {
            sweep_interval: sweep_interval(config),
            sweep_at: None,
            probing: false,
            pinging: false,
        }
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

    pub(crate) fn sweep_at(&self) -> Option<Instant> {
        self.sweep_at
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

    /// Sets whether the sweep has taken an idle connection out of the set to probe it.
    pub(crate) fn set_probing(&mut self, probing: bool) {
        self.probing = probing;
    }

    pub(crate) fn is_probing(&self) -> bool {
        self.probing
    }

    /// Records that the probed connection is pinged next, by a task of its own.
    pub(crate) fn ping_started(&mut self) {
        self.probing = false;
        self.pinging = true;
    }

    pub(crate) fn ping_ended(&mut self) {
        self.pinging = false;
    }

    /// Returns whether the sweep has to wait for the end of a ping.
    pub(crate) fn is_pinging(&self) -> bool {
        self.pinging
    }
}

/// Returns how often to sweep: at least twice within `keepalive`, so that a ping is at most half of
/// it late.
fn sweep_interval(config: &PoolConfig) -> Option<Duration> {
    let keepalive = config.keepalive.and_then(|age| age.checked_div(2));
    earliest([config.evict_interval, keepalive]).map(|every| every.max(SHORTEST_SWEEP_INTERVAL))
}
