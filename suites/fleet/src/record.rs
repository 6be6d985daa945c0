//! The counts of a run, for each second and each pool.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connpool_core::Instant;

/// Counts what happens. Times are relative to [`begin`](Record::begin).
#[derive(Default)]
pub(crate) struct Record(Mutex<Counts>);

/// The counts of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// When the event of the scenario begins. Nothing is counted before.
    pub(crate) begins: Option<Instant>,
    pub(crate) size: usize,
    /// The counts by second. Second 0 starts with the event.
    pub(crate) seconds: BTreeMap<u64, Second>,
    pub(crate) pools: Vec<PoolCounts>,
    pub(crate) failed: FailedGets,
}

/// The counts of one second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Second {
    pub(crate) attempts: usize,
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    /// The connects that ended before the backend answered.
    pub(crate) given_up: usize,
}

/// The recovery of one pool.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PoolCounts {
    /// When the backend is back, or the pool is built; `None` if not yet.
    pub(crate) since: Option<Instant>,
    /// The first request that succeeded since.
    pub(crate) served_at: Option<Instant>,
    /// The first moment since with all connections open.
    pub(crate) full_at: Option<Instant>,
}

/// Gets that failed since the event, and requests that lost their connection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FailedGets {
    pub(crate) connect: usize,
    pub(crate) timeout: usize,
    pub(crate) other: usize,
    pub(crate) lost_requests: usize,
}

impl Record {
    /// Creates the record of `pools` pools of `size` connections.
    pub(crate) fn new(pools: usize, size: usize) -> Self {
        let pools = vec![PoolCounts::default(); pools];
        Record(Mutex::new(Counts { size, pools, ..Counts::default() }))
    }

    /// Begins to count. No pool has to recover yet.
    pub(crate) fn begin(&self, now: Instant) {
        let mut counts = self.counts();
        counts.begins = Some(now);
        counts.pools.fill(PoolCounts::default());
    }

    /// Records that a pool has to recover from now on.
    pub(crate) fn recovers(&self, pool: usize, now: Instant) {
        self.counts().pools[pool] = PoolCounts { since: Some(now), ..PoolCounts::default() };
    }

    pub(crate) fn attempted(&self, now: Instant) {
        self.second(now, |second| second.attempts += 1);
    }

    pub(crate) fn refused(&self, now: Instant) {
        self.second(now, |second| second.refused += 1);
    }

    pub(crate) fn given_up(&self, now: Instant) {
        self.second(now, |second| second.given_up += 1);
    }

    /// Records an accepted connect, with which the pool has `open` connections.
    pub(crate) fn accepted(&self, pool: usize, open: usize, now: Instant) {
        self.second(now, |second| second.accepted += 1);
        let counts = &mut *self.counts();
        let pool = &mut counts.pools[pool];
        if pool.since.is_some() && open >= counts.size {
            pool.full_at.get_or_insert(now);
        }
    }

    /// Records a request that succeeded.
    pub(crate) fn served(&self, pool: usize, now: Instant) {
        let pool = &mut self.counts().pools[pool];
        if pool.since.is_some() {
            pool.served_at.get_or_insert(now);
        }
    }

    /// Records a get that failed, or a request.
    pub(crate) fn failed(&self, count: impl FnOnce(&mut FailedGets)) {
        let mut counts = self.counts();
        if counts.begins.is_some() {
            count(&mut counts.failed);
        }
    }

    /// Returns whether all pools have recovered, each with all its connections.
    pub(crate) fn is_complete(&self) -> bool {
        let recovered = |pool: &PoolCounts| pool.served_at.is_some() && pool.full_at.is_some();
        self.counts().pools.iter().all(recovered)
    }

    pub(crate) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn second(&self, now: Instant, count: impl FnOnce(&mut Second)) {
        let mut counts = self.counts();
        if let Some(begins) = counts.begins {
            count(counts.seconds.entry(now.since(begins).as_secs()).or_default());
        }
    }
}

impl PoolCounts {
    /// Returns how long after `since` the pool served again.
    pub(crate) fn served_after(&self) -> Option<Duration> {
        Some(self.served_at?.since(self.since?))
    }
}
