//! What the pool makes of several connections that break in a short time.

use crate::support::{
    Behavior, Call, MILLI, SECOND, assert_lends_all, closed, fill, go_get, hold, new,
};
use connpool_core::{CloseReason, Liveness};

#[test]
fn three_broken_ones_have_the_others_pinged_before_they_are_lent() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(None).build_lazy().unwrap();
    fill(&sim, &pool, 8);
    fake.set_liveness_with(|conn| match conn.id() {
        6..=8 => Liveness::Closed,
        _ => Liveness::Alive,
    });
    // Three dead ones are enough for one get, which takes a new one.
    let held = hold(&sim, &pool, 1);
    assert_eq!(closed(&pool, CloseReason::Dead), 3);
    assert_eq!((held[0].id(), fake.calls(Call::Ping)), (9, 0));
    let others = hold(&sim, &pool, 5);
    assert_eq!(fake.calls(Call::Ping), 5);
    drop((held, others));
    sim.settle();
    drop(hold(&sim, &pool, 6));
    assert_eq!(fake.calls(Call::Ping), 5, "each once");
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn the_ping_finds_those_of_which_the_kernel_knows_nothing() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(20)
        .ping_after(None)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 6);
    fake.set_liveness_with(|conn| match conn.id() {
        4..=6 => Liveness::Closed,
        _ => Liveness::Alive,
    });
    fake.next(Call::Ping, [Behavior::Hang, Behavior::Fail]);
    let held = hold(&sim, &pool, 2);
    let ids: Vec<u64> = held.iter().map(|held| held.id()).collect();
    assert_eq!(ids, [7, 1], "neither 3 nor 2, of which nobody heard again");
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::PingTimeout), 1);
    assert_eq!(closed(&pool, CloseReason::PingFailed), 1);
}

#[test]
fn two_broken_ones_or_three_in_a_longer_time_say_nothing_of_the_others() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(None).build_lazy().unwrap();
    fill(&sim, &pool, 8);
    for broken in [8, 7, 6, 5] {
        fake.set_liveness_with(move |conn| match conn.id() == broken {
            true => Liveness::Closed,
            false => Liveness::Alive,
        });
        drop(hold(&sim, &pool, 1));
        sim.advance(600 * MILLI);
    }
    assert_eq!(closed(&pool, CloseReason::Dead), 4);
    drop(hold(&sim, &pool, 4));
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn a_sweep_that_finds_broken_ones_makes_the_others_suspect() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(None).build_lazy().unwrap();
    fill(&sim, &pool, 5);
    fake.set_liveness_with(|conn| match conn.id() {
        1..=3 => Liveness::Closed,
        _ => Liveness::Alive,
    });
    sim.advance(30 * SECOND);
    assert_eq!(closed(&pool, CloseReason::Dead), 3);
    assert!(pool.try_get().is_ok(), "a try_get looks only");
    drop(hold(&sim, &pool, 2));
    assert_eq!(
        fake.calls(Call::Ping),
        1,
        "the other one has proved alive since"
    );
}

#[test]
fn what_users_break_makes_nobody_suspect() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(None).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 8);
    held[..4].iter_mut().for_each(|held| held.mark_unusable());
    drop(held);
    sim.settle();
    drop(hold(&sim, &pool, 4));
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn a_backend_that_lost_its_connections_is_dialled_by_one_at_first() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(20).build_lazy().unwrap();
    fill(&sim, &pool, 20);
    fake.set_liveness(Liveness::Closed);
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let jobs: Vec<_> = (0..20).map(|_| go_get(&sim, &pool)).collect();
    let mut at_once = Vec::new();
    while jobs.iter().any(|job| !job.has_ended()) {
        at_once.push(pool.stats().connecting);
        fake.clear_script();
        fake.always(Call::Connect, Behavior::Take(SECOND));
        sim.advance(SECOND);
    }
    assert_eq!(at_once, [1, 2, 4, 8, 5]);
}
