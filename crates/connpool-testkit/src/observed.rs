//! The events that a `FaultyManager` observes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use connpool_core::CloseReason;

/// A pool may start another connect beside one that takes at least this long.
const HANGS_AFTER: Duration = Duration::from_millis(800);

/// The events that a [`FaultyManager`](crate::FaultyManager) has observed, independent of the
/// statistics of the pool.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The number of connects that succeeded. Connections are numbered from 1 to this number.
    pub opened: u64,
    /// The largest number of pending connects at any time.
    pub most_connecting: usize,
    /// The largest number of connections, open or being opened, at any time.
    pub peak: usize,
    /// The number of connects started concurrently after a failure. A pool must try one connect at
    /// a time until one succeeds, beside those that hang or that a clear has made useless.
    pub concurrent_after_failure: usize,
    /// The start of each connect, since the origin of the runtime's clock.
    pub connects_at: Vec<Duration>,
    /// The connections passed to `Manager::close`, in order.
    pub closes: Vec<(u64, CloseReason)>,
    /// The connections dropped so far, in order.
    pub dropped: Vec<u64>,
    alive: BTreeSet<u64>,
    /// The start of each pending connect, by its number.
    pending: BTreeMap<usize, Duration>,
    pub(crate) dropped_twice: Vec<u64>,
    failing: bool,
    /// When the last connect succeeded. The failure of an older one says nothing.
    succeeded_at: Duration,
    /// The outcome of connects up to this number is ignored, as a clear came after them.
    outdated: usize,
}

impl Observed {
    /// Returns the number of pending connects.
    pub fn connecting(&self) -> usize {
        self.pending.len()
    }

    /// Returns the number of connection objects that exist.
    pub fn alive(&self) -> usize {
        self.alive.len()
    }

    pub(crate) fn connection_dropped(&mut self, id: u64) {
        if self.alive.remove(&id) {
            self.dropped.push(id);
        } else {
            self.dropped_twice.push(id);
        }
    }

    pub(crate) fn connect_started(&mut self, now: Duration) {
        let is_over = |(number, began): (&usize, &Duration)| {
            *number <= self.outdated || now >= *began + HANGS_AFTER
        };
        let is_alone = self.pending.iter().all(is_over);
        self.concurrent_after_failure += usize::from(self.failing && !is_alone);
        self.connects_at.push(now);
        self.pending.insert(self.connects_at.len(), now);
        self.update_maxima();
    }

    pub(crate) fn connect_ended(&mut self, number: usize, now: Duration, succeeded: bool) {
        let began = self.pending.remove(&number).unwrap_or(now);
        if succeeded {
            self.failing = false;
            self.succeeded_at = now;
        } else if number > self.outdated && began >= self.succeeded_at {
            self.failing = true;
        }
    }

    /// Records a clear of the pool: the outcome of its `pending` connects no longer counts. The
    /// backend may not have seen all of them yet.
    pub fn pool_cleared(&mut self, pending: usize) {
        self.outdated = usize::MAX;
        self.update_outdated(pending);
    }

    /// Takes the pool's number of pending connects. Once the backend has seen all of them, later
    /// connects at the backend were started after the last clear.
    pub fn update_outdated(&mut self, pending: usize) {
        if self.outdated == usize::MAX && pending == self.connecting() {
            self.outdated = self.connects_at.len();
        }
    }

    /// Records `Pool::add`, which counts as a successful connect.
    pub fn connection_added(&mut self) {
        self.failing = false;
        self.outdated = self.outdated.max(self.connects_at.len());
    }

    pub(crate) fn connection_opened(&mut self) -> u64 {
        self.opened += 1;
        self.alive.insert(self.opened);
        self.update_maxima();
        self.opened
    }

    fn update_maxima(&mut self) {
        self.most_connecting = self.most_connecting.max(self.connecting());
        self.peak = self.peak.max(self.alive() + self.connecting());
    }
}
