//! Returns: which connections are kept, which are closed, and which waiter is served.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use connpool_core::{CloseReason, ResetWhen};
use futures_lite::future::poll_once;
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};

use crate::env::{Env, Guard, SHORT, closed, waiting};
use connpool_testkit::FaultyConn;
use connpool_testkit::{Call, ScriptedError};

/// Serves the first waiter, or puts the connection into the idle set.
pub(crate) async fn returned_connection_goes_to_the_first_waiter(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let get = waiting(pool.get()).await;
    drop(held);
    let stats = pool.stats();
    assert_eq!((stats.active, stats.available, stats.waiting), (1, 0, 0));
    drop(get.await.unwrap());
    let stats = pool.stats();
    assert_eq!((stats.active, stats.available), (0, 1));
    assert_eq!((backend.calls(Call::Connect), stats.closed.total()), (1, 0));
}

/// P14: invalidating frees capacity. Commons Pool, `testInvalidateFreesCapacity`.
pub(crate) async fn connection_marked_unusable_frees_its_slot_for_a_waiter(env: Env) {
    assert_closed_and_replaced(&env, CloseReason::Marked, |mut guard| async move {
        guard.mark_unusable();
    })
    .await;
}

/// P17: returned in the middle of a request. pgxpool, `TestConnReleaseClosesBusyConn`.
pub(crate) async fn half_read_connection_is_not_reused(env: Env) {
    assert_closed_and_replaced(&env, CloseReason::NotReusable, |mut guard| async move {
        guard.write_all(b"a request").await.unwrap();
        let mut reply = [0; 8];
        assert!(poll_once(guard.read(&mut reply)).await.is_none());
    })
    .await;
}

/// P17, with a stream that its user shut down.
pub(crate) async fn shut_down_connection_is_not_reused(env: Env) {
    assert_closed_and_replaced(&env, CloseReason::NotReusable, |mut guard| async move {
        guard.close().await.unwrap();
    })
    .await;
}

/// P17, detected only by `exchange`: one dropped half way, one that failed.
pub(crate) async fn unfinished_exchange_closes_its_connection(env: Env) {
    assert_closed_and_replaced(&env, CloseReason::Unfinished, |mut guard| async move {
        let given_up = guard.exchange(async |conn: &mut FaultyConn| {
            conn.write_all(b"a request").await.unwrap();
            std::future::pending::<Result<(), ScriptedError>>().await
        });
        assert!(poll_once(given_up).await.is_none());
    })
    .await;
    assert_closed_and_replaced(&env, CloseReason::Unfinished, |mut guard| async move {
        let failed = guard.exchange(async |_: &mut FaultyConn| Err::<(), _>(ScriptedError(0)));
        assert_eq!(failed.await, Err(ScriptedError(0)));
    })
    .await;
}

/// A guard dropped during a panic closes its connection.
pub(crate) async fn connection_of_a_panicking_task_is_closed(env: Env) {
    assert_closed_and_replaced(&env, CloseReason::Panicked, |guard| async move {
        let task = async move {
            let _guard = guard;
            panic!("scripted panic of a user");
        };
        assert!(AssertUnwindSafe(task).catch_unwind().await.is_err());
    })
    .await;
}

/// A completed exchange keeps the connection, whatever the reply.
pub(crate) async fn finished_exchange_keeps_its_connection_reusable(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let mut guard = pool.get_owned().await.unwrap();
    let mut server = backend.take_peer(1).unwrap();
    let server = env.spawn(async move {
        for answer in [b"yes", b"no!"] {
            let mut request = [0; 3];
            server.read_exact(&mut request).await.unwrap();
            server.write_all(answer).await.unwrap();
        }
        server
    });
    for answer in [b"yes", b"no!"] {
        let reply = guard.exchange(async |conn: &mut FaultyConn| {
            conn.write_all(b"may").await?;
            let mut reply = [0; 3];
            conn.read_exact(&mut reply).await?;
            Ok::<_, std::io::Error>(reply)
        });
        assert_eq!(&reply.await.unwrap(), answer);
    }
    let server = server.await;
    drop(guard);
    assert_eq!(pool.get().await.unwrap().id(), 1);
    drop(server);
    assert_eq!(pool.get().await.unwrap().id(), 2);
}

/// Covers `max_lifetime`, `max_uses` and `max_idle`.
pub(crate) async fn connection_over_a_limit_is_closed_on_return(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_lifetime(SHORT).evict_interval(None).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    env.sleep(SHORT).await;
    drop(held);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, stats.lifetime_closed), (0, 1));

    let backend = env.backend();
    let pool = backend.pool().max_uses(2).build_lazy().unwrap();
    for _ in 0..2 {
        assert_eq!(pool.get().await.unwrap().id(), 1);
    }
    // No caller is waiting.
    env.until(|| backend.graceful_closes() == [1]).await;
    assert_eq!(pool.get().await.unwrap().id(), 2);
    env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(closed(&pool, CloseReason::MaxUses), 1);

    let backend = env.backend();
    let pool = backend.pool().max_idle(2).build_lazy().unwrap();
    drop(env.hold(&pool, 5).await);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, closed(&pool, CloseReason::Overflow)), (2, 3));
    assert_eq!(backend.graceful_closes().len(), 3);
}

