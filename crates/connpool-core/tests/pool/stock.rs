//! `retain` and `add`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::support::{
    Behavior, Call, MILLI, SECOND, assert_lends_all, closed, fill, go_get, hold, new,
};
use connpool_core::{AddError, CloseReason, Manager};

// ---- retain

#[test]
fn retain_closes_what_is_idle_and_not_wanted_with_a_goodbye() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(6).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    drop(hold(&sim, &pool, 4));
    let mut seen = Vec::new();
    let count = pool.retain(|conn| {
        seen.push(conn.id());
        conn.id() % 2 == 0
    });
    sim.settle();
    seen.sort_unstable();
    assert_eq!((seen, count), (vec![2, 3, 4, 5], 2));
    assert_eq!(fake.graceful_closes(), [3, 5]);
    assert_eq!(closed(&pool, CloseReason::Evicted), 2);
    assert_eq!(pool.stats().available, 2);
    drop(held);
    assert_eq!(pool.retain(|_| true), 0);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn retain_looks_at_those_never_lent_as_well_and_keeps_their_order() {
    let lent_after = |looks: usize| {
        let (sim, fake) = new(1);
        let pool = sim
            .block_on(fake.pool().max_size(5).min_size(5).build())
            .unwrap();
        drop(hold(&sim, &pool, 3));
        let mut looked = 0;
        for _ in 0..looks {
            pool.retain(|_| {
                looked += 1;
                true
            });
        }
        assert_eq!(looked, 5 * looks);
        let guards = hold(&sim, &pool, 5);
        guards.iter().map(|guard| guard.id()).collect::<Vec<_>>()
    };
    assert_eq!(lent_after(1), lent_after(0));
    assert_eq!(lent_after(2), lent_after(0));
}

#[test]
fn a_predicate_may_use_the_pool() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    let mut lent = Vec::new();
    let mut calls = 0;
    let closed = pool.retain(|_| {
        calls += 1;
        lent.extend(pool.try_get());
        pool.stats().available > 3
    });
    // Each look was followed by one loan, and what is lent is not looked at.
    assert_eq!((calls, closed, lent.len()), (2, 2, 1));
    drop(lent);
    sim.settle();
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn what_was_looked_at_goes_to_who_came_meanwhile() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    for (keep, id) in [(true, 1), (false, 2)] {
        let mut waiter = None;
        pool.retain(|_| {
            waiter = Some(go_get(&sim, &pool));
            keep
        });
        sim.settle();
        let guard = waiter.unwrap().take().expect("served").unwrap();
        assert_eq!(guard.id(), id);
    }
}

#[test]
fn a_clear_and_a_close_reach_what_is_being_looked_at() {
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
    assert_eq!(
        (fake.alive(), closed(&pool, CloseReason::PoolClosed)),
        (0, 1)
    );
    assert_eq!(pool.retain(|_| false), 0);
}

#[test]
fn a_predicate_that_panics_costs_one_connection_and_is_heard() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pool.retain(|_| panic!("scripted panic"))
    }));
    assert!(panicked.is_err());
    assert_eq!(fake.alive(), 2);
    assert_eq!(closed(&pool, CloseReason::Panicked), 1);
    assert_lends_all(&sim, &fake, &pool);
}

// ---- add

#[test]
fn what_is_added_is_lent_as_if_it_had_just_been_opened() {
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
    let made = sim.block_on(fake.connect()).unwrap();
    pool.add(made).unwrap();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.available, stats.created), (1, 1, 1));
    let guard = pool.try_get().expect("it needs no reset");
    assert_eq!((guard.id(), guard.uses()), (1, 1));
    sim.advance(SECOND);
    drop(guard);
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::Lifetime), 1);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn what_is_added_goes_to_the_first_in_line() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Hang]);
    let waiter = go_get(&sim, &pool);
    let made = sim.block_on(fake.connect()).unwrap();
    pool.add(made).unwrap();
    sim.settle();
    assert!(waiter.take().expect("served").is_ok());
}

#[test]
fn there_must_be_room_for_what_is_added_or_it_comes_back() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).max_idle(1).build_lazy().unwrap();
    let made = sim.block_on(fake.connect()).unwrap();
    pool.add(made).unwrap();
    let made = sim.block_on(fake.connect()).unwrap();
    let error = pool.add(made).unwrap_err();
    assert_eq!(format!("{error:?}"), "Full(..)");
    let made = error.into_inner();
    let held = hold(&sim, &pool, 1);
    pool.add(made).unwrap();
    let made = sim.block_on(fake.connect()).unwrap();
    let error = pool.add(made).unwrap_err();
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
fn a_detached_connection_can_come_back() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let conn = sim.block_on(pool.get()).unwrap().detach();
    pool.add(conn).unwrap();
    sim.advance(MILLI);
    let stats = pool.stats();
    assert_eq!((stats.created, stats.detached, stats.size), (2, 1, 1));
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
}
