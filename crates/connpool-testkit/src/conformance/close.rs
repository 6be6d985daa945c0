//! The end of a pool.

use std::time::Duration;

use connpool_core::{CloseReason, CloseReport, GetError};
use futures_lite::future::poll_once;

use super::host::{Host, LONG, MILLI, SHORT, closed, waiting};
use crate::{Behavior, Call};

/// P6: waiters at close. Vitess, `TestCloseDuringWaitForConn`.
pub async fn everybody_in_line_is_told_at_once(host: Host) {
    for _ in 0..20 {
        let backend = host.backend();
        let pool = backend.pool().max_size(1).build_lazy().unwrap();
        let held = host.hold(&pool, 1).await;
        let mut jobs = Vec::new();
        for _ in 0..50 {
            jobs.push(host.spawn(waiting(pool.get_owned()).await));
        }
        let closing = pool.clone();
        let close = host.spawn(async move { closing.close(LONG).await });
        for job in jobs {
            assert!(matches!(job.await, Err(GetError::Closed)));
        }
        assert!(!close.has_ended(), "one is still out");
        drop(held);
        assert_eq!(numbers(close.await), (1, 0, false));
        let stats = host.rest(&pool, &backend, 0).await;
        assert_eq!((stats.request, stats.success, stats.created), (51, 1, 1));
    }
}

/// Fine print: those who wait for a connect as well, and the connect ends with them.
pub async fn a_close_ends_connects_and_they_have_not_failed(host: Host) {
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend.pool().build_lazy().unwrap();
    let get = waiting(pool.get_owned()).await;
    host.until(|| backend.held(Call::Connect) == 1).await;
    assert_eq!(numbers(pool.close(LONG).await), (0, 0, false));
    assert!(get.await.unwrap_err().is_closed());
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.connect_failed, stats.created), (0, 0));
    assert_eq!(backend.held(Call::Connect), 0);
}

/// Fine print: the report.
pub async fn a_close_says_goodbye_to_the_idle_and_reports_who_is_out(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().build_lazy().unwrap();
    let mut held = host.hold(&pool, 5).await;
    held.truncate(3);
    let report = pool.close(Duration::ZERO).await;
    assert_eq!((report.still_out.len(), report.timed_out), (3, true));
    host.until_stats(&pool, |stats| stats.size == 3).await;
    assert_eq!((backend.goodbyes().len(), backend.alive()), (2, 3));
    // A second close is fine.
    assert_eq!(numbers(pool.close(MILLI).await), (0, 3, true));
    // What comes back to a closed pool is destroyed.
    drop(held);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, closed(&pool, CloseReason::PoolClosed)), (0, 5));
    assert_eq!(numbers(pool.close(LONG).await), (0, 0, false));
}

/// Fine print: it waits for goodbyes and for guards.
pub async fn a_close_waits_for_what_is_out(host: Host) {
    let backend = host.backend();
    backend.always(Call::Close, Behavior::Take(MILLI));
    let pool = backend.pool().build_lazy().unwrap();
    let mut held = host.hold(&pool, 3).await;
    let last = held.pop();
    drop(held);
    let closes = [(); 2].map(|()| {
        let pool = pool.clone();
        host.spawn(async move { pool.close(LONG).await })
    });
    host.until(|| backend.alive() == 1).await;
    assert!(closes.iter().all(|close| !close.has_ended()));
    drop(last);
    for close in closes {
        let report = close.await;
        assert_eq!((report.still_out.len(), report.timed_out), (0, false));
    }
    assert_eq!(closed(&pool, CloseReason::PoolClosed), 3);
    assert_eq!(backend.goodbyes().len(), 2);
}

/// A close without time closes all the same.
pub async fn a_close_without_time_closes_in_the_background(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().build_lazy().unwrap();
    host.fill(&pool, 3).await;
    backend.always(Call::Close, Behavior::Hold);
    let report = pool.close(Duration::ZERO).await;
    assert_eq!(numbers(report), (0, 0, true));
    for _ in 0..3 {
        host.release(&backend, Call::Close, Behavior::Succeed).await;
    }
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, closed(&pool, CloseReason::PoolClosed)), (0, 3));
}

/// A goodbye that hangs holds a close up for `close_timeout`, and no longer.
pub async fn a_goodbye_that_hangs_does_not_hold_a_close_up_for_ever(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().close_timeout(SHORT).build_lazy().unwrap();
    host.fill(&pool, 3).await;
    backend.always(Call::Close, Behavior::Hang);
    assert_eq!(numbers(pool.close(Duration::MAX).await), (3, 0, false));
}

/// Its future: never polled it does nothing, dropped half way it has done it.
pub async fn a_close_takes_effect_at_its_first_poll(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    drop(pool.close(LONG));
    assert!(!pool.is_closed());
    assert!(poll_once(pool.close(LONG)).await.is_none());
    assert!(pool.is_closed());
    drop(held);
    host.until(|| backend.alive() == 0).await;
}

/// Goodbye: the last handle closes without a report.
pub async fn the_last_handle_closes_the_pool(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(3).build_lazy().unwrap();
    let mut held = host.hold(&pool, 3).await;
    let line = [(); 2].map(|()| pool.get_owned());
    let mut jobs = Vec::new();
    for get in line {
        jobs.push(host.spawn(waiting(get).await));
    }
    drop(pool);
    for job in jobs {
        assert!(job.await.unwrap_err().is_closed());
    }
    for left in [2, 1, 0] {
        held.pop();
        host.until(|| backend.alive() == left).await;
    }
}

/// Goodbye: the driver inherits what is idle when the last handle goes.
pub async fn the_idle_of_a_forgotten_pool_are_told_goodbye(host: Host) {
    let backend = host.backend();
    backend.always(Call::Close, Behavior::Take(MILLI));
    let pool = backend.pool().build_lazy().unwrap();
    host.fill(&pool, 3).await;
    drop(pool);
    host.until(|| backend.alive() == 0).await;
    assert_eq!(backend.goodbyes().len(), 3);
}

fn numbers(report: CloseReport) -> (u64, usize, bool) {
    (report.closed, report.still_out.len(), report.timed_out)
}
