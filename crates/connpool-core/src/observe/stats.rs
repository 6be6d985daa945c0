//! The statistics of a pool.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use crate::error::GetError;
use crate::machine::breaker::BreakerState;
use crate::observe::close_reason::CloseReason;
use crate::observe::histogram::{Histograms, Recorder};
use crate::util::sync::Relaxed;

/// The gauges and counters of a pool. All gauges are of one moment; counters only grow.
///
/// # Examples
///
/// ```
/// # use connpool_core::Pool;
/// # let sim = connpool_testkit::SimRuntime::new(1);
/// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
/// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
/// drop(sim.block_on(pool.get())?);
/// let stats = pool.stats();
/// assert_eq!((stats.request, stats.success, stats.created), (1, 1, 1));
/// println!("{stats}"); // size=1 active=0 available=1 ..
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Open connections, idle or not.
    pub size: usize,
    /// Idle connections.
    pub available: usize,
    /// Open connections that are not idle: borrowed, being checked or reset, or being closed.
    pub active: usize,
    /// Connections that were returned and are being reset before they become idle, waiting for it included.
    /// Part of `active`.
    pub resetting: usize,
    /// Connections being closed. Part of `active`.
    pub closing: usize,
    /// Connections being opened. `size + connecting` is at most `max_size`, except for what is borrowed
    /// when `max_size` is lowered.
    pub connecting: usize,
    /// Callers that wait for a connection.
    pub waiting: usize,
    /// The state of the circuit breaker.
    pub breaker: BreakerState,
    /// `true` if the pool is paused.
    pub paused: bool,
    /// Calls of `get` and its variants.
    pub request: u64,
    /// Calls that returned a connection.
    pub success: u64,
    /// Connections closed after `idle_timeout`.
    pub idle_closed: u64,
    /// Connections closed after `max_lifetime`.
    pub lifetime_closed: u64,
    /// Connections closed because their ping failed or timed out.
    pub ping_failed: u64,
    /// Calls that failed with [`GetError::Timeout`](crate::GetError::Timeout).
    pub timed_out: u64,
    /// Calls that failed with [`GetError::Connect`](crate::GetError::Connect).
    pub connect_errors: u64,
    /// Calls that failed with [`GetError::Exhausted`](crate::GetError::Exhausted), most of them from `try_get`.
    pub exhausted: u64,
    /// Calls that had to wait for a return: `max_size` was reached, and pending connects were for other
    /// callers. A wait for a connect does not count.
    pub wait_count: u64,
    /// The total time of these waits.
    pub wait_time: Duration,
    /// Connections opened.
    pub created: u64,
    /// Connects that failed, timed out or panicked.
    pub connect_failed: u64,
    /// Connections detached by their users.
    pub detached: u64,
    /// Checkouts that lasted as long as `leak_warning`.
    pub leaked: u64,
    /// Connections closed, by reason.
    pub closed: ClosedStats,
}

/// The number of closed connections for each [`CloseReason`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClosedStats([u64; CloseReason::ALL.len()]);

impl ClosedStats {
    /// Returns the number of connections closed for this reason.
    pub fn get(&self, reason: CloseReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// Returns the number of connections closed for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (CloseReason, u64)> + '_ {
        CloseReason::ALL.iter().copied().zip(self.0.iter().copied())
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { size, active, available, connecting, waiting, request, success, .. } = self;
        let Stats { wait_count, wait_time, created, connect_failed, closed, .. } = self;
        write!(
            f,
            "size={size} active={active} available={available} connecting={connecting} \
             waiting={waiting} request={request} success={success} wait_count={wait_count} \
             wait_time={wait_time:.1?} created={created} connect_failed={connect_failed} closed={}",
            closed.total(),
        )?;
        let mut separator = " (";
        for (reason, count) in closed.iter().filter(|(_, count)| *count > 0) {
            write!(f, "{separator}{}={count}", reason.label())?;
            separator = " ";
        }
        if separator == " " {
            f.write_str(")")?;
        }
        if self.leaked > 0 {
            write!(f, " leaked={}", self.leaked)?;
        }
        let failed = [
            ("timed_out", self.timed_out),
            ("connect_errors", self.connect_errors),
            ("exhausted", self.exhausted),
        ];
        for (name, count) in failed.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, " {name}={count}")?;
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
    pub(crate) timed_out: Relaxed,
    pub(crate) connect_errors: Relaxed,
    pub(crate) exhausted: Relaxed,
    pub(crate) created: Relaxed,
    pub(crate) connect_failed: Relaxed,
    pub(crate) detached: Relaxed,
    pub(crate) leaked: Relaxed,
    /// Of connects, from the first one on.
    connects: OnceLock<Box<Recorder>>,
    closed: [Relaxed; CloseReason::ALL.len()],
}

