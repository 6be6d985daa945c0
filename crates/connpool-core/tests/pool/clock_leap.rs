//! Leaps: the wall clock runs on while the monotonic clock stands still, as in a suspend.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Behavior, Call, Fake, MILLI, SECOND, closed, fill, hold, new};
use connpool_core::{Builder, CloseReason, Event, Liveness, Pool};
use connpool_testkit::SimRuntime;

const HOUR: Duration = Duration::from_secs(3600);
/// Long enough for a `get` to compare the clocks, and too short to ask for a ping.
const A_MOMENT: Duration = Duration::from_millis(150);

/// Creates a pool with `idle` idle connections and no maintenance by the clock.
fn pool_of(
    idle: usize,
    settings: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
) -> (SimRuntime, Fake, Pool<Fake>) {
    let (sim, fake) = new(1);
    let builder = fake.pool().max_size(idle).evict_interval(None);
    let pool = settings(builder).build_lazy().unwrap();
    fill(&sim, &pool, idle);
    (sim, fake, pool)
}

/// Lets a moment pass around a leap by `span`.
fn leap(sim: &SimRuntime, span: Duration) {
    sim.advance(A_MOMENT / 2);
    sim.leap(span);
    sim.advance(A_MOMENT / 2);
}

#[test]
fn idle_connection_is_pinged_after_a_leap_and_only_once() {
    let (sim, fake, pool) = pool_of(1, |pool| pool);
    sim.advance(A_MOMENT);
    drop(hold(&sim, &pool, 1));
    assert_eq!(fake.calls(Call::Ping), 0);
    leap(&sim, HOUR);
    drop(hold(&sim, &pool, 1));
    assert_eq!(fake.calls(Call::Ping), 1);
    sim.advance(A_MOMENT);
    drop(hold(&sim, &pool, 1));
    assert_eq!(fake.calls(Call::Ping), 1);
}

#[test]
fn every_idle_connection_is_pinged_after_a_leap() {
    for round_robin in [false, true] {
        let (sim, fake, pool) = pool_of(5, |pool| match round_robin {
            true => pool.idle_order(connpool_core::IdleOrder::RoundRobin),
            false => pool,
        });
        leap(&sim, HOUR);
        let mut held = hold(&sim, &pool, 2);
        held.extend(hold(&sim, &pool, 1));
        assert_eq!(fake.calls(Call::Ping), 3);
        // What was borrowed and returned has given a sign of life.
        drop(held);
        let _held = hold(&sim, &pool, 5);
        assert_eq!(fake.calls(Call::Ping), 5);
    }
}

#[test]
fn connections_never_borrowed_are_pinged_after_a_leap() {
    let (sim, fake) = new(1);
    let pool = sim.block_on(fake.pool().max_size(3).min_size(3).build()).unwrap();
    assert_eq!(pool.stats().available, 3);
    leap(&sim, HOUR);
    let _held = hold(&sim, &pool, 3);
    assert_eq!(fake.calls(Call::Ping), 3);
}

#[test]
fn dead_connection_is_replaced_after_a_leap_without_an_error() {
    let (sim, fake, pool) = pool_of(2, |pool| pool);
    fake.next(Call::Ping, [Behavior::Hang, Behavior::Fail]);
    leap(&sim, HOUR);
    let held = hold(&sim, &pool, 2);
    assert!(held.iter().all(|held| held.id() > 2), "got a connection whose ping failed");
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::PingTimeout), 1);
}

#[test]
fn borrowed_connection_is_not_pinged_after_a_leap() {
    let (sim, fake, pool) = pool_of(2, |pool| pool);
    let held = hold(&sim, &pool, 1);
    leap(&sim, HOUR);
    let other = hold(&sim, &pool, 1);
    assert_eq!(fake.calls(Call::Ping), 1);
    drop(held);
    drop(hold(&sim, &pool, 1));
    assert_eq!(fake.calls(Call::Ping), 1);
    drop(other);
}

