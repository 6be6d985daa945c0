//! `try_get`, `get_timeout(0)`, `max_waiters`, and the counters of gets and waits.

use std::pin::pin;
use std::time::Duration;

use crate::support::{Behavior, Call, SECOND, fill, hold, new, poll_once, spawn_get};
use connpool_core::{GetError, Liveness};

// ---- try_get and get_timeout(0)

#[test]
fn try_get_starts_no_connect_and_no_task() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    match pool.try_get() {
        Err(GetError::Exhausted(_)) => {}
        other => panic!("{other:?}"),
    }
    sim.settle();
    assert_eq!((sim.spawned(), sim.timers_created(), fake.calls(Call::Connect)), (0, 0, 0));
}

#[test]
fn try_get_does_not_ping() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.always(Call::Ping, Behavior::Hang);
    assert!(pool.try_get().is_ok());
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn try_get_of_a_closed_pool_returns_closed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 1);
    sim.block_on(pool.close(SECOND));
    assert!(matches!(pool.try_get(), Err(GetError::Closed)));
}

#[test]
fn get_timeout_zero_works_before_the_maintenance_task_starts() {
    let (sim, fake) = new(1);
    let pool = sim.block_on(fake.pool().min_size(1).build()).unwrap();
    sim.shut_down();
    let mut get = pin!(pool.get_timeout(Duration::ZERO));
    assert!(matches!(poll_once(get.as_mut()), std::task::Poll::Ready(Ok(_))));
}

// ---- max_waiters

#[test]
fn get_beyond_max_waiters_fails_immediately() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).max_waiters(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let jobs = [spawn_get(&sim, &pool), spawn_get(&sim, &pool)];
    let third = spawn_get(&sim, &pool).take();
    assert!(matches!(third, Some(Err(GetError::Exhausted(_)))));
    assert_eq!(sim.elapsed(), Duration::ZERO);
    drop(held);
    sim.settle();
    assert!(jobs[0].has_ended());
    let fourth = spawn_get(&sim, &pool);
    assert!(!fourth.has_ended(), "rejected despite a free queue position");
}

#[test]
fn max_waiters_zero_allows_growth_but_no_wait_for_a_return() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).max_waiters(0).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let jobs = [spawn_get(&sim, &pool), spawn_get(&sim, &pool)];
    assert!(matches!(spawn_get(&sim, &pool).take(), Some(Err(GetError::Exhausted(_)))));
    sim.advance(SECOND);
    let held = jobs.map(|job| job.take().unwrap().unwrap());
    assert!(matches!(spawn_get(&sim, &pool).take(), Some(Err(GetError::Exhausted(_)))));
    drop(held);
    assert!(sim.block_on(pool.get()).is_ok(), "the idle connections were not available");
}

#[test]
fn max_waiters_zero_allows_a_retry_after_a_failed_check() {
    let (sim, fake) = new(1);
    let pool =
        fake.pool().max_size(4).max_waiters(0).ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.always(Call::Ping, Behavior::Fail);
    let guard = sim.block_on(pool.get()).unwrap();
    assert_eq!(guard.id(), 4);
}

// ---- counting

#[test]
fn each_get_counts_one_request_and_at_most_one_success() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(4).ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 4);
    let before = pool.stats();
    assert_eq!((before.request, before.success), (4, 4));
    fake.next(Call::Ping, [Behavior::Fail, Behavior::Fail, Behavior::Fail]);
    drop(sim.block_on(pool.get()).unwrap());
    let _ = pool.try_get().unwrap();
    sim.block_on(pool.close(SECOND));
    assert!(sim.block_on(pool.get()).is_err());
    assert!(pool.try_get().is_err());
    let after = pool.stats();
    assert_eq!((after.request, after.success), (8, 6));
    assert_eq!(after.ping_failed, 3);
}

#[test]
fn waits_are_counted_and_timed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let before = pool.stats();
    let first = spawn_get(&sim, &pool);
    let second = spawn_get(&sim, &pool);
    assert_eq!(pool.stats().waiting, 2);
    sim.advance(3 * SECOND);
    drop(held);
    sim.settle();
    let held = first.take().unwrap().unwrap();
    sim.advance(SECOND);
    drop(held);
    sim.settle();
    assert!(second.has_ended());
    let after = pool.stats();
    assert_eq!(after.wait_count - before.wait_count, 2);
    assert_eq!(after.wait_time - before.wait_time, 7 * SECOND);
    assert_eq!(after.waiting, 0);
}

/// `wait_count` indicates that `max_size` is too small. Waits for a connect do not: they occur in a
/// young pool, or with a slow backend.
#[test]
fn wait_count_counts_waits_for_a_return_only() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let jobs: Vec<_> = (0..3).map(|_| spawn_get(&sim, &pool)).collect();
    assert_eq!(pool.stats().waiting, 3);
    assert_eq!(pool.stats().wait_count, 1, "two of the three waits are for connects");
    sim.advance(SECOND);
    let held = [jobs[0].take(), jobs[1].take()];
    sim.advance(SECOND);
    drop(held);
    sim.settle();
    assert!(jobs[2].take().is_some_and(|got| got.is_ok()));
    assert_eq!(pool.stats().wait_time, 2 * SECOND);

    // A dead connection is replaced by a connect although its slot is not free yet: no wait for a
    // return.
    fill(&sim, &pool, 2);
    fake.set_liveness(Liveness::Closed);
    let job = spawn_get(&sim, &pool);
    fake.clear_script();
    sim.advance(SECOND);
    assert!(job.take().is_some_and(|got| got.is_ok()));
    assert_eq!(pool.stats().wait_count, 1);
}

#[test]
fn failed_and_cancelled_waits_are_counted() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    let before = pool.stats();
    assert!(sim.block_on(pool.get_timeout(2 * SECOND)).is_err());
    {
        let mut cancelled = pin!(pool.get());
        assert!(poll_once(cancelled.as_mut()).is_pending());
        sim.advance(SECOND);
    }
    let after = pool.stats();
    assert_eq!(after.wait_count - before.wait_count, 2);
    assert_eq!(after.wait_time - before.wait_time, 3 * SECOND);
}

#[test]
fn pool_reports_its_name_and_config() {
    let (_, fake) = new(1);
    let pool = fake
        .pool()
        .name("orders")
        .max_size(7)
        .min_size(2)
        .idle_timeout(SECOND)
        .build_lazy()
        .unwrap();
    let config = pool.config();
    assert_eq!(pool.name(), "orders");
    assert_eq!(config.name.as_deref(), Some("orders"));
    assert_eq!((config.max_size, config.min_size), (7, 2));
    assert_eq!(config.idle_timeout, Some(SECOND));
    pool.resize(9).unwrap();
    assert_eq!(pool.config().max_size, 9);
    let again = fake.pool().config(config.clone()).build_lazy().unwrap();
    assert_eq!(again.config(), config);
    let unnamed = [(); 2].map(|()| fake.pool().build_lazy().unwrap());
    assert!(unnamed[0].name().starts_with("pool-"));
    assert_ne!(unnamed[0].name(), unnamed[1].name());
}
