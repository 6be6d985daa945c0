//! Pings of idle connections that nobody asks for.

use std::time::Duration;

use crate::support::watched::Watched;
use crate::support::{
    Behavior, Call, Fake, Job, MILLI, SECOND, assert_lends_all, closed, fill, go_get, hold, new,
};
use connpool_core::{Builder, CloseReason, Liveness, Pool};
use connpool_testkit::SimRuntime;

/// A pool that pings what was idle for ten seconds, and looks at nothing for any other reason.
fn kept_alive(fake: &Fake) -> Builder<Fake> {
    fake.pool()
        .keepalive(10 * SECOND)
        .evict_interval(None)
        .ping_after(None)
}

fn until_a_ping_begins(sim: &SimRuntime, fake: &Fake) {
    while fake.calls(Call::Ping) == 0 {
        sim.advance(MILLI);
    }
}

#[test]
fn idle_connections_are_pinged_without_anybody_asking() {
    let (sim, fake) = new(1);
    let pool = kept_alive(&fake).build_lazy().unwrap();
    fill(&sim, &pool, 5);
    sim.advance(7 * SECOND);
    assert_eq!(fake.calls(Call::Ping), 0, "too early");
    sim.advance(53 * SECOND);
    let pings = fake.calls(Call::Ping);
    // Once in ten seconds, less a quarter, more the half until the next look.
    assert!(
        (5 * 4..=5 * 8).contains(&pings),
        "{pings} pings in a minute"
    );
    assert_eq!((pool.stats().available, fake.alive()), (5, 5));
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn without_keepalive_nobody_is_pinged() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 5);
    sim.advance(1_000 * SECOND);
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn what_was_used_of_late_is_not_pinged() {
    let (sim, fake) = new(1);
    let pool = kept_alive(&fake).build_lazy().unwrap();
    for _ in 0..60 {
        fill(&sim, &pool, 2);
        sim.advance(SECOND);
    }
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn one_is_pinged_at_a_time_and_the_others_are_lent_meanwhile() {
    let (sim, fake) = new(1);
    let pool = kept_alive(&fake).max_size(3).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.always(Call::Ping, Behavior::Take(100 * MILLI));
    until_a_ping_begins(&sim, &fake);
    let others = hold(&sim, &pool, 2);
    assert_eq!(fake.calls(Call::Ping), 1);
    let waiter = go_get(&sim, &pool);
    assert!(!waiter.has_ended(), "there is no room for another one");
    sim.advance(100 * MILLI);
    assert!(waiter.take().is_some_and(|got| got.is_ok()));
    drop(others);
    sim.advance(400 * MILLI);
    assert_eq!(fake.calls(Call::Ping), 1, "the others have just been used");
}

#[test]
fn who_comes_while_the_last_one_is_pinged_gets_a_new_one() {
    let (sim, fake) = new(1);
    let pool = kept_alive(&fake).max_size(2).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.always(Call::Ping, Behavior::Take(100 * MILLI));
    until_a_ping_begins(&sim, &fake);
    let start = sim.elapsed();
    assert_eq!(hold(&sim, &pool, 1)[0].id(), 2);
    assert_eq!(sim.elapsed(), start);
}

#[test]
fn a_round_of_slow_pings_goes_on_to_its_end() {
    let (sim, fake) = new(1);
    let runtime = Watched::new(&sim, 10_000);
    let pool = Pool::builder(fake.clone(), runtime)
        .max_size(20)
        .keepalive(60 * SECOND)
        .evict_interval(None)
        .ping_timeout(5 * SECOND)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 20);
    fake.always(Call::Ping, Behavior::Take(SECOND));
    sim.advance(90 * SECOND);
    assert_eq!(fake.calls(Call::Ping), 20);
    assert_eq!(fake.observed().most_connecting, 1);
    assert_eq!(pool.stats().available, 20);
}

