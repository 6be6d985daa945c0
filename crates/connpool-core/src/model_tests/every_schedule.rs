//! Small models by loom: two or three threads, every schedule with few preemptions.
//!
//! A lost wake-up shows as loom's "deadlock", since no other thread wakes the one that waits.

mod inline;
mod world;

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use loom::thread;

use crate::error::GetError;
use crate::model_tests::fake::{Op, YES};
use crate::observe::close_reason::CloseReason;
use crate::pool::handle::Pool;
use inline::Inline;
use world::{HANGS, SECOND, World, check, says_no};

#[test]
fn a_return_is_not_missed_by_a_get() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        let giver = world.go(|world| world.give_back(guard));
        world.use_one();
        giver.join().unwrap();
        assert_eq!(world.pool.stats().created, 1);
        world.end();
    });
}

#[test]
fn one_return_serves_two_getters_one_after_the_other() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        let getters = [world.go(World::use_one), world.go(World::use_one)];
        world.give_back(guard);
        for getter in getters {
            getter.join().unwrap();
        }
        assert_eq!(world.pool.stats().created, 1);
        world.end();
    });
}

#[test]
fn a_getter_that_gives_up_passes_its_turn_on() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        let quitter = world.go(|world| world.give_up(|| ()));
        let getter = world.go(World::use_one);
        world.give_back(guard);
        quitter.join().unwrap();
        getter.join().unwrap();
        world.end();
    });
}

#[test]
fn what_comes_at_the_end_of_a_wait_is_borrowed_or_stays() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        let clock = world.runtime.clock.clone();
        let timer = thread::spawn(move || clock.advance(SECOND));
        let getter = world.go(|world| match world.get_within(SECOND) {
            Ok(guard) => world.give_back(guard),
            Err(error) => assert!(error.is_timeout(), "{error}"),
        });
        world.give_back(guard);
        timer.join().unwrap();
        getter.join().unwrap();
        assert_eq!(world.pool.stats().available, 1);
        world.end();
    });
}

#[test]
fn the_timer_of_one_wait_reaches_the_next() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        let [mut first, mut second] =
            [SECOND, 2 * SECOND].map(|limit| Box::pin(world.pool.get_owned_timeout(limit)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        let clock = world.runtime.clock.clone();
        let timer = thread::spawn(move || clock.advance(SECOND));
        drop(first);
        timer.join().unwrap();
        let clock = world.runtime.clock.clone();
        let timer = thread::spawn(move || clock.advance(SECOND));
        let error = world.runtime.block_on(second).map(|_| ()).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        timer.join().unwrap();
        world.give_back(guard);
        world.end();
    });
}

#[test]
fn a_failed_connect_leaves_nobody_waiting() {
    for fail_fast_after in [Some(SECOND), None] {
        check(move || {
            let fails_once = says_no(Op::Connect, |nth| nth == 0);
            let world = World::with(Inline::in_a_hurry(), 1, fails_once, |builder| {
                builder.fail_fast_after(fail_fast_after)
            });
            let getters = [(); 2].map(|()| {
                world.go(|world| match world.get() {
                    Ok(guard) => {
                        world.give_back(guard);
                        0
                    }
                    Err(GetError::Connect(_)) => 1,
                    Err(error) => panic!("{error}"),
                })
            });
            let refused: usize = getters.map(|getter| getter.join().unwrap()).iter().sum();
            // A pool that was never connected tells all who wait.
            assert_eq!(refused > 0, fail_fast_after.is_some());
            assert_eq!(world.pool.stats().connect_failed, 1);
            world.end();
        });
    }
}

#[test]
fn a_destroyed_connection_makes_room_for_who_waits() {
    check(|| {
        let world = World::new(1);
        let [mut guard] = world.hold();
        guard.mark_unusable();
        let breaker = world.go(|world| world.give_back(guard));
        world.use_one();
        breaker.join().unwrap();
        assert_eq!(world.pool.stats().created, 2);
        world.end();
    });
}

#[test]
fn a_detached_connection_makes_room_for_who_waits() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        let taker = world.go(|world| world.detach(guard));
        world.use_one();
        taker.join().unwrap();
        assert_eq!(world.pool.stats().detached, 1);
        world.end();
    });
}

#[test]
fn a_driver_that_is_dropped_leaves_its_work_to_who_waits() {
    check(|| {
        let world = World::with(
            Inline::in_a_hurry(),
            1,
            |_| YES,
            |builder| {
                // In a hurry, a connect that waits for its thread looks like one that hangs.
                builder.fail_fast_after(None)
            },
        );
        let [mut guard] = world.hold();
        guard.mark_unusable();
        let breaker = world.go(|world| {
            world.runtime.forget_tasks();
            world.give_back(guard);
        });
        let quitter = world.go(|world| world.give_up(|| ()));
        world.use_one();
        breaker.join().unwrap();
        quitter.join().unwrap();
        world.end();
    });
}

