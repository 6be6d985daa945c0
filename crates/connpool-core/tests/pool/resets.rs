//! Resets after a return.

use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, MILLI, SECOND, assert_at_rest, assert_full_capacity, closed, hold, new,
    poll_once, spawn_get,
};
use connpool_core::{Builder, CloseReason, Pool, ResetWhen};
use connpool_testkit::SimRuntime;

/// Creates a pool whose resets take 5 ms.
fn pool_of(
    max_size: usize,
    settings: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
) -> (SimRuntime, Fake, Pool<Fake>) {
    let (sim, fake) = new(1);
    fake.require_reset();
    fake.always(Call::Reset, Behavior::Take(5 * MILLI));
    let pool = settings(fake.pool().max_size(max_size)).build_lazy().unwrap();
    (sim, fake, pool)
}

#[test]
fn connection_is_reset_after_its_very_first_return_while_the_pool_is_idle() {
    let (sim, fake, pool) = pool_of(2, |pool| pool);
    drop(hold(&sim, &pool, 1));
    sim.settle();
    let stats = pool.stats();
    assert_eq!((stats.resetting, stats.active, stats.available), (1, 1, 0));
    sim.advance(5 * MILLI);
    let stats = pool.stats();
    assert_eq!((stats.resetting, stats.available, fake.calls(Call::Reset)), (0, 1, 1));
}

#[test]
fn connection_that_was_reset_is_not_reset_again_before_it_is_lent() {
    let (sim, fake, pool) = pool_of(1, |pool| pool);
    for round in 1..4 {
        let before = sim.elapsed();
        drop(hold(&sim, &pool, 1));
        assert_eq!(sim.elapsed(), before, "a get pays no round trip");
        sim.advance(5 * MILLI);
        assert_eq!(fake.calls(Call::Reset), round);
    }
}

#[test]
fn try_get_lends_what_was_reset_and_nothing_else() {
    let (sim, _, pool) = pool_of(1, |pool| pool);
    drop(hold(&sim, &pool, 1));
    sim.settle();
    assert!(pool.try_get().is_err());
    sim.advance(5 * MILLI);
    drop(pool.try_get().unwrap());
    assert!(pool.try_get().is_err());
    sim.advance(5 * MILLI);
    assert!(pool.try_get().is_ok());
}

/// Each `get` waits for the rest of the reset, and opens nothing.
#[test]
fn sequential_user_does_not_make_the_pool_grow() {
    let (sim, fake, pool) = pool_of(10, |pool| pool);
    for _ in 0..20 {
        drop(hold(&sim, &pool, 1));
        sim.settle();
    }
    assert_eq!((pool.stats().created, fake.calls(Call::Reset)), (1, 20));
    assert_eq!(sim.elapsed(), 19 * 5 * MILLI);
}

#[test]
fn waiter_does_not_count_on_a_reset_that_hangs() {
    let (sim, fake, pool) = pool_of(2, |pool| pool);
    drop(hold(&sim, &pool, 1));
    sim.advance(5 * MILLI);
    drop(hold(&sim, &pool, 1));
    fake.next(Call::Reset, [Behavior::Hang]);
    sim.settle();
    let before = sim.elapsed();
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
    assert_eq!(sim.elapsed() - before, 20 * MILLI);
    sim.advance(SECOND);
    assert_eq!(closed(&pool, CloseReason::ResetTimeout), 1);
}

/// It is on its way to the waiter, who has it reset.
#[test]
fn returned_connection_goes_to_a_waiter_first() {
    let (sim, fake, pool) = pool_of(1, |pool| pool);
    let held = hold(&sim, &pool, 1);
    let waiter = spawn_get(&sim, &pool);
    drop(held);
    assert_eq!(pool.stats().resetting, 0);
    sim.advance(5 * MILLI);
    assert_eq!(waiter.take().unwrap().unwrap().id(), 1);
    assert_eq!(fake.calls(Call::Reset), 1);
}

#[test]
fn reset_on_get_leaves_a_returned_connection_alone() {
    let (sim, fake, pool) = pool_of(1, |pool| pool.reset_when(ResetWhen::OnGet));
    for round in 0..3 {
        drop(hold(&sim, &pool, 1));
        sim.advance(SECOND / 2);
        assert_eq!(fake.calls(Call::Reset), round);
    }
    let mut config = pool.config();
    config.reset_when = None;
    pool.reconfigure(config).unwrap();
    drop(hold(&sim, &pool, 1));
    sim.advance(SECOND / 2);
    assert_eq!(fake.calls(Call::Reset), 4, "once for the get and once after the return");
}

#[test]
fn reset_that_is_ready_at_once_is_left_to_get() {
    let (sim, fake) = new(1);
    fake.require_reset();
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    drop(hold(&sim, &pool, 1));
    sim.settle();
    assert_eq!(fake.calls(Call::Reset), 1, "the first one tells");
    for resets in 1..4 {
        drop(hold(&sim, &pool, 1));
        sim.settle();
        assert_eq!((fake.calls(Call::Reset), pool.stats().available), (resets, 1));
    }
}

