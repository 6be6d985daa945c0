//! Connects to a failing backend: slow start and circuit breaker.

use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, Got, Job, MILLI, SECOND, assert_full_capacity, closed, fill, hold, new,
    poll_once, spawn, spawn_get,
};
use connpool_core::{Breaker, BreakerState, CloseReason, Liveness, Pool};
use connpool_testkit::SimRuntime;

/// Returns the highest number of connects within any second.
fn max_per_second(at: &[Duration]) -> usize {
    let within = |from: Duration| {
        let second = from..from + SECOND;
        at.iter().filter(|at| second.contains(at)).count()
    };
    at.iter().map(|from| within(*from)).max().unwrap_or(0)
}

fn ended(jobs: &[Job<Got>]) -> usize {
    jobs.iter().filter(|job| job.has_ended()).count()
}

/// The backend fails: its connections are dead, and connects behave as `connect`.
fn take_down(fake: &Fake, connect: Behavior) {
    fake.set_liveness(Liveness::Closed);
    fake.always(Call::Connect, connect);
}

fn bring_back(fake: &Fake) {
    let newest = fake.observed().opened;
    fake.clear_script();
    fake.set_liveness_with(move |conn| match conn.id() <= newest {
        true => Liveness::Closed,
        false => Liveness::Alive,
    });
}

/// Spawns 1,000 tasks that retry `get` every one to two seconds until they are served.
fn spawn_retrying_gets(sim: &SimRuntime, pool: &Pool<Fake>) -> Vec<Job<()>> {
    let retry = |nth: u64| {
        let (pool, sim_) = (pool.clone(), sim.clone());
        spawn(sim, async move {
            while pool.get().await.is_err() {
                sim_.sleep(MILLI * (1_000 + nth as u32)).await;
            }
        })
    };
    (0..1_000).map(retry).collect()
}

fn pool_of_100(fake: &Fake, fail_fast: bool) -> Pool<Fake> {
    fake.pool()
        .max_size(100)
        .fail_fast_after(fail_fast.then_some(Duration::ZERO))
        .connect_timeout(SECOND)
        .get_timeout(60 * SECOND)
        .build_lazy()
        .unwrap()
}

fn assert_served_after_recovery<T>(
    sim: &SimRuntime,
    fake: &Fake,
    pool: &Pool<Fake>,
    jobs: &[Job<T>],
    case: &str,
) {
    bring_back(fake);
    sim.advance(10 * SECOND);
    assert!(jobs.iter().all(Job::has_ended), "{case}");
    assert_full_capacity(sim, fake, pool);
}

#[test]
fn backend_down_for_ten_seconds_gets_at_most_twenty_connects_per_second() {
    for fail_fast in [true, false] {
        for connect in [
            Behavior::Fail,
            Behavior::FailAfter(MILLI),
            Behavior::FailAfter(300 * MILLI),
            Behavior::Hang,
        ] {
            let (sim, fake) = new(7);
            let pool = pool_of_100(&fake, fail_fast);
            fill(&sim, &pool, 100);
            let before = fake.connects_at().len();
            take_down(&fake, connect);
            let jobs = spawn_retrying_gets(&sim, &pool);
            sim.advance(10 * SECOND);
            let attempts = fake.connects_at().split_off(before);
            let max = max_per_second(&attempts);
            let case = format!("fail_fast {fail_fast}, {connect:?}: {}", pool.stats());
            assert!((1..=20).contains(&max), "{max} in a second; {case}");
            // One that hangs takes no place.
            let most = if connect == Behavior::Hang { 2 } else { 1 };
            assert_eq!(fake.observed().most_connecting, most, "{case}");
            assert_eq!(closed(&pool, CloseReason::Dead), 100, "{case}");
            assert_served_after_recovery(&sim, &fake, &pool, &jobs, &case);
        }
    }
}

