//! Holders: in the list, in errors, in leak warnings and in the report of a close.

use std::sync::{Arc, Mutex, PoisonError};

use connpool_core::{BreakerState, Event, GetError, Phase};

use crate::env::{Env, LONG, MILLI, SHORT, waiting};
use connpool_testkit::{Behavior, Call};

/// Lists each borrowed connection with call site and label, and no other connection.
pub(crate) async fn holders_lists_exactly_the_borrowed_connections(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    let mut guards = env.hold(&pool, 3).await;
    guards[1].label("the second");
    let mut holders = pool.holders();
    holders.sort_by_key(|holder| holder.id);
    let labels: Vec<_> =
        holders.iter().map(|holder| (holder.id, holder.label.as_deref())).collect();
    let ids: Vec<u64> = guards.iter().map(|guard| guard.id()).collect();
    assert_eq!(labels, [(ids[0], None), (ids[1], Some("the second")), (ids[2], None)]);
    assert!(holders.iter().all(|holder| holder.site.is_some()));
    if let Some(mut guard) = guards.pop() {
        guard.mark_unusable();
    }
    let detached = guards.pop().map(connpool_core::PooledConnection::detach);
    assert_eq!(pool.holders().len(), 1);
    drop((guards, detached));
    assert_eq!(pool.holders(), []);
}

/// Borrows, marks and detaches connections concurrently.
pub(crate) async fn holders_is_empty_after_all_connections_return(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(4).get_timeout(LONG).build_lazy().unwrap();
    env.run_tasks(24, |nth| {
        let (env, pool) = (env.clone(), pool.clone());
        async move {
            let mut guard = pool.get_owned().await.unwrap();
            guard.label(format!("task {nth}"));
            assert!(pool.holders().iter().any(|holder| holder.id == guard.id()));
            assert!(pool.holders().len() <= 4);
            match nth % 4 {
                0 => guard.mark_unusable(),
                1 => drop(guard.detach()),
                _ => env.sleep(MILLI).await,
            }
        }
    })
    .await;
    assert_eq!(pool.holders(), []);
}

/// The error of a wait timeout carries the holders and the queue position.
pub(crate) async fn wait_timeout_names_the_holders(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let mut held = env.hold(&pool, 2).await;
    held[0].label("report");
    let first = waiting(pool.get()).await;
    let Err(GetError::Timeout { phase, diagnosis }) = pool.get_timeout(SHORT).await else {
        panic!("no timeout");
    };
    assert_eq!(phase, Phase::Wait);
    assert_eq!((diagnosis.active, diagnosis.waiting), (2, 2));
    assert_eq!(diagnosis.queue_position, Some(2));
    assert_eq!(diagnosis.longest_held.len(), 2);
    assert!(diagnosis.to_string().contains("2 of 2 in use"), "{diagnosis}");
    assert!(diagnosis.to_string().contains("\"report\""), "{diagnosis}");
    drop(held);
    drop(first.await.unwrap());
}

/// The error of a get that waited for a failing backend carries the last error.
pub(crate) async fn connect_phase_timeout_reports_the_last_error(env: Env) {
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Fail);
    let pool = backend.pool().fail_fast_after(None).breaker(None).build_lazy().unwrap();
    let patient = waiting(pool.get()).await;
    env.until_stats(&pool, |stats| stats.connect_failed > 0).await;
    drop(patient);
    let Err(GetError::Timeout { phase, diagnosis }) = pool.get_timeout(SHORT).await else {
        panic!("no timeout");
    };
    assert_eq!(phase, Phase::Connect);
    assert_eq!(diagnosis.breaker, BreakerState::Closed);
    assert!(diagnosis.last_error.is_some() && diagnosis.last_error_ago.is_some());
}

/// A leaked connection causes one event, and its return one more.
pub(crate) async fn leak_is_reported_once_and_its_return_once(env: Env) {
    let backend = env.backend();
    let events = Arc::new(Mutex::new(Vec::new()));
    let for_observer = Arc::clone(&events);
    let pool = backend
        .pool()
        .leak_warning(SHORT)
        .observer(move |_: &str, event: &Event<'_>| {
            if let Event::LeakSuspected { holder, .. } | Event::LeakReturned { holder, .. } = event
            {
                let mut events = for_observer.lock().unwrap_or_else(PoisonError::into_inner);
                events.push((event.label(), holder.id));
            }
        })
        .build_lazy()
        .unwrap();
    let held = env.hold(&pool, 1).await;
    env.until(|| events.lock().unwrap().len() == 1).await;
    env.sleep(2 * SHORT).await;
    drop(held);
    let events = events.lock().unwrap().clone();
    assert_eq!(events, [("leak_suspected", 1), ("leak_returned", 1)]);
    assert_eq!(pool.stats().leaked, 1);
}

/// The report of a timed-out close carries the holders.
pub(crate) async fn timed_out_close_names_the_holders(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    let mut held = env.hold(&pool, 2).await;
    held[1].label("stuck");
    let report = pool.close(MILLI).await;
    assert!(report.timed_out);
    let mut labels: Vec<_> = report.still_out.into_iter().map(|holder| holder.label).collect();
    labels.sort();
    assert_eq!(labels, [None, Some(Arc::from("stuck"))]);
    drop(held);
    assert_eq!(pool.close(LONG).await.still_out, []);
}