#[test]
fn reset_that_fails_hangs_or_panics_closes_its_connection() {
    connpool_testkit::silence_scripted_panics();
    for (behavior, reason) in [
        (Behavior::Fail, CloseReason::ResetFailed),
        (Behavior::FailAfter(MILLI), CloseReason::ResetFailed),
        (Behavior::Hang, CloseReason::ResetTimeout),
        (Behavior::Panic, CloseReason::Panicked),
    ] {
        let (sim, fake, pool) = pool_of(1, |pool| pool);
        fake.next(Call::Reset, [behavior]);
        drop(hold(&sim, &pool, 1));
        sim.advance(2 * SECOND);
        assert_eq!((closed(&pool, reason), fake.alive()), (1, 0), "{reason:?}");
        fake.clear_script();
        assert_full_capacity(&sim, &fake, &pool);
    }
}

#[test]
fn quarter_of_the_pool_is_reset_at_once() {
    let (sim, fake, pool) = pool_of(40, |pool| pool);
    fake.always(Call::Reset, Behavior::Hold);
    drop(hold(&sim, &pool, 40));
    sim.settle();
    assert_eq!((fake.held(Call::Reset), pool.stats().resetting), (10, 40));
    for _ in 0..40 {
        fake.release(Call::Reset, Behavior::Succeed);
        sim.settle();
        assert!(fake.held(Call::Reset) <= 10);
    }
    assert_eq!((fake.calls(Call::Reset), pool.stats().available), (40, 40));
}

#[test]
fn waiters_take_connections_whose_reset_has_not_started() {
    let (sim, fake, pool) = pool_of(8, |pool| pool);
    fake.always(Call::Reset, Behavior::Hold);
    drop(hold(&sim, &pool, 8));
    sim.settle();
    assert_eq!(fake.held(Call::Reset), 4);
    let waiters: Vec<_> = (0..4).map(|_| spawn_get(&sim, &pool)).collect();
    assert_eq!(fake.held(Call::Reset), 8);
    for _ in 0..8 {
        fake.release(Call::Reset, Behavior::Succeed);
        sim.settle();
    }
    assert!(waiters.iter().all(|waiter| waiter.has_ended()));
    assert_eq!((pool.stats().created, fake.calls(Call::Reset)), (8, 8));
}

#[test]
fn clear_resize_and_close_reach_connections_under_reset() {
    type Act = fn(&Pool<Fake>);
    let acts: [(Act, CloseReason); 2] = [
        (|pool| pool.clear(), CloseReason::Cleared),
        (|pool| pool.resize(1).unwrap(), CloseReason::Shrunk),
    ];
    for (act, reason) in acts {
        let (sim, fake, pool) = pool_of(6, |pool| pool);
        drop(hold(&sim, &pool, 6));
        sim.settle();
        act(&pool);
        sim.advance(SECOND / 2);
        let left = u64::from(reason == CloseReason::Shrunk);
        assert_eq!((closed(&pool, reason), fake.alive() as u64), (6 - left, left), "{reason:?}");
    }
    let (sim, fake, pool) = pool_of(6, |pool| pool);
    fake.always(Call::Reset, Behavior::Hang);
    drop(hold(&sim, &pool, 6));
    sim.settle();
    let report = sim.block_on(pool.close(SECOND));
    assert_eq!((report.closed, report.timed_out, sim.elapsed()), (6, false, Duration::ZERO));
    assert_eq!(fake.alive(), 0);
}

#[test]
fn without_a_maintenance_task_a_connection_is_reset_by_the_next_get() {
    let (sim, fake, pool) = pool_of(1, |pool| pool);
    let held = hold(&sim, &pool, 1);
    sim.shut_down();
    drop(held);
    assert_eq!((pool.stats().available, fake.calls(Call::Reset)), (1, 0));
    sim.restart();
    drop(sim.block_on(pool.get()).unwrap());
    assert_eq!(fake.calls(Call::Reset), 1);
}

#[test]
fn connections_that_wait_for_their_reset_outlive_the_maintenance_task() {
    let (sim, fake, pool) = pool_of(6, |pool| pool);
    fake.always(Call::Reset, Behavior::Hang);
    drop(hold(&sim, &pool, 6));
    sim.settle();
    sim.shut_down();
    // Those whose reset had started are gone, since their state is unknown.
    let stats = pool.stats();
    assert_eq!((stats.available, stats.resetting, fake.alive()), (2, 0, 2));
    sim.restart();
    fake.clear_script();
    let held = hold(&sim, &pool, 2);
    assert!(held.iter().all(|held| held.uses() == 2));
    drop(held);
    sim.settle();
    assert_at_rest(&pool, &fake, 0);
}

#[test]
fn get_dropped_while_it_waits_for_a_reset_loses_nothing() {
    let (sim, fake, pool) = pool_of(1, |pool| pool);
    drop(hold(&sim, &pool, 1));
    sim.settle();
    let mut get = Box::pin(pool.get());
    assert!(poll_once(get.as_mut()).is_pending());
    sim.advance(2 * MILLI);
    drop(get);
    sim.advance(5 * MILLI);
    assert_eq!((pool.stats().available, fake.calls(Call::Reset)), (1, 1));
}
