//! The order of checkouts: idle order, growth, and the wait queue.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, Job, MILLI, SECOND, assert_at_rest, assert_full_capacity, fill, hold,
    new, poll_once, spawn, spawn_get,
};
use connpool_core::{GetError, IdleOrder, Runtime};
use connpool_testkit::SimRuntime;

// ---- from the idle set

#[test]
fn lifo_lends_the_most_recently_returned_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 3);
    for id in [1, 0, 0] {
        drop(held.remove(id));
    }
    let ids: Vec<u64> = hold(&sim, &pool, 3).iter().map(|held| held.id()).collect();
    assert_eq!(ids, [3, 1, 2]);
}

#[test]
fn round_robin_lends_the_longest_idle_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().idle_order(IdleOrder::RoundRobin).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    let order: Vec<u64> = (0..9).map(|_| pool.get_id(&sim)).collect();
    assert_eq!(order, [1, 2, 3, 1, 2, 3, 1, 2, 3]);
}

/// Borrows one connection for an instant and returns its id.
trait GetId {
    fn get_id(&self, sim: &SimRuntime) -> u64;
}

impl GetId for connpool_core::Pool<Fake> {
    fn get_id(&self, sim: &SimRuntime) -> u64 {
        sim.block_on(self.get()).unwrap().id()
    }
}

#[test]
fn get_from_the_idle_set_is_ready_at_its_first_poll() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 1);
    let mut get = pin!(pool.get());
    assert!(poll_once(get.as_mut()).is_ready());
    assert_eq!(pool.stats().wait_count, 0);
}

// ---- growth

#[test]
fn pool_grows_by_increment_up_to_max_size() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(5).increment(3).build_lazy().unwrap();
    let one = hold(&sim, &pool, 1);
    sim.settle();
    assert_eq!((fake.alive(), pool.stats().available), (3, 2));
    let three = hold(&sim, &pool, 2);
    sim.settle();
    assert_eq!(fake.alive(), 3, "grew despite idle connections");
    let four = hold(&sim, &pool, 1);
    sim.settle();
    assert_eq!((fake.alive(), pool.stats().available), (5, 1));
    drop((one, three, four));
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn no_increment_starts_while_enough_connects_are_in_progress() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(20).increment(4).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let jobs: Vec<_> = (0..4).map(|_| spawn_get(&sim, &pool)).collect();
    assert_eq!(fake.calls(Call::Connect), 4);
    let fifth = spawn_get(&sim, &pool);
    assert_eq!(fake.calls(Call::Connect), 8);
    sim.advance(SECOND);
    assert!(jobs.iter().all(Job::has_ended) && fifth.has_ended());
}

#[test]
fn max_size_holds_under_random_gets() {
    for seed in 0..20 {
        let (sim, fake) = new(seed);
        let pool = fake.pool().max_size(3).increment(2).build_lazy().unwrap();
        fake.always(Call::Connect, Behavior::Take(5 * MILLI));
        fake.always(Call::Close, Behavior::Take(3 * MILLI));
        let jobs: Vec<_> = (0..40)
            .map(|nth| {
                let (pool, sim_) = (pool.clone(), sim.clone());
                spawn(&sim, async move {
                    sim_.sleep(MILLI * (sim_.random() % 50) as u32).await;
                    let mut guard = pool.get_owned().await.unwrap();
                    sim_.sleep(MILLI * (sim_.random() % 10) as u32).await;
                    match nth % 4 {
                        0 => guard.mark_unusable(),
                        1 => pool.clear(),
                        _ => {}
                    }
                })
            })
            .collect();
        sim.advance(SECOND);
        assert!(jobs.iter().all(Job::has_ended), "seed {seed}");
        assert_at_rest(&pool, &fake, 0);
        assert_full_capacity(&sim, &fake, &pool);
    }
}

// ---- the wait queue

#[test]
fn waiters_are_served_in_fifo_order() {
    let (sim, fake) = new(5);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 2);
    let served = Arc::new(Mutex::new(Vec::new()));
    let jobs: Vec<_> = (0..50)
        .map(|nth| {
            let (pool, sim_, served) = (pool.clone(), sim.clone(), Arc::clone(&served));
            let job = spawn(&sim, async move {
                let guard = pool.get_owned().await.unwrap();
                served.lock().unwrap().push(nth);
                sim_.sleep(MILLI).await;
                drop(guard);
            });
            sim.settle();
            job
        })
        .collect();
    assert_eq!(pool.stats().waiting, 50);
    held.pop();
    sim.advance(SECOND);
    assert!(jobs.iter().all(Job::has_ended));
    assert_eq!(*served.lock().unwrap(), (0..50).collect::<Vec<_>>());
    assert_eq!(fake.alive(), 2);
}

#[test]
fn new_get_does_not_overtake_a_waiter() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut first = pin!(pool.get());
    assert!(poll_once(first.as_mut()).is_pending());
    drop(held);
    let mut newcomer = pin!(pool.get());
    assert!(poll_once(newcomer.as_mut()).is_pending(), "a get overtook the waiter");
    assert!(pool.try_get().is_err(), "a try_get overtook the waiter");
    let mut zero_timeout = pin!(pool.get_timeout(Duration::ZERO));
    match poll_once(zero_timeout.as_mut()) {
        std::task::Poll::Ready(Err(GetError::Timeout { .. })) => {}
        other => panic!("get_timeout(0) overtook the waiter or waits: {}", other.is_ready()),
    }
    assert!(poll_once(first.as_mut()).is_ready());
}

#[test]
fn waiter_whose_connection_fails_its_check_keeps_its_queue_position() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).ping_after(Duration::ZERO).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 2);
    fake.always(Call::Connect, Behavior::Hang);
    fake.next(Call::Ping, [Behavior::YieldThenFail(1)]);
    let first = spawn_get(&sim, &pool);
    let second = spawn_get(&sim, &pool);
    drop(held.pop());
    sim.settle();
    assert_eq!(fake.dropped().len(), 1);
    assert!(!first.has_ended());
    drop(held.pop());
    sim.settle();
    assert!(first.has_ended(), "the first waiter lost its queue position");
    assert!(!second.has_ended());
}

#[test]
fn waiter_takes_a_return_that_precedes_its_connect() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let waiter = spawn_get(&sim, &pool);
    sim.advance(SECOND / 2);
    drop(held);
    sim.settle();
    assert_eq!(waiter.take().unwrap().unwrap().id(), 1);
    sim.advance(SECOND);
    assert_eq!(pool.stats().available, 2);
}

#[test]
fn waiter_takes_a_connect_that_precedes_a_return() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let waiter = spawn_get(&sim, &pool);
    sim.advance(SECOND);
    assert_eq!(waiter.take().unwrap().unwrap().id(), 2);
    drop(held);
}

#[test]
fn waiter_past_deadline_is_skipped() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut newcomer = Box::pin(pool.get_owned_timeout(SECOND));
    assert!(poll_once(newcomer.as_mut()).is_pending());
    let second = spawn_get(&sim, &pool);
    sim.advance(2 * SECOND);
    drop(held);
    sim.settle();
    assert!(second.has_ended(), "the expired waiter was served");
    let error = sim.block_on(newcomer).unwrap_err();
    assert!(error.is_timeout(), "{error}");
}

#[test]
fn connection_assigned_in_time_beats_a_late_timer() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut get = Box::pin(pool.get_owned_timeout(SECOND));
    assert!(poll_once(get.as_mut()).is_pending());
    drop(held);
    sim.advance(5 * SECOND);
    assert!(sim.block_on(get).is_ok());
}
