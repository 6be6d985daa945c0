//! The return of a connection: what is kept, what is destroyed, and who gets it.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use connpool_core::CloseReason;
use futures_lite::future::poll_once;
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};

use super::host::{Guard, Host, SHORT, closed, waiting};
use crate::{Call, FaultyConn, ScriptedError};

/// A return in good order: to the first in line, and only then among the idle.
pub async fn a_returned_connection_goes_to_the_first_in_line(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
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
pub async fn a_marked_connection_makes_room_for_who_waits(host: Host) {
    assert_destroyed(&host, CloseReason::Marked, |mut guard| async move {
        guard.mark_unusable();
    })
    .await;
}

/// P17: returned in the middle of a request. pgxpool, `TestConnReleaseClosesBusyConn`.
pub async fn a_connection_left_half_read_is_not_lent_again(host: Host) {
    assert_destroyed(&host, CloseReason::NotReusable, |mut guard| async move {
        guard.write_all(b"a request").await.unwrap();
        let mut reply = [0; 8];
        assert!(poll_once(guard.read(&mut reply)).await.is_none());
    })
    .await;
}

/// P17, of a stream that its user ended.
pub async fn a_connection_that_was_shut_down_is_not_lent_again(host: Host) {
    assert_destroyed(&host, CloseReason::NotReusable, |mut guard| async move {
        guard.close().await.unwrap();
    })
    .await;
}

/// P17, where only `exchange` can know it.
pub async fn an_exchange_that_does_not_end_well_spoils_its_connection(host: Host) {
    assert_destroyed(&host, CloseReason::Unfinished, |mut guard| async move {
        let given_up = guard.exchange(async |conn: &mut FaultyConn| {
            conn.write_all(b"a request").await.unwrap();
            std::future::pending::<Result<(), ScriptedError>>().await
        });
        assert!(poll_once(given_up).await.is_none());
    })
    .await;
    assert_destroyed(&host, CloseReason::Unfinished, |mut guard| async move {
        let failed = guard.exchange(async |_: &mut FaultyConn| Err::<(), _>(ScriptedError(0)));
        assert_eq!(failed.await, Err(ScriptedError(0)));
    })
    .await;
}

/// Return: while the thread panics.
pub async fn a_connection_of_a_task_that_panics_is_destroyed(host: Host) {
    assert_destroyed(&host, CloseReason::Panicked, |guard| async move {
        let task = async move {
            let _guard = guard;
            panic!("scripted panic of a user");
        };
        assert!(AssertUnwindSafe(task).catch_unwind().await.is_err());
    })
    .await;
}

/// Return: an exchange that ended well, and one that was answered no.
pub async fn a_clean_exchange_leaves_the_connection_for_the_next(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let mut guard = pool.get_owned().await.unwrap();
    let mut server = backend.take_peer(1).unwrap();
    let server = host.spawn(async move {
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

/// Return: over its lifetime, used up, or one too many.
pub async fn what_is_over_a_limit_is_closed_when_it_comes_back(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_lifetime(SHORT)
        .evict_interval(None)
        .build_lazy()
        .unwrap();
    let held = host.hold(&pool, 1).await;
    host.sleep(SHORT).await;
    drop(held);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, stats.lifetime_closed), (0, 1));

    let backend = host.backend();
    let pool = backend.pool().max_uses(2).build_lazy().unwrap();
    for _ in 0..2 {
        assert_eq!(pool.get().await.unwrap().id(), 1);
    }
    // With nobody in line.
    host.until(|| backend.goodbyes() == [1]).await;
    assert_eq!(pool.get().await.unwrap().id(), 2);
    host.rest(&pool, &backend, 0).await;
    assert_eq!(closed(&pool, CloseReason::MaxUses), 1);

    let backend = host.backend();
    let pool = backend.pool().max_idle(2).build_lazy().unwrap();
    drop(host.hold(&pool, 5).await);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, closed(&pool, CloseReason::Overflow)), (2, 3));
    assert_eq!(backend.goodbyes().len(), 3);
}