#[test]
fn a_look_at_a_good_connection_hides_it_from_nobody_for_long() {
    check(|| look_among_others(false, None));
}

#[test]
fn a_look_that_finds_a_dead_connection_makes_room_for_who_waits() {
    check(|| look_among_others(true, None));
}

#[test]
fn a_look_that_finds_one_idle_for_too_long_makes_room_for_who_waits() {
    check(|| look_among_others(false, Some(SECOND)));
}

fn look_among_others(finds_it_dead: bool, idle_timeout: Option<Duration>) {
    // The first two are for lending.
    let third_look = says_no(Op::Look, move |nth| finds_it_dead && nth == 2);
    let world = World::with(Inline::default(), 2, third_look, |builder| {
        builder.evict_interval(SECOND).idle_timeout(idle_timeout)
    });
    let [idle, guard] = world.hold();
    world.give_back(idle);
    let ticker = world.go(|world| {
        world.runtime.clock.advance(SECOND);
        world.runtime.run();
    });
    let getter = world.go(World::use_one);
    world.give_back(guard);
    ticker.join().unwrap();
    getter.join().unwrap();
    world.end();
}

#[test]
fn a_waker_may_use_the_pool_when_it_is_woken_or_dropped() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        let giver = world.go(|world| world.give_back(guard));
        let use_pool = |pool: Pool<_>| {
            move || {
                let _ = pool.stats();
                drop(pool.try_get());
            }
        };
        world.give_up(use_pool(world.pool.clone()));
        let got = world.runtime.block_on_with(world.pool.get_owned(), use_pool(world.pool.clone()));
        drop(got.expect("a connection"));
        giver.join().unwrap();
        world.end();
    });
}

#[test]
fn a_close_is_told_to_everybody_and_closes_everything() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        let closer = world.go(|world| {
            world.close();
            assert!(matches!(world.get(), Err(GetError::Closed)), "checked out after the close");
        });
        let getter = world.go(World::use_one_unless_closed);
        world.give_back(guard);
        closer.join().unwrap();
        getter.join().unwrap();
        let report = world.close().expect("nothing is left to wait for");
        assert_eq!((report.still_out.len(), report.timed_out), (0, false));
        world.assert_at_rest();
        assert_eq!(world.pool.stats().closed.get(CloseReason::PoolClosed), 1);
        world.vanish();
    });
}

#[test]
fn a_close_ends_the_connects_under_way() {
    check(|| {
        let connects_hang = |op| if op == Op::Connect { HANGS } else { YES };
        let world = World::with(Inline::default(), 1, connects_hang, |builder| builder);
        let getters = [(); 2].map(|()| world.go(World::use_one_unless_closed));
        world.close();
        for getter in getters {
            getter.join().unwrap();
        }
        let report = world.close().expect("nothing is left to wait for");
        assert_eq!((report.still_out.len(), report.timed_out), (0, false));
        world.assert_at_rest();
        world.vanish();
    });
}

#[test]
fn a_get_gets_what_is_reset_after_its_return() {
    check(|| {
        let world = World::that_resets(1);
        let [guard] = world.hold();
        let getter = world.go(World::use_one);
        world.give_back(guard);
        getter.join().unwrap();
        assert_eq!(world.pool.stats().created, 1);
        world.end();
    });
}

#[test]
fn a_close_reaches_what_is_reset_after_its_return() {
    check(|| {
        let world = World::that_resets(1);
        let [guard] = world.hold();
        let getter = world.go(World::use_one_unless_closed);
        let giver = world.go(|world| world.give_back(guard));
        world.close();
        giver.join().unwrap();
        getter.join().unwrap();
        let report = world.close().expect("nothing is left to wait for");
        assert_eq!((report.still_out.len(), report.timed_out), (0, false));
        world.assert_at_rest();
        world.vanish();
    });
}

#[test]
fn a_close_that_waits_is_told_when_everything_is_gone() {
    check(|| {
        let world = World::new(2);
        let [one, other] = world.hold();
        let giver = world.go(|world| world.give_back(one));
        let report = world.begin_to_close();
        world.give_back(other);
        giver.join().unwrap();
        let report = report.lock().unwrap().take().expect("an end of the wait");
        assert_eq!((report.still_out.len(), report.timed_out), (0, false));
        world.assert_at_rest();
        world.vanish();
    });
}

