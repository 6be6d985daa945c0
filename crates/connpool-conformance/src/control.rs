//! `clear` and `resize` of a pool in use.

use connpool_core::CloseReason;
use futures_lite::future::poll_once;

use crate::env::{Env, MILLI, all_waiting, closed, waiting};
use connpool_testkit::{Behavior, Call};

/// P25: generations. puddle, `Reset`; MongoDB's connection monitoring and pooling; HikariCP 1836.
pub(crate) async fn clear_reaches_idle_borrowed_and_pending_connections(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(5).build_lazy().unwrap();
    let mut held = env.hold(&pool, 4).await;
    backend.next(Call::Connect, [Behavior::Hold]);
    let get = waiting(pool.get_owned()).await;
    // One connection is assigned to the waiter; the connect stays pending.
    held.pop();
    held.push(get.await.unwrap());
    held.truncate(2);
    let stats = pool.stats();
    assert_eq!((stats.available, stats.active, stats.connecting), (2, 2, 1));
    pool.clear();
    env.until(|| backend.alive() == 2).await;
    drop(held);
    env.until(|| backend.alive() == 0).await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, stats.created, stats.connect_failed), (0, 4, 0));
    assert_eq!(closed(&pool, CloseReason::Cleared), 4);
    assert_eq!(backend.graceful_closes().len(), 4);
    assert_eq!(pool.get().await.unwrap().id(), 5);
    env.assert_full_capacity(&pool, &backend).await;
}

/// Waiters get connections that were started after the clear.
pub(crate) async fn waiter_gets_a_connection_newer_than_the_clear(env: Env) {
    // A waiter for a connect.
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Hold]);
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let get = waiting(pool.get()).await;
    pool.clear();
    env.release(&backend, Call::Connect, Behavior::Succeed).await;
    let guard = get.await.unwrap();
    assert_eq!(guard.id(), 2);
    // A waiter for a return.
    let get = waiting(pool.get()).await;
    pool.clear();
    drop(guard);
    let guard = get.await.unwrap();
    assert_eq!(guard.id(), 3);
    // A waiter that has a connection assigned already.
    let get = waiting(pool.get()).await;
    drop(guard);
    pool.clear();
    assert_eq!(get.await.unwrap().id(), 4);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.connect_failed), (4, 0));
    assert_eq!(closed(&pool, CloseReason::Cleared), 3);
}

/// Idle connections are closed now, borrowed ones as they return.
pub(crate) async fn smaller_max_size_closes_idle_now_and_others_on_return(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(6).build_lazy().unwrap();
    let mut held = env.hold(&pool, 6).await;
    held.truncate(4);
    pool.resize(3).unwrap();
    env.until_stats(&pool, |stats| stats.size == 4).await;
    assert_eq!(backend.graceful_closes(), [5, 6]);
    held.pop();
    env.until_stats(&pool, |stats| stats.size == 3).await;
    assert_eq!(pool.stats().available, 0);
    drop(held);
    assert_eq!(pool.stats().available, 3);
    assert_eq!(closed(&pool, CloseReason::Shrunk), 3);
    let held = env.hold(&pool, 3).await;
    assert!(pool.get_timeout(MILLI).await.unwrap_err().is_timeout());
    drop(held);
    assert_eq!((pool.stats().size, pool.config().max_size), (3, 3));
}

/// Shrinks a pool with a waiter.
pub(crate) async fn waiter_of_a_shrinking_pool_waits_for_a_free_slot(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(3).build_lazy().unwrap();
    let mut held = env.hold(&pool, 3).await;
    let mut get = waiting(pool.get()).await;
    pool.resize(1).unwrap();
    held.pop();
    held.pop();
    env.until_stats(&pool, |stats| stats.size == 1).await;
    assert!(poll_once(&mut get).await.is_none(), "served too early");
    held.pop();
    assert_eq!(get.await.unwrap().id(), 1);
}

/// Serves as many waiters as there are new slots.
pub(crate) async fn larger_max_size_serves_the_waiters(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let mut waiters = all_waiting(3, || pool.get_owned()).await;
    pool.resize(3).unwrap();
    let mut last = waiters.pop().unwrap();
    let mut served = Vec::new();
    for get in waiters {
        served.push(get.await.unwrap());
    }
    assert!(poll_once(&mut last).await.is_none(), "beyond max_size");
    drop((held, served));
    drop(last.await.unwrap());
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.available), (3, 3));
}

/// Shrinks a pool with pending connects.
pub(crate) async fn connects_beyond_a_smaller_max_size_are_closed_on_arrival(env: Env) {
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend.pool().max_size(4).build_lazy().unwrap();
    let waiters = all_waiting(4, || pool.get_owned()).await;
    pool.resize(1).unwrap();
    for _ in 0..4 {
        env.release(&backend, Call::Connect, Behavior::Succeed).await;
    }
    // The remaining connection serves the four waiters in turn.
    env.until_stats(&pool, |stats| (stats.size, stats.connecting) == (1, 0)).await;
    assert_eq!((backend.alive(), pool.stats().waiting), (1, 3));
    for get in waiters {
        drop(get.await.unwrap());
    }
    env.until_stats(&pool, |stats| (stats.size, stats.available) == (1, 1)).await;
    assert_eq!(closed(&pool, CloseReason::Shrunk), 3);
    assert_eq!(pool.stats().created, 4);
}

/// Rejects zero and sizes below `min_size`.
pub(crate) async fn invalid_max_size_is_rejected(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(5).min_size(2).build_lazy().unwrap();
    for (size, text) in [
        (0, "max_size is 0: it must be at least 1"),
        (1, "max_size is 1: it must be at least min_size, which is 2"),
    ] {
        let error = pool.resize(size).unwrap_err();
        assert_eq!((error.field(), &*error.to_string()), ("max_size", text));
    }
    env.assert_full_capacity(&pool, &backend).await;
    assert_eq!(pool.config().max_size, 5);
}
