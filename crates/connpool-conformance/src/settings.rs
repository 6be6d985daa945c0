//! `reconfigure` of a pool in use.

use connpool_core::{CloseReason, Pool, PoolConfig};

use crate::env::{Env, LONG, MILLI, SHORT, closed, waiting};
use connpool_testkit::FaultyManager;
use connpool_testkit::{Behavior, Call};

fn change(pool: &Pool<FaultyManager>, change: impl FnOnce(&mut PoolConfig)) {
    let mut config = pool.config();
    change(&mut config);
    pool.reconfigure(config.clone()).unwrap();
    assert_eq!(pool.config(), config);
}

/// Rejects a change as a whole.
pub(crate) async fn invalid_settings_change_nothing(env: Env) {
    let pool = env.backend().pool().name("orders").build_lazy().unwrap();
    let before = pool.config();
    let mut config = before.clone();
    (config.get_timeout, config.max_size) = (None, 0);
    assert_eq!(pool.reconfigure(config).unwrap_err().field(), "max_size");
    let mut config = before.clone();
    config.name = Some(String::from("invoices"));
    assert_eq!(pool.reconfigure(config).unwrap_err().field(), "name");
    assert_eq!(pool.config(), before);
}

/// The maintenance task opens missing connections and closes expired ones.
pub(crate) async fn min_size_and_limits_apply_to_open_connections(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(4).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    change(&pool, |c| c.min_size = 3);
    env.until_stats(&pool, |stats| stats.size == 3).await;
    change(&pool, |c| {
        (c.min_size, c.max_lifetime) = (0, Some(MILLI));
        c.evict_interval = Some(MILLI);
    });
    env.until_stats(&pool, |stats| stats.size == 1).await;
    env.sleep(MILLI).await;
    drop(held);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, stats.lifetime_closed), (0, 3));
}

/// A raised `max_connecting` starts the connect of a waiter.
pub(crate) async fn waiters_are_served_when_a_change_allows_it(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Succeed, Behavior::Hold]);
    let pool = backend.pool().max_size(3).max_connecting(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let first = waiting(pool.get_owned()).await;
    let second = waiting(pool.get_owned()).await;
    change(&pool, |c| c.max_connecting = None);
    // The second connect starts while the first is pending, and completes first.
    let guard = first.await.unwrap();
    env.release(&backend, Call::Connect, Behavior::Succeed).await;
    drop((guard, second.await.unwrap(), held));
    env.assert_full_capacity(&pool, &backend).await;
}

/// Changes the settings while tasks borrow and return connections.
pub(crate) async fn changes_under_load_lose_no_connection_and_no_waiter(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(6).get_timeout(LONG).build_lazy().unwrap();
    env.run_tasks(24, |nth| {
        let (env, pool) = (env.clone(), pool.clone());
        async move {
            for round in 0..4 {
                let guard = pool.get_owned().await.unwrap();
                let max_size = 1 + (nth + round) % 6;
                change_some(&pool, max_size, nth % 2 == 0);
                if nth % 3 == 0 {
                    env.sleep(MILLI).await;
                }
                drop(guard);
            }
        }
    })
    .await;
    pool.reconfigure(PoolConfig::default()).unwrap();
    env.assert_full_capacity(&pool, &backend).await;
}

/// Changes several settings. Does not compare them afterwards, as other tasks change them too.
fn change_some(pool: &Pool<FaultyManager>, max_size: usize, even: bool) {
    let mut config = pool.config();
    config.max_size = max_size;
    config.min_size = usize::from(even);
    config.max_idle = even.then_some(max_size);
    config.idle_timeout = even.then_some(SHORT);
    config.evict_interval = (!even).then_some(MILLI);
    pool.reconfigure(config).unwrap();
}

/// Closes surplus idle connections at once.
pub(crate) async fn smaller_max_idle_closes_surplus_connections(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(4).build_lazy().unwrap();
    env.fill(&pool, 4).await;
    change(&pool, |c| c.max_idle = Some(1));
    env.until_stats(&pool, |stats| stats.size == 1).await;
    env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(closed(&pool, CloseReason::Overflow), 3);
    assert_eq!(backend.graceful_closes().len(), 3);
    env.assert_full_capacity(&pool, &backend).await;
}