/// The slot is released after the connection has been dropped.
pub(crate) async fn slot_is_held_until_its_connection_is_dropped(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let mut guard = pool.get_owned().await.unwrap();
    let get = waiting(pool.get_owned()).await;
    // The size of the pool and the number of connects while the connection is being dropped.
    let seen = Arc::new(Mutex::new(None));
    let (result, weak, manager) = (Arc::clone(&seen), pool.downgrade(), backend.clone());
    backend.at_drop(move |id| {
        if let Some(pool) = weak.upgrade().filter(|_| id == 1) {
            let counted = (pool.stats().size, manager.calls(Call::Connect));
            *result.lock().unwrap() = Some(counted);
        }
    });
    guard.mark_unusable();
    drop(guard);
    env.until(|| seen.lock().unwrap().is_some()).await;
    assert_eq!(*seen.lock().unwrap(), Some((1, 1)));
    assert_eq!(get.await.unwrap().id(), 2);
    env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(backend.peak(), 1);
    // Breaks the reference cycle between the manager and its hook.
    backend.at_drop(|_| ());
}

/// `detach` removes a connection from the pool and frees its slot.
pub(crate) async fn detached_connection_frees_its_slot(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let guard = pool.get_owned().await.unwrap();
    let get = waiting(pool.get_owned()).await;
    let detached = guard.detach();
    let other = get.await.unwrap();
    assert_eq!((detached.id(), other.id(), backend.alive()), (1, 2, 2));
    drop(other);
    let stats = pool.stats();
    assert_eq!((stats.created, stats.detached, stats.size), (2, 1, 1));
    assert_eq!(stats.closed.total(), 0);
    // The detached connection outlives the pool.
    drop(pool);
    env.until(|| backend.dropped() == [2]).await;
    drop(detached);
    assert_eq!(backend.alive(), 0);
}

/// A drop outside any runtime spawns nothing and wakes the waiters.
pub(crate) async fn guard_can_be_dropped_on_any_thread(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let good = pool.get_owned().await.unwrap();
    let mut bad = pool.get_owned().await.unwrap();
    bad.mark_unusable();
    let first = env.spawn(waiting(pool.get_owned()).await);
    let second = env.spawn(waiting(pool.get_owned()).await);
    let spawned = env.spawned_and_timers().0;
    thread::spawn(move || drop(good)).join().unwrap();
    assert_eq!(env.spawned_and_timers().0, spawned, "a guard drop spawned a task");
    thread::spawn(move || drop(bad)).join().unwrap();
    let guards = [first.await.unwrap(), second.await.unwrap()];
    assert_eq!(guards.each_ref().map(|guard| guard.id()), [1, 3]);
    // Now no caller waits.
    thread::spawn(move || drop(guards)).join().unwrap();
    assert_eq!(pool.stats().available, 2);
    env.assert_full_capacity(&pool, &backend).await;
}

/// A guard is not a handle: the pool closes while it is borrowed.
pub(crate) async fn guard_does_not_keep_its_pool_open(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    let guard = pool.get_owned().await.unwrap();
    let weak = pool.downgrade();
    assert!(weak.upgrade().is_some());
    drop(pool);
    assert!(weak.upgrade().is_none());
    assert_eq!((guard.id(), backend.alive()), (1, 1));
    drop(guard);
    env.until(|| backend.dropped() == [1]).await;
}

/// A return makes no call, probe, task or timer, unless it has to be reset.
pub(crate) async fn return_calls_no_manager_method(env: Env) {
    let backend = env.backend();
    backend.require_reset();
    let pool = backend.pool().ping_after(Duration::ZERO).reset_when(ResetWhen::OnGet);
    let pool = pool.evict_interval(None).build_lazy().unwrap();
    let held = env.hold(&pool, 3).await;
    let calls = || (backend.probes(), Call::ALL.map(|call| backend.calls(call)));
    let before = (calls(), env.spawned_and_timers());
    drop(held);
    assert_eq!((calls(), env.spawned_and_timers()), before);
    assert_eq!(pool.stats().available, 3);
}

/// Checks that a connection treated by `damage` is closed for `reason` and replaced for a waiter.
async fn assert_closed_and_replaced<F>(
    env: &Env,
    reason: CloseReason,
    damage: impl FnOnce(Guard) -> F,
) where
    F: Future<Output = ()>,
{
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let guard = pool.get_owned().await.unwrap();
    let get = waiting(pool.get()).await;
    damage(guard).await;
    // The free slot serves the waiter.
    assert_eq!(get.await.unwrap().id(), 2, "{reason:?}");
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((closed(&pool, reason), stats.closed.total()), (1, 1));
    assert_eq!((stats.created, backend.graceful_closes()), (2, vec![]));
}
