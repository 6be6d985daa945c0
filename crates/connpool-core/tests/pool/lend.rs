//! Who is lent what, and in which order.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, Job, MILLI, SECOND, assert_books, assert_lends_all, fill, go, go_get,
    hold, new, poll_once,
};
use connpool_core::{GetError, IdleOrder, Runtime};
use connpool_testkit::SimRuntime;

// ---- from the idle set

#[test]
fn the_last_used_is_lent_first() {
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
fn round_robin_lends_the_one_that_was_idle_for_longest() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .idle_order(IdleOrder::RoundRobin)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 3);
    let order: Vec<u64> = (0..9).map(|_| pool.try_get_id(&sim)).collect();
    assert_eq!(order, [1, 2, 3, 1, 2, 3, 1, 2, 3]);
}

/// Lends one connection for an instant.
trait LendOne {
    fn try_get_id(&self, sim: &SimRuntime) -> u64;
}

impl LendOne for connpool_core::Pool<Fake> {
    fn try_get_id(&self, sim: &SimRuntime) -> u64 {
        sim.block_on(self.get()).unwrap().id()
    }
}

#[test]
fn a_get_from_the_idle_set_ends_at_its_first_poll() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 1);
    let mut get = pin!(pool.get());
    assert!(poll_once(get.as_mut()).is_ready());
    assert_eq!(pool.stats().wait_count, 0);
}

// ---- growth

#[test]
fn the_pool_grows_by_its_increment_and_not_beyond_its_size() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(5).increment(3).build_lazy().unwrap();
    let one = hold(&sim, &pool, 1);
    sim.settle();
    assert_eq!((fake.alive(), pool.stats().available), (3, 2));
    let three = hold(&sim, &pool, 2);
    sim.settle();
    assert_eq!(fake.alive(), 3, "it grew although idle ones were left");
    let four = hold(&sim, &pool, 1);
    sim.settle();
    assert_eq!((fake.alive(), pool.stats().available), (5, 1));
    drop((one, three, four));
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn no_batch_begins_while_enough_are_under_way() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(20).increment(4).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let jobs: Vec<_> = (0..4).map(|_| go_get(&sim, &pool)).collect();
    assert_eq!(fake.calls(Call::Connect), 4);
    let fifth = go_get(&sim, &pool);
    assert_eq!(fake.calls(Call::Connect), 8);
    sim.advance(SECOND);
    assert!(jobs.iter().all(Job::has_ended) && fifth.has_ended());
}

#[test]
fn max_size_holds_for_many_who_come_and_go() {
    for seed in 0..20 {
        let (sim, fake) = new(seed);
        let pool = fake.pool().max_size(3).increment(2).build_lazy().unwrap();
        fake.always(Call::Connect, Behavior::Take(5 * MILLI));
        fake.always(Call::Close, Behavior::Take(3 * MILLI));
        let jobs: Vec<_> = (0..40)
            .map(|nth| {
                let (pool, sim_) = (pool.clone(), sim.clone());
                go(&sim, async move {
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
        assert_books(&pool, &fake, 0);
        assert_lends_all(&sim, &fake, &pool);
    }
}

// ---- the line

#[test]
fn fifty_waiters_are_served_in_the_order_in_which_they_came() {
    let (sim, fake) = new(5);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 2);
    let served = Arc::new(Mutex::new(Vec::new()));
    let jobs: Vec<_> = (0..50)
        .map(|nth| {
            let (pool, sim_, served) = (pool.clone(), sim.clone(), Arc::clone(&served));
            let job = go(&sim, async move {
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
fn nobody_overtakes_who_waits() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut first = pin!(pool.get());
    assert!(poll_once(first.as_mut()).is_pending());
    drop(held);
    let mut late = pin!(pool.get());
    assert!(poll_once(late.as_mut()).is_pending(), "it overtook");
    assert!(pool.try_get().is_err(), "try_get overtook");
    let mut hasty = pin!(pool.get_timeout(Duration::ZERO));
    match poll_once(hasty.as_mut()) {
        std::task::Poll::Ready(Err(GetError::Timeout { .. })) => {}
        other => panic!("get_timeout(0) overtook, or waits: {}", other.is_ready()),
    }
    assert!(poll_once(first.as_mut()).is_ready());
}

#[test]
fn a_waiter_whose_connection_fails_its_check_keeps_its_place() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(2)
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    let mut held = hold(&sim, &pool, 2);
    fake.always(Call::Connect, Behavior::Hang);
    fake.next(Call::Ping, [Behavior::YieldThenFail(1)]);
    let first = go_get(&sim, &pool);
    let second = go_get(&sim, &pool);
    drop(held.pop());
    sim.settle();
    assert_eq!(fake.dropped().len(), 1);
    assert!(!first.has_ended());
    drop(held.pop());
    sim.settle();
    assert!(first.has_ended(), "it lost its place");
    assert!(!second.has_ended());
}

#[test]
fn a_waiter_takes_a_return_if_that_comes_before_the_connect() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let waiter = go_get(&sim, &pool);
    sim.advance(SECOND / 2);
    drop(held);
    sim.settle();
    assert_eq!(waiter.take().unwrap().unwrap().id(), 1);
    sim.advance(SECOND);
    assert_eq!(pool.stats().available, 2);
}

#[test]
fn a_waiter_takes_a_new_one_if_that_comes_before_the_return() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let waiter = go_get(&sim, &pool);
    sim.advance(SECOND);
    assert_eq!(waiter.take().unwrap().unwrap().id(), 2);
    drop(held);
}

#[test]
fn a_waiter_whose_time_is_up_is_not_served_and_costs_the_next_nothing() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut late = Box::pin(pool.get_owned_timeout(SECOND));
    assert!(poll_once(late.as_mut()).is_pending());
    let second = go_get(&sim, &pool);
    sim.advance(2 * SECOND);
    drop(held);
    sim.settle();
    assert!(second.has_ended(), "served was one who had no time left");
    let error = sim.block_on(late).unwrap_err();
    assert!(error.is_timeout(), "{error}");
}

#[test]
fn what_was_handed_over_in_time_beats_a_late_timer() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut get = Box::pin(pool.get_owned_timeout(SECOND));
    assert!(poll_once(get.as_mut()).is_pending());
    drop(held);
    sim.advance(5 * SECOND);
    assert!(sim.block_on(get).is_ok());
}