/// In a busy pool the users notice the failure first: there is no idle connection to probe.
#[test]
fn backend_that_fails_with_all_connections_in_use_gets_at_most_twenty_connects_per_second() {
    for fail_fast in [true, false] {
        for connect in [Behavior::Fail, Behavior::FailAfter(300 * MILLI), Behavior::Hang] {
            let (sim, fake) = new(7);
            let pool = pool_of_100(&fake, fail_fast);
            let mut held = hold(&sim, &pool, 100);
            let jobs = spawn_retrying_gets(&sim, &pool);
            sim.settle();
            let before = fake.connects_at().len();
            take_down(&fake, connect);
            for mut guard in held.drain(..) {
                guard.mark_unusable();
                drop(guard);
                sim.advance(MILLI);
            }
            sim.advance(10 * SECOND);
            let attempts = fake.connects_at().split_off(before);
            let max = max_per_second(&attempts);
            let case = format!("fail_fast {fail_fast}, {connect:?}: {}", pool.stats());
            assert!((1..=20).contains(&max), "{max} in a second; {case}");
            let at_once = fake.observed().most_connecting;
            // Those that hang take no place.
            let most = if connect == Behavior::Hang { 8 } else { 4 };
            assert!(at_once <= most, "{at_once} at once; {case}");
            assert_served_after_recovery(&sim, &fake, &pool, &jobs, &case);
        }
    }
}

#[test]
fn marked_connections_of_a_healthy_backend_are_replaced_four_at_a_time_at_first() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(16).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 16);
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let jobs: Vec<_> = (0..16).map(|_| spawn_get(&sim, &pool)).collect();
    held.iter_mut().for_each(|guard| guard.mark_unusable());
    drop(held);
    sim.settle();
    let mut at_once = Vec::new();
    while ended(&jobs) < 16 {
        at_once.push(pool.stats().connecting);
        sim.advance(SECOND);
    }
    assert_eq!(at_once, [4, 8, 4]);
}

#[test]
fn thousand_gets_at_a_closed_port_start_one_connect() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(100).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    let jobs: Vec<_> = (0..1_000).map(|_| spawn(&sim, pool.get_owned())).collect();
    sim.settle();
    assert_eq!(fake.calls(Call::Connect), 1);
    assert_eq!(ended(&jobs), 1_000, "not all waiters were told");
    let stats = pool.stats();
    assert_eq!((stats.connect_failed, stats.connecting), (1, 0));
    sim.advance(10 * SECOND);
    assert_eq!(fake.calls(Call::Connect), 2, "more than one probe for those that were told");
}

#[test]
fn connects_are_not_limited_while_they_succeed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(100).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Take(5 * MILLI));
    let jobs: Vec<_> = (0..100).map(|_| spawn_get(&sim, &pool)).collect();
    assert_eq!(pool.stats().connecting, 100);
    sim.advance(5 * MILLI);
    assert_eq!(ended(&jobs), 100);
}

#[test]
fn slow_start_begins_with_one_connect_and_doubles_on_success() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(16).fail_fast_after(None).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail]);
    assert!(sim.block_on(pool.get_timeout(Duration::ZERO)).is_err());
    sim.advance(250 * MILLI);
    fake.always(Call::Connect, Behavior::Take(500 * MILLI));
    let jobs: Vec<_> = (0..16).map(|_| spawn_get(&sim, &pool)).collect();
    let mut at_once = Vec::new();
    while ended(&jobs) < 16 {
        at_once.push(pool.stats().connecting);
        sim.advance(500 * MILLI);
    }
    assert_eq!(at_once, [1, 2, 4, 8, 1]);
    drop(jobs);
    sim.settle();
    pool.clear();
    sim.settle();
    let _jobs: Vec<_> = (0..16).map(|_| spawn_get(&sim, &pool)).collect();
    assert_eq!(pool.stats().connecting, 16, "slow start is still active");
}

fn breaker(failures: u32) -> Breaker {
    Breaker::new(failures, SECOND)
}

