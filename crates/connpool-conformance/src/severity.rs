//! Errors that users report.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use connpool_core::{CloseReason, Event, Severity};
use connpool_testkit::{Call, ScriptedError};

use crate::env::{Env, closed};

/// Twenty users hear one after the other that their connection is stale: the first one clears the pool, and
/// no connection that was opened since is closed.
pub(crate) async fn failover_that_twenty_users_hear_of_clears_once(env: Env) {
    let backend = env.backend();
    let clears = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&clears);
    let observer = move |_: &str, event: &Event<'_>| {
        count.fetch_add(usize::from(matches!(event, Event::Cleared)), Ordering::SeqCst);
    };
    let pool = backend.pool().max_size(20).observer(observer).build_lazy().unwrap();
    backend.set_severity(Severity::Generation);
    let mut held = env.hold(&pool, 20).await;
    for nth in 0..20 {
        let mut conn = held.remove(0);
        assert_eq!(conn.failed(&ScriptedError(0)), Severity::Generation);
        drop(conn);
        held.extend(env.hold(&pool, 1).await);
        assert_eq!(held.last().map(|conn| conn.id()), Some(21 + nth));
    }
    assert_eq!((clears.load(Ordering::SeqCst), backend.calls(Call::Connect)), (1, 40));
    drop(held);
    env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(pool.stats().available, 20);
}

/// Other errors close it.
pub(crate) async fn error_about_a_request_keeps_its_connection(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    for (severity, available) in [(Severity::Request, 1), (Severity::Connection, 0)] {
        let mut conn = pool.get_owned().await.unwrap();
        let exchange = conn.exchange_with(|_: &()| severity, async |_| Err::<(), ()>(()));
        assert_eq!(exchange.await, Err(()));
        drop(conn);
        let stats = env.until_at_rest(&pool, &backend, 0).await;
        assert_eq!(stats.available, available);
    }
    assert_eq!(closed(&pool, CloseReason::Unfinished), 1);
}
