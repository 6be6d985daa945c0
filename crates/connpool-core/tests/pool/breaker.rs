//! How a backend that is down is dialled: slow start, and the breaker.

use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, Got, Job, MILLI, SECOND, assert_lends_all, closed, fill, go, go_get,
    hold, new, poll_once,
};
use connpool_core::{Breaker, BreakerState, CloseReason, GetError, Liveness, Pool};
use connpool_testkit::SimRuntime;

/// The most connects in any second.
fn most_in_a_second(at: &[Duration]) -> usize {
    let within = |from: Duration| {
        let second = from..from + SECOND;
        at.iter().filter(|at| second.contains(at)).count()
    };
    at.iter().map(|from| within(*from)).max().unwrap_or(0)
}

fn ended(jobs: &[Job<Got>]) -> usize {
    jobs.iter().filter(|job| job.has_ended()).count()
}

/// A backend that goes away, with all its connections: to be dialled from now on fails.
fn goes_down(fake: &Fake, how: Behavior) {
    fake.set_liveness(Liveness::Closed);
    fake.always(Call::Connect, how);
}

fn comes_back(fake: &Fake) {
    let newest = fake.observed().opened;
    fake.clear_script();
    fake.set_liveness_with(move |conn| match conn.id() <= newest {
        true => Liveness::Closed,
        false => Liveness::Alive,
    });
}

/// A thousand who want a connection, and come again when they are told that there is none.
fn a_thousand_who_come_again(sim: &SimRuntime, pool: &Pool<Fake>) -> Vec<Job<()>> {
    let visit = |nth: u64| {
        let (pool, sim_) = (pool.clone(), sim.clone());
        go(sim, async move {
            while pool.get().await.is_err() {
                sim_.sleep(MILLI * (1_000 + nth as u32)).await;
            }
        })
    };
    (0..1_000).map(visit).collect()
}

fn of_a_hundred(fake: &Fake, fail_fast: bool) -> Pool<Fake> {
    fake.pool()
        .max_size(100)
        .fail_fast(fail_fast)
        .connect_timeout(SECOND)
        .get_timeout(60 * SECOND)
        .build_lazy()
        .unwrap()
}

fn all_are_served_once_it_is_back<T>(
    sim: &SimRuntime,
    fake: &Fake,
    pool: &Pool<Fake>,
    jobs: &[Job<T>],
    case: &str,
) {
    comes_back(fake);
    sim.advance(10 * SECOND);
    assert!(jobs.iter().all(Job::has_ended), "{case}");
    assert_lends_all(sim, fake, pool);
}

#[test]
fn a_backend_that_is_down_for_ten_seconds_is_dialled_twenty_times_a_second_at_most() {
    for fail_fast in [true, false] {
        for how in [
            Behavior::Fail,
            Behavior::FailAfter(MILLI),
            Behavior::FailAfter(300 * MILLI),
            Behavior::Hang,
        ] {
            let (sim, fake) = new(7);
            let pool = of_a_hundred(&fake, fail_fast);
            fill(&sim, &pool, 100);
            let before = fake.connects_at().len();
            goes_down(&fake, how);
            let jobs = a_thousand_who_come_again(&sim, &pool);
            sim.advance(10 * SECOND);
            let attempts = fake.connects_at().split_off(before);
            let most = most_in_a_second(&attempts);
            let case = format!("fail_fast {fail_fast}, {how:?}: {}", pool.stats());
            assert!((1..=20).contains(&most), "{most} in a second; {case}");
            assert_eq!(fake.observed().most_connecting, 1, "{case}");
            assert_eq!(closed(&pool, CloseReason::Dead), 100, "{case}");
            all_are_served_once_it_is_back(&sim, &fake, &pool, &jobs, &case);
        }
    }
}

/// The users of a busy pool find out first: it has nothing idle that could be looked at.
#[test]
fn nor_more_often_if_all_connections_are_in_use_when_it_goes_down() {
    for fail_fast in [true, false] {
        for how in [
            Behavior::Fail,
            Behavior::FailAfter(300 * MILLI),
            Behavior::Hang,
        ] {
            let (sim, fake) = new(7);
            let pool = of_a_hundred(&fake, fail_fast);
            let mut held = hold(&sim, &pool, 100);
            let jobs = a_thousand_who_come_again(&sim, &pool);
            sim.settle();
            let before = fake.connects_at().len();
            goes_down(&fake, how);
            for mut guard in held.drain(..) {
                guard.mark_unusable();
                drop(guard);
                sim.advance(MILLI);
            }
            sim.advance(10 * SECOND);
            let attempts = fake.connects_at().split_off(before);
            let most = most_in_a_second(&attempts);
            let case = format!("fail_fast {fail_fast}, {how:?}: {}", pool.stats());
            assert!((1..=20).contains(&most), "{most} in a second; {case}");
            let at_once = fake.observed().most_connecting;
            assert!(at_once <= 4, "{at_once} at once; {case}");
            all_are_served_once_it_is_back(&sim, &fake, &pool, &jobs, &case);
        }
    }
}