#[test]
fn get_after_the_probe_interval_runs_the_breaker_probe() {
    let (sim, fake) = new(1);
    let pool = fake.pool().breaker(breaker(1)).fail_fast_after(None).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail, Behavior::Take(500 * MILLI)]);
    assert!(sim.block_on(pool.get_timeout(Duration::ZERO)).is_err());
    sim.advance(5 * SECOND);
    assert_eq!(fake.calls(Call::Connect), 1, "a breaker probe without a get");
    let probing_get = spawn_get(&sim, &pool);
    assert_eq!(pool.stats().breaker, BreakerState::HalfOpen);
    let other = spawn_get(&sim, &pool);
    assert_eq!(fake.calls(Call::Connect), 2, "a second probe");
    sim.advance(500 * MILLI);
    assert!(probing_get.take().is_some_and(|got| got.is_ok()));
    assert_eq!(pool.stats().breaker, BreakerState::Closed);
    sim.settle();
    assert!(other.take().is_some_and(|got| got.is_ok()));
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn failed_breaker_probe_reopens_the_breaker() {
    let (sim, fake) = new(1);
    let pool = fake.pool().breaker(breaker(1)).fail_fast_after(None).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    for probe in 1..=4 {
        assert!(sim.block_on(pool.get_timeout(Duration::ZERO)).is_err());
        sim.settle();
        assert_eq!(fake.calls(Call::Connect), probe);
        assert_eq!(pool.stats().breaker, BreakerState::Open);
        sim.advance(SECOND);
    }
}

/// A server at its connection limit refuses new connections, while the open ones will be returned.
#[test]
fn open_breaker_lets_waiters_wait_for_a_borrowed_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).breaker(breaker(1)).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Fail);
    let jobs: Vec<_> = (0..3).map(|_| spawn_get(&sim, &pool)).collect();
    assert_eq!(pool.stats().breaker, BreakerState::Open);
    sim.advance(2 * SECOND);
    assert_eq!(ended(&jobs), 0);
    drop(held);
    for job in jobs {
        sim.settle();
        assert!(job.take().is_some_and(|got| got.is_ok()));
    }
}

#[test]
fn open_breaker_fails_waiters_when_the_last_connection_is_lost() {
    let (sim, fake) = new(1);
    let pool = fake.pool().breaker(breaker(1)).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 1);
    sim.advance(SECOND);
    fake.always(Call::Connect, Behavior::Fail);
    let jobs: Vec<_> = (0..3).map(|_| spawn_get(&sim, &pool)).collect();
    sim.advance(2 * SECOND);
    assert_eq!(ended(&jobs), 0);
    held[0].mark_unusable();
    drop(held);
    sim.advance(SECOND);
    assert_eq!(ended(&jobs), 3, "connects have failed for fail_fast_after");
}

#[test]
fn without_fail_fast_waiters_wait_until_a_breaker_probe_succeeds() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .breaker(breaker(1))
        .fail_fast_after(None)
        .get_timeout(None)
        .build_lazy()
        .unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    let jobs: Vec<_> = (0..20).map(|_| spawn_get(&sim, &pool)).collect();
    sim.advance(10 * SECOND);
    assert_eq!((ended(&jobs), pool.stats().waiting), (0, 20));
    let calls = fake.calls(Call::Connect);
    // About four a second in the first five seconds, then one.
    assert!((25..=31).contains(&calls), "{calls} attempts");
    fake.clear_script();
    sim.advance(SECOND);
    assert_eq!(pool.stats().breaker, BreakerState::Closed);
    drop(jobs.into_iter().filter_map(|job| job.take()).collect::<Vec<_>>());
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn min_size_is_restored_by_breaker_probes_without_gets() {
    let (sim, fake) = new(1);
    for evict_interval in [Some(30 * SECOND), None] {
        let build = fake.pool().min_size(8).breaker(breaker(1)).evict_interval(evict_interval);
        let pool = sim.block_on(build.build()).unwrap();
        take_down(&fake, Behavior::Fail);
        assert!(sim.block_on(pool.get()).is_err());
        discard_dead_idle(&sim, &pool);
        sim.advance(10 * SECOND);
        assert_eq!(pool.stats().breaker, BreakerState::Open);
        bring_back(&fake);
        sim.advance(3 * SECOND);
        assert_eq!(pool.stats().breaker, BreakerState::Closed);
        sim.block_on(pool.close(SECOND));
        fake.set_liveness(Liveness::Alive);
    }
}

