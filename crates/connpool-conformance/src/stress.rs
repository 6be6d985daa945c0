//! Many concurrent tasks on one pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connpool_core::{GetError, Phase, Pool};
use futures_lite::future::{poll_once, yield_now};

use crate::env::{Env, LONG, MILLI, SHORT, all_waiting};
use connpool_testkit::FaultyManager;

/// P2: exclusive use. Commons Pool, `testNoInstanceOverlap`; Vitess, `TestStackRace`.
pub(crate) async fn no_connection_has_two_holders(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(5).build_lazy().unwrap();
    let owners = Owners::new(5);
    env.run_tasks(100, |nth| {
        let (pool, owners) = (pool.clone(), owners.clone());
        async move {
            for _ in 0..100 {
                let guard = pool.get().await.unwrap();
                owners.acquire(guard.id(), nth + 1);
                yield_now().await;
                owners.release(guard.id(), nth + 1);
            }
        }
    })
    .await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success), (10_000, 10_000));
    assert_eq!((stats.closed.total(), stats.size as u64), (0, stats.created));
}

/// P3: hand-over between two tasks. puddle, `TestReleaseAfterAcquire`.
pub(crate) async fn two_tasks_alternate_on_one_connection(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    env.run_tasks(2, |_| {
        let pool = pool.clone();
        async move {
            for _ in 0..10_000 {
                drop(pool.get().await.unwrap());
            }
        }
    })
    .await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.success), (1, 20_000));
}

/// P4: bursts of gets. Vitess, `TestGetSpike`.
pub(crate) async fn bursts_of_eighty_gets_are_all_served(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(5).build_lazy().unwrap();
    for _ in 0..25 {
        env.run_tasks(80, |_| {
            let pool = pool.clone();
            async move { drop(pool.get_timeout(LONG).await.unwrap()) }
        })
        .await;
    }
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success), (2_000, 2_000));
    assert_eq!((stats.size as u64, stats.closed.total()), (stats.created, 0));
}

/// P5: close under load. Vitess, `TestStressCloseDuringTraffic`.
pub(crate) async fn close_under_load_leaves_nothing(env: Env) {
    for round in 0..20 {
        let backend = env.backend();
        let pool = backend
            .pool()
            .max_size(16)
            .idle_timeout(SHORT)
            .evict_interval(2 * MILLI)
            .build_lazy()
            .unwrap();
        let workers: Vec<_> =
            (0..24).map(|_| env.spawn(work_until_closed(env.clone(), pool.clone()))).collect();
        let resizer = env.spawn(resize_until_closed(env.clone(), pool.clone()));
        env.until_stats(&pool, |stats| stats.success >= 20 * round).await;
        let report = pool.close(LONG).await;
        assert_eq!((report.still_out.len(), report.timed_out), (0, false));
        for worker in workers {
            worker.await;
        }
        resizer.await;
        let (stats, observed) = (pool.stats(), backend.observed());
        assert_eq!((stats.size, stats.connecting, stats.waiting), (0, 0, 0));
        assert_eq!((observed.alive(), observed.opened), (0, stats.created));
        assert_eq!(stats.created, stats.closed.total());
        assert!(observed.peak <= 16, "{} at once", observed.peak);
    }
}

/// P7: random operations. puddle, `TestStress`.
pub(crate) async fn statistics_add_up_after_random_operations(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(8).build_lazy().unwrap();
    env.run_tasks(16, |_| act_at_random(env.clone(), pool.clone(), 500)).await;
    // A detached connection may briefly exceed max_size.
    env.until_stats(&pool, |stats| stats.active + stats.connecting == 0).await;
    let stats = pool.stats();
    assert_eq!((stats.request, stats.waiting), (8_000, 0));
    assert_eq!((stats.size, stats.created), (backend.alive(), backend.observed().opened));
    let gone = stats.closed.total() + stats.detached;
    assert_eq!(stats.created, stats.size as u64 + gone, "{stats}");
    drop(env.hold(&pool, 8).await);
    assert!(!pool.close(LONG).await.timed_out);
    assert_eq!(backend.alive(), 0);
}

/// P20: saturation. HikariCP, `TestSaturatedPool830`.
pub(crate) async fn timeouts_end_with_the_overload(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let held = env.hold(&pool, 2).await;
    // No connection is returned: every get times out.
    let results = env
        .run_tasks(20, |_| {
            let pool = pool.clone();
            async move { pool.get_timeout(SHORT).await.map(drop) }
        })
        .await;
    for result in results {
        match result {
            Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Wait),
            other => panic!("{other:?}"),
        }
    }
    // More gets than connections, with a long timeout: all are served.
    let waiters = all_waiting(20, || pool.get_timeout(LONG)).await;
    drop(held);
    for get in waiters {
        drop(get.await.unwrap());
    }
    // As many tasks as connections: no get waits.
    let before = pool.stats();
    env.run_tasks(2, |_| {
        let pool = pool.clone();
        async move {
            for _ in 0..50 {
                let _guard = pool.get().await.unwrap();
                yield_now().await;
            }
        }
    })
    .await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(stats.success - before.success, 100);
    assert_eq!((stats.wait_count, stats.created), (before.wait_count, 2));
}

/// The task that holds each connection, by connection id; 0 for none.
#[derive(Clone)]
struct Owners(Arc<[AtomicUsize]>);

impl Owners {
    fn new(connections: usize) -> Self {
        Owners((0..=connections).map(|_| AtomicUsize::new(0)).collect())
    }

    fn acquire(&self, id: u64, task: usize) {
        let before = self.0[id as usize].swap(task, Ordering::SeqCst);
        assert_eq!(before, 0, "connection {id} has two holders");
    }

    fn release(&self, id: u64, task: usize) {
        let before = self.0[id as usize].swap(0, Ordering::SeqCst);
        assert_eq!(before, task, "connection {id} has two holders");
    }
}

async fn work_until_closed(env: Env, pool: Pool<FaultyManager>) {
    loop {
        match pool.get_timeout(LONG).await {
            Ok(mut guard) => match env.runtime().random() % 50 {
                0 => guard.mark_unusable(),
                1..10 => env.sleep(MILLI).await,
                _ => yield_now().await,
            },
            Err(GetError::Closed) => return,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn resize_until_closed(env: Env, pool: Pool<FaultyManager>) {
    while !pool.is_closed() {
        let size = 1 + env.runtime().random() % 16;
        pool.resize(size as usize).unwrap();
        env.sleep(MILLI).await;
    }
}

async fn act_at_random(env: Env, pool: Pool<FaultyManager>, times: usize) {
    for _ in 0..times {
        let random = env.runtime().random();
        let got = match random % 4 {
            0 => pool.get().await.ok(),
            1 => {
                let limit = Duration::from_nanos(random >> 8 & 2_047);
                pool.get_timeout(limit).await.ok()
            }
            2 => pool.try_get().ok(),
            _ => poll_once(pool.get()).await.and_then(Result::ok),
        };
        let Some(mut guard) = got else { continue };
        match random >> 32 & 31 {
            0 => drop(guard.detach()),
            1 => guard.mark_unusable(),
            2 => drop(pool.stats()),
            3..10 => yield_now().await,
            _ => {}
        }
    }
}
