//! The line: who is served when, and with what.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connpool_core::{CloseReason, GetError, Phase};
use futures_lite::future::poll_once;

use super::host::{Host, MILLI, SHORT, closed, waiting};
use crate::{Behavior, Call};

/// P1: the limit. HikariCP, `testMaximumPoolLimit`.
pub async fn twenty_tasks_share_four_connections(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(4).build_lazy().unwrap();
    let may_go = Arc::new(AtomicBool::new(false));
    let jobs: Vec<_> = (0..20)
        .map(|_| {
            let (host_, pool, may_go) = (host.clone(), pool.clone(), Arc::clone(&may_go));
            host.spawn(async move {
                let _guard = pool.get().await.unwrap();
                host_.until(|| may_go.load(Ordering::SeqCst)).await;
            })
        })
        .collect();
    host.until_stats(&pool, |stats| (stats.active, stats.waiting) == (4, 16))
        .await;
    may_go.store(true, Ordering::SeqCst);
    for job in jobs {
        job.await;
    }
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.request, stats.success), (4, 20, 20));
    assert_eq!((backend.peak(), stats.wait_count), (4, 16));
}

/// P10: fairness. Commons Pool, `testBorrowObjectFairness`.
pub async fn forty_waiters_are_served_in_the_order_in_which_they_came(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut jobs = Vec::new();
    for nth in 0..40 {
        let get = waiting(pool.get_owned()).await;
        let served = Arc::clone(&served);
        jobs.push(host.spawn(async move {
            let _guard = get.await.unwrap();
            served.lock().unwrap().push(nth);
        }));
    }
    assert_eq!(pool.stats().waiting, 40);
    drop(held);
    for job in jobs {
        job.await;
    }
    assert_eq!(*served.lock().unwrap(), (0..40).collect::<Vec<_>>());
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.wait_count), (1, 40));
}

/// Step 2: what is idle belongs to who waits.
pub async fn nobody_overtakes_who_waits(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    let mut first = waiting(pool.get()).await;
    drop(held);
    let late = waiting(pool.get()).await;
    assert!(pool.try_get().is_err(), "try_get overtook");
    let hasty = poll_once(pool.get_timeout(Duration::ZERO)).await;
    assert!(hasty.expect("ready at its first poll").is_err());
    let got = poll_once(&mut first).await;
    drop(got.expect("it has been served").unwrap());
    assert_eq!(late.await.unwrap().id(), 1);
}

/// P11: cancelled waiters. database/sql, `TestPoolExhaustOnCancel`; Commons Pool, POOL-162.
pub async fn waiters_that_gave_up_leave_everything_to_others(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(3).build_lazy().unwrap();
    let held = host.hold(&pool, 3).await;
    let mut line = Vec::new();
    for _ in 0..3 {
        line.push(waiting(pool.get()).await);
    }
    host.sleep(MILLI).await;
    drop(line);
    assert_eq!(pool.stats().waiting, 0);
    drop(held);
    host.fill(&pool, 3).await;
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.available), (3, 3));
    assert_eq!((stats.request, stats.success, stats.wait_count), (9, 6, 3));
}

/// Step 5: the line closes up where somebody leaves it.
pub async fn who_leaves_the_line_leaves_the_others_in_order(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    let mut line = Vec::new();
    for _ in 0..10 {
        line.push(waiting(pool.get()).await);
    }
    for gone in [9, 5, 4, 0] {
        drop(line.remove(gone));
    }
    assert_eq!(pool.stats().waiting, 6);
    drop(held);
    for get in &mut line {
        let got = poll_once(get).await;
        drop(got.expect("it is its turn").unwrap());
    }
    assert_eq!(host.rest(&pool, &backend, 0).await.created, 1);
}

/// P22: a late connection. database/sql, `TestConnectionLeak`; go-redis.
pub async fn a_waiter_takes_a_return_and_its_connect_ends_among_the_idle(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    backend.always(Call::Connect, Behavior::Hold);
    let get = waiting(pool.get()).await;
    drop(held);
    let guard = get.await.unwrap();
    assert_eq!(guard.id(), 1);
    host.release(&backend, Call::Connect, Behavior::Succeed)
        .await;
    let stats = host.rest(&pool, &backend, 1).await;
    assert_eq!((stats.created, stats.available), (2, 1));
}

/// P22 again, with no place among the idle.
pub async fn a_late_connection_beyond_max_idle_is_closed_and_not_leaked(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(2).max_idle(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    backend.always(Call::Connect, Behavior::Hold);
    let get = waiting(pool.get()).await;
    drop(held);
    drop(get.await.unwrap());
    host.release(&backend, Call::Connect, Behavior::Succeed)
        .await;
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.available), (2, 1));
    assert_eq!(closed(&pool, CloseReason::Overflow), 1);
    assert_eq!(backend.goodbyes(), [2]);
}

/// Step 5: whatever comes first, here a new one.
pub async fn a_waiter_takes_a_new_one_that_comes_before_a_return(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    assert_eq!(pool.get().await.unwrap().id(), 2);
    drop(held);
    assert_eq!(host.rest(&pool, &backend, 0).await.available, 2);
}