/// What a `get` counts, in a part of its thread.
#[derive(Debug, Default)]
pub(crate) struct GetCounters {
    pub(crate) request: Relaxed,
    pub(crate) success: Relaxed,
    pub(crate) wait_count: Relaxed,
    wait_nanos: Relaxed,
    /// The checkouts since the last one whose use is measured.
    unmeasured: Relaxed,
    /// From the first duration on.
    recorders: OnceLock<Box<GetRecorders>>,
}

#[derive(Debug, Default)]
struct GetRecorders {
    wait: Recorder,
    held: Recorder,
}

/// The use of one of so many connections is measured.
const MEASURED: u64 = 16;

impl GetCounters {
    /// Returns whether the use of a connection that is checked out now is to be measured.
    #[inline]
    pub(crate) fn measures(&self) -> bool {
        // Two threads of one part may count a checkout once: the samples are no worse for it.
        let unmeasured = self.unmeasured.get().wrapping_add(1) % MEASURED;
        self.unmeasured.set(unmeasured);
        unmeasured == 0
    }

    /// Records how long a measured connection was borrowed.
    #[cold]
    pub(crate) fn held(&self, time: Duration) {
        self.recorders.get_or_init(Box::default).held.add(time, MEASURED);
    }

    /// Records a wait.
    pub(crate) fn record_wait(&self, time: Duration) {
        self.recorders.get_or_init(Box::default).wait.add(time, 1);
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.wait_nanos.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Counters {
    pub(crate) fn closed(&self, reason: CloseReason) {
        if let Some(counter) = self.closed.get(reason as usize) {
            counter.inc();
        }
    }

    pub(crate) fn closed_total(&self) -> u64 {
        self.closed.iter().map(Relaxed::get).sum()
    }

    /// Counts a `get` that failed.
    #[cold]
    pub(crate) fn failed<E>(&self, error: &GetError<E>) {
        match error {
            GetError::Timeout { .. } => _ = self.timed_out.inc(),
            GetError::Connect(_) => _ = self.connect_errors.inc(),
            GetError::Exhausted(_) => _ = self.exhausted.inc(),
            GetError::Closed | GetError::Prepare(_) | GetError::TooMany { .. } => {}
        }
    }

    /// Records how long a connect took.
    pub(crate) fn connected(&self, took: Duration) {
        self.connects.get_or_init(Box::default).add(took, 1);
    }

    /// Returns the histograms.
    pub(crate) fn histograms<'a, G>(&self, gets: impl Fn() -> G) -> Histograms
    where
        G: Iterator<Item = &'a GetCounters>,
    {
        let recorders = || gets().filter_map(|gets| gets.recorders.get());
        Histograms {
            wait: Recorder::total(recorders().map(|recorders| &recorders.wait)),
            held: Recorder::total(recorders().map(|recorders| &recorders.held)),
            connect: Recorder::total(self.connects.get().map(|connects| &**connects).into_iter()),
        }
    }

    /// Adds the counters, with those of the gets of all threads, to gauges of the same moment.
    pub(crate) fn snapshot<'a, G>(&self, gets: impl Fn() -> G, gauges: Stats) -> Stats
    where
        G: Iterator<Item = &'a GetCounters>,
    {
        let sum = |of: fn(&GetCounters) -> &Relaxed| {
            gets().map(|gets| of(gets).get()).fold(0, u64::wrapping_add)
        };
        // Successes before requests, of which there are more at any time.
        let success = sum(|gets| &gets.success);
        let closed = ClosedStats(self.closed.each_ref().map(Relaxed::get));
        Stats {
            request: sum(|gets| &gets.request).saturating_add(gauges.request),
            success: success.saturating_add(gauges.success),
            idle_closed: closed.get(CloseReason::Idle),
            lifetime_closed: closed.get(CloseReason::Lifetime),
            ping_failed: [CloseReason::PingFailed, CloseReason::PingTimeout]
                .map(|reason| closed.get(reason))
                .iter()
                .sum(),
            wait_count: sum(|gets| &gets.wait_count),
            wait_time: Duration::from_nanos(sum(|gets| &gets.wait_nanos)),
            timed_out: self.timed_out.get(),
            connect_errors: self.connect_errors.get(),
            exhausted: self.exhausted.get(),
            created: self.created.get(),
            connect_failed: self.connect_failed.get(),
            detached: self.detached.get(),
            leaked: self.leaked.get(),
            closed,
            ..gauges
        }
    }
}
