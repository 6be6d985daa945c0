//! `retain` and `add`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::support::{MILLI, SECOND, assert_full_capacity, closed, fill, hold, new, spawn_get};
use connpool_core::{AddError, CloseReason, Manager};

// ---- retain

#[test]
fn retain_visits_prewarmed_connections_and_keeps_the_order() {
    let ids_after = |rounds: usize| {
        let (sim, fake) = new(1);
        let pool = sim.block_on(fake.pool().max_size(5).min_size(5).build()).unwrap();
        drop(hold(&sim, &pool, 3));
        let mut visited = 0;
        for _ in 0..rounds {
            pool.retain(|_| {
                visited += 1;
                true
            });
        }
        assert_eq!(visited, 5 * rounds);
        let guards = hold(&sim, &pool, 5);
        guards.iter().map(|guard| guard.id()).collect::<Vec<_>>()
    };
    assert_eq!(ids_after(1), ids_after(0));
    assert_eq!(ids_after(2), ids_after(0));
}

#[test]
fn retain_predicate_may_use_the_pool() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    let mut held = Vec::new();
    let mut calls = 0;
    let closed = pool.retain(|_| {
        calls += 1;
        held.extend(pool.try_get());
        pool.stats().available > 3
    });
    // Each call is followed by one checkout, and borrowed connections are not visited.
    assert_eq!((calls, closed, held.len()), (2, 2, 1));
    drop(held);
    sim.settle();
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn get_during_retain_receives_the_visited_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    for (keep, id) in [(true, 1), (false, 2)] {
        let mut waiter = None;
        pool.retain(|_| {
            waiter = Some(spawn_get(&sim, &pool));
            keep
        });
        sim.settle();
        let guard = waiter.unwrap().take().expect("not served").unwrap();
        assert_eq!(guard.id(), id);
    }
}

#[test]
fn clear_and_close_apply_to_a_connection_visited_by_retain() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 1);
    pool.retain(|_| {
        pool.clear();
        true
    });
    sim.settle();
    assert_eq!((fake.alive(), closed(&pool, CloseReason::Cleared)), (0, 1));
    fill(&sim, &pool, 1);
    pool.retain(|_| {
        sim.block_on(pool.close(Duration::ZERO));
        true
    });
    sim.settle();
    assert_eq!((fake.alive(), closed(&pool, CloseReason::PoolClosed)), (0, 1));
    assert_eq!(pool.retain(|_| false), 0);
}

#[test]
fn panicking_retain_predicate_costs_one_connection_and_propagates() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    let panicked = catch_unwind(AssertUnwindSafe(|| pool.retain(|_| panic!("scripted panic"))));
    assert!(panicked.is_err());
    sim.settle();
    assert_eq!(fake.alive(), 2);
    assert_eq!(closed(&pool, CloseReason::Panicked), 1);
    assert_full_capacity(&sim, &fake, &pool);
}

// ---- add

#[test]
fn added_connection_is_lent_like_a_new_one() {
    let (sim, fake) = new(1);
    fake.require_reset();
    let pool = fake
        .pool()
        .max_size(2)
        .ping_after(Duration::ZERO)
        .max_lifetime(SECOND)
        .lifetime_jitter(0.0)
        .build_lazy()
        .unwrap();
    let conn = sim.block_on(fake.connect()).unwrap();
    pool.add(conn).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.available, stats.created), (1, 1, 1));
    let guard = pool.try_get().expect("the added connection was reset");
    assert_eq!((guard.id(), guard.uses()), (1, 1));
    sim.advance(SECOND);
    drop(guard);
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::Lifetime), 1);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn add_without_room_returns_the_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).max_idle(1).build_lazy().unwrap();
    let conn = sim.block_on(fake.connect()).unwrap();
    pool.add(conn).unwrap();
    let conn = sim.block_on(fake.connect()).unwrap();
    let error = pool.add(conn).unwrap_err();
    assert_eq!(format!("{error:?}"), "Full(..)");
    let conn = error.into_inner();
    let held = hold(&sim, &pool, 1);
    pool.add(conn).unwrap();
    let conn = sim.block_on(fake.connect()).unwrap();
    let error = pool.add(conn).unwrap_err();
    assert!(error.to_string().contains("raise max_size"), "{error}");
    drop(held);
    sim.block_on(pool.close(SECOND));
    let error = pool.add(error.into_inner()).unwrap_err();
    assert!(matches!(error, AddError::Closed(_)), "{error}");
    assert_eq!(error.to_string(), "the pool is closed");
    drop(error);
    assert_eq!(fake.alive(), 0);
}

#[test]
fn detached_connection_can_be_added_again() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let conn = sim.block_on(pool.get()).unwrap().detach();
    pool.add(conn).unwrap();
    sim.advance(MILLI);
    let stats = pool.stats();
    assert_eq!((stats.created, stats.detached, stats.size), (2, 1, 1));
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
}
