//! `retain` and `add`.

use std::future::Future;
use std::task::{Context, Waker};

use connpool_core::{AddError, CloseReason, Manager};

use super::host::{Host, LONG, closed, waiting};
use crate::{Behavior, Call};

/// What is idle and not wanted is told goodbye.
pub async fn retain_closes_what_is_idle_and_not_wanted(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(5).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    drop(host.hold(&pool, 4).await);
    assert_eq!(pool.retain(|conn| conn.id() % 2 == 0), 2);
    host.until_stats(&pool, |stats| stats.size == 3).await;
    assert_eq!(closed(&pool, CloseReason::Evicted), 2);
    assert_eq!(backend.goodbyes(), [3, 5]);
    drop(held);
    host.lends_all(&pool, &backend).await;
}

/// What was being looked at serves who came meanwhile.
pub async fn what_retain_looks_at_is_not_lost_to_who_waits(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    for keep in [true, false] {
        host.fill(&pool, 1).await;
        let mut get = Box::pin(pool.get());
        let closed = pool.retain(|_| {
            let mut context = Context::from_waker(Waker::noop());
            assert!(get.as_mut().poll(&mut context).is_pending());
            keep
        });
        assert_eq!(closed, usize::from(!keep));
        drop(get.await.unwrap());
    }
    host.lends_all(&pool, &backend).await;
}

/// One made elsewhere serves the line or becomes idle, if there is room for it.
pub async fn what_is_added_is_lent_and_counted_like_any_other(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let (one, other) = (backend.connect().await, backend.connect().await);
    pool.add(one.unwrap()).unwrap();
    let guard = pool.try_get().unwrap();
    assert_eq!((guard.id(), guard.uses()), (1, 1));
    let full = pool.add(other.unwrap()).unwrap_err();
    assert!(matches!(full, AddError::Full(_)));
    pool.resize(3).unwrap();
    backend.next(Call::Connect, [Behavior::Hold]);
    let get = waiting(pool.get()).await;
    pool.add(full.into_inner()).unwrap();
    drop(get.await.unwrap());
    host.release(&backend, Call::Connect, Behavior::Succeed)
        .await;
    host.until_stats(&pool, |stats| stats.available == 2).await;
    drop(guard.detach());
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.size, stats.detached), (3, 2, 1));
    pool.close(LONG).await;
    let closed = pool.add(backend.connect().await.unwrap()).unwrap_err();
    assert!(matches!(closed, AddError::Closed(_)));
}
