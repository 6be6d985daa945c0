//! Panics of user code: each costs one connection and nothing else.

use std::time::Duration;

use connpool_core::{CloseReason, ConnectError, GetError, Liveness, ResetWhen};

use crate::env::{Env, MILLI, closed, waiting};
use connpool_testkit::FaultyConn;
use connpool_testkit::{Behavior, Call};

/// A panic in the first `connect` of a pool fails all its waiters, and loses no slot.
pub(crate) async fn panicking_first_connect_fails_the_waiters(env: Env) {
    let backend = env.backend();
    backend.next(Call::Connect, [Behavior::Hold]);
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let first = waiting(pool.get_owned()).await;
    let second = waiting(pool.get_owned()).await;
    env.release(&backend, Call::Connect, Behavior::Panic).await;
    for get in [first, second] {
        match get.await {
            Err(GetError::Connect(ConnectError::Panicked)) => {}
            other => panic!("{other:?}"),
        }
    }
    // The probe for the callers that were told may have succeeded by now.
    env.until(|| pool.stats().connect_failed == 1).await;
    env.assert_full_capacity(&pool, &backend).await;
}

/// Covers `liveness`, `ping` and `reset`.
pub(crate) async fn panicking_check_closes_its_connection(env: Env) {
    let probe: fn(&mut FaultyConn) -> Liveness = |conn| match conn.id() {
        1 => scripted(),
        _ => Liveness::Alive,
    };
    for step in [None, Some(Call::Ping), Some(Call::Reset)] {
        let backend = env.backend();
        backend.require_reset();
        let pool = backend.pool().max_size(1).ping_after(Duration::ZERO);
        let pool = pool.reset_when(ResetWhen::OnGet).build_lazy().unwrap();
        env.fill(&pool, 1).await;
        match step {
            Some(call) => _ = backend.next(call, [Behavior::Panic]),
            None => backend.set_liveness_with(probe),
        }
        assert_eq!(pool.get().await.unwrap().id(), 2, "{step:?}");
        env.until_at_rest(&pool, &backend, 0).await;
        assert_eq!(closed(&pool, CloseReason::Panicked), 1);
    }
}

/// A panic in `is_reusable` closes the connection and does not reach the caller.
pub(crate) async fn panicking_is_reusable_closes_its_connection_only(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let get = waiting(pool.get()).await;
    backend.set_is_reusable_with(|_| scripted());
    drop(held);
    backend.clear_script();
    assert_eq!(get.await.unwrap().id(), 2);
    env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(closed(&pool, CloseReason::Panicked), 1);
}

/// Covers panics in the sweep probe and in the graceful close.
pub(crate) async fn maintenance_task_survives_every_panic(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).evict_interval(MILLI).build_lazy().unwrap();
    env.fill(&pool, 2).await;
    backend.set_liveness_with(|_| scripted());
    env.until_stats(&pool, |stats| stats.size == 0).await;
    assert_eq!(closed(&pool, CloseReason::Panicked), 2);
    backend.clear_script();
    backend.always(Call::Close, Behavior::Panic);
    env.fill(&pool, 2).await;
    pool.resize(1).unwrap();
    env.until_stats(&pool, |stats| stats.size == 1).await;
    assert_eq!((backend.graceful_closes().len(), backend.alive()), (1, 1));
    pool.resize(2).unwrap();
    backend.clear_script();
    drop(env.hold(&pool, 2).await);
    backend.hang_up_all();
    env.until(|| closed(&pool, CloseReason::Dead) == 2).await;
}

/// Covers the drop of a returned, a cleared and a surplus connection.
pub(crate) async fn connection_with_a_panicking_drop_frees_its_slot(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    backend.at_drop(|_| scripted());
    let mut held = env.hold(&pool, 2).await;
    held.iter_mut().for_each(|guard| guard.mark_unusable());
    drop(held);
    env.fill(&pool, 2).await;
    pool.clear();
    env.fill(&pool, 2).await;
    backend.always(Call::Close, Behavior::Yield(1));
    pool.resize(1).unwrap();
    env.until_stats(&pool, |stats| stats.size == 1).await;
    assert_eq!(backend.alive(), 1);
    backend.at_drop(|_| ());
    pool.resize(2).unwrap();
    env.assert_full_capacity(&pool, &backend).await;
    assert_eq!(pool.stats().created, 7);
}

fn scripted() -> ! {
    panic!("scripted panic")
}