#[test]
fn nobody_is_pinged_while_somebody_waits() {
    let (sim, fake) = new(1);
    let pool = kept_alive(&fake).max_size(3).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    let held = hold(&sim, &pool, 3);
    let jobs: Vec<_> = (0..2).map(|_| go_get(&sim, &pool)).collect();
    sim.advance(9 * SECOND);
    drop(held);
    sim.settle();
    assert!(jobs.iter().all(Job::has_ended));
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn one_that_does_not_answer_is_closed() {
    for (act, reason) in [
        (Behavior::Fail, CloseReason::PingFailed),
        (Behavior::Hang, CloseReason::PingTimeout),
        (Behavior::Panic, CloseReason::Panicked),
    ] {
        for ping_timeout in [Some(SECOND), None] {
            let (sim, fake) = new(1);
            let build = kept_alive(&fake).min_size(2).ping_timeout(ping_timeout);
            let pool = sim.block_on(build.build()).unwrap();
            fake.next(Call::Ping, [act]);
            sim.advance(40 * SECOND);
            assert_eq!(closed(&pool, reason), 1, "{reason:?}, {ping_timeout:?}");
            assert_eq!(pool.stats().available, 2, "min_size is kept up");
            assert_lends_all(&sim, &fake, &pool);
        }
    }
}

#[test]
fn what_the_ping_left_unread_is_found() {
    let (sim, fake) = new(1);
    let pool = kept_alive(&fake).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    let asked = fake.clone();
    fake.set_liveness_with(move |_| match asked.calls(Call::Ping) {
        0 => Liveness::Alive,
        _ => Liveness::Unsolicited,
    });
    sim.advance(15 * SECOND);
    assert_eq!(closed(&pool, CloseReason::Unsolicited), 1);
}

#[test]
fn a_pool_that_is_closed_cleared_or_made_smaller_during_a_ping_loses_nothing() {
    for what in 0..4 {
        let (sim, fake) = new(1);
        let pool = kept_alive(&fake).max_size(3).build_lazy().unwrap();
        fill(&sim, &pool, 3);
        fake.always(Call::Ping, Behavior::Take(100 * MILLI));
        until_a_ping_begins(&sim, &fake);
        match what {
            0 => pool.clear(),
            1 => pool.resize(2).unwrap(),
            2 => {
                let report = sim.block_on(pool.close(SECOND));
                assert!(!report.timed_out);
                assert_eq!(closed(&pool, CloseReason::Cancelled), 1);
            }
            _ => {
                let weak = pool.downgrade();
                drop(pool);
                sim.advance(SECOND);
                assert!(weak.upgrade().is_none());
                assert_eq!((fake.alive(), sim.tasks()), (0, 0));
                continue;
            }
        }
        sim.advance(SECOND);
        assert_eq!(fake.alive(), [0, 2, 0][what]);
        if what < 2 {
            fake.clear_script();
            let size = pool.config().max_size;
            assert_eq!(hold(&sim, &pool, size).len(), size);
        }
    }
}

#[test]
fn a_runtime_that_ends_in_the_middle_of_a_ping_destroys_the_connection() {
    let (sim, fake) = new(1);
    let pool = kept_alive(&fake).build_lazy().unwrap();
    fill(&sim, &pool, 2);
    fake.always(Call::Ping, Behavior::Hang);
    until_a_ping_begins(&sim, &fake);
    sim.shut_down();
    assert_eq!((fake.alive(), pool.stats().available), (1, 1));
    assert_eq!(closed(&pool, CloseReason::Cancelled), 1);
    fake.clear_script();
    assert!(pool.try_get().is_ok());
}

#[test]
fn the_extremes_of_keepalive_neither_spin_nor_stop_anything() {
    for (keepalive, pings) in [
        (Duration::ZERO, 2 * 90..=2 * 101),
        (Duration::from_nanos(1), 2 * 90..=2 * 101),
        (Duration::MAX, 0..=0),
    ] {
        let (sim, fake) = new(1);
        let runtime = Watched::new(&sim, 10_000);
        let pool = Pool::builder(fake.clone(), runtime)
            .keepalive(keepalive)
            .build_lazy()
            .unwrap();
        fill(&sim, &pool, 2);
        let before = fake.calls(Call::Ping);
        sim.advance(100 * MILLI);
        let asked = fake.calls(Call::Ping) - before;
        assert!(pings.contains(&asked), "{keepalive:?}: {asked} pings");
    }
}