#[test]
fn connections_that_users_lose_while_all_is_well_are_replaced_four_at_a_time_at_first() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(16).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 16);
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let jobs: Vec<_> = (0..16).map(|_| go_get(&sim, &pool)).collect();
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
fn a_thousand_at_a_closed_port_make_one_attempt_and_not_a_hundred() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(100).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    let jobs: Vec<_> = (0..1_000).map(|_| go(&sim, pool.get_owned())).collect();
    sim.settle();
    assert_eq!(fake.calls(Call::Connect), 1);
    assert_eq!(ended(&jobs), 1, "the head of the line");
    let stats = pool.stats();
    assert_eq!((stats.connect_failed, stats.connecting), (1, 0));
    assert_eq!(stats.waiting, 999);
    sim.advance(SECOND);
    assert_eq!(ended(&jobs), 1_000, "the breaker is open");
    assert!((5..=6).contains(&fake.calls(Call::Connect)));
}

#[test]
fn while_connects_succeed_there_is_no_limit() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(100).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Take(5 * MILLI));
    let jobs: Vec<_> = (0..100).map(|_| go_get(&sim, &pool)).collect();
    assert_eq!(pool.stats().connecting, 100);
    sim.advance(5 * MILLI);
    assert_eq!(ended(&jobs), 100);
}

#[test]
fn after_a_failure_one_connect_begins_and_one_more_for_each_that_succeeds() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(16).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail]);
    assert!(sim.block_on(pool.get()).is_err());
    fake.always(Call::Connect, Behavior::Take(SECOND));
    sim.advance(50 * MILLI);
    let jobs: Vec<_> = (0..16).map(|_| go_get(&sim, &pool)).collect();
    let mut at_once = Vec::new();
    while ended(&jobs) < 16 {
        at_once.push(pool.stats().connecting);
        sim.advance(SECOND);
    }
    assert_eq!(at_once, [1, 2, 4, 8, 1]);
    drop(jobs);
    sim.settle();
    pool.clear();
    sim.settle();
    let _jobs: Vec<_> = (0..16).map(|_| go_get(&sim, &pool)).collect();
    assert_eq!(pool.stats().connecting, 16, "no limit any more");
}

fn breaker(failures: u32) -> Breaker {
    Breaker::new(failures, SECOND)
}

#[test]
fn an_open_breaker_answers_all_who_wait_and_all_who_come() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(1)
        .breaker(breaker(1))
        .build_lazy()
        .unwrap();
    fake.next(Call::Connect, [Behavior::FailAfter(MILLI)]);
    let jobs: Vec<_> = (0..3).map(|_| go_get(&sim, &pool)).collect();
    assert_eq!(pool.stats().breaker, BreakerState::Closed);
    sim.advance(MILLI);
    for job in &jobs {
        assert!(matches!(job.take(), Some(Err(GetError::Connect(refused))) if refused.0 == 1));
    }
    assert_eq!(pool.stats().breaker, BreakerState::Open);
    let text = pool.stats().to_string();
    assert!(text.ends_with(" breaker=open"), "{text}");
    let start = sim.elapsed();
    assert!(matches!(
        sim.block_on(pool.get()),
        Err(GetError::Connect(_))
    ));
    assert_eq!(sim.elapsed(), start);
    assert_eq!(fake.calls(Call::Connect), 1);
}

#[test]
fn who_comes_when_a_probe_is_due_is_the_one_it_is_for() {
    let (sim, fake) = new(1);
    let pool = fake.pool().breaker(breaker(1)).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail, Behavior::Take(SECOND)]);
    assert!(sim.block_on(pool.get()).is_err());
    sim.advance(5 * SECOND);
    assert_eq!(fake.calls(Call::Connect), 1, "nobody asks, nobody probes");
    let prober = go_get(&sim, &pool);
    assert_eq!(pool.stats().breaker, BreakerState::HalfOpen);
    let other = go_get(&sim, &pool);
    assert!(other.take().is_some_and(|got| got.is_err()), "one probe");
    sim.advance(SECOND);
    assert!(prober.take().is_some_and(|got| got.is_ok()));
    assert_eq!(pool.stats().breaker, BreakerState::Closed);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_probe_that_fails_opens_the_breaker_again() {
    let (sim, fake) = new(1);
    let pool = fake.pool().breaker(breaker(1)).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    for probe in 1..=4 {
        assert!(sim.block_on(pool.get()).is_err());
        assert_eq!(fake.calls(Call::Connect), probe);
        assert_eq!(pool.stats().breaker, BreakerState::Open);
        sim.advance(SECOND);
    }
}

/// A server at its connection limit refuses new ones, and those that are open come back.
#[test]
fn while_something_open_may_come_back_those_in_line_wait_for_it() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(3)
        .breaker(breaker(1))
        .build_lazy()
        .unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Fail);
    let jobs: Vec<_> = (0..3).map(|_| go_get(&sim, &pool)).collect();
    assert_eq!(pool.stats().breaker, BreakerState::Open);
    assert_eq!(ended(&jobs), 1, "the head only");
    drop(held);
    sim.settle();
    assert!(jobs[1].take().is_some_and(|got| got.is_ok()));
    sim.settle();
    assert!(jobs[2].take().is_some_and(|got| got.is_ok()));
}