#[test]
fn without_ping_after_idle_connections_are_probed_and_not_pinged() {
    let settings = |pool: Builder<Fake>| pool.ping_after(None).liveness_after(HOUR);
    let (sim, fake, pool) = pool_of(3, settings);
    fake.set_liveness_with(|conn| match conn.id() {
        1..=3 => Liveness::Closed,
        _ => Liveness::Alive,
    });
    sim.advance(A_MOMENT);
    assert_eq!(hold(&sim, &pool, 1)[0].id(), 3, "not probed yet");
    leap(&sim, HOUR);
    assert_eq!(hold(&sim, &pool, 1)[0].id(), 4);
    sim.settle();
    assert!(closed(&pool, CloseReason::Dead) > 0);
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn leap_is_one_of_more_than_a_second_and_more_than_ping_after() {
    let pings_after = |ping_after: Duration, span: Duration| {
        let (sim, fake, pool) = pool_of(1, |pool| pool.ping_after(ping_after));
        leap(&sim, span);
        drop(hold(&sim, &pool, 1));
        fake.calls(Call::Ping)
    };
    assert_eq!(pings_after(SECOND, 500 * MILLI), 0);
    assert_eq!(pings_after(SECOND, SECOND), 0);
    assert_eq!(pings_after(SECOND, SECOND + MILLI), 1);
    assert_eq!(pings_after(200 * MILLI, 900 * MILLI), 0);
    assert_eq!(pings_after(30 * SECOND, 30 * SECOND), 0);
    assert_eq!(pings_after(30 * SECOND, 31 * SECOND), 1);
    assert_eq!(pings_after(Duration::MAX, HOUR), 0);
}

#[test]
fn changed_ping_after_decides_what_a_leap_is() {
    let (sim, fake, pool) = pool_of(1, |pool| pool.ping_after(HOUR));
    let mut config = pool.config();
    config.ping_after = Some(2 * SECOND);
    pool.reconfigure(config).unwrap();
    drop(hold(&sim, &pool, 1));
    leap(&sim, 3 * SECOND);
    drop(hold(&sim, &pool, 1));
    assert_eq!(fake.calls(Call::Ping), 1);
}

#[test]
fn wall_clock_that_is_set_back_changes_nothing_and_forward_again_costs_one_round() {
    let (sim, fake, pool) = pool_of(1, |pool| pool);
    sim.set_wall_back(HOUR);
    for _ in 0..3 {
        sim.advance(A_MOMENT);
        drop(hold(&sim, &pool, 1));
    }
    assert_eq!(fake.calls(Call::Ping), 0);
    sim.leap(HOUR);
    for _ in 0..3 {
        sim.advance(A_MOMENT);
        drop(hold(&sim, &pool, 1));
    }
    assert!(fake.calls(Call::Ping) <= 1, "{} pings", fake.calls(Call::Ping));
}

#[test]
fn leap_is_noticed_after_a_wall_clock_was_set_back() {
    let (sim, fake, pool) = pool_of(1, |pool| pool);
    sim.set_wall_back(24 * HOUR);
    sim.advance(A_MOMENT);
    drop(hold(&sim, &pool, 1));
    leap(&sim, HOUR);
    drop(hold(&sim, &pool, 1));
    assert_eq!(fake.calls(Call::Ping), 1);
}

/// The moment from the tick to the `get` is too short for the `get` to compare the clocks itself.
#[test]
fn leap_is_noticed_by_the_maintenance_task() {
    let (sim, fake, pool) = pool_of(1, |pool| pool.evict_interval(50 * MILLI));
    sim.advance(30 * MILLI);
    sim.leap(HOUR);
    sim.advance(30 * MILLI);
    drop(hold(&sim, &pool, 1));
    assert_eq!(fake.calls(Call::Ping), 1);
}

/// A pool without age limits reads no clock in a `get`.
#[test]
fn leap_is_noticed_by_the_maintenance_task_of_a_pool_without_age_limits() {
    let settings =
        |pool: Builder<Fake>| pool.ping_after(None).liveness_after(None).evict_interval(SECOND);
    let (sim, fake, pool) = pool_of(1, settings);
    fake.set_liveness_with(|conn| match conn.id() {
        1 => Liveness::Closed,
        _ => Liveness::Alive,
    });
    leap(&sim, HOUR);
    assert_eq!(hold(&sim, &pool, 1)[0].id(), 1);
    sim.leap(HOUR);
    sim.advance(SECOND);
    assert_eq!(hold(&sim, &pool, 1)[0].id(), 2);
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn keepalive_pings_idle_connections_after_a_leap() {
    let (sim, fake, pool) = pool_of(1, |pool| pool.keepalive(HOUR).evict_interval(SECOND));
    sim.leap(HOUR);
    sim.advance(2 * SECOND);
    assert_eq!(fake.calls(Call::Ping), 1);
    drop(hold(&sim, &pool, 1));
}

#[test]
fn waiter_that_gets_an_idle_connection_after_a_leap_gets_a_pinged_one() {
    let (sim, fake, pool) = pool_of(1, |pool| pool);
    pool.pause();
    let job = crate::support::spawn_get(&sim, &pool);
    leap(&sim, HOUR);
    pool.resume();
    sim.settle();
    assert!(job.take().unwrap().is_ok());
    assert_eq!(fake.calls(Call::Ping), 1);
}

#[test]
fn try_get_probes_after_a_leap() {
    let (sim, fake, pool) = pool_of(2, |pool| pool.liveness_after(HOUR));
    fake.set_liveness_with(|conn| match conn.id() {
        2 => Liveness::Closed,
        _ => Liveness::Alive,
    });
    leap(&sim, HOUR);
    assert_eq!(pool.try_get().unwrap().id(), 1);
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn leaps_of_any_length_do_not_overflow() {
    let (sim, fake, pool) = pool_of(1, |pool| pool.ping_after(Duration::MAX));
    for _ in 0..2 {
        leap(&sim, Duration::MAX);
        drop(hold(&sim, &pool, 1));
        sim.set_wall_back(Duration::MAX);
        sim.advance(A_MOMENT);
        drop(hold(&sim, &pool, 1));
    }
    assert_eq!(fake.calls(Call::Ping), 0);
    let (sim, fake, pool) = pool_of(1, |pool| pool);
    for pings in 1..3 {
        leap(&sim, Duration::MAX);
        drop(hold(&sim, &pool, 1));
        assert_eq!(fake.calls(Call::Ping), pings);
        sim.set_wall_back(Duration::MAX);
        sim.advance(A_MOMENT);
        drop(hold(&sim, &pool, 1));
    }
}

#[test]
fn leap_is_told_once_with_its_length() {
    let (sim, fake) = new(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let observer = move |_: &str, event: &Event<'_>| {
        if event.label() == "clock_leap" {
            log.lock().unwrap().push(event.to_string());
        }
    };
    let pool = fake.pool().max_size(2).observer(observer).build_lazy().unwrap();
    fill(&sim, &pool, 2);
    leap(&sim, HOUR);
    drop(hold(&sim, &pool, 2));
    sim.advance(60 * SECOND);
    let expected = "the clock stood still for 3600.0s: idle connections are checked before use";
    assert_eq!(*told.lock().unwrap(), [expected]);
}

/// A sweep shortly before the leap has compared the clocks.
#[test]
fn get_compares_the_clocks_however_lately_the_maintenance_task_did() {
    let (sim, fake, pool) = pool_of(1, |pool| pool.evict_interval(110 * MILLI));
    sim.advance(120 * MILLI);
    sim.leap(HOUR);
    drop(hold(&sim, &pool, 1));
    assert_eq!(fake.calls(Call::Ping), 1);
}

/// As where a function is frozen after each answer: by its own clock, the pool was just used.
#[test]
fn leap_right_after_the_last_use_is_noticed_by_the_next_get() {
    type Settings = fn(Builder<Fake>) -> Builder<Fake>;
    let all: [Settings; 4] = [
        |pool| pool,
        |pool| pool.leak_warning(HOUR),
        |pool| pool.keepalive(HOUR),
        // Short ages are measured by the precise clock.
        |pool| pool.leak_warning(200 * MILLI),
    ];
    for (number, settings) in all.into_iter().enumerate() {
        for since_use in [Duration::ZERO, MILLI, 50 * MILLI] {
            let (sim, fake, pool) = pool_of(2, settings);
            sim.advance(200 * MILLI);
            for pings in 1..4 {
                drop(hold(&sim, &pool, 2));
                sim.advance(since_use);
                sim.leap(HOUR);
                drop(hold(&sim, &pool, 2));
                assert_eq!(fake.calls(Call::Ping), 2 * pings, "{number}, {since_use:?}");
            }
        }
    }
}

#[test]
fn leap_right_after_the_last_use_is_noticed_without_pings() {
    let (sim, fake, pool) = pool_of(3, |pool| pool.ping_after(None).liveness_after(HOUR));
    drop(hold(&sim, &pool, 3));
    fake.set_liveness_with(|conn| match conn.id() {
        1..=3 => Liveness::Closed,
        _ => Liveness::Alive,
    });
    sim.leap(HOUR);
    assert_eq!(hold(&sim, &pool, 1)[0].id(), 4);
}

#[test]
fn leap_right_after_the_last_use_is_noticed_by_try_get() {
    let (sim, fake, pool) = pool_of(2, |pool| pool.liveness_after(HOUR));
    drop(hold(&sim, &pool, 2));
    fake.set_liveness_with(|conn| match conn.id() {
        2 => Liveness::Closed,
        _ => Liveness::Alive,
    });
    sim.leap(HOUR);
    assert_eq!(pool.try_get().unwrap().id(), 1);
}

/// By the wall clock, its last use lies in the future.
#[test]
fn old_connection_does_not_look_fresh_after_the_wall_clock_was_set_back() {
    for back in [SECOND, 20 * SECOND, HOUR] {
        let (sim, fake, pool) = pool_of(1, |pool| pool.ping_after(10 * SECOND));
        sim.advance(HOUR);
        drop(hold(&sim, &pool, 1));
        let before = fake.calls(Call::Ping);
        sim.set_wall_back(back);
        sim.advance(15 * SECOND);
        drop(hold(&sim, &pool, 1));
        assert_eq!(fake.calls(Call::Ping), before + 1, "set back by {back:?}");
    }
}