#[test]
fn what_comes_back_while_the_last_handle_goes_is_closed() {
    check(|| {
        let world = World::new(2);
        let guards = world.hold::<2>();
        let givers = guards.map(|guard| {
            let runtime = world.runtime.clone();
            thread::spawn(move || {
                drop(guard);
                runtime.run();
            })
        });
        let gone = world.drop_the_pool();
        for giver in givers {
            giver.join().unwrap();
        }
        gone.assert_nothing_is_left();
    });
}

#[test]
fn a_smaller_pool_closes_what_comes_back() {
    check(|| {
        let world = World::new(2);
        let [one, other] = world.hold();
        let giver = world.go(|world| world.give_back(one));
        let resizer = world.go(|world| world.resize(1));
        world.give_back(other);
        giver.join().unwrap();
        resizer.join().unwrap();
        assert_eq!(world.pool.stats().available, 1);
        world.resize(2);
        world.end();
    });
}

#[test]
fn a_larger_pool_serves_who_waits() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        let getters = [(); 2].map(|()| world.go(|world| world.get().expect("a connection")));
        world.resize(2);
        world.give_back(guard);
        for getter in getters {
            world.give_back(getter.join().unwrap());
        }
        world.end();
    });
}

#[test]
fn a_pause_that_ends_serves_who_waits_and_what_came_back_in_it() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        world.pool.pause();
        let getter = world.go(World::use_one);
        let giver = world.go(|world| world.give_back(guard));
        world.pool.resume();
        giver.join().unwrap();
        getter.join().unwrap();
        assert_eq!(world.pool.stats().created, 1);
        world.end();
    });
}

#[test]
fn a_return_in_a_pause_is_not_lent_in_it() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        let giver = world.go(|world| world.give_back(guard));
        world.pool.pause();
        assert!(world.pool.try_get().is_err(), "checked out in a pause");
        giver.join().unwrap();
        assert_eq!(world.pool.stats().available, 1);
        world.pool.resume();
        world.use_one();
        world.end();
    });
}

#[test]
fn what_is_older_than_a_clear_is_not_lent_after_it() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        let giver = world.go(|world| world.give_back(guard));
        world.clear();
        let guard = world.get().expect("a connection");
        assert_eq!(guard.id(), 2, "checked out in spite of the clear");
        world.give_back(guard);
        giver.join().unwrap();
        world.end();
    });
}

#[test]
fn what_is_older_than_a_clear_does_not_stay_idle() {
    check(|| {
        let world = World::new(2);
        let [one, other] = world.hold();
        let giver = world.go(|world| world.give_back(one));
        let clearer = world.go(World::clear);
        world.give_back(other);
        giver.join().unwrap();
        clearer.join().unwrap();
        assert_eq!(world.pool.stats().size, 0, "idle in spite of the clear");
        world.end();
    });
}

/// Checks out its only connection once, so that the fast path can check it out again.
fn run_in(world: &World) {
    world.use_one();
    assert_eq!(world.pool.stats().available, 1);
}

#[test]
fn a_return_on_the_shortest_way_is_not_missed_by_a_get() {
    check(|| {
        let world = World::new(1);
        run_in(&world);
        let user = world.go(World::use_one);
        world.use_one();
        user.join().unwrap();
        assert_eq!(world.pool.stats().success, 3);
        world.end();
    });
}

#[test]
fn what_was_lent_on_the_shortest_way_is_not_lent_after_a_clear() {
    check(|| {
        let world = World::new(1);
        run_in(&world);
        let user = world.go(World::use_one);
        world.clear();
        let guard = world.get().expect("a connection");
        assert_eq!(guard.id(), 2, "checked out in spite of the clear");
        world.give_back(guard);
        user.join().unwrap();
        world.end();
    });
}

#[test]
fn what_comes_back_to_another_lane_is_not_missed_by_a_get() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        world.pool.shared().with(|_| world.pool.shared().idle.widen());
        let giver = world.go(|world| world.give_back(guard));
        let getter = world.go(World::use_one);
        world.use_one();
        giver.join().unwrap();
        getter.join().unwrap();
        assert_eq!(world.pool.stats().created, 1);
        world.end();
    });
}

#[test]
fn what_comes_back_while_the_idle_set_becomes_wider_or_narrow_is_not_missed() {
    check(|| {
        let world = World::new(1);
        let [guard] = world.hold();
        let giver = world.go(|world| {
            world.give_back(guard);
            world.use_one();
        });
        let shared = world.pool.shared();
        shared.with(|_| shared.idle.widen());
        let changed = world.pool.config();
        world
            .pool
            .reconfigure(crate::PoolConfig { max_idle: Some(1), ..changed })
            .expect("legal settings");
        world.use_one();
        giver.join().unwrap();
        assert_eq!(world.pool.stats().created, 1);
        world.end();
    });
}
