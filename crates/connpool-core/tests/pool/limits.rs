//! Limits on lifetime, idle time, uses and idle connections.

use std::time::Duration;

use crate::support::{
    Behavior, Call, MILLI, SECOND, assert_at_rest, closed, fill, graceful_closes, hold, new,
    spawn_get,
};
use connpool_core::CloseReason;

// ---- idle_timeout

#[test]
fn idle_timeout_closes_connections_without_a_get() {
    let (sim, fake) = new(1);
    let pool = fake.pool().idle_timeout(5 * SECOND).evict_interval(SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 4);
    sim.advance(5 * SECOND - MILLI);
    assert_eq!(fake.alive(), 4);
    sim.advance(SECOND + MILLI);
    assert_eq!(fake.alive(), 0);
    let stats = pool.stats();
    assert_eq!((stats.idle_closed, graceful_closes(&fake).len()), (4, 4));
    assert_at_rest(&pool, &fake, 0);
}

#[test]
fn idle_timeout_spares_connections_in_regular_use() {
    let (sim, fake) = new(1);
    let pool = fake.pool().idle_timeout(5 * SECOND).evict_interval(SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    for _ in 0..10 {
        sim.advance(3 * SECOND);
        drop(sim.block_on(pool.get()).unwrap());
    }
    assert_eq!(fake.alive(), 1, "only the most recently used connection stays");
    assert_eq!(fake.calls(Call::Connect), 3);
}

#[test]
fn get_does_not_lend_a_connection_past_idle_timeout() {
    let (sim, fake) = new(1);
    let pool = fake.pool().idle_timeout(5 * SECOND).evict_interval(None).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    sim.advance(5 * SECOND - MILLI);
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 1);
    sim.advance(5 * SECOND);
    assert!(pool.try_get().is_err());
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
}

// ---- max_lifetime

#[test]
fn expired_connection_is_closed_while_idle_or_on_return() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_lifetime(10 * SECOND)
        .lifetime_jitter(0.0)
        .evict_interval(SECOND)
        .build_lazy()
        .unwrap();
    let mut held = hold(&sim, &pool, 2);
    held.pop();
    sim.advance(9 * SECOND);
    assert_eq!(fake.alive(), 2);
    sim.advance(SECOND);
    assert_eq!(fake.alive(), 1, "the idle connection was not closed");
    drop(held);
    sim.settle();
    assert_eq!((fake.alive(), pool.stats().lifetime_closed), (0, 2));
    assert_eq!(graceful_closes(&fake).len(), 2);
}

#[test]
fn get_does_not_lend_an_expired_connection() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_lifetime(10 * SECOND)
        .lifetime_jitter(0.0)
        .evict_interval(None)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 1);
    sim.advance(10 * SECOND - MILLI);
    assert_eq!(pool.try_get().unwrap().id(), 1);
    sim.advance(MILLI);
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
}

#[test]
fn connection_that_expires_during_its_ping_is_not_lent() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(1)
        .max_lifetime(SECOND)
        .lifetime_jitter(0.0)
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 1);
    fake.next(Call::Ping, [Behavior::Take(SECOND / 5)]);
    sim.advance(SECOND * 9 / 10);
    let guard = sim.block_on(pool.get()).unwrap();
    assert_eq!(guard.id(), 2);
    assert_eq!(closed(&pool, CloseReason::Lifetime), 1);
}

#[test]
fn expired_min_size_connections_are_closed_and_replaced() {
    let (sim, fake) = new(1);
    let build = fake.pool().min_size(3).max_lifetime(10 * SECOND);
    let pool = sim.block_on(build.lifetime_jitter(0.0).evict_interval(SECOND).build()).unwrap();
    sim.advance(35 * SECOND);
    assert_eq!((fake.alive(), pool.stats().available), (3, 3));
    assert_eq!(pool.stats().lifetime_closed, 9);
}

#[test]
fn lifetime_jitter_shortens_each_lifetime_once_within_its_fraction() {
    let (sim, fake) = new(7);
    let pool = fake
        .pool()
        .max_size(100)
        .max_lifetime(100 * SECOND)
        .evict_interval(100 * MILLI)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 100);
    sim.advance(90 * SECOND - MILLI);
    assert_eq!(fake.alive(), 100, "shortened by more than a tenth");
    let mut per_second = Vec::new();
    for _ in 0..11 {
        let before = fake.alive();
        sim.advance(SECOND);
        per_second.push(before - fake.alive());
    }
    assert_eq!(fake.alive(), 0, "lengthened");
    // If the jitter were drawn at every sweep, nearly all would expire in the first second.
    let max = per_second.iter().max();
    assert!(max.is_some_and(|max| *max < 30), "{per_second:?}");
    let seconds_with_some = per_second.iter().filter(|count| **count > 0).count();
    assert!(seconds_with_some >= 8, "{per_second:?}");
}

// ---- max_uses, max_idle

#[test]
fn connection_is_lent_max_uses_times() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_uses(3).build_lazy().unwrap();
    let ids: Vec<_> = (0..7)
        .map(|_| {
            // No get waits while the maintenance task closes it gracefully.
            sim.settle();
            let guard = sim.block_on(pool.get()).unwrap();
            (guard.id(), guard.uses())
        })
        .collect();
    let expected = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3), (3, 1)];
    assert_eq!(ids, expected);
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::MaxUses), 2);
    assert_eq!(graceful_closes(&fake), [1, 2]);
}

#[test]
fn waiter_gets_a_new_connection_when_the_returned_one_reached_max_uses() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).max_uses(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let waiter = spawn_get(&sim, &pool);
    fake.always(Call::Close, Behavior::Hang);
    drop(held);
    sim.settle();
    assert_eq!(waiter.take().unwrap().unwrap().id(), 2);
    assert_eq!(sim.elapsed(), Duration::ZERO);
}

#[test]
fn return_beyond_max_idle_closes_the_connection_unless_a_get_waits() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(5).max_idle(2).build_lazy().unwrap();
    drop(hold(&sim, &pool, 5));
    sim.settle();
    assert_eq!((fake.alive(), pool.stats().available), (2, 2));
    assert_eq!(closed(&pool, CloseReason::Overflow), 3);
    assert_eq!(graceful_closes(&fake).len(), 3);

    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).max_idle(0).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let waiter = spawn_get(&sim, &pool);
    drop(held);
    sim.settle();
    assert_eq!(waiter.take().unwrap().unwrap().id(), 1);
    sim.settle();
    assert_at_rest(&pool, &fake, 0);
}

#[test]
fn prewarmed_connection_with_zero_lifetime_is_lent_once() {
    let (sim, fake) = new(1);
    let build = fake.pool().min_size(2).max_lifetime(Duration::ZERO);
    let pool = sim.block_on(build.build()).unwrap();
    let calls = fake.calls(Call::Connect);
    let held = hold(&sim, &pool, 2);
    let ids: Vec<u64> = held.iter().map(|held| held.id()).collect();
    assert_eq!((ids, calls), (vec![2, 1], 2));
    assert_eq!(pool.stats().lifetime_closed, 0);
    drop(held);
    sim.settle();
    assert_eq!(pool.stats().lifetime_closed, 2, "not closed on return");
    assert_eq!(fake.calls(Call::Connect), 4, "not replaced");
}
