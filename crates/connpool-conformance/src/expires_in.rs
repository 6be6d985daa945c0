//! Limits that the peer has announced.

use std::time::Duration;

use connpool_core::CloseReason;

use crate::env::{Env, MILLI, SHORT, closed};

/// The sweep closes it before its peer does. No other setting reads a clock.
pub(crate) async fn connection_that_expires_is_closed_gracefully(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().ping_after(None).evict_interval(MILLI).build_lazy().unwrap();
    env.fill(&pool, 2).await;
    backend.set_expires_in_with(|_| Some(SHORT));
    drop(env.hold(&pool, 2).await);
    env.until_stats(&pool, |stats| stats.size == 0).await;
    assert_eq!((closed(&pool, CloseReason::Lifetime), backend.graceful_closes().len()), (2, 2));
    backend.set_expires_in_with(|_| Some(Duration::MAX));
    env.fill(&pool, 2).await;
    env.until_at_rest(&pool, &backend, 0).await;
}