/// P23: `maxConnecting`. MongoDB's connection monitoring and pooling.
pub async fn a_returned_connection_serves_one_who_waits_for_a_connect(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(4)
        .max_connecting(2)
        .build_lazy()
        .unwrap();
    let held = host.hold(&pool, 1).await;
    backend.always(Call::Connect, Behavior::Hold);
    let mut line = Vec::new();
    for _ in 0..3 {
        line.push(waiting(pool.get_owned()).await);
    }
    let stats = pool.stats();
    assert_eq!((stats.waiting, stats.connecting), (3, 2));
    host.until(|| backend.held(Call::Connect) == 2).await;
    drop(held);
    let mut served = vec![line.remove(0).await.unwrap()];
    assert_eq!(served[0].id(), 1);
    for get in line {
        host.release(&backend, Call::Connect, Behavior::Succeed)
            .await;
        served.push(get.await.unwrap());
    }
    let stats = host.rest(&pool, &backend, 3).await;
    assert_eq!((stats.created, backend.calls(Call::Connect)), (3, 3));
    assert_eq!(backend.truth().most_connecting, 2);
}

/// Step 5: back in the old place.
pub async fn a_waiter_whose_connection_fails_its_check_keeps_its_place(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(2)
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    let mut held = host.hold(&pool, 2).await;
    backend.always(Call::Connect, Behavior::Hang);
    backend.next(Call::Ping, [Behavior::Fail]);
    let first = host.spawn(waiting(pool.get_owned()).await);
    let second = host.spawn(waiting(pool.get_owned()).await);
    held.pop();
    host.until(|| backend.calls(Call::Ping) == 1).await;
    host.until_stats(&pool, |stats| stats.waiting == 2).await;
    held.pop();
    let guard = first.await.unwrap();
    assert_eq!(guard.id(), 1);
    assert!(!second.has_ended(), "it overtook");
    drop(guard);
    assert_eq!(second.await.unwrap().id(), 1);
    host.until(|| closed(&pool, CloseReason::PingFailed) == 1)
        .await;
}

/// Fine print: neither polled nor dropped, it keeps what it was handed.
pub async fn a_waiter_keeps_what_it_was_handed_until_it_is_dropped(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    let first = waiting(pool.get()).await;
    let second = host.spawn(waiting(pool.get_owned()).await);
    drop(held);
    host.sleep(SHORT).await;
    assert!(!second.has_ended(), "it overtook");
    assert_eq!(pool.stats().waiting, 1);
    drop(first);
    assert_eq!(second.await.unwrap().id(), 1);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.success), (1, 2));
}

/// Step 6: a connection in hand beats a late timer.
pub async fn what_was_handed_over_in_time_beats_a_late_timer(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    let get = waiting(pool.get_timeout(SHORT)).await;
    drop(held);
    host.sleep(2 * SHORT).await;
    assert_eq!(get.await.unwrap().id(), 1);
}

/// Step 5: served is the first whose deadline has not passed.
pub async fn who_has_no_time_left_is_passed_over(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    let late = waiting(pool.get_timeout(SHORT)).await;
    let second = waiting(pool.get()).await;
    host.sleep(2 * SHORT).await;
    drop(held);
    let guard = second.await.unwrap();
    match late.await {
        Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Wait),
        other => panic!("{other:?}"),
    }
    drop(guard);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.success), (1, 2));
}

/// Step 6: one more look before the timeout.
pub async fn at_the_end_of_his_time_a_waiter_takes_what_is_idle(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    let late = waiting(pool.get_timeout(SHORT)).await;
    host.sleep(2 * SHORT).await;
    drop(held);
    assert_eq!(pool.stats().available, 1, "handed to one without time");
    assert_eq!(late.await.unwrap().id(), 1);
}

/// Fine print: `max_waiters`.
pub async fn the_line_has_room_for_max_waiters(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(1)
        .max_waiters(2)
        .build_lazy()
        .unwrap();
    let held = host.hold(&pool, 1).await;
    let mut line = vec![waiting(pool.get()).await, waiting(pool.get()).await];
    let third = poll_once(pool.get()).await.expect("refused at once");
    assert!(matches!(third, Err(GetError::Exhausted(_))));
    drop(line.pop());
    line.push(waiting(pool.get()).await);
    drop(held);
    for get in line {
        assert_eq!(get.await.unwrap().id(), 1);
    }
}

/// Fine print: `max_waiters` 0.
pub async fn a_pool_in_which_nobody_may_wait_still_grows(host: Host) {
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend
        .pool()
        .max_size(2)
        .max_waiters(0)
        .build_lazy()
        .unwrap();
    let line = [waiting(pool.get()).await, waiting(pool.get()).await];
    let third = poll_once(pool.get()).await.expect("refused at once");
    assert!(matches!(third, Err(GetError::Exhausted(_))));
    let mut held = Vec::new();
    for get in line {
        host.release(&backend, Call::Connect, Behavior::Succeed)
            .await;
        held.push(get.await.unwrap());
    }
    let fourth = poll_once(pool.get()).await.expect("refused at once");
    assert!(matches!(fourth, Err(GetError::Exhausted(_))));
    held.pop();
    assert!(pool.get().await.is_ok(), "what is idle is lent");
}

/// Fine print: `wait_count` and `wait_time`.
pub async fn waits_are_counted_and_timed(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    let before = pool.stats();
    let served = waiting(pool.get()).await;
    let cancelled = waiting(pool.get()).await;
    host.sleep(SHORT).await;
    drop(cancelled);
    drop(held);
    drop(served.await.unwrap());
    let after = host.rest(&pool, &backend, 0).await;
    assert_eq!(after.wait_count - before.wait_count, 2);
    assert!(after.wait_time - before.wait_time >= 2 * SHORT);
}
