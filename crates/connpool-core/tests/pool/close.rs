//! `Pool::close` and its report.

use std::pin::pin;
use std::time::Duration;

use crate::support::{
    Behavior, Call, Job, SECOND, assert_full_capacity, closed, fill, graceful_closes, hold, new,
    poll_once, spawn, spawn_get,
};
use connpool_core::{CloseReason, CloseReport, GetError};

fn numbers(report: CloseReport) -> (u64, usize, bool) {
    (report.closed, report.still_out.len(), report.timed_out)
}

#[test]
fn close_of_an_unused_pool_returns_immediately() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let report = sim.block_on(pool.close(SECOND));
    assert_eq!(numbers(report), (0, 0, false));
    assert_eq!(sim.elapsed(), Duration::ZERO);
    assert!(pool.is_closed());
    assert!(matches!(sim.block_on(pool.get()), Err(GetError::Closed)));
    sim.settle();
    assert_eq!(sim.tasks(), 0);
}

#[test]
fn close_fails_all_waiters_immediately() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Hang);
    let jobs = [(); 5].map(|()| spawn_get(&sim, &pool));
    let pool_ = pool.clone();
    let close = spawn(&sim, async move { pool_.close(10 * SECOND).await });
    sim.settle();
    for job in jobs {
        assert!(matches!(job.take(), Some(Err(GetError::Closed))));
    }
    assert_eq!(sim.elapsed(), Duration::ZERO);
    assert_eq!(pool.stats().connecting, 0, "a connect was not dropped");
    assert!(!close.has_ended(), "close did not wait for a borrowed connection");
    sim.advance(SECOND);
    drop(held);
    sim.settle();
    assert_eq!(close.take().map(numbers), Some((1, 0, false)));
    assert_eq!(sim.tasks(), 0);
}

#[test]
fn close_gracefully_closes_idle_connections_and_waits_for_them() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 4);
    fake.always(Call::Close, Behavior::Take(SECOND));
    let report = sim.block_on(pool.close(10 * SECOND));
    assert_eq!(numbers(report), (4, 0, false));
    assert_eq!(graceful_closes(&fake).len(), 4);
    assert_eq!(sim.elapsed(), SECOND, "graceful closes did not run concurrently");
    assert_eq!(closed(&pool, CloseReason::PoolClosed), 4);
}

#[test]
fn close_that_times_out_reports_borrowed_connections() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 5);
    held.truncate(3);
    let report = sim.block_on(pool.close(7 * SECOND));
    assert_eq!(numbers(report), (2, 3, true));
    assert_eq!(sim.elapsed(), 7 * SECOND);
    drop(held);
    sim.settle();
    assert_eq!(fake.alive(), 0, "a closed pool kept a connection");
    let again = sim.block_on(pool.close(7 * SECOND));
    assert_eq!(numbers(again), (0, 0, false));
    assert_eq!(sim.elapsed(), 7 * SECOND);
}

#[test]
fn close_with_zero_timeout_still_closes_the_pool() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 3);
    held.pop();
    fake.always(Call::Close, Behavior::Take(SECOND));
    let report = sim.block_on(pool.close(Duration::ZERO));
    assert!(report.timed_out);
    assert_eq!((report.still_out.len(), sim.elapsed()), (2, Duration::ZERO));
    sim.advance(SECOND);
    assert_eq!(fake.alive(), 2);
    drop(held);
    sim.advance(SECOND);
    assert_eq!(fake.alive(), 0);
}

#[test]
fn hanging_graceful_close_delays_close_by_close_timeout_at_most() {
    let (sim, fake) = new(1);
    let pool = fake.pool().close_timeout(2 * SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.always(Call::Close, Behavior::Hang);
    let report = sim.block_on(pool.close(Duration::MAX));
    assert_eq!(numbers(report), (3, 0, false));
    assert_eq!(sim.elapsed(), 2 * SECOND);
}

#[test]
fn concurrent_closes_both_complete() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let held = hold(&sim, &pool, 2);
    let closes = [(); 2].map(|()| {
        let pool = pool.clone();
        spawn(&sim, async move { pool.close(10 * SECOND).await })
    });
    sim.advance(SECOND);
    assert!(!closes.iter().any(Job::has_ended));
    drop(held);
    sim.settle();
    for close in closes {
        assert_eq!(close.take().map(numbers), Some((2, 0, false)));
    }
}

#[test]
fn dropped_close_has_closed_the_pool() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 2);
    let held = hold(&sim, &pool, 1);
    {
        let mut close = pin!(pool.close(10 * SECOND));
        assert!(poll_once(close.as_mut()).is_pending());
    }
    assert!(pool.is_closed());
    sim.settle();
    assert_eq!((fake.alive(), graceful_closes(&fake).len()), (1, 1));
    drop(held);
    sim.settle();
    assert_eq!((fake.alive(), sim.tasks()), (0, 0));
}

#[test]
fn close_that_is_never_polled_has_no_effect() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    drop(pool.close(SECOND));
    assert!(!pool.is_closed());
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn connection_under_check_when_the_pool_closes_is_destroyed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.always(Call::Ping, Behavior::Fail);
    fake.next(Call::Ping, [Behavior::Take(SECOND)]);
    let job = spawn_get(&sim, &pool);
    let pool_ = pool.clone();
    let close = spawn(&sim, async move { pool_.close(10 * SECOND).await });
    sim.advance(2 * SECOND);
    // The get may succeed or fail, but the connection must not be kept.
    drop(job.take().expect("get is still pending"));
    sim.settle();
    assert_eq!(fake.alive(), 0);
    assert!(close.has_ended());
}

#[test]
fn clear_and_resize_of_a_closed_pool_open_nothing() {
    let (sim, fake) = new(1);
    let pool = fake.pool().min_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 2);
    sim.block_on(pool.close(Duration::ZERO));
    pool.clear();
    pool.resize(20).unwrap();
    sim.advance(100 * SECOND);
    assert_eq!(pool.stats().connecting, 0);
    drop(held);
    sim.settle();
    assert_eq!((fake.alive(), sim.tasks()), (0, 0));
}
