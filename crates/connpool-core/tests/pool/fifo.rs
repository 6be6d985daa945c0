//! The order of checkouts: idle order, growth, and the wait queue.

use std::pin::pin;
use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, Job, MILLI, SECOND, assert_at_rest, assert_full_capacity, fill, hold,
    new, poll_once, spawn, spawn_get,
};
use connpool_core::{IdleOrder, Runtime};
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
