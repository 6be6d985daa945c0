//! `clear` and `resize`.

use std::time::Duration;

use crate::support::{
    Behavior, Call, Job, MILLI, SECOND, assert_full_capacity, closed, fill, graceful_closes, hold,
    new, poll_once, spawn, spawn_get,
};
use connpool_core::{CloseReason, Runtime};

// ---- clear

#[test]
fn waiter_for_a_cleared_connect_gets_a_newer_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Take(SECOND)]);
    let waiter = spawn_get(&sim, &pool);
    pool.clear();
    sim.advance(SECOND);
    assert_eq!(waiter.take().expect("not served").unwrap().id(), 2);
    assert_eq!(fake.dropped(), [1]);
}

#[test]
fn waiter_for_a_cleared_connection_gets_a_new_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let waiter = spawn_get(&sim, &pool);
    pool.clear();
    drop(held);
    sim.settle();
    assert_eq!(waiter.take().expect("not served").unwrap().id(), 2);
}

#[test]
fn connection_assigned_before_a_clear_is_not_lent_after_it() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut get = Box::pin(pool.get_owned());
    assert!(poll_once(get.as_mut()).is_pending());
    drop(held);
    pool.clear();
    assert_eq!(sim.block_on(get).unwrap().id(), 2);
}

#[test]
fn connection_pinged_during_a_clear_is_not_lent_after_it() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.next(Call::Ping, [Behavior::Take(MILLI)]);
    let job = spawn_get(&sim, &pool);
    pool.clear();
    sim.advance(SECOND);
    assert_eq!(job.take().expect("not served").unwrap().id(), 2);
}

/// Its failure says nothing about the backend.
#[test]
fn connect_started_before_a_clear_that_fails_after_it_fails_no_waiter() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::FailAfter(SECOND)]);
    let waiter = spawn_get(&sim, &pool);
    pool.clear();
    sim.advance(SECOND);
    let guard = waiter.take().expect("not served immediately").unwrap();
    assert_eq!(guard.connect(), 2);
    assert_eq!(fake.connects_at(), [Duration::ZERO, SECOND], "backed off");
}

#[test]
fn clear_does_not_count_as_a_failed_connect() {
    for seed in 0..10 {
        let (sim, fake) = new(seed);
        let pool = fake.pool().build_lazy().unwrap();
        let mut get = Box::pin(pool.get_owned());
        assert!(poll_once(get.as_mut()).is_pending());
        // The new connection is assigned; the next poll would take it.
        sim.settle();
        pool.clear();
        assert_eq!(sim.block_on(get).unwrap().id(), 2);
        assert_eq!(sim.elapsed(), Duration::ZERO, "backed off: seed {seed}");
    }
}

// ---- resize

#[test]
fn shrinking_closes_idle_connections_now_and_borrowed_ones_on_return() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(6).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 6);
    held.truncate(4);
    pool.resize(3).unwrap();
    sim.settle();
    assert_eq!(fake.alive(), 4);
    assert_eq!(graceful_closes(&fake).len(), 2);
    held.pop();
    sim.settle();
    assert_eq!((fake.alive(), pool.stats().available), (3, 0));
    held.pop();
    sim.settle();
    assert_eq!((fake.alive(), pool.stats().available), (3, 1));
    assert_eq!(closed(&pool, CloseReason::Shrunk), 3);
    drop(held);
    let all = hold(&sim, &pool, 3);
    assert!(sim.block_on(pool.get_timeout(SECOND)).is_err());
    drop(all);
    sim.settle();
    assert_eq!((fake.alive(), pool.stats().available), (3, 3));
}

#[test]
fn waiter_of_a_shrunk_pool_waits_until_it_fits_max_size() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 3);
    let waiter = spawn_get(&sim, &pool);
    pool.resize(1).unwrap();
    held.pop();
    held.pop();
    sim.settle();
    assert!(!waiter.has_ended());
    assert_eq!(fake.alive(), 1);
    held.pop();
    sim.settle();
    assert_eq!(waiter.take().unwrap().unwrap().id(), 1);
}

#[test]
fn growing_the_pool_serves_waiters() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let jobs = [(); 3].map(|()| spawn_get(&sim, &pool));
    pool.resize(3).unwrap();
    sim.settle();
    let ended: Vec<bool> = jobs.iter().map(Job::has_ended).collect();
    assert_eq!(ended, [true, true, false]);
    drop((held, jobs));
    sim.settle();
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn growing_a_pool_without_a_maintenance_task_serves_waiters() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    let waiter = pool.get_owned();
    let mut waiter = Box::pin(waiter);
    assert!(poll_once(waiter.as_mut()).is_pending());
    sim.shut_down();
    sim.restart();
    pool.resize(2).unwrap();
    assert!(sim.block_on(waiter).is_ok());
    assert_eq!(sim.elapsed(), Duration::ZERO);
}

#[test]
fn random_resizes_lose_nothing() {
    for seed in 0..20 {
        let (sim, fake) = new(seed);
        let pool = fake.pool().max_size(8).build_lazy().unwrap();
        fake.always(Call::Connect, Behavior::Take(MILLI));
        fake.always(Call::Close, Behavior::Take(2 * MILLI));
        let jobs: Vec<_> = (0..40)
            .map(|_| {
                let (pool, sim_) = (pool.clone(), sim.clone());
                spawn(&sim, async move {
                    sim_.sleep(MILLI * (sim_.random() % 40) as u32).await;
                    let guard = pool.get_owned().await.unwrap();
                    pool.resize(1 + (sim_.random() % 8) as usize).unwrap();
                    sim_.sleep(MILLI * (sim_.random() % 5) as u32).await;
                    drop(guard);
                })
            })
            .collect();
        sim.advance(SECOND);
        assert!(jobs.iter().all(Job::has_ended), "seed {seed}");
        let size = pool.config().max_size;
        assert!(fake.alive() <= size, "seed {seed}: {} of {size}", fake.alive());
        pool.resize(8).unwrap();
        assert_full_capacity(&sim, &fake, &pool);
    }
}
