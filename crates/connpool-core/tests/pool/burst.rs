//! Bursts: several connections found dead within a short time.

use crate::support::{Behavior, Call, MILLI, SECOND, closed, fill, hold, new, spawn_get};
use connpool_core::{CloseReason, Liveness};

#[test]
fn ping_after_a_burst_finds_connections_that_the_probe_misses() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(20).ping_after(None).build_lazy().unwrap();
    fill(&sim, &pool, 6);
    fake.set_liveness_with(|conn| match conn.id() {
        4..=6 => Liveness::Closed,
        _ => Liveness::Alive,
    });
    fake.next(Call::Ping, [Behavior::Fail, Behavior::Hang]);
    let held = hold(&sim, &pool, 2);
    let ids: Vec<u64> = held.iter().map(|held| held.id()).collect();
    assert_eq!(ids, [7, 8], "got a connection whose ping failed");
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::PingTimeout), 1);
    assert_eq!(closed(&pool, CloseReason::PingFailed), 1);
}

#[test]
fn dead_connections_spread_over_time_are_no_burst() {
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
fn burst_found_by_a_sweep_has_the_others_pinged() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(None).build_lazy().unwrap();
    fill(&sim, &pool, 5);
    fake.set_liveness_with(|conn| match conn.id() {
        1..=3 => Liveness::Closed,
        _ => Liveness::Alive,
    });
    sim.advance(30 * SECOND);
    assert_eq!(closed(&pool, CloseReason::Dead), 3);
    assert!(pool.try_get().is_ok(), "try_get failed");
    drop(hold(&sim, &pool, 2));
    assert_eq!(fake.calls(Call::Ping), 1, "the second connection has proved alive since");
}

#[test]
fn marked_connections_are_no_burst() {
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
fn slow_start_follows_a_burst() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(20).build_lazy().unwrap();
    fill(&sim, &pool, 20);
    fake.set_liveness(Liveness::Closed);
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let jobs: Vec<_> = (0..20).map(|_| spawn_get(&sim, &pool)).collect();
    let mut at_once = Vec::new();
    while jobs.iter().any(|job| !job.has_ended()) {
        at_once.push(pool.stats().connecting);
        fake.clear_script();
        fake.always(Call::Connect, Behavior::Take(SECOND));
        sim.advance(SECOND);
    }
    assert_eq!(at_once, [1, 2, 4, 8, 5]);
}
