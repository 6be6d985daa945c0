//! Comparison of the statistics of a pool with the connections that exist.

use connpool_core::{CloseReason, Manager, Pool, Stats};

use crate::faulty::FaultyManager;
use crate::observed::Observed;

/// Checks the invariants of a pool over a [`FaultyManager`]. Call it while no call of the pool is in
/// progress, for example between two steps of a [`SimRuntime`](crate::SimRuntime).
///
/// `max_size` is the largest `max_size` that the pool has had, `detached` the number of connections
/// that were detached from the pool and still exist.
///
/// # Panics
///
/// Panics with the statistics if an invariant does not hold.
pub fn assert_invariants(
    pool: &Pool<FaultyManager>,
    manager: &FaultyManager,
    max_size: usize,
    detached: usize,
) {
    let stats = pool.stats();
    manager.with_observed(|observed| assert_stats(&stats, observed, max_size, detached));
}

/// As [`assert_invariants`], of statistics and observations that were read before.
///
/// # Panics
///
/// Panics with the statistics if an invariant does not hold.
pub fn assert_stats(stats: &Stats, observed: &Observed, max_size: usize, detached: usize) {
    let details = || format!("{stats}\n{observed:?}");

    // At most `max_size` connections, both at the backend and in the statistics.
    if stats.detached == 0 {
        assert!(
            observed.peak <= max_size,
            "{} connections at once with max_size {max_size}: {}",
            observed.peak,
            details()
        );
    }
    assert!(
        stats.size + stats.connecting <= max_size,
        "size + connecting exceeds max_size {max_size}: {}",
        details()
    );
    // The statistics count the connections that exist.
    assert_eq!(
        stats.size + detached,
        observed.alive(),
        "size differs from the connections that exist: {}",
        details()
    );
    assert!(
        observed.connecting() <= stats.connecting,
        "a connect that the statistics do not count: {}",
        details()
    );
    assert_eq!(stats.active + stats.available, stats.size, "{}", details());
    // Every connection is open, closed for one reason, or detached.
    assert_eq!(
        stats.created,
        stats.size as u64 + stats.closed.total() + stats.detached,
        "created is not open + closed + detached: {}",
        details()
    );
    // Exceeds the opened connections if detached ones were added again.
    let added = stats.created.checked_sub(observed.opened);
    assert!(added.is_some_and(|added| added <= stats.detached), "{}", details());
    assert!(observed.dropped_twice.is_empty(), "closed twice: {}", details());
    assert_each_counted_once(stats);
}

/// Checks the invariants of a pool with no pending connect and no waiter, of which `borrowed`
/// connections are checked out.
///
/// # Panics
///
/// Panics with the statistics if an invariant does not hold.
pub fn assert_at_rest(pool: &Pool<FaultyManager>, manager: &FaultyManager, borrowed: usize) {
    let stats = pool.stats();
    assert_eq!(stats.size, manager.alive(), "{stats}");
    assert_eq!(stats.active, borrowed, "{stats}");
    assert_eq!(stats.connecting, 0, "{stats}");
    assert_eq!(stats.waiting, 0, "{stats}");
    assert_each_counted_once(&stats);
    let accounted_for = stats.size as u64 + stats.closed.total() + stats.detached;
    assert_eq!(stats.created, accounted_for, "{stats}");
    let max_size = pool.config().max_size;
    assert!(
        manager.peak() <= max_size,
        "{} connections at once with max_size {max_size}",
        manager.peak()
    );
}

/// Checks that no waiter sleeps while it could be served: with a waiter in the queue no connection is
/// idle, and if there is room a connect is pending, unless the pool is `backing_off` or a connection is
/// being reset for each waiter. Checks nothing
/// of a paused or closed pool.
///
/// # Panics
///
/// Panics with the statistics if a wake-up was lost.
pub fn assert_no_lost_wakeup<M: Manager>(pool: &Pool<M>, backing_off: bool) {
    let stats = pool.stats();
    let max_size = pool.config().max_size;
    if stats.waiting == 0 || stats.connecting > 0 || stats.paused || pool.is_closed() {
        return;
    }
    assert_eq!(stats.available, 0, "a connection is idle while a caller waits: {stats}");
    assert!(
        backing_off || stats.size >= max_size || stats.resetting >= stats.waiting,
        "room for {} connections while a caller waits: {stats}",
        max_size - stats.size
    );
}

fn assert_each_counted_once(stats: &Stats) {
    assert!(stats.success <= stats.request, "{stats}");
    assert!(stats.wait_count <= stats.request, "{stats}");
    assert_eq!(stats.idle_closed, stats.closed.get(CloseReason::Idle), "{stats}");
    assert_eq!(stats.lifetime_closed, stats.closed.get(CloseReason::Lifetime), "{stats}");
}
