//! Settings that change while everything runs.

use connpool_core::{CloseReason, Pool, PoolConfig};

use super::host::{Host, LONG, MILLI, SHORT, closed, waiting};
use crate::{Behavior, Call, FaultyManager};

fn change(pool: &Pool<FaultyManager>, change: impl FnOnce(&mut PoolConfig)) {
    let mut config = pool.config();
    change(&mut config);
    pool.reconfigure(config.clone()).unwrap();
    assert_eq!(pool.config(), config);
}

/// All of them or none.
pub async fn settings_that_cannot_be_change_nothing(host: Host) {
    let pool = host.backend().pool().name("orders").build_lazy().unwrap();
    let before = pool.config();
    let mut config = before.clone();
    (config.get_timeout, config.max_size) = (None, 0);
    assert_eq!(pool.reconfigure(config).unwrap_err().field(), "max_size");
    let mut config = before.clone();
    config.name = Some(String::from("invoices"));
    assert_eq!(pool.reconfigure(config).unwrap_err().field(), "name");
    assert_eq!(pool.config(), before);
}

/// The driver opens what is missing, and lets go what is too much.
pub async fn min_size_and_limits_reach_what_is_open_already(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(4).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    change(&pool, |c| c.min_size = 3);
    host.until_stats(&pool, |stats| stats.size == 3).await;
    change(&pool, |c| {
        (c.min_size, c.max_lifetime) = (0, Some(MILLI));
        c.evict_interval = Some(MILLI);
    });
    host.until_stats(&pool, |stats| stats.size == 1).await;
    host.sleep(MILLI).await;
    drop(held);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, stats.lifetime_closed), (0, 3));
}

/// Room that is made for them serves those in line.
pub async fn those_in_line_are_served_by_what_a_change_allows(host: Host) {
    let backend = host.backend();
    backend.next(Call::Connect, [Behavior::Succeed, Behavior::Hold]);
    let pool = backend
        .pool()
        .max_size(3)
        .max_connecting(1)
        .build_lazy()
        .unwrap();
    let held = host.hold(&pool, 1).await;
    let first = waiting(pool.get_owned()).await;
    let second = waiting(pool.get_owned()).await;
    change(&pool, |c| c.max_connecting = None);
    // The second connect begins beside the first one, and overtakes it.
    let one = first.await.unwrap();
    host.release(&backend, Call::Connect, Behavior::Succeed)
        .await;
    drop((one, second.await.unwrap(), held));
    host.lends_all(&pool, &backend).await;
}

/// Connections come and go while the settings do.
pub async fn changes_under_load_lose_no_connection_and_no_waiter(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(6)
        .get_timeout(LONG)
        .build_lazy()
        .unwrap();
    host.run_tasks(24, |nth| {
        let (host, pool) = (host.clone(), pool.clone());
        async move {
            for round in 0..4 {
                let guard = pool.get_owned().await.unwrap();
                let max_size = 1 + (nth + round) % 6;
                change_some(&pool, max_size, nth % 2 == 0);
                if nth % 3 == 0 {
                    host.sleep(MILLI).await;
                }
                drop(guard);
            }
        }
    })
    .await;
    pool.reconfigure(PoolConfig::default()).unwrap();
    host.lends_all(&pool, &backend).await;
}

/// As [`change`]; what others change meanwhile may be read back.
fn change_some(pool: &Pool<FaultyManager>, max_size: usize, even: bool) {
    let mut config = pool.config();
    config.max_size = max_size;
    config.min_size = usize::from(even);
    config.max_idle = even.then_some(max_size);
    config.idle_timeout = even.then_some(SHORT);
    config.evict_interval = (!even).then_some(MILLI);
    pool.reconfigure(config).unwrap();
}

/// Fewer may be idle: the rest goes now.
pub async fn a_smaller_max_idle_closes_what_is_too_much(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(4).build_lazy().unwrap();
    host.fill(&pool, 4).await;
    change(&pool, |c| c.max_idle = Some(1));
    host.until_stats(&pool, |stats| stats.size == 1).await;
    host.rest(&pool, &backend, 0).await;
    assert_eq!(closed(&pool, CloseReason::Overflow), 3);
}
