//! The pool under test.

use std::sync::Arc;
use std::time::Duration;

use connpool_core::{Backoff, Manager, Pool, Runtime};

use crate::outcome::Outcome;

/// The highest `max_size` that the run sets.
pub(crate) const MAX_SIZE: usize = 24;

/// Builds a pool whose limits are all set, and so short that each of them is reached.
pub(crate) fn build<M: Manager>(manager: M, runtime: Arc<dyn Runtime>) -> Outcome<Pool<M>> {
    let millis = Duration::from_millis;
    let pool = Pool::builder(manager, runtime)
        .name("soak")
        .max_size(MAX_SIZE)
        .min_size(4)
        .increment(2)
        .idle_timeout(millis(100))
        .max_lifetime(millis(200))
        .evict_interval(millis(20))
        .get_timeout(millis(60))
        .connect_timeout(millis(500))
        .ping_timeout(millis(30))
        .reset_timeout(millis(30))
        .close_timeout(millis(200))
        .ping_after(millis(10))
        .max_waiters(40)
        .max_idle(8)
        .max_uses(40)
        .max_connecting(8)
        .backoff(Backoff::new(millis(5), millis(100), 2.0))
        .build_lazy()?;
    Ok(pool)
}
