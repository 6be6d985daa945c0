//! `min_idle`, and the successor of the last idle connection.

use std::time::Duration;

use crate::env::Env;

/// Whatever is in use, within `max_size`.
pub(crate) async fn get_that_leaves_too_few_idle_has_others_opened(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(4).min_idle(2).build_lazy().unwrap();
    let mut held = Vec::new();
    for idle in [2, 2, 1, 0] {
        held.extend(env.hold(&pool, 1).await);
        let active = held.len();
        env.until_stats(&pool, |stats| (stats.active, stats.available) == (active, idle)).await;
    }
    drop(held);
    env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(backend.peak(), 4);
    env.assert_full_capacity(&pool, &backend).await;
}

/// Its successor is open while it still is.
pub(crate) async fn last_idle_connection_is_replaced_before_it_expires(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().min_size(1).max_lifetime(Duration::from_millis(600));
    let pool = pool.lifetime_jitter(0.0).evict_interval(None).build().await.unwrap();
    env.until(|| backend.peak() == 2).await;
    env.until_stats(&pool, |stats| stats.available >= 1).await;
    assert!(!pool.close(crate::env::LONG).await.timed_out);
}
