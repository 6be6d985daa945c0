//! `drain`: a shutdown that serves the callers it has accepted.

use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, Job, MILLI, SECOND, assert_at_rest, fill, hold, new, poll_once, spawn,
    spawn_get,
};
use connpool_core::{AddError, CloseReport, GetError, Manager, Pool};
use connpool_testkit::SimRuntime;

fn spawn_drain(sim: &SimRuntime, pool: &Pool<Fake>, limit: Duration) -> Job<CloseReport> {
    let pool = pool.clone();
    let job = spawn(sim, async move { pool.drain(limit).await });
    sim.settle();
    job
}

/// Spawns requests that use a connection for 100 ms. Each returns whether it got one.
fn requests(sim: &SimRuntime, pool: &Pool<Fake>, count: usize) -> Vec<Job<bool>> {
    let jobs = (0..count).map(|_| {
        let (pool, sim_) = (pool.clone(), sim.clone());
        spawn(sim, async move {
            let got = pool.get().await;
            sim_.sleep(100 * MILLI).await;
            got.is_ok()
        })
    });
    let jobs = jobs.collect();
    sim.settle();
    jobs
}

fn served(jobs: &[Job<bool>]) -> usize {
    jobs.iter().filter(|job| job.take() == Some(true)).count()
}

#[test]
fn ten_accepted_requests_over_two_connections_are_all_served() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let accepted = requests(&sim, &pool, 10);
    let drain = spawn_drain(&sim, &pool, 5 * SECOND);
    let late = requests(&sim, &pool, 3);
    sim.advance(399 * MILLI);
    assert!(!pool.is_closed());
    // The last two are served, and use their connections.
    sim.advance(100 * MILLI);
    assert!(pool.is_closed() && !drain.has_ended());
    sim.advance(MILLI);
    let report = drain.take().expect("not closed");
    assert_eq!((served(&accepted), served(&late)), (10, 0));
    assert_eq!(report.to_string(), "closed 2 connections");
    assert_at_rest(&pool, &fake, 0);
}

#[test]
fn pool_that_drains_refuses_every_new_caller() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(4).min_size(1).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    let held = hold(&sim, &pool, 3);
    let conn = sim.block_on(fake.connect()).unwrap();
    pool.resize(3).unwrap();
    let waiter = spawn_get(&sim, &pool);
    let drain = spawn_drain(&sim, &pool, SECOND);
    assert!(matches!(pool.try_get(), Err(GetError::Closed)));
    assert!(matches!(sim.block_on(pool.get()), Err(GetError::Closed)));
    assert!(matches!(sim.block_on(pool.get_many(2)), Err(GetError::Closed)));
    assert!(matches!(sim.block_on(pool.get_with(async |_| Ok(()))), Err(GetError::Closed)));
    let added = pool.add(conn);
    assert!(matches!(added, Err(AddError::Closed(_))));
    assert_eq!(sim.elapsed(), Duration::ZERO);
    assert!(!drain.has_ended() && !waiter.has_ended());
    drop((held, added));
    sim.settle();
    assert!(waiter.take().unwrap().is_ok());
    sim.settle();
    assert!(drain.has_ended());
}

#[test]
fn pool_that_drains_is_closed_at_its_limit() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let waiter = spawn_get(&sim, &pool);
    let drain = spawn_drain(&sim, &pool, SECOND);
    sim.advance(SECOND);
    let report = drain.take().expect("not closed");
    assert_eq!((report.timed_out, report.still_out.len()), (true, 1));
    assert!(report.to_string().contains("; still borrowed: "), "{report}");
    assert!(waiter.take().unwrap().unwrap_err().is_closed());
    drop(held);
    sim.settle();
    assert_at_rest(&pool, &fake, 0);
}

#[test]
fn dropped_drain_still_closes_the_pool_when_its_callers_are_served() {
    for limit in [SECOND, Duration::MAX] {
        let (sim, fake) = new(1);
        let pool = fake.pool().max_size(1).build_lazy().unwrap();
        let accepted = requests(&sim, &pool, 3);
        assert!(poll_once(Box::pin(pool.drain(limit)).as_mut()).is_pending());
        sim.advance(199 * MILLI);
        assert!(!pool.is_closed());
        sim.advance(101 * MILLI);
        assert!(pool.is_closed());
        assert_eq!(served(&accepted), 3);
        assert_at_rest(&pool, &fake, 0);
    }
}