#[test]
fn breaker_probe_of_a_dropped_get_still_closes_the_breaker() {
    for evict_interval in [Some(30 * SECOND), None] {
        let (sim, fake) = new(1);
        let builder = fake.pool().breaker(breaker(1)).fail_fast_after(None);
        let pool = builder.evict_interval(evict_interval).build_lazy().unwrap();
        fake.next(Call::Connect, [Behavior::Fail, Behavior::Take(MILLI)]);
        assert!(sim.block_on(pool.get_timeout(Duration::ZERO)).is_err());
        sim.advance(SECOND);
        let mut probing_get = Box::pin(pool.get());
        assert!(poll_once(probing_get.as_mut()).is_pending());
        drop(probing_get);
        sim.advance(2 * SECOND);
        assert_eq!(pool.stats().breaker, BreakerState::Closed);
    }
}

/// The connection of each breaker probe exceeds its lifetime before the next probe is due, and
/// before a get could take it.
#[test]
fn breaker_probe_for_min_size_closes_the_breaker_despite_a_short_lifetime() {
    for limits in [(Some(5 * MILLI), None), (Some(Duration::ZERO), None), (None, Some(5 * MILLI))] {
        let (sim, fake) = new(1);
        let pool = fake
            .pool()
            .min_size(1)
            .max_lifetime(limits.0)
            .idle_timeout(limits.1)
            .breaker(breaker(1))
            .build_lazy()
            .unwrap();
        fake.always(Call::Connect, Behavior::Fail);
        assert!(sim.block_on(pool.get()).is_err());
        assert_eq!(pool.stats().breaker, BreakerState::Open);
        fake.clear_script();
        sim.advance(10 * SECOND);
        assert_eq!(pool.stats().breaker, BreakerState::Closed, "{limits:?} {}", pool.stats());
        assert!(sim.block_on(pool.get()).is_ok());
    }
}

/// An expired connection proves a recovery only if it is alive: this backend accepts and closes.
#[test]
fn expired_and_dead_breaker_probe_does_not_close_the_breaker() {
    let (sim, fake) = new(1);
    let pool =
        fake.pool().min_size(1).max_lifetime(5 * MILLI).breaker(breaker(1)).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    assert!(sim.block_on(pool.get()).is_err());
    fake.always(Call::Connect, Behavior::HangUp);
    sim.advance(10 * SECOND);
    assert_ne!(pool.stats().breaker, BreakerState::Closed);
}

#[test]
fn breaker_probe_evicted_without_use_is_followed_by_another_probe() {
    let (sim, fake) = new(1);
    let builder = fake.pool().min_size(1).breaker(breaker(1)).fail_fast_after(None);
    let pool = builder.build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail]);
    assert!(sim.block_on(pool.get_timeout(Duration::ZERO)).is_err());
    sim.advance(SECOND);
    assert_eq!(pool.stats().breaker, BreakerState::HalfOpen);
    assert_eq!(pool.retain(|_| false), 1);
    assert!(sim.block_on(pool.get()).is_ok());
    assert_eq!(sim.elapsed(), SECOND);
    assert_eq!(pool.stats().breaker, BreakerState::Closed);
}

/// Runs gets until every idle connection has been found dead.
fn discard_dead_idle(sim: &SimRuntime, pool: &Pool<Fake>) {
    while pool.stats().available > 0 {
        assert!(sim.block_on(pool.get_timeout(Duration::ZERO)).is_err());
    }
}
