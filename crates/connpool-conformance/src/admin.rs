//! `retain` and `add`.

use std::future::Future;
use std::task::{Context, Waker};

use connpool_core::{AddError, CloseReason, Manager};

use crate::env::{Env, LONG, closed, waiting};
use connpool_testkit::{Behavior, Call};

/// Closes the rejected connections gracefully.
pub(crate) async fn retain_closes_rejected_idle_connections(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(5).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    drop(env.hold(&pool, 4).await);
    let mut visited = Vec::new();
    let count = pool.retain(|conn| {
        visited.push(conn.id());
        conn.id() % 2 == 0
    });
    visited.sort_unstable();
    assert_eq!((visited, count), (vec![2, 3, 4, 5], 2));
    env.until_stats(&pool, |stats| stats.size == 3).await;
    assert_eq!(closed(&pool, CloseReason::Evicted), 2);
    assert_eq!(backend.graceful_closes(), [3, 5]);
    drop(held);
    assert_eq!(pool.retain(|_| true), 0);
    env.assert_full_capacity(&pool, &backend).await;
}

/// Calls `get` from within the predicate of `retain`.
pub(crate) async fn connection_under_retain_still_serves_a_waiter(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    for keep in [true, false] {
        env.fill(&pool, 1).await;
        let mut get = Box::pin(pool.get());
        let closed = pool.retain(|_| {
            let mut context = Context::from_waker(Waker::noop());
            assert!(get.as_mut().poll(&mut context).is_pending());
            keep
        });
        assert_eq!(closed, usize::from(!keep));
        drop(get.await.unwrap());
    }
    env.assert_full_capacity(&pool, &backend).await;
}

/// Adds connections made outside the pool: to the idle set, to a full pool, to a waiter, to a closed
/// pool.
pub(crate) async fn added_connection_is_used_and_counted_like_any_other(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let (first, second) = (backend.connect().await, backend.connect().await);
    pool.add(first.unwrap()).unwrap();
    let guard = pool.try_get().unwrap();
    assert_eq!((guard.id(), guard.uses()), (1, 1));
    let full = pool.add(second.unwrap()).unwrap_err();
    assert!(matches!(full, AddError::Full(_)));
    pool.resize(3).unwrap();
    backend.next(Call::Connect, [Behavior::Hold]);
    let get = waiting(pool.get()).await;
    pool.add(full.into_inner()).unwrap();
    drop(get.await.unwrap());
    env.release(&backend, Call::Connect, Behavior::Succeed).await;
    env.until_stats(&pool, |stats| stats.available == 2).await;
    drop(guard.detach());
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.size, stats.detached), (3, 2, 1));
    pool.close(LONG).await;
    let closed = pool.add(backend.connect().await.unwrap()).unwrap_err();
    assert!(matches!(closed, AddError::Closed(_)));
}