#[test]
fn when_the_last_open_one_is_lost_those_in_line_are_told() {
    let (sim, fake) = new(1);
    let pool = fake.pool().breaker(breaker(1)).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Fail);
    let jobs: Vec<_> = (0..3).map(|_| go_get(&sim, &pool)).collect();
    assert_eq!(ended(&jobs), 1);
    held[0].mark_unusable();
    drop(held);
    sim.settle();
    assert_eq!(ended(&jobs), 3);
}

#[test]
fn without_fail_fast_all_wait_until_a_probe_succeeds() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .breaker(breaker(1))
        .fail_fast(false)
        .get_timeout(None)
        .build_lazy()
        .unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    let jobs: Vec<_> = (0..20).map(|_| go_get(&sim, &pool)).collect();
    sim.advance(10 * SECOND);
    assert_eq!((ended(&jobs), pool.stats().waiting), (0, 20));
    let calls = fake.calls(Call::Connect);
    assert!((11..=12).contains(&calls), "{calls} attempts");
    fake.clear_script();
    sim.advance(SECOND);
    assert_eq!(pool.stats().breaker, BreakerState::Closed);
    drop(
        jobs.into_iter()
            .filter_map(|job| job.take())
            .collect::<Vec<_>>(),
    );
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn min_size_is_restored_by_probes_alone() {
    let (sim, fake) = new(1);
    for evict_interval in [Some(30 * SECOND), None] {
        let build = fake
            .pool()
            .min_size(8)
            .breaker(breaker(1))
            .evict_interval(evict_interval);
        let pool = sim.block_on(build.build()).unwrap();
        goes_down(&fake, Behavior::Fail);
        assert!(sim.block_on(pool.get()).is_err());
        find_all_dead(&sim, &pool);
        sim.advance(10 * SECOND);
        assert_eq!(pool.stats().breaker, BreakerState::Open);
        comes_back(&fake);
        sim.advance(3 * SECOND);
        assert_eq!(pool.stats().breaker, BreakerState::Closed);
        sim.block_on(pool.close(SECOND));
        fake.set_liveness(Liveness::Alive);
    }
}

#[test]
fn a_probe_that_nobody_wants_any_more_closes_the_breaker_all_the_same() {
    for evict_interval in [Some(30 * SECOND), None] {
        let (sim, fake) = new(1);
        let pool = fake
            .pool()
            .breaker(breaker(1))
            .evict_interval(evict_interval)
            .build_lazy()
            .unwrap();
        fake.next(Call::Connect, [Behavior::Fail, Behavior::Take(MILLI)]);
        assert!(sim.block_on(pool.get()).is_err());
        sim.advance(SECOND);
        let mut prober = Box::pin(pool.get());
        assert!(poll_once(prober.as_mut()).is_pending());
        drop(prober);
        sim.advance(2 * SECOND);
        assert_eq!(pool.stats().breaker, BreakerState::Closed);
    }
}

/// Each probe's connection is over its lifetime before the next probe is due, and before anybody
/// could be lent it.
#[test]
fn a_probe_for_nobody_ends_the_trouble_however_short_its_life() {
    for limits in [
        (Some(5 * MILLI), None),
        (Some(Duration::ZERO), None),
        (None, Some(5 * MILLI)),
    ] {
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
        assert_eq!(
            pool.stats().breaker,
            BreakerState::Closed,
            "{limits:?} {}",
            pool.stats()
        );
        assert!(sim.block_on(pool.get()).is_ok());
    }
}

/// A backend that accepts and hangs up is no better for a connection that had to go anyway.
#[test]
fn a_probe_over_its_lifetime_that_is_dead_does_not_end_the_trouble() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .min_size(1)
        .max_lifetime(5 * MILLI)
        .breaker(breaker(1))
        .build_lazy()
        .unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    assert!(sim.block_on(pool.get()).is_err());
    fake.always(Call::Connect, Behavior::HangUp);
    sim.advance(10 * SECOND);
    assert_ne!(pool.stats().breaker, BreakerState::Closed);
}

#[test]
fn a_probe_whose_connection_is_gone_without_use_is_followed_by_the_next() {
    let (sim, fake) = new(1);
    let builder = fake.pool().min_size(1).breaker(breaker(1));
    let pool = builder.build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail]);
    assert!(sim.block_on(pool.get()).is_err());
    sim.advance(SECOND);
    assert_eq!(pool.stats().breaker, BreakerState::HalfOpen);
    assert_eq!(pool.retain(|_| false), 1);
    assert!(sim.block_on(pool.get()).is_ok());
    assert_eq!(sim.elapsed(), SECOND);
    assert_eq!(pool.stats().breaker, BreakerState::Closed);
}

/// Has every idle connection found dead.
fn find_all_dead(sim: &SimRuntime, pool: &Pool<Fake>) {
    while pool.stats().available > 0 {
        assert!(sim.block_on(pool.get_timeout(Duration::ZERO)).is_err());
    }
}
