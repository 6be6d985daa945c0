//! Events sent to an observer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use connpool_core::Event;

use crate::env::{Env, LONG, MILLI, NOT_TOLD_AFTER, waiting};
use connpool_testkit::FaultyManager;
use connpool_testkit::{Behavior, Call};

/// The labels of the events received so far.
type Labels = Arc<Mutex<Vec<&'static str>>>;

/// Returns a builder with an observer that records the labels of its events.
fn recording(backend: &FaultyManager) -> (Labels, connpool_core::Builder<FaultyManager>) {
    let labels = Labels::default();
    let for_observer = Arc::clone(&labels);
    let builder = backend.pool().observer(move |_: &str, event: &Event<'_>| {
        for_observer.lock().unwrap_or_else(PoisonError::into_inner).push(event.label());
    });
    (labels, builder)
}

/// Follows one connection from its connect to its close.
pub(crate) async fn events_of_a_connection_arrive_in_order(env: Env) {
    let backend = env.backend();
    let (labels, builder) = recording(&backend);
    let pool = builder.max_uses(1).build_lazy().unwrap();
    drop(pool.get().await.unwrap());
    env.until(|| labels.lock().unwrap().last() == Some(&"closed")).await;
    let mut labels = labels.lock().unwrap().clone();
    // The waiting task sends this event concurrently with the `opened` of the connecting task.
    labels.retain(|label| *label != "waiting");
    assert_eq!(labels, ["opened", "lent", "returned", "closed"]);
}

/// Under concurrent load each event is sent exactly once.
pub(crate) async fn event_counts_match_the_statistics(env: Env) {
    let backend = env.backend();
    let (labels, builder) = recording(&backend);
    let pool = builder
        .max_size(3)
        .max_uses(5)
        .get_timeout(LONG)
        .fail_fast_after(None)
        .build_lazy()
        .unwrap();
    backend.next(Call::Connect, [Behavior::Fail, Behavior::Succeed, Behavior::Fail]);
    env.run_tasks(20, |nth| {
        let (env, pool) = (env.clone(), pool.clone());
        async move {
            let mut guard = pool.get_owned().await.unwrap();
            match nth % 5 {
                0 => guard.mark_unusable(),
                1 => drop(guard.detach()),
                _ => env.sleep(MILLI).await,
            }
        }
    })
    .await;
    pool.close(LONG).await;
    let stats = pool.stats();
    let count = |label| {
        let labels = labels.lock().unwrap();
        labels.iter().filter(|sent| **sent == label).count() as u64
    };
    env.until(|| count("closed") + count("detached") == stats.created).await;
    env.until(|| count("connect_failed") == stats.connect_failed).await;
    assert_eq!(count("opened"), stats.created);
    assert_eq!(count("lent"), stats.success);
    assert_eq!(count("returned"), stats.success - stats.detached);
}

/// The observer panics, and uses the pool that it observes.
pub(crate) async fn misbehaving_observer_changes_nothing(env: Env) {
    let backend = env.backend();
    let weak = Arc::new(Mutex::new(None::<connpool_core::WeakPool<FaultyManager>>));
    let calls = Arc::new(AtomicU64::new(0));
    let (pool_of, counts) = (Arc::clone(&weak), Arc::clone(&calls));
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
    *weak.lock().unwrap() = Some(pool.downgrade());
    backend.next(Call::Connect, [Behavior::Fail]);
    assert!(pool.get().await.is_err());
    env.sleep(NOT_TOLD_AFTER).await;
    let held = env.hold(&pool, 2).await;
    let get = waiting(pool.get()).await;
    drop(held);
    drop(get.await.unwrap());
    pool.clear();
    pool.resize(1).unwrap();
    pool.resize(2).unwrap();
    env.assert_full_capacity(&pool, &backend).await;
    assert!(!pool.close(LONG).await.timed_out);
    assert_eq!(backend.alive(), 0);
    assert!(calls.load(Ordering::Relaxed) > 0);
}

/// Sends the event for a timeout and for a late success.
pub(crate) async fn slow_get_event_follows_success_and_timeout(env: Env) {
    let backend = env.backend();
    let (labels, builder) = recording(&backend);
    let pool = builder.max_size(1).slow_get_warning(MILLI).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    labels.lock().unwrap().clear();
    assert!(pool.get_timeout(2 * MILLI).await.is_err());
    let get = waiting(pool.get()).await;
    env.sleep(2 * MILLI).await;
    drop(held);
    drop(get.await.unwrap());
    let labels = labels.lock().unwrap();
    assert_eq!(labels.iter().filter(|label| **label == "slow_get").count(), 2);
}
