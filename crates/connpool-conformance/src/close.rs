//! `close`, and the drop of the last handle.

use std::time::Duration;

use connpool_core::{CloseReason, CloseReport, GetError};
use futures_lite::future::poll_once;

use crate::env::{Env, LONG, MILLI, SHORT, closed, waiting};
use connpool_testkit::{Behavior, Call};

/// P6: waiters at close. Vitess, `TestCloseDuringWaitForConn`.
pub(crate) async fn close_fails_all_waiters_at_once(env: Env) {
    for _ in 0..20 {
        let backend = env.backend();
        let pool = backend.pool().max_size(1).build_lazy().unwrap();
        let held = env.hold(&pool, 1).await;
        let mut tasks = Vec::new();
        for _ in 0..50 {
            tasks.push(env.spawn(waiting(pool.get_owned()).await));
        }
        let closing = pool.clone();
        let close = env.spawn(async move { closing.close(LONG).await });
        for task in tasks {
            assert!(matches!(task.await, Err(GetError::Closed)));
        }
        assert!(!close.has_ended(), "a guard is still borrowed");
        drop(held);
        assert_eq!(summary(close.await), (1, 0, false));
        let stats = env.until_at_rest(&pool, &backend, 0).await;
        assert_eq!((stats.request, stats.success, stats.created), (51, 1, 1));
    }
}

/// Fails waiters for a connect as well, and drops the connect.
pub(crate) async fn close_cancels_connects_and_counts_no_failure(env: Env) {
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend.pool().build_lazy().unwrap();
    let get = waiting(pool.get_owned()).await;
    env.until(|| backend.held(Call::Connect) == 1).await;
    assert_eq!(summary(pool.close(LONG).await), (0, 0, false));
    assert!(get.await.unwrap_err().is_closed());
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.connect_failed, stats.created), (0, 0));
    assert_eq!(backend.held(Call::Connect), 0);
}

/// Compares the reports of repeated closes.
pub(crate) async fn close_ends_idle_connections_and_reports_the_holders(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    let mut held = env.hold(&pool, 5).await;
    held.truncate(3);
    let report = pool.close(Duration::ZERO).await;
    assert_eq!((report.still_out.len(), report.timed_out), (3, true));
    env.until_stats(&pool, |stats| stats.size == 3).await;
    assert_eq!((backend.graceful_closes().len(), backend.alive()), (2, 3));
    // A second close is allowed.
    assert_eq!(summary(pool.close(MILLI).await), (0, 3, true));
    // A connection returned to a closed pool is dropped.
    drop(held);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, closed(&pool, CloseReason::PoolClosed)), (0, 5));
    assert_eq!(summary(pool.close(LONG).await), (0, 0, false));
}

/// Waits for slow graceful closes and for a borrowed connection.
pub(crate) async fn close_waits_for_guards_and_graceful_closes(env: Env) {
    let backend = env.backend();
    backend.always(Call::Close, Behavior::Take(MILLI));
    let pool = backend.pool().build_lazy().unwrap();
    let mut held = env.hold(&pool, 3).await;
    let last = held.pop();
    drop(held);
    let closes = [(); 2].map(|()| {
        let pool = pool.clone();
        env.spawn(async move { pool.close(LONG).await })
    });
    env.until(|| backend.alive() == 1).await;
    assert!(closes.iter().all(|close| !close.has_ended()));
    drop(last);
    for close in closes {
        let report = close.await;
        assert_eq!((report.still_out.len(), report.timed_out), (0, false));
    }
    assert_eq!(closed(&pool, CloseReason::PoolClosed), 3);
    assert_eq!(backend.graceful_closes().len(), 3);
}

/// The graceful closes go on after `close` has returned.
pub(crate) async fn close_with_zero_timeout_continues_in_the_background(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    env.fill(&pool, 3).await;
    backend.always(Call::Close, Behavior::Hold);
    let report = pool.close(Duration::ZERO).await;
    assert_eq!(summary(report), (0, 0, true));
    for _ in 0..3 {
        env.release(&backend, Call::Close, Behavior::Succeed).await;
    }
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, closed(&pool, CloseReason::PoolClosed)), (0, 3));
}

/// A hanging graceful close is given up after `close_timeout`.
pub(crate) async fn hanging_graceful_close_delays_close_by_close_timeout(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().close_timeout(SHORT).build_lazy().unwrap();
    env.fill(&pool, 3).await;
    backend.always(Call::Close, Behavior::Hang);
    assert_eq!(summary(pool.close(Duration::MAX).await), (3, 0, false));
}

/// An unpolled close does nothing; one dropped after a poll has closed the pool.
pub(crate) async fn close_takes_effect_at_its_first_poll(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    drop(pool.close(LONG));
    assert!(!pool.is_closed());
    assert!(poll_once(pool.close(LONG)).await.is_none());
    assert!(pool.is_closed());
    drop(held);
    env.until(|| backend.alive() == 0).await;
}

/// Fails the waiters, and closes connections as they return.
pub(crate) async fn dropping_the_last_handle_closes_the_pool(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(3).build_lazy().unwrap();
    let mut held = env.hold(&pool, 3).await;
    let waiters = [(); 2].map(|()| pool.get_owned());
    let mut tasks = Vec::new();
    for get in waiters {
        tasks.push(env.spawn(waiting(get).await));
    }
    drop(pool);
    for task in tasks {
        assert!(task.await.unwrap_err().is_closed());
    }
    for left in [2, 1, 0] {
        held.pop();
        env.until(|| backend.alive() == left).await;
    }
}

/// The maintenance task closes the idle connections that the last handle leaves.
pub(crate) async fn dropping_the_last_handle_closes_idle_connections_gracefully(env: Env) {
    let backend = env.backend();
    backend.always(Call::Close, Behavior::Take(MILLI));
    let pool = backend.pool().build_lazy().unwrap();
    env.fill(&pool, 3).await;
    drop(pool);
    env.until(|| backend.alive() == 0).await;
    assert_eq!(backend.graceful_closes().len(), 3);
}

fn summary(report: CloseReport) -> (u64, usize, bool) {
    (report.closed, report.still_out.len(), report.timed_out)
}