#[test]
fn dropped_drain_still_closes_the_pool_at_its_limit() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    let waiter = spawn_get(&sim, &pool);
    assert!(poll_once(Box::pin(pool.drain(SECOND)).as_mut()).is_pending());
    sim.advance(SECOND - MILLI);
    assert!(!pool.is_closed());
    sim.advance(MILLI);
    assert!(pool.is_closed() && waiter.has_ended());
}

#[test]
fn drain_resumes_a_paused_pool_and_a_pause_does_not_hold_it_up() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    pool.pause();
    let accepted = requests(&sim, &pool, 2);
    let drain = spawn_drain(&sim, &pool, SECOND);
    pool.pause();
    assert!(!pool.is_paused());
    sim.advance(200 * MILLI);
    assert!(drain.has_ended());
    assert_eq!(served(&accepted), 2);
}

#[test]
fn get_whose_check_fails_during_a_drain_is_served() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.next(Call::Ping, [Behavior::FailAfter(100 * MILLI)]);
    let get = spawn_get(&sim, &pool);
    let drain = spawn_drain(&sim, &pool, SECOND);
    sim.advance(100 * MILLI);
    assert_eq!(get.take().expect("not served").unwrap().id(), 2);
    sim.settle();
    assert!(drain.has_ended());
}

#[test]
fn waiter_whose_connection_fails_its_check_during_a_drain_keeps_its_place() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).ping_after(Duration::ZERO).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let get = spawn_get(&sim, &pool);
    let drain = spawn_drain(&sim, &pool, SECOND);
    fake.next(Call::Ping, [Behavior::FailAfter(100 * MILLI)]);
    drop(held);
    sim.advance(100 * MILLI);
    assert_eq!(get.take().expect("not served").unwrap().id(), 2);
    sim.settle();
    assert!(drain.has_ended());
}

#[test]
fn get_many_under_way_is_served_by_a_pool_that_drains() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 3);
    let pool_ = pool.clone();
    let gather = spawn(&sim, async move { pool_.get_many(3).await.map(|all| all.len()) });
    sim.settle();
    let drain = spawn_drain(&sim, &pool, SECOND);
    for _ in 0..3 {
        assert!(!drain.has_ended());
        held.pop();
        sim.settle();
    }
    assert_eq!(gather.take().expect("not served").unwrap(), 3);
    assert!(drain.has_ended());
}

#[test]
fn drain_of_anheld2_or_closed_pool_ends_at_once() {
    let (sim, fake) = new(1);
    let pool = fake.pool().min_size(2).build_lazy().unwrap();
    fill(&sim, &pool, 2);
    let report = sim.block_on(pool.drain(SECOND));
    assert_eq!((report.closed, report.timed_out, pool.is_closed()), (2, false, true));
    assert_eq!(sim.block_on(pool.drain(SECOND)).closed, 0);
    assert_eq!(sim.elapsed(), Duration::ZERO);
    sim.advance(SECOND);
    assert_at_rest(&pool, &fake, 0);
}

#[test]
fn close_ends_a_drain() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let accepted = requests(&sim, &pool, 3);
    let drain = spawn_drain(&sim, &pool, Duration::MAX);
    drop(spawn(&sim, async move { pool.close(SECOND).await }));
    sim.advance(100 * MILLI);
    assert!(drain.has_ended());
    assert_eq!(served(&accepted), 1);
}

#[test]
fn drain_without_a_maintenance_task_closes_the_pool() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut waiter = Box::pin(pool.get());
    assert!(poll_once(waiter.as_mut()).is_pending());
    sim.shut_down();
    let mut drain = Box::pin(pool.drain(SECOND));
    assert!(poll_once(drain.as_mut()).is_pending());
    drop(held);
    drop(poll_once(waiter.as_mut()));
    drop(waiter);
    let std::task::Poll::Ready(report) = poll_once(drain.as_mut()) else { panic!("not closed") };
    assert!(!report.timed_out);
}

#[test]
fn dropped_drain_without_a_maintenance_task_is_ended_by_the_last_caller() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    let mut waiter = Box::pin(pool.get());
    assert!(poll_once(waiter.as_mut()).is_pending());
    sim.shut_down();
    assert!(poll_once(Box::pin(pool.drain(SECOND)).as_mut()).is_pending());
    assert!(!pool.is_closed());
    drop(waiter);
    assert!(pool.is_closed());
}
