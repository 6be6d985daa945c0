//! Pools on a runtime whose coarse clock lags behind the precise one.

use std::time::Duration;

use crate::support::{Fake, MILLI, SECOND, fill, hold};
use connpool_core::{BoxFuture, Builder, Instant, Pool, Runtime};
use connpool_testkit::SimRuntime;

const LAG: Duration = Duration::from_millis(10);

/// The simulation with a `recent` clock that always lags by [`LAG`].
#[derive(Clone)]
struct LaggingRuntime(SimRuntime);

impl Runtime for LaggingRuntime {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn recent(&self) -> Instant {
        let now = self.0.now().since(Instant::ORIGIN);
        let then = now.saturating_sub(LAG);
        Instant::ORIGIN.checked_add(then).unwrap()
    }

    fn wall(&self) -> Instant {
        self.0.wall()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        self.0.sleep_until(at)
    }

    fn spawn(&self, task: BoxFuture) {
        self.0.spawn(task);
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

fn pool(settings: impl FnOnce(Builder<Fake>) -> Builder<Fake>) -> (SimRuntime, Pool<Fake>) {
    let sim = SimRuntime::new(1);
    let fake = Fake::new(LaggingRuntime(sim.clone()));
    let builder = fake.pool().max_size(2).lifetime_jitter(0.0);
    let pool = settings(builder.evict_interval(None).ping_after(None));
    sim.advance(SECOND);
    (sim, pool.build_lazy().unwrap())
}

fn get_id(sim: &SimRuntime, pool: &Pool<Fake>) -> u64 {
    sim.block_on(pool.get()).unwrap().id()
}

#[test]
fn lifetime_ends_by_the_lagging_coarse_clock() {
    let (sim, pool) = pool(|pool| pool.max_lifetime(2 * SECOND));
    fill(&sim, &pool, 1);
    sim.advance(2 * SECOND + LAG - MILLI);
    assert_eq!(get_id(&sim, &pool), 1);
    sim.advance(MILLI);
    assert_eq!(get_id(&sim, &pool), 2);
}

#[test]
fn idle_time_is_exact_because_both_readings_lag() {
    let (sim, pool) = pool(|pool| pool.idle_timeout(2 * SECOND));
    fill(&sim, &pool, 1);
    sim.advance(2 * SECOND - MILLI);
    assert_eq!(get_id(&sim, &pool), 1);
    sim.advance(2 * SECOND);
    assert_eq!(get_id(&sim, &pool), 2);
}

#[test]
fn limits_below_half_a_second_use_the_precise_clock() {
    let (sim, pool) = pool(|pool| pool.max_lifetime(100 * MILLI));
    fill(&sim, &pool, 1);
    sim.advance(100 * MILLI - Duration::from_nanos(1));
    assert_eq!(get_id(&sim, &pool), 1);
    sim.advance(Duration::from_nanos(1));
    assert_eq!(get_id(&sim, &pool), 2);
}

#[test]
fn get_deadline_under_a_coarse_clock_is_exact() {
    let (sim, pool) = pool(|pool| pool.get_timeout(2 * SECOND));
    let mut held = hold(&sim, &pool, 2);
    let began = sim.now();
    assert!(sim.block_on(pool.get()).unwrap_err().is_timeout());
    assert_eq!(sim.now().since(began), 2 * SECOND);
    held.pop();
    assert!(sim.block_on(pool.get()).is_ok());
    drop(held);
    fill(&sim, &pool, 2);
}
