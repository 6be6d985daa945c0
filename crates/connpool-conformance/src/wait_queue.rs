//! The wait queue: order, deadlines, cancellation and limits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connpool_core::{CloseReason, GetError, Phase};
use futures_lite::future::poll_once;

use crate::env::{Env, MILLI, SHORT, all_waiting, closed, waiting};
use connpool_testkit::{Behavior, Call};

/// P1: `max_size`. HikariCP, `testMaximumPoolLimit`.
pub(crate) async fn twenty_tasks_share_four_connections(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(4).build_lazy().unwrap();
    let released = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (env_, pool, released) = (env.clone(), pool.clone(), Arc::clone(&released));
            env.spawn(async move {
                let _guard = pool.get().await.unwrap();
                env_.until(|| released.load(Ordering::SeqCst)).await;
            })
        })
        .collect();
    env.until_stats(&pool, |stats| (stats.active, stats.waiting) == (4, 16)).await;
    released.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await;
    }
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.request, stats.success), (4, 20, 20));
    assert_eq!((backend.peak(), stats.wait_count), (4, 16));
}

/// P10: fairness. Commons Pool, `testBorrowObjectFairness`.
pub(crate) async fn forty_waiters_are_served_in_fifo_order(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for nth in 0..40 {
        let get = waiting(pool.get_owned()).await;
        let served = Arc::clone(&served);
        tasks.push(env.spawn(async move {
            let _guard = get.await.unwrap();
            served.lock().unwrap().push(nth);
        }));
    }
    assert_eq!(pool.stats().waiting, 40);
    drop(held);
    for task in tasks {
        task.await;
    }
    assert_eq!(*served.lock().unwrap(), (0..40).collect::<Vec<_>>());
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.wait_count), (1, 40));
}

/// A connection assigned to a waiter is not available to a later `get` or `try_get`.
pub(crate) async fn new_get_does_not_overtake_a_waiter(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let mut first = waiting(pool.get()).await;
    drop(held);
    let late = waiting(pool.get()).await;
    assert!(pool.try_get().is_err(), "try_get overtook");
    let hasty = poll_once(pool.get_timeout(Duration::ZERO)).await;
    let hasty = hasty.expect("ready at its first poll");
    assert!(matches!(hasty, Err(GetError::Timeout { .. })), "it overtook");
    let got = poll_once(&mut first).await;
    drop(got.expect("a connection is assigned").unwrap());
    assert_eq!(late.await.unwrap().id(), 1);
}

/// P11: cancelled waiters. database/sql, `TestPoolExhaustOnCancel`; Commons Pool, POOL-162.
pub(crate) async fn cancelled_waiters_lose_no_connection(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(3).build_lazy().unwrap();
    let held = env.hold(&pool, 3).await;
    let waiters = all_waiting(3, || pool.get()).await;
    env.sleep(MILLI).await;
    drop(waiters);
    assert_eq!(pool.stats().waiting, 0);
    drop(held);
    env.fill(&pool, 3).await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.available), (3, 3));
    assert_eq!((stats.request, stats.success, stats.wait_count), (9, 6, 3));
}

/// Drops waiters at the head, in the middle and at the tail of the queue.
pub(crate) async fn cancelled_waiters_leave_the_others_in_order(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let mut waiters = all_waiting(10, || pool.get()).await;
    for gone in [9, 5, 4, 0] {
        drop(waiters.remove(gone));
    }
    assert_eq!(pool.stats().waiting, 6);
    drop(held);
    for get in &mut waiters {
        let got = poll_once(get).await;
        drop(got.expect("the waiter is first").unwrap());
    }
    assert_eq!(env.until_at_rest(&pool, &backend, 0).await.created, 1);
}

/// P22: a late connection. database/sql, `TestConnectionLeak`; go-redis.
pub(crate) async fn connect_of_a_waiter_served_by_a_return_becomes_idle(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    backend.always(Call::Connect, Behavior::Hold);
    let get = waiting(pool.get()).await;
    drop(held);
    let guard = get.await.unwrap();
    assert_eq!(guard.id(), 1);
    env.release(&backend, Call::Connect, Behavior::Succeed).await;
    let stats = env.until_at_rest(&pool, &backend, 1).await;
    assert_eq!((stats.created, stats.available), (2, 1));
}

/// P22, with an idle set that is full.
pub(crate) async fn late_connection_beyond_max_idle_is_closed(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).max_idle(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    backend.always(Call::Connect, Behavior::Hold);
    let get = waiting(pool.get()).await;
    drop(held);
    drop(get.await.unwrap());
    env.release(&backend, Call::Connect, Behavior::Succeed).await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.available), (2, 1));
    assert_eq!(closed(&pool, CloseReason::Overflow), 1);
    assert_eq!(backend.graceful_closes(), [2]);
}

/// A waiter takes whichever connection is ready first, here a new one.
pub(crate) async fn waiter_takes_a_new_connection_that_precedes_a_return(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    assert_eq!(pool.get().await.unwrap().id(), 2);
    drop(held);
    assert_eq!(env.until_at_rest(&pool, &backend, 0).await.available, 2);
}

