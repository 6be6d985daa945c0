//! What a pool counts.

use std::fmt;
use std::time::Duration;

use crate::machine::breaker::BreakerState;
use crate::observe::close_reason::CloseReason;
use crate::util::sync::Relaxed;

/// A snapshot of a pool's figures. The gauges are of one moment; the counters only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Open connections, idle or not.
    pub size: usize,
    /// Idle connections.
    pub available: usize,
    /// Open connections that are not idle: lent, or being checked, or saying goodbye.
    pub active: usize,
    /// Connections being opened. `size + connecting` is at most `max_size`, but for what is out
    /// when the pool is made smaller.
    pub connecting: usize,
    /// Those in line for a connection.
    pub waiting: usize,
    /// Whether the backend is dialled as needed, or only probed.
    pub breaker: BreakerState,
    /// Whether the pool is paused: nothing is lent until it is resumed.
    pub paused: bool,
    /// Calls of `get` and its like.
    pub request: u64,
    /// Those of them that got a connection.
    pub success: u64,
    /// Connections closed because nobody wanted them for `idle_timeout`.
    pub idle_closed: u64,
    /// Connections closed because they were over their `max_lifetime`.
    pub lifetime_closed: u64,
    /// Connections closed because their ping failed or took too long.
    pub ping_failed: u64,
    /// Calls of `get` that had to wait until somebody returned a connection: `max_size` was reached,
    /// and what was being opened was for others. Those that wait for a connect do not count.
    pub wait_count: u64,
    /// How long they waited, all together.
    pub wait_time: Duration,
    /// Connections opened.
    pub created: u64,
    /// Connects that failed, took too long or panicked.
    pub connect_failed: u64,
    /// Connections taken out of the pool by their users.
    pub detached: u64,
    /// Lendings that lasted as long as `leak_warning`.
    pub leaked: u64,
    /// Connections closed, by reason.
    pub closed: ClosedStats,
}

/// How many connections were closed for which [`CloseReason`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClosedStats([u64; CloseReason::ALL.len()]);

impl ClosedStats {
    /// How many were closed for this reason.
    pub fn get(&self, reason: CloseReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// How many were closed in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (CloseReason, u64)> + '_ {
        CloseReason::ALL.iter().copied().zip(self.0.iter().copied())
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "size={} active={} available={} connecting={} waiting={} request={} success={} \
             wait_count={} wait_time={:.1?} created={} connect_failed={} closed={}",
            self.size,
            self.active,
            self.available,
            self.connecting,
            self.waiting,
            self.request,
            self.success,
            self.wait_count,
            self.wait_time,
            self.created,
            self.connect_failed,
            self.closed.total(),
        )?;
        let mut separator = " (";
        for (reason, count) in self.closed.iter().filter(|(_, count)| *count > 0) {
            write!(f, "{separator}{}={count}", reason.label())?;
            separator = " ";
        }
        if separator == " " {
            f.write_str(")")?;
        }
        if self.leaked > 0 {
            write!(f, " leaked={}", self.leaked)?;
        }
        if self.breaker != BreakerState::Closed {
            write!(f, " breaker={}", self.breaker.label())?;
        }
        if self.paused {
            f.write_str(" paused")?;
        }
        Ok(())
    }
}

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) request: Relaxed,
    pub(crate) success: Relaxed,
    pub(crate) wait_count: Relaxed,
    wait_nanos: Relaxed,
    pub(crate) created: Relaxed,
    pub(crate) connect_failed: Relaxed,
    pub(crate) detached: Relaxed,
    pub(crate) leaked: Relaxed,
    closed: [Relaxed; CloseReason::ALL.len()],
}

impl Counters {
    pub(crate) fn waited(&self, time: Duration) {
        self.wait_nanos
            .add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn closed(&self, reason: CloseReason) {
        if let Some(counter) = self.closed.get(reason as usize) {
            counter.inc();
        }
    }

    pub(crate) fn closed_total(&self) -> u64 {
        self.closed.iter().map(Relaxed::get).sum()
    }

    /// Adds the counters to gauges of the same moment.
    pub(crate) fn snapshot(&self, gauges: Stats) -> Stats {
        // Successes before requests, of which there are more at any time.
        let success = self.success.get();
        let closed = ClosedStats(self.closed.each_ref().map(Relaxed::get));
        Stats {
            request: self.request.get().saturating_add(gauges.request),
            success: success.saturating_add(gauges.success),
            idle_closed: closed.get(CloseReason::Idle),
            lifetime_closed: closed.get(CloseReason::Lifetime),
            ping_failed: [CloseReason::PingFailed, CloseReason::PingTimeout]
                .map(|reason| closed.get(reason))
                .iter()
                .sum(),
            wait_count: self.wait_count.get(),
            wait_time: Duration::from_nanos(self.wait_nanos.get()),
            created: self.created.get(),
            connect_failed: self.connect_failed.get(),
            detached: self.detached.get(),
            leaked: self.leaked.get(),
            closed,
            ..gauges
        }
    }
}
