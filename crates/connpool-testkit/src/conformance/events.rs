//! What an observer is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use connpool_core::Event;

use super::host::{Host, LONG, MILLI, waiting};
use crate::{Behavior, Call, FaultyManager};
use std::sync::Mutex;

/// What was told, by label.
type Told = Arc<Mutex<Vec<&'static str>>>;

fn watched(backend: &FaultyManager) -> (Told, connpool_core::Builder<FaultyManager>) {
    let told = Told::default();
    let notes = Arc::clone(&told);
    let builder = backend.pool().observer(move |_: &str, event: &Event<'_>| {
        notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event.label());
    });
    (told, builder)
}

/// One connection, from the beginning to the end.
pub async fn the_life_of_a_connection_is_told_in_order(host: Host) {
    let backend = host.backend();
    let (told, builder) = watched(&backend);
    let pool = builder.max_uses(1).build_lazy().unwrap();
    drop(pool.get().await.unwrap());
    host.until(|| told.lock().unwrap().last() == Some(&"closed"))
        .await;
    let mut told = told.lock().unwrap().clone();
    // Told by the task that waits, at the same time as the first of these by the one that connects.
    told.retain(|label| *label != "waiting");
    assert_eq!(told, ["opened", "lent", "returned", "closed"]);
}

/// Everything at once, on as many threads as there are: nothing is told twice, and nothing not.
pub async fn what_is_told_adds_up(host: Host) {
    let backend = host.backend();
    let (told, builder) = watched(&backend);
    let pool = builder
        .max_size(3)
        .max_uses(5)
        .get_timeout(LONG)
        .fail_fast(false)
        .build_lazy()
        .unwrap();
    backend.next(
        Call::Connect,
        [Behavior::Fail, Behavior::Succeed, Behavior::Fail],
    );
    host.run_tasks(20, |nth| {
        let (host, pool) = (host.clone(), pool.clone());
        async move {
            let mut guard = pool.get_owned().await.unwrap();
            match nth % 5 {
                0 => guard.mark_unusable(),
                1 => drop(guard.detach()),
                _ => host.sleep(MILLI).await,
            }
        }
    })
    .await;
    pool.close(LONG).await;
    let stats = pool.stats();
    let count = |label| {
        let told = told.lock().unwrap();
        told.iter().filter(|other| **other == label).count() as u64
    };
    host.until(|| count("closed") + count("detached") == stats.created)
        .await;
    host.until(|| count("connect_failed") == stats.connect_failed)
        .await;
    assert_eq!(count("opened"), stats.created);
    assert_eq!(count("lent"), stats.success);
    assert_eq!(count("returned"), stats.success - stats.detached);
}

/// It panics, it uses the pool: neither matters.
pub async fn an_observer_that_misbehaves_changes_nothing(host: Host) {
    let backend = host.backend();
    let place = Arc::new(Mutex::new(None::<connpool_core::WeakPool<FaultyManager>>));
    let calls = Arc::new(AtomicU64::new(0));
    let (pool_of, counts) = (Arc::clone(&place), Arc::clone(&calls));
    let pool = backend
        .pool()
        .max_size(2)
        .observer(move |_: &str, _: &Event<'_>| {
            let pool = pool_of
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .and_then(connpool_core::WeakPool::upgrade);
            if let Some(pool) = pool {
                let _ = (pool.stats(), pool.try_get().map(drop));
            }
            counts.fetch_add(1, Ordering::Relaxed);
            panic!("scripted panic");
        })
        .build_lazy()
        .unwrap();
    *place.lock().unwrap() = Some(pool.downgrade());
    let held = host.hold(&pool, 2).await;
    let get = waiting(pool.get()).await;
    drop(held);
    drop(get.await.unwrap());
    pool.clear();
    host.lends_all(&pool, &backend).await;
    assert!(calls.load(Ordering::Relaxed) > 0);
}

/// A get that takes too long is told, whether it got one or not.
pub async fn a_slow_get_is_told(host: Host) {
    let backend = host.backend();
    let (told, builder) = watched(&backend);
    let pool = builder
        .max_size(1)
        .slow_get_warning(MILLI)
        .build_lazy()
        .unwrap();
    let held = host.hold(&pool, 1).await;
    told.lock().unwrap().clear();
    assert!(pool.get_timeout(2 * MILLI).await.is_err());
    let get = waiting(pool.get()).await;
    host.sleep(2 * MILLI).await;
    drop(held);
    drop(get.await.unwrap());
    let told = told.lock().unwrap();
    assert_eq!(told.iter().filter(|label| **label == "slow_get").count(), 2);
}