/// Return: the slot is free when the connection is gone, and not before.
pub async fn a_slot_is_held_until_its_connection_is_gone(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let mut guard = pool.get_owned().await.unwrap();
    let get = waiting(pool.get_owned()).await;
    // What the pool counts while the connection is being dropped, and how many were begun.
    let seen = Arc::new(Mutex::new(None));
    let (tell, weak, manager) = (Arc::clone(&seen), pool.downgrade(), backend.clone());
    backend.at_drop(move |id| {
        if let Some(pool) = weak.upgrade().filter(|_| id == 1) {
            let counted = (pool.stats().size, manager.calls(Call::Connect));
            *tell.lock().unwrap() = Some(counted);
        }
    });
    guard.mark_unusable();
    drop(guard);
    assert_eq!(*seen.lock().unwrap(), Some((1, 1)));
    assert_eq!(get.await.unwrap().id(), 2);
    host.rest(&pool, &backend, 0).await;
    assert_eq!(backend.peak(), 1);
    // The hook keeps the manager that keeps the hook.
    backend.at_drop(|_| ());
}

/// `detach`.
pub async fn a_detached_connection_is_its_users_and_its_slot_is_free(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let guard = pool.get_owned().await.unwrap();
    let get = waiting(pool.get_owned()).await;
    let mine = guard.detach();
    let other = get.await.unwrap();
    assert_eq!((mine.id(), other.id(), backend.alive()), (1, 2, 2));
    drop((mine, other));
    let stats = pool.stats();
    assert_eq!((stats.created, stats.detached, stats.size), (2, 1, 1));
    assert_eq!(stats.closed.total(), 0);
}

/// A drop needs no runtime, and wakes who waits on one.
pub async fn a_guard_can_be_dropped_on_any_thread(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let good = pool.get_owned().await.unwrap();
    let mut bad = pool.get_owned().await.unwrap();
    bad.mark_unusable();
    let first = host.spawn(waiting(pool.get_owned()).await);
    let second = host.spawn(waiting(pool.get_owned()).await);
    let spawned = host.spawned_and_timers().0;
    thread::spawn(move || drop(good)).join().unwrap();
    assert_eq!(host.spawned_and_timers().0, spawned, "a drop has spawned");
    thread::spawn(move || drop(bad)).join().unwrap();
    let guards = [first.await.unwrap(), second.await.unwrap()];
    assert_eq!(guards.each_ref().map(|guard| guard.id()), [1, 3]);
    drop(guards);
    assert_eq!(host.rest(&pool, &backend, 0).await.available, 2);
}

/// Fine print: guards are no handles.
pub async fn a_guard_outlives_its_pool_and_brings_nothing_back(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().build_lazy().unwrap();
    let guard = pool.get_owned().await.unwrap();
    let weak = pool.downgrade();
    assert!(weak.upgrade().is_some());
    drop(pool);
    assert!(weak.upgrade().is_none());
    assert_eq!((guard.id(), backend.alive()), (1, 1));
    drop(guard);
    host.until(|| backend.dropped() == [1]).await;
}

/// Return: nothing is asked of the backend, and nothing looked at.
pub async fn a_return_costs_no_call(host: Host) {
    let backend = host.backend();
    backend.with_resets();
    let pool = backend
        .pool()
        .ping_after(Duration::ZERO)
        .evict_interval(None)
        .build_lazy()
        .unwrap();
    let held = host.hold(&pool, 3).await;
    let calls = || (backend.probes(), Call::ALL.map(|op| backend.calls(op)));
    let before = (calls(), host.spawned_and_timers());
    drop(held);
    assert_eq!((calls(), host.spawned_and_timers()), before);
    assert_eq!(pool.stats().available, 3);
}

/// How a connection is spoiled, and as what it is then counted.
async fn assert_destroyed<F>(host: &Host, reason: CloseReason, spoil: impl FnOnce(Guard) -> F)
where
    F: Future<Output = ()>,
{
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let guard = pool.get_owned().await.unwrap();
    let get = waiting(pool.get()).await;
    spoil(guard).await;
    // The free slot serves the line.
    assert_eq!(get.await.unwrap().id(), 2, "{reason:?}");
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((closed(&pool, reason), stats.closed.total()), (1, 1));
    assert_eq!((stats.created, backend.goodbyes()), (2, vec![]));
}
