//! `try_get`, `get_timeout(0)` and `max_waiters`; and what is counted.

use std::pin::pin;
use std::time::Duration;

use crate::support::{Behavior, Call, SECOND, fill, go_get, hold, new, poll_once};
use connpool_core::{GetError, Liveness, Phase};

// ---- try_get and get_timeout(0)

#[test]
fn try_get_begins_nothing() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    match pool.try_get() {
        Err(GetError::Exhausted(_)) => {}
        other => panic!("{other:?}"),
    }
    sim.settle();
    assert_eq!(
        (
            sim.spawned(),
            sim.timers_created(),
            fake.calls(Call::Connect)
        ),
        (0, 0, 0)
    );
}

#[test]
fn try_get_does_not_ping() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.always(Call::Ping, Behavior::Hang);
    assert!(pool.try_get().is_ok());
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn try_get_gives_up_after_three_unfit_ones() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 5);
    fake.set_liveness_with(|conn| match conn.id() {
        1 => Liveness::Alive,
        _ => Liveness::Closed,
    });
    let looks = fake.probes();
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    assert_eq!(fake.probes() - looks, 3);
    sim.settle();
    assert_eq!(fake.alive(), 2);
    assert_eq!(pool.try_get().unwrap().id(), 1);
}

#[test]
fn try_get_lends_a_used_connection_only_if_nothing_has_to_be_reset() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 1);
    assert!(pool.try_get().is_ok());

    let (sim, fake) = new(1);
    fake.require_reset();
    let pool = sim.block_on(fake.pool().min_size(2).build()).unwrap();
    let used = pool.try_get().expect("one that was never lent");
    drop(used);
    let other = pool.try_get().expect("the other one");
    drop(other);
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    assert!(sim.block_on(pool.get()).is_ok());
    assert_eq!(fake.calls(Call::Reset), 1);
}

#[test]
fn try_get_of_a_closed_pool_says_so() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 1);
    sim.block_on(pool.close(SECOND));
    assert!(matches!(pool.try_get(), Err(GetError::Closed)));
}

#[test]
fn a_get_without_time_lends_what_is_idle_and_else_fails_at_once() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    let held = sim.block_on(pool.get_timeout(Duration::ZERO)).unwrap();
    let mut second = pin!(pool.get_timeout(Duration::ZERO));
    match poll_once(second.as_mut()) {
        std::task::Poll::Ready(Err(GetError::Timeout { phase, .. })) => {
            assert_eq!(phase, Phase::Wait);
        }
        _ => panic!("not a timeout at once"),
    }
    drop(held);
    assert_eq!(pool.stats().waiting, 0);
    assert!(pool.try_get().is_ok());
}

#[test]
fn a_get_without_time_works_in_a_pool_whose_driver_has_not_begun() {
    let (sim, fake) = new(1);
    let pool = sim.block_on(fake.pool().min_size(1).build()).unwrap();
    sim.shut_down();
    let mut get = pin!(pool.get_timeout(Duration::ZERO));
    assert!(matches!(
        poll_once(get.as_mut()),
        std::task::Poll::Ready(Ok(_))
    ));
}

// ---- max_waiters

#[test]
fn max_waiters_refuses_the_next_one_at_once() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).max_waiters(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let jobs = [go_get(&sim, &pool), go_get(&sim, &pool)];
    let third = go_get(&sim, &pool).take();
    assert!(matches!(third, Some(Err(GetError::Exhausted(_)))));
    assert_eq!(sim.elapsed(), Duration::ZERO);
    drop(held);
    sim.settle();
    assert!(jobs[0].has_ended());
    let fourth = go_get(&sim, &pool);
    assert!(!fourth.has_ended(), "a place had become free");
}

#[test]
fn with_max_waiters_zero_nobody_waits_for_a_return_and_the_pool_still_grows() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).max_waiters(0).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let jobs = [go_get(&sim, &pool), go_get(&sim, &pool)];
    assert!(matches!(
        go_get(&sim, &pool).take(),
        Some(Err(GetError::Exhausted(_)))
    ));
    sim.advance(SECOND);
    let held = jobs.map(|job| job.take().unwrap().unwrap());
    assert!(matches!(
        go_get(&sim, &pool).take(),
        Some(Err(GetError::Exhausted(_)))
    ));
    drop(held);
    assert!(sim.block_on(pool.get()).is_ok(), "idle ones are served");
}

