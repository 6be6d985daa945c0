//! Tests of the managers in this package, each against a real client and a server.

mod http;
mod lines;
#[cfg(unix)]
mod postgres;

use std::time::{Duration, Instant};

use connpool_tokio::{CloseReason, Manager, Pool, Stats};
use tokio::task::yield_now;

/// The longest wait for an event.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits until the statistics satisfy a condition.
async fn until<M: Manager>(pool: &Pool<M>, holds: impl Fn(&Stats) -> bool) {
    let start = Instant::now();
    while !holds(&pool.stats()) {
        assert!(start.elapsed() < LIMIT, "condition not met: {}", pool.stats());
        yield_now().await;
    }
}

/// Waits until `count` connections were closed, and asserts that all of them had this reason.
async fn until_closed<M: Manager>(pool: &Pool<M>, reason: CloseReason, count: u64) {
    until(pool, |stats| stats.closed.total() >= count).await;
    let stats = pool.stats();
    assert_eq!(stats.closed.get(reason), count, "{reason:?}: {stats}");
    assert_eq!(stats.closed.total(), count, "{stats}");
}
