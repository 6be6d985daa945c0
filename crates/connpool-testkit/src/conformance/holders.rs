//! Who has what: as a list, in errors, in warnings, in the report of a close.

use std::sync::{Arc, PoisonError};

use connpool_core::{BreakerState, Event, GetError, Phase};

use super::host::{Host, LONG, MILLI, SHORT, waiting};
use crate::{Behavior, Call};
use std::sync::Mutex;

/// Everybody who has one is in the list, by connection, line and label, and nobody else is.
pub async fn everybody_who_has_one_is_listed_and_nobody_else(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().build_lazy().unwrap();
    let mut guards = host.hold(&pool, 3).await;
    guards[1].label("the second");
    let mut holders = pool.holders();
    holders.sort_by_key(|holder| holder.id);
    let labels: Vec<_> = holders
        .iter()
        .map(|holder| (holder.id, holder.label.as_deref()))
        .collect();
    let ids: Vec<u64> = guards.iter().map(|guard| guard.id()).collect();
    assert_eq!(
        labels,
        [(ids[0], None), (ids[1], Some("the second")), (ids[2], None)]
    );
    assert!(holders.iter().all(|holder| holder.site.is_some()));
    if let Some(mut guard) = guards.pop() {
        guard.mark_unusable();
    }
    let taken_out = guards.pop().map(connpool_core::PooledConnection::detach);
    assert_eq!(pool.holders().len(), 1);
    drop((guards, taken_out));
    assert_eq!(pool.holders(), []);
}

/// On as many threads as there are, with everything coming and going.
pub async fn the_list_is_empty_when_all_have_come_back(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(4)
        .get_timeout(LONG)
        .build_lazy()
        .unwrap();
    host.run_tasks(24, |nth| {
        let (host, pool) = (host.clone(), pool.clone());
        async move {
            let mut guard = pool.get_owned().await.unwrap();
            guard.label(format!("task {nth}"));
            assert!(pool.holders().iter().any(|holder| holder.id == guard.id()));
            assert!(pool.holders().len() <= 4);
            match nth % 4 {
                0 => guard.mark_unusable(),
                1 => drop(guard.detach()),
                _ => host.sleep(MILLI).await,
            }
        }
    })
    .await;
    assert_eq!(pool.holders(), []);
}

/// Who waits in vain is told who has what, and where he stood.
pub async fn a_timeout_names_those_who_have_what_it_waited_for(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let mut held = host.hold(&pool, 2).await;
    held[0].label("report");
    let first = waiting(pool.get()).await;
    let Err(GetError::Timeout { phase, diagnosis }) = pool.get_timeout(SHORT).await else {
        panic!("there is none to be had");
    };
    assert_eq!(phase, Phase::Wait);
    assert_eq!((diagnosis.active, diagnosis.waiting), (2, 2));
    assert_eq!(diagnosis.queue_position, Some(2));
    assert_eq!(diagnosis.longest_held.len(), 2);
    assert!(
        diagnosis.to_string().contains("2 of 2 in use"),
        "{diagnosis}"
    );
    assert!(diagnosis.to_string().contains("\"report\""), "{diagnosis}");
    drop(held);
    drop(first.await.unwrap());
}

/// And who waits for a backend that fails is told how.
pub async fn a_timeout_tells_what_the_last_connect_came_to(host: Host) {
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Fail);
    let pool = backend
        .pool()
        .fail_fast(false)
        .breaker(None)
        .build_lazy()
        .unwrap();
    let Err(GetError::Timeout { phase, diagnosis }) = pool.get_timeout(SHORT).await else {
        panic!("there is none to be had");
    };
    assert_eq!(phase, Phase::Connect);
    assert_eq!(diagnosis.breaker, BreakerState::Closed);
    assert!(diagnosis.last_error.is_some() && diagnosis.last_error_ago.is_some());
}

/// What does not come back is told once, and when it does, once more.
pub async fn what_does_not_come_back_is_told_once_and_when_it_does(host: Host) {
    let backend = host.backend();
    let told = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&told);
    let pool = backend
        .pool()
        .leak_warning(SHORT)
        .observer(move |_: &str, event: &Event<'_>| {
            if let Event::LeakSuspected { holder, .. } | Event::LeakReturned { holder, .. } = event
            {
                let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
                notes.push((event.label(), holder.id));
            }
        })
        .build_lazy()
        .unwrap();
    let kept = host.hold(&pool, 1).await;
    host.until(|| told.lock().unwrap().len() == 1).await;
    host.sleep(2 * SHORT).await;
    drop(kept);
    let told = told.lock().unwrap().clone();
    assert_eq!(told, [("leak_suspected", 1), ("leak_returned", 1)]);
    assert_eq!(pool.stats().leaked, 1);
}

/// A close whose time is up tells who is still out.
pub async fn a_close_names_who_is_still_out(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().build_lazy().unwrap();
    let mut kept = host.hold(&pool, 2).await;
    kept[1].label("stuck");
    let report = pool.close(MILLI).await;
    assert!(report.timed_out);
    let mut labels: Vec<_> = report
        .still_out
        .into_iter()
        .map(|holder| holder.label)
        .collect();
    labels.sort();
    assert_eq!(labels, [None, Some(Arc::from("stuck"))]);
    drop(kept);
    assert_eq!(pool.close(LONG).await.still_out, []);
}
