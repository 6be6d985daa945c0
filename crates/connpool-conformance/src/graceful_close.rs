//! `Manager::close`: called for every removal, and when it is cut short.

use connpool_core::CloseReason;

use crate::env::{Env, LONG, SHORT, closed, waiting};
use connpool_testkit::{Behavior, Call};

/// Healthy or not, each goes through `close` with its reason.
pub(crate) async fn every_removed_connection_goes_through_close_with_its_reason(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(6).build_lazy().unwrap();
    let mut held = env.hold(&pool, 6).await;
    held[0].mark_unusable();
    drop(held);
    env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(backend.closes(), [(1, CloseReason::Marked)]);
    pool.resize(4).unwrap();
    env.until_stats(&pool, |stats| stats.size == 4).await;
    assert_eq!(backend.closes().last(), Some(&(2, CloseReason::Shrunk)));
    backend.hang_up(6);
    assert_eq!(pool.get().await.unwrap().id(), 5);
    pool.clear();
    env.until_stats(&pool, |stats| stats.size == 0).await;
    assert!(backend.closes().contains(&(6, CloseReason::Dead)));
    env.fill(&pool, 2).await;
    pool.close(LONG).await;
    let closes = backend.closes();
    let reasons = [
        (CloseReason::Marked, 1),
        (CloseReason::Shrunk, 1),
        (CloseReason::Dead, 1),
        (CloseReason::Cleared, 3),
        (CloseReason::PoolClosed, 2),
    ];
    for (reason, count) in reasons {
        assert_eq!(closed(&pool, reason), count, "{reason:?}");
        let through_close = closes.iter().filter(|(_, why)| *why == reason);
        assert_eq!(through_close.count() as u64, count, "{reason:?}");
    }
}

/// A hanging graceful close ends at `close_timeout`.
pub(crate) async fn graceful_close_ends_at_close_timeout(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_uses(1).close_timeout(SHORT).build_lazy().unwrap();
    backend.next(Call::Close, [Behavior::Hang]);
    drop(pool.get().await.unwrap());
    env.until_stats(&pool, |stats| stats.size == 0).await;
    assert_eq!((backend.graceful_closes(), backend.alive()), (vec![1], 0));
    assert_eq!(closed(&pool, CloseReason::MaxUses), 1);
}

/// The slot stays occupied until the graceful close has ended.
pub(crate) async fn slow_graceful_close_holds_its_slot(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_uses(1).build_lazy().unwrap();
    backend.next(Call::Close, [Behavior::Hold]);
    drop(pool.get().await.unwrap());
    env.until(|| backend.held(Call::Close) == 1).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.active, stats.available), (1, 1, 0));
    assert_eq!((stats.closed.total(), backend.alive()), (0, 1));
    env.release(&backend, Call::Close, Behavior::Succeed).await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, closed(&pool, CloseReason::MaxUses)), (0, 1));
}

/// P18: a hung close. HikariCP, `TestConnectionCloseBlocking`.
pub(crate) async fn hanging_graceful_close_yields_its_slot_to_a_waiter(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).max_uses(1).close_timeout(None).build_lazy().unwrap();
    backend.always(Call::Close, Behavior::Hang);
    drop(pool.get().await.unwrap());
    env.until(|| backend.graceful_closes() == [1]).await;
    let guard = pool.get().await.unwrap();
    assert_eq!((guard.id(), backend.dropped()), (2, vec![1]));
    // While a caller waits it is polled once.
    let get = waiting(pool.get()).await;
    drop(guard);
    let guard = get.await.unwrap();
    assert_eq!((guard.id(), backend.graceful_closes()), (3, vec![1, 2]));
    backend.clear_script();
    drop(guard);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((closed(&pool, CloseReason::MaxUses), stats.size), (3, 0));
}

/// Cuts short as many graceful closes as there are waiters.
pub(crate) async fn graceful_closes_cut_short_equal_the_number_of_waiters(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(3).max_uses(1).close_timeout(None).build_lazy().unwrap();
    backend.always(Call::Close, Behavior::Hold);
    drop(env.hold(&pool, 3).await);
    env.until(|| backend.held(Call::Close) == 3).await;
    let held = env.hold(&pool, 1).await;
    assert_eq!((backend.dropped().len(), backend.held(Call::Close)), (1, 2));
    backend.clear_script();
    for _ in 0..2 {
        env.release(&backend, Call::Close, Behavior::Succeed).await;
    }
    env.until_at_rest(&pool, &backend, 1).await;
    assert_eq!(backend.peak(), 3);
    drop(held);
}

/// Cuts no graceful close short while a slot is free.
pub(crate) async fn graceful_close_is_not_cut_short_while_there_is_room(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).max_uses(1).build_lazy().unwrap();
    backend.next(Call::Close, [Behavior::Hold]);
    drop(pool.get().await.unwrap());
    env.until(|| backend.held(Call::Close) == 1).await;
    let guard = pool.get_owned().await.unwrap();
    assert_eq!((backend.graceful_closes(), backend.dropped()), (vec![1], vec![]));
    env.release(&backend, Call::Close, Behavior::Succeed).await;
    env.until_at_rest(&pool, &backend, 1).await;
    drop(guard);
}

/// Graceful closes run independently of each other.
pub(crate) async fn hanging_graceful_close_does_not_block_the_others(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    env.fill(&pool, 5).await;
    backend.next(Call::Close, [Behavior::Hold]);
    pool.resize(1).unwrap();
    env.until(|| (backend.graceful_closes().len(), backend.alive()) == (4, 2)).await;
    env.release(&backend, Call::Close, Behavior::Succeed).await;
    env.until_stats(&pool, |stats| stats.size == 1).await;
    assert_eq!(closed(&pool, CloseReason::Shrunk), 4);
}

/// The slot of unfinished work stands for what goes on at the server: callers wait for it.
pub(crate) async fn unfinished_work_keeps_its_slot_from_waiters(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).abandon_timeout(None).build_lazy().unwrap();
    let mut guard = pool.get_owned().await.unwrap();
    let get = waiting(pool.get_owned()).await;
    backend.next(Call::Close, [Behavior::Hold]);
    guard.mark_unusable();
    drop(guard);
    env.until(|| backend.held(Call::Close) == 1).await;
    assert_eq!((pool.stats().size, backend.calls(Call::Connect)), (1, 1));
    env.release(&backend, Call::Close, Behavior::Succeed).await;
    assert_eq!(get.await.unwrap().id(), 2);
    env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((backend.peak(), backend.closes()), (1, vec![(1, CloseReason::Marked)]));
}

/// It ends at `abandon_timeout`.
pub(crate) async fn unfinished_work_keeps_its_slot_until_abandon_timeout(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).abandon_timeout(SHORT).build_lazy().unwrap();
    backend.always(Call::Close, Behavior::Hang);
    let mut guard = pool.get_owned().await.unwrap();
    let get = waiting(pool.get_owned()).await;
    guard.mark_unusable();
    drop(guard);
    let guard = get.await.unwrap();
    assert_eq!((guard.id(), backend.dropped(), backend.peak()), (2, vec![1], 1));
    backend.clear_script();
}