#[test]
fn with_max_waiters_zero_one_whose_connection_fails_its_check_is_not_refused_while_there_is_room() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(4)
        .max_waiters(0)
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 3);
    fake.always(Call::Ping, Behavior::Fail);
    let guard = sim.block_on(pool.get()).unwrap();
    assert_eq!(guard.id(), 4);
}

// ---- counting

#[test]
fn one_get_is_one_request_and_at_most_one_success() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(4)
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 4);
    let before = pool.stats();
    assert_eq!((before.request, before.success), (4, 4));
    fake.next(Call::Ping, [Behavior::Fail, Behavior::Fail, Behavior::Fail]);
    drop(sim.block_on(pool.get()).unwrap());
    let _ = pool.try_get().unwrap();
    sim.block_on(pool.close(SECOND));
    assert!(sim.block_on(pool.get()).is_err());
    assert!(pool.try_get().is_err());
    let after = pool.stats();
    assert_eq!((after.request, after.success), (8, 6));
    assert_eq!(after.ping_failed, 3);
}

#[test]
fn waits_are_counted_and_timed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let before = pool.stats();
    let first = go_get(&sim, &pool);
    let second = go_get(&sim, &pool);
    assert_eq!(pool.stats().waiting, 2);
    sim.advance(3 * SECOND);
    drop(held);
    sim.settle();
    let held = first.take().unwrap().unwrap();
    sim.advance(SECOND);
    drop(held);
    sim.settle();
    assert!(second.has_ended());
    let after = pool.stats();
    assert_eq!(after.wait_count - before.wait_count, 2);
    assert_eq!(after.wait_time - before.wait_time, 7 * SECOND);
    assert_eq!(after.waiting, 0);
}

/// These waits say that `max_size` is too small; those for a connect would only say that the pool
/// is young, or its backend slow.
#[test]
fn only_those_who_depend_on_a_return_are_counted_as_waiting() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let jobs: Vec<_> = (0..3).map(|_| go_get(&sim, &pool)).collect();
    assert_eq!(pool.stats().waiting, 3);
    assert_eq!(pool.stats().wait_count, 1, "two connects serve two of them");
    sim.advance(SECOND);
    let held = [jobs[0].take(), jobs[1].take()];
    sim.advance(SECOND);
    drop(held);
    sim.settle();
    assert!(jobs[2].take().is_some_and(|got| got.is_ok()));
    assert_eq!(pool.stats().wait_time, 2 * SECOND);

    // A dead one in place of which a new one is opened, though its slot is not free yet.
    fill(&sim, &pool, 2);
    fake.set_liveness(Liveness::Closed);
    let job = go_get(&sim, &pool);
    fake.clear_script();
    sim.advance(SECOND);
    assert!(job.take().is_some_and(|got| got.is_ok()));
    assert_eq!(pool.stats().wait_count, 1);
}

#[test]
fn a_wait_that_ends_badly_counts_too() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    let before = pool.stats();
    assert!(sim.block_on(pool.get_timeout(2 * SECOND)).is_err());
    {
        let mut cancelled = pin!(pool.get());
        assert!(poll_once(cancelled.as_mut()).is_pending());
        sim.advance(SECOND);
    }
    let after = pool.stats();
    assert_eq!(after.wait_count - before.wait_count, 2);
    assert_eq!(after.wait_time - before.wait_time, 3 * SECOND);
}

#[test]
fn a_pool_tells_its_name_and_its_settings() {
    let (_, fake) = new(1);
    let pool = fake
        .pool()
        .name("orders")
        .max_size(7)
        .min_size(2)
        .idle_timeout(SECOND)
        .build_lazy()
        .unwrap();
    let config = pool.config();
    assert_eq!(pool.name(), "orders");
    assert_eq!(config.name.as_deref(), Some("orders"));
    assert_eq!((config.max_size, config.min_size), (7, 2));
    assert_eq!(config.idle_timeout, Some(SECOND));
    pool.resize(9).unwrap();
    assert_eq!(pool.config().max_size, 9);
    let again = fake.pool().config(config.clone()).build_lazy().unwrap();
    assert_eq!(again.config(), config);
    let nameless = [(); 2].map(|()| fake.pool().build_lazy().unwrap());
    assert!(nameless[0].name().starts_with("pool-"));
    assert_ne!(nameless[0].name(), nameless[1].name());
}
