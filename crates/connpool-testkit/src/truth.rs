//! What really exists, and whether the pool's books agree with it.

use std::collections::BTreeSet;
use std::time::Duration;

use connpool_core::{CloseReason, Manager, Pool, Stats};

use crate::FaultyManager;

/// What a [`FaultyManager`] saw happen, whatever the pool believes.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// How many connects succeeded; the connections are numbered 1 to this.
    pub opened: u64,
    /// How many connects are under way.
    pub connecting: usize,
    /// How many connects were under way at once, at most.
    pub most_connecting: usize,
    /// How many connections there were at once, at most, open or being opened.
    pub peak: usize,
    /// How many connects began while another one was under way, though the last that ended had
    /// failed: a pool then tries one at a time until one succeeds.
    pub crowded: usize,
    /// When each connect began, since the origin of the runtime's clock.
    pub connects_at: Vec<Duration>,
    /// To which connections a goodbye was begun, in order.
    pub goodbyes: Vec<u64>,
    /// Which connections are gone, in order.
    pub dropped: Vec<u64>,
    alive: BTreeSet<u64>,
    dropped_twice: Vec<u64>,
    failing: bool,
    /// Connects up to this number say nothing any more.
    outdated: usize,
}

impl Observed {
    /// How many connection objects there are.
    pub fn alive(&self) -> usize {
        self.alive.len()
    }

    pub(crate) fn closed(&mut self, id: u64) {
        if self.alive.remove(&id) {
            self.dropped.push(id);
        } else {
            self.dropped_twice.push(id);
        }
    }

    pub(crate) fn connect_begins(&mut self, now: Duration) {
        self.connects_at.push(now);
        self.connecting += 1;
        self.crowded += usize::from(self.failing && self.connecting > 1);
        self.count();
    }

    pub(crate) fn connect_ends(&mut self, number: usize, succeeded: bool) {
        self.connecting -= 1;
        if succeeded {
            self.failing = false;
        } else if number > self.outdated {
            self.failing = true;
        }
    }

    /// The pool was cleared: how connects end that it began before tells it nothing. There are
    /// `begun` of them, and of some the backend may not have heard yet.
    pub(crate) fn cleared(&mut self, begun: usize) {
        self.outdated = usize::MAX;
        self.has_heard_of(begun);
    }

    /// So many connects are under way as the pool sees it. Those that begin at the backend after it
    /// has heard of all of them began after the last clear.
    pub(crate) fn has_heard_of(&mut self, begun: usize) {
        if self.outdated == usize::MAX && begun == self.connecting {
            self.outdated = self.connects_at.len();
        }
    }

    /// The pool got a connection from elsewhere, which is as good as a connect that succeeds.
    pub(crate) fn added(&mut self) {
        self.failing = false;
    }

    pub(crate) fn opened(&mut self) -> u64 {
        self.opened += 1;
        self.alive.insert(self.opened);
        self.count();
        self.opened
    }

    fn count(&mut self) {
        self.most_connecting = self.most_connecting.max(self.connecting);
        self.peak = self.peak.max(self.alive() + self.connecting);
    }
}

/// Checks what must hold of a pool over a [`FaultyManager`] whenever nobody is inside of it: between
/// two steps of a [`SimRuntime`](crate::SimRuntime), say. `most` is the largest `max_size` so far,
/// `detached` how many connections were taken out of the pool and still exist.
///
/// # Panics
///
/// If something does not hold, with the figures.
pub fn assert_invariants(
    pool: &Pool<FaultyManager>,
    manager: &FaultyManager,
    most: usize,
    detached: usize,
) {
    let stats = pool.stats();
    manager.with_truth(|truth| compare(&stats, truth, most, detached));
}

fn compare(stats: &Stats, truth: &Observed, most: usize, detached: usize) {
    let told = || format!("{stats}\n{truth:?}");

    // At most `max_size`, to the backend as well as by the books.
    if stats.detached == 0 {
        assert!(
            truth.peak <= most,
            "{} connections at once, of {most}: {}",
            truth.peak,
            told()
        );
    }
    assert!(
        stats.size + stats.connecting <= most,
        "more than {most}: {}",
        told()
    );
    // The books are about what exists.
    assert_eq!(
        stats.size + detached,
        truth.alive(),
        "not the connections there are: {}",
        told()
    );
    assert!(
        truth.connecting <= stats.connecting,
        "a connect that is in no book: {}",
        told()
    );
    assert_eq!(stats.active + stats.available, stats.size, "{}", told());
    // Everything that was opened is open, closed for a reason, or was taken out.
    assert_eq!(
        stats.created,
        stats.size as u64 + stats.closed.total() + stats.detached,
        "created is not open + closed + detached: {}",
        told()
    );
    // More than were opened if some were taken out and added again.
    let added = stats.created.checked_sub(truth.opened);
    assert!(
        added.is_some_and(|added| added <= stats.detached),
        "{}",
        told()
    );
    assert!(truth.dropped_twice.is_empty(), "closed twice: {}", told());
    assert_each_counted_once(stats);
}

/// Checks what must hold in addition when nothing is under way and nobody waits: `out` connections
/// are on loan.
///
/// # Panics
///
/// As [`assert_invariants`].
pub fn assert_at_rest(pool: &Pool<FaultyManager>, manager: &FaultyManager, out: usize) {
    let stats = pool.stats();
    assert_eq!(stats.size, manager.alive(), "{stats}");
    assert_eq!(stats.active, out, "{stats}");
    assert_eq!(stats.connecting, 0, "{stats}");
    assert_eq!(stats.waiting, 0, "{stats}");
    assert_each_counted_once(&stats);
    let accounted = stats.size as u64 + stats.closed.total() + stats.detached;
    assert_eq!(stats.created, accounted, "{stats}");
    let most = pool.config().max_size;
    assert!(
        manager.peak() <= most,
        "{} at once, of {most}",
        manager.peak()
    );
}

/// Nobody sleeps while there is something for him: with somebody in line, nothing he would take is
/// idle, and if there is room a connect is under way, unless `backing_off` forbids it. Of a paused
/// pool nothing is expected.
///
/// # Panics
///
/// If somebody does.
pub fn assert_no_lost_wakeup<M: Manager>(pool: &Pool<M>, backing_off: bool) {
    let stats = pool.stats();
    let max_size = pool.config().max_size;
    if stats.waiting == 0 || stats.connecting > 0 || stats.paused || pool.is_closed() {
        return;
    }
    assert_eq!(stats.available, 0, "idle, and somebody waits: {stats}");
    assert!(
        backing_off || stats.size >= max_size,
        "room for {}, and somebody waits: {stats}",
        max_size - stats.size
    );
}

fn assert_each_counted_once(stats: &Stats) {
    assert!(stats.success <= stats.request, "{stats}");
    assert!(stats.wait_count <= stats.request, "{stats}");
    assert_eq!(
        stats.idle_closed,
        stats.closed.get(CloseReason::Idle),
        "{stats}"
    );
    assert_eq!(
        stats.lifetime_closed,
        stats.closed.get(CloseReason::Lifetime),
        "{stats}"
    );
}