/// P23: `maxConnecting`. MongoDB's connection monitoring and pooling.
pub(crate) async fn returned_connection_serves_a_waiter_beyond_max_connecting(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(4).max_connecting(2).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    backend.always(Call::Connect, Behavior::Hold);
    let mut waiters = all_waiting(3, || pool.get_owned()).await;
    let stats = pool.stats();
    assert_eq!((stats.waiting, stats.connecting), (3, 2));
    env.until(|| backend.held(Call::Connect) == 2).await;
    drop(held);
    let mut served = vec![waiters.remove(0).await.unwrap()];
    assert_eq!(served[0].id(), 1);
    for get in waiters {
        env.release(&backend, Call::Connect, Behavior::Succeed).await;
        served.push(get.await.unwrap());
    }
    let stats = env.until_at_rest(&pool, &backend, 3).await;
    assert_eq!((stats.created, backend.calls(Call::Connect)), (3, 3));
    assert_eq!(backend.observed().most_connecting, 2);
}

/// The waiter is requeued at its old position.
pub(crate) async fn waiter_keeps_its_place_when_its_connection_fails_a_check(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).ping_after(Duration::ZERO).build_lazy().unwrap();
    let mut held = env.hold(&pool, 2).await;
    backend.always(Call::Connect, Behavior::Hang);
    backend.next(Call::Ping, [Behavior::Fail]);
    let first = env.spawn(waiting(pool.get_owned()).await);
    let second = env.spawn(waiting(pool.get_owned()).await);
    held.pop();
    env.until(|| backend.calls(Call::Ping) == 1).await;
    env.until_stats(&pool, |stats| stats.waiting == 2).await;
    held.pop();
    let guard = first.await.unwrap();
    assert_eq!(guard.id(), 1);
    assert!(!second.has_ended(), "it overtook");
    drop(guard);
    assert_eq!(second.await.unwrap().id(), 1);
    env.until(|| closed(&pool, CloseReason::PingFailed) == 1).await;
}

/// A waiter that is neither polled nor dropped keeps its assigned connection.
pub(crate) async fn unpolled_waiter_keeps_its_connection_until_dropped(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let first = waiting(pool.get()).await;
    let second = env.spawn(waiting(pool.get_owned()).await);
    drop(held);
    env.sleep(SHORT).await;
    assert!(!second.has_ended(), "it overtook");
    assert_eq!(pool.stats().waiting, 1);
    drop(first);
    assert_eq!(second.await.unwrap().id(), 1);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.success), (1, 2));
}

/// A waiter polled after its deadline still takes a connection assigned before it.
pub(crate) async fn connection_assigned_in_time_beats_a_late_timer(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let get = waiting(pool.get_timeout(SHORT)).await;
    drop(held);
    env.sleep(2 * SHORT).await;
    assert_eq!(get.await.unwrap().id(), 1);
}

/// A return serves the first waiter whose deadline has not passed.
pub(crate) async fn waiter_past_deadline_is_skipped(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let late = waiting(pool.get_timeout(SHORT)).await;
    let second = waiting(pool.get()).await;
    env.sleep(2 * SHORT).await;
    drop(held);
    let guard = second.await.unwrap();
    match late.await {
        Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Wait),
        other => panic!("{other:?}"),
    }
    drop(guard);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.success), (1, 2));
}

/// A waiter checks the idle set once more before it times out.
pub(crate) async fn waiter_past_deadline_takes_an_idle_connection(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let late = waiting(pool.get_timeout(SHORT)).await;
    env.sleep(2 * SHORT).await;
    drop(held);
    assert_eq!(pool.stats().available, 1, "assigned to a waiter past its deadline");
    assert_eq!(late.await.unwrap().id(), 1);
}

/// A `get` beyond `max_waiters` fails at once.
pub(crate) async fn max_waiters_limits_the_queue(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).max_waiters(2).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let mut waiters = vec![waiting(pool.get()).await, waiting(pool.get()).await];
    let third = poll_once(pool.get()).await.expect("refused at once");
    assert!(matches!(third, Err(GetError::Exhausted(_))));
    drop(waiters.pop());
    waiters.push(waiting(pool.get()).await);
    drop(held);
    for get in waiters {
        assert_eq!(get.await.unwrap().id(), 1);
    }
}

/// With `max_waiters` 0 a `get` still waits for its own connect.
pub(crate) async fn pool_with_zero_max_waiters_still_grows(env: Env) {
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend.pool().max_size(2).max_waiters(0).build_lazy().unwrap();
    let waiters = [waiting(pool.get()).await, waiting(pool.get()).await];
    let third = poll_once(pool.get()).await.expect("refused at once");
    assert!(matches!(third, Err(GetError::Exhausted(_))));
    let mut held = Vec::new();
    for get in waiters {
        env.release(&backend, Call::Connect, Behavior::Succeed).await;
        held.push(get.await.unwrap());
    }
    let fourth = poll_once(pool.get()).await.expect("refused at once");
    assert!(matches!(fourth, Err(GetError::Exhausted(_))));
    held.pop();
    assert!(pool.get().await.is_ok(), "an idle connection is available");
}

/// `wait_count` and `wait_time` include cancelled waits.
pub(crate) async fn waits_are_counted_and_timed(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let before = pool.stats();
    let served = waiting(pool.get()).await;
    let cancelled = waiting(pool.get()).await;
    env.sleep(SHORT).await;
    drop(cancelled);
    drop(held);
    drop(served.await.unwrap());
    let after = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(after.wait_count - before.wait_count, 2);
    assert!(after.wait_time - before.wait_time >= 2 * SHORT);
}
