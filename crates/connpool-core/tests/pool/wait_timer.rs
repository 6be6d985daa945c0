//! The timer that waits share.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::support::{Job, MILLI, SECOND, assert_full_capacity, hold, new, spawn, spawn_get};
use connpool_core::{BoxFuture, GetError, Instant, Phase, Pool, Runtime};
use connpool_testkit::SimRuntime;
use futures_lite::future::poll_once;

/// Draws numbers below `below`.
fn draws(seed: u64, below: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

#[test]
fn waits_with_the_same_limit_set_one_timer() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).get_timeout(30 * SECOND).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 1);
    let mut timers = None;
    for _ in 0..100 {
        let next = spawn(&sim, {
            let pool = pool.clone();
            async move { pool.get_owned().await.unwrap() }
        });
        sim.settle();
        assert_eq!(pool.stats().waiting, 1);
        let created = sim.timers_created();
        assert_eq!(*timers.get_or_insert(created), created, "another wait set a timer");
        held.clear();
        sim.settle();
        held.extend(next.take());
        sim.advance(MILLI);
    }
}

#[test]
fn each_wait_ends_at_its_own_limit() {
    for seed in 0..20 {
        let (sim, fake) = new(seed);
        let pool = fake.pool().max_size(1).build_lazy().unwrap();
        let held = hold(&sim, &pool, 1);
        let mut draw = draws(seed + 1, 100_000);
        let jobs: Vec<Job<()>> = (0..200)
            .map(|_| {
                let (sim_, pool) = (sim.clone(), pool.clone());
                let (starts, limit) =
                    (Duration::from_micros(draw()), Duration::from_micros(draw() + 1));
                spawn(&sim, async move {
                    sim_.sleep(starts).await;
                    let began = sim_.elapsed();
                    let error = pool.get_timeout(limit).await.unwrap_err();
                    assert!(matches!(error, GetError::Timeout { phase: Phase::Wait, .. }));
                    assert_eq!(sim_.elapsed() - began, limit);
                })
            })
            .collect();
        sim.advance(SECOND);
        assert!(jobs.iter().all(Job::has_ended), "seed {seed}");
        drop(held);
        assert_full_capacity(&sim, &fake, &pool);
    }
}

#[test]
fn get_that_is_not_polled_keeps_no_other_waiting() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    let mut forgotten = Box::pin(pool.get_timeout(10 * MILLI));
    assert!(sim.block_on(poll_once(&mut forgotten)).is_none());
    for limit in [50, 20, 70] {
        let began = sim.elapsed();
        assert!(sim.block_on(pool.get_timeout(limit * MILLI)).is_err());
        assert_eq!(sim.elapsed() - began, limit * MILLI);
    }
    assert!(sim.block_on(forgotten).unwrap_err().is_timeout());
}

#[test]
fn wait_that_goes_on_elsewhere_ends_at_its_limit_there() {
    let (home, fake) = new(1);
    let elsewhere = home.another();
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = home.block_on(pool.get()).unwrap();
    let mut get = Box::pin(pool.get_timeout(SECOND));
    assert!(home.block_on(poll_once(&mut get)).is_none());
    let timers = home.timers_created();
    assert!(elsewhere.block_on(poll_once(&mut get)).is_none());
    assert!(home.timers_created() > timers, "the timer of the home is relied on elsewhere");
    home.freeze();
    let began = elsewhere.elapsed();
    assert!(elsewhere.block_on(get).unwrap_err().is_timeout());
    assert_eq!(elsewhere.elapsed() - began, SECOND);
    drop(held);
}

#[test]
fn wait_that_goes_on_at_home_ends_at_its_limit_there() {
    let (home, fake) = new(1);
    let elsewhere = home.another();
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = home.block_on(pool.get()).unwrap();
    let mut get = Box::pin(pool.get_owned_timeout(SECOND));
    assert!(elsewhere.block_on(poll_once(&mut get)).is_none());
    let waiter = spawn(&home, get);
    home.advance(SECOND - MILLI);
    assert!(!waiter.has_ended());
    home.advance(MILLI);
    assert!(waiter.take().expect("it has ended").unwrap_err().is_timeout());
    drop(held);
}

#[test]
fn timer_outlives_its_pool() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).get_timeout(SECOND).build_lazy().unwrap();
    let held = sim.block_on(pool.get_owned()).unwrap();
    let waiter = spawn_get(&sim, &pool);
    sim.settle();
    drop(pool);
    sim.settle();
    assert!(waiter.has_ended());
    drop(held);
    sim.advance(5 * SECOND);
    assert_eq!((fake.alive(), sim.tasks()), (0, 0));
}

/// A runtime whose shared timers have ended: they are ready at once, or cannot be created.
struct EndedTimers {
    sim: SimRuntime,
    panics: bool,
}

impl Runtime for EndedTimers {
    fn now(&self) -> Instant {
        self.sim.now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        self.sim.sleep_until(at)
    }

    fn shares_wait_timer(&self) -> bool {
        true
    }

    fn wait_timer(&self, _: Instant) -> BoxFuture {
        assert!(!self.panics, "there are no timers");
        Box::pin(std::future::ready(()))
    }

    fn spawn(&self, task: BoxFuture) {
        self.sim.spawn(task);
    }

    fn random(&self) -> u64 {
        self.sim.random()
    }
}

#[test]
fn waits_end_at_once_where_timers_do() {
    let (sim, fake) = new(1);
    let runtime = EndedTimers { sim: sim.clone(), panics: false };
    let pool = Pool::builder(fake.clone(), runtime).max_size(1).min_size(1);
    let pool = sim.block_on(pool.build()).unwrap();
    let held = hold(&sim, &pool, 1);
    for limit in [SECOND, MILLI, 2 * SECOND] {
        let mut get = Box::pin(pool.get_timeout(limit));
        let poll = get.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Err(error)) = poll else { panic!("waits for {limit:?}") };
        assert!(error.is_timeout());
    }
    assert_eq!(pool.stats().waiting, 0);
    drop(held);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn each_wait_panics_where_there_are_no_timers() {
    let (sim, fake) = new(1);
    let runtime = EndedTimers { sim: sim.clone(), panics: true };
    let pool = Pool::builder(fake.clone(), runtime).max_size(1).min_size(1);
    let pool = sim.block_on(pool.build()).unwrap();
    let held = hold(&sim, &pool, 1);
    for _ in 0..2 {
        let get = || sim.block_on(poll_once(Box::pin(pool.get_timeout(SECOND)))).map(|_| ());
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(get));
        assert!(panic.is_err(), "it would wait for ever");
    }
    assert_eq!(pool.stats().waiting, 0);
    drop(held);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn get_without_patience_sets_no_timer() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    let timers = sim.timers_created();
    assert!(sim.block_on(pool.get_timeout(Duration::ZERO)).unwrap_err().is_timeout());
    assert_eq!(sim.timers_created(), timers);
}
