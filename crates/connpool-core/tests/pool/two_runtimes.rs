//! Pools that are used from several runtimes, of which one ends, or is not polled, while others go on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use connpool_core::{Builder, CloseReason, Event, Pool, Runtime};
use connpool_testkit::SimRuntime;

use crate::support::{
    Behavior, Call, Fake, Guard, Job, MILLI, SECOND, assert_at_rest, closed, fake, new, spawn,
};

const MINUTE: Duration = Duration::from_secs(60);

type Moves = Arc<Mutex<Vec<String>>>;

/// Creates the runtime that the pool is at home on, another one, and the moves of the pool.
fn pool_of(
    settings: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
) -> (SimRuntime, SimRuntime, Fake, Pool<Fake>, Moves) {
    let (home, _) = new(1);
    let elsewhere = home.another();
    let manager = fake(&home);
    let moves = Moves::default();
    let seen = Arc::clone(&moves);
    let observer = move |_: &str, event: &Event<'_>| {
        if matches!(event, Event::TakenOver { .. } | Event::MovedBack) {
            seen.lock().unwrap().push(event.to_string());
        }
    };
    let builder = Pool::builder(manager.clone(), home.clone()).evict_interval(None);
    let pool = settings(builder).observer(observer).build_lazy().unwrap();
    (home, elsewhere, manager, pool, moves)
}

fn moves(moves: &Moves) -> Vec<String> {
    std::mem::take(&mut *moves.lock().unwrap())
}

const ENDED: &str = "the pool's runtime has ended: the pool moves to that of a caller";
const SILENT: &str = "the pool's runtime does not answer: the pool moves to that of a caller";
const BACK: &str = "the pool's runtime answers again: the pool moves back";

/// Gets a connection on `runtime`. Returns how long that took.
fn get(runtime: &SimRuntime, pool: &Pool<Fake>) -> (Guard, Duration) {
    let before = runtime.elapsed();
    let conn = runtime.block_on(pool.get_owned()).unwrap();
    (conn, runtime.elapsed() - before)
}

// ---- the home runs

#[test]
fn short_lived_runtimes_share_the_connection_of_a_pool_that_lives_longer() {
    let (home, _, fake, pool, seen) = pool_of(|pool| pool.max_size(4));
    for _ in 0..20 {
        let short = home.another();
        drop(get(&short, &pool));
        short.shut_down();
    }
    assert_eq!(fake.calls(Call::Connect), 1);
    assert_eq!(pool.stats().available, 1);
    assert_eq!(moves(&seen), Vec::<String>::new());
}

#[test]
fn tasks_of_the_pool_run_at_home_whoever_asks() {
    let (home, elsewhere, fake, pool, _) = pool_of(|pool| pool.min_size(2).max_size(4));
    drop(get(&elsewhere, &pool));
    elsewhere.shut_down();
    // The maintenance task goes on: it replaces what is closed.
    pool.clear();
    home.advance(SECOND);
    assert_eq!((closed(&pool, CloseReason::Cleared), pool.stats().available), (2, 2));
    assert_eq!(fake.alive(), 2);
}

#[test]
fn home_that_is_slow_but_answers_keeps_the_pool() {
    let (home, elsewhere, _, pool, seen) = pool_of(|pool| pool.max_size(4));
    let end = home.elapsed() + 10 * SECOND;
    while home.elapsed() < end {
        home.freeze();
        let (conn, took) = get(&elsewhere, &pool);
        assert!(took <= 101 * MILLI, "{took:?}");
        drop(conn);
        elsewhere.advance(150 * MILLI);
        home.thaw();
        elsewhere.advance(50 * MILLI);
    }
    assert_eq!(moves(&seen), Vec::<String>::new());
}

// ---- the home has ended

#[test]
fn pool_moves_to_the_runtime_of_a_caller_when_its_own_has_ended() {
    let (home, elsewhere, fake, pool, seen) = pool_of(|pool| {
        pool.min_size(1).max_size(2).idle_timeout(MINUTE).evict_interval(10 * SECOND)
    });
    let first = get(&home, &pool).0.id();
    home.shut_down();
    let (conn, took) = get(&elsewhere, &pool);
    assert_ne!(conn.id(), first, "a connection of a runtime that has ended");
    assert!(took < 300 * MILLI, "{took:?}");
    assert_eq!(moves(&seen), [ENDED]);
    assert_eq!(closed(&pool, CloseReason::RuntimeGone), 1);

    // Limits, sweeps, `min_size` and `close` work as ever.
    let (other, _) = get(&elsewhere, &pool);
    let refused = elsewhere.block_on(pool.get_timeout(SECOND)).map(|conn| conn.id());
    assert!(refused.unwrap_err().is_timeout());
    drop((conn, other));
    elsewhere.advance(2 * MINUTE);
    assert_eq!((pool.stats().available, closed(&pool, CloseReason::Idle)), (1, 1));
    let report = elsewhere.block_on(pool.close(SECOND));
    assert!(!report.timed_out, "{report:?}");
    assert_eq!(fake.alive(), 0);
    assert_eq!(moves(&seen), Vec::<String>::new());
}

#[test]
fn pool_goes_from_one_short_lived_runtime_to_the_next() {
    let (home, _, fake, pool, seen) = pool_of(|pool| pool.max_size(2));
    drop(get(&home, &pool));
    home.shut_down();
    for _ in 0..20 {
        let next = home.another();
        let (conn, took) = get(&next, &pool);
        assert!(took < 300 * MILLI, "{took:?}");
        drop(conn);
        next.shut_down();
    }
    assert_eq!(fake.calls(Call::Connect), 21);
    assert_eq!(moves(&seen), [ENDED; 20]);
}

#[test]
fn try_get_lends_nothing_of_a_runtime_that_has_ended() {
    let (home, elsewhere, _, pool, _) = pool_of(|pool| pool);
    drop(get(&home, &pool));
    home.shut_down();
    // Outside of any runtime, and inside.
    assert!(pool.try_get().is_err());
    assert_eq!(closed(&pool, CloseReason::RuntimeGone), 1);
    elsewhere.block_on(async { assert!(pool.try_get().is_err()) });
}

#[test]
fn connection_returned_after_its_runtime_ended_is_not_lent() {
    let (home, elsewhere, _, pool, _) = pool_of(|pool| pool.max_size(1));
    let (conn, _) = get(&home, &pool);
    let id = conn.id();
    home.shut_down();
    let waiting = spawn(&elsewhere, {
        let pool = pool.clone();
        async move { pool.get_owned().await.map(|conn| conn.id()) }
    });
    elsewhere.advance(SECOND);
    drop(conn);
    elsewhere.advance(SECOND);
    assert_ne!(waiting.take().unwrap().unwrap(), id);
    assert_eq!(closed(&pool, CloseReason::RuntimeGone), 1);
}

#[test]
fn pool_built_nowhere_is_at_home_on_the_first_runtime_that_polls_it() {
    let (home, elsewhere, _, pool, seen) = pool_of(|pool| pool);
    drop(home);
    drop(get(&elsewhere, &pool));
    assert_eq!(moves(&seen), Vec::<String>::new());
}

// ---- the home is not polled

#[test]
fn caller_elsewhere_connects_itself_and_takes_over_when_the_home_is_silent() {
    let (home, elsewhere, fake, pool, seen) = pool_of(|pool| pool.min_size(1).max_size(4));
    let (conn, _) = get(&home, &pool);
    drop(conn);
    home.freeze();
    elsewhere.advance(SECOND);
    // Idle for longer than a moment: its runtime is asked for a sign of life first.
    let (conn, took) = get(&elsewhere, &pool);
    assert_eq!(took, 100 * MILLI);
    assert_eq!(closed(&pool, CloseReason::RuntimeGone), 1);
    let mut held = vec![conn];
    while moves(&seen).is_empty() {
        held.push(get(&elsewhere, &pool).0);
        held.truncate(2);
        elsewhere.advance(300 * MILLI);
        assert!(elsewhere.elapsed() < 5 * SECOND, "it never moved");
    }
    drop(held);
    // Maintained from here now.
    elsewhere.advance(SECOND);
    pool.clear();
    elsewhere.advance(SECOND);
    assert_eq!((pool.stats().available, fake.alive()), (1, 1));
    let report = elsewhere.block_on(pool.close(SECOND));
    assert!(!report.timed_out, "{report:?}");
    assert_eq!(fake.alive(), 0);
}

#[test]
fn pool_moves_back_when_its_runtime_answers_again() {
    let (home, elsewhere, _, pool, seen) = pool_of(|pool| pool.max_size(1));
    home.freeze();
    let mut conn = get(&elsewhere, &pool).0;
    let begun = elsewhere.elapsed();
    while moves(&seen) != [SILENT] {
        conn.mark_unusable();
        drop(conn);
        conn = get(&elsewhere, &pool).0;
        elsewhere.advance(100 * MILLI);
        assert!(elsewhere.elapsed() < begun + 5 * SECOND, "it never moved");
    }
    let id = conn.id();
    drop(conn);
    home.thaw();
    elsewhere.advance(SECOND);
    assert_eq!(moves(&seen), [BACK]);
    // That of the other runtime was closed soon after the move.
    assert_eq!(closed(&pool, CloseReason::RuntimeGone), 1);
    assert_ne!(get(&home, &pool).0.id(), id);
    assert_eq!(home.block_on(pool.close(SECOND)).still_out.len(), 0);
    home.settle();
    assert_eq!(home.tasks(), 0, "a task of an earlier epoch stays");
}

#[test]
fn close_from_elsewhere_takes_over_a_silent_home() {
    let (home, elsewhere, fake, pool, seen) = pool_of(|pool| pool.max_size(2));
    let held = [get(&home, &pool).0, get(&home, &pool).0];
    drop(held);
    home.freeze();
    let report = elsewhere.block_on(pool.close(5 * SECOND));
    assert!(!report.timed_out, "{report:?}");
    assert_eq!((fake.alive(), report.closed), (0, 2));
    assert_eq!(moves(&seen), [SILENT]);
}

#[test]
fn warm_up_from_elsewhere_needs_no_answer_of_the_home() {
    let (home, elsewhere, _, pool, _) = pool_of(|pool| pool.min_size(3).max_size(4));
    home.freeze();
    elsewhere.block_on(pool.warm_up()).unwrap();
    assert_eq!(elsewhere.elapsed(), 100 * MILLI);
    assert_eq!(pool.stats().available, 3);
}

/// Spawns a get on `runtime` whose connect is left to the home.
fn get_whose_connect_is_at_home(
    runtime: &SimRuntime,
    home: &SimRuntime,
    pool: &Pool<Fake>,
) -> Job<Guard> {
    home.freeze();
    let pool = pool.clone();
    let got = spawn(runtime, async move { pool.get_owned().await.unwrap() });
    runtime.settle();
    home.thaw();
    got
}

#[test]
fn connect_that_the_home_begins_late_is_begun_once() {
    let (home, elsewhere, fake, pool, _) = pool_of(|pool| pool.max_size(1));
    let got = get_whose_connect_is_at_home(&elsewhere, &home, &pool);
    // The maintenance task runs, and leaves a task for the connect that is not polled.
    let before = home.spawned();
    home.run_one();
    assert_eq!(home.spawned(), before + 1);
    home.freeze();
    elsewhere.advance(100 * MILLI);
    assert!(got.has_ended());
    home.thaw();
    elsewhere.advance(SECOND);
    assert_eq!(fake.calls(Call::Connect), 1);
    drop(got);
    assert_at_rest(&pool, &fake, 0);
}

#[test]
fn connect_that_a_silent_home_has_begun_gives_its_slot_back() {
    let (home, elsewhere, fake, pool, seen) =
        pool_of(|pool| pool.max_size(1).connect_timeout(None).get_timeout(MINUTE));
    fake.next(Call::Connect, [Behavior::Take(SECOND)]);
    let got = get_whose_connect_is_at_home(&elsewhere, &home, &pool);
    home.settle();
    assert_eq!(fake.calls(Call::Connect), 1);
    home.freeze();
    // A caller asks the home for something, and gets no answer.
    elsewhere.block_on(pool.get_timeout(50 * MILLI)).map(drop).unwrap_err();
    elsewhere.advance(3 * SECOND);
    assert!(got.has_ended());
    assert_eq!(moves(&seen), [SILENT]);
    drop(got.take());
    home.thaw();
    home.advance(MINUTE);
    // What the connect opened after all was closed at once, and the other one by the move back.
    assert_eq!((pool.stats().size, fake.alive()), (0, 0));
}

#[test]
fn caller_that_leaves_its_own_runtime_leaves_nothing_behind() {
    let (home, elsewhere, fake, pool, _) = pool_of(|pool| pool.max_size(1));
    home.freeze();
    // It begins the connect, and its runtime ends in the middle of it.
    let waits = spawn(&elsewhere, {
        let pool = pool.clone();
        async move { pool.get_owned().await.map(drop) }
    });
    elsewhere.advance(50 * MILLI);
    elsewhere.shut_down();
    assert!(!waits.has_ended());
    let third = home.another();
    let (conn, took) = get(&third, &pool);
    assert!(took < 500 * MILLI, "{took:?}");
    drop(conn);
    home.thaw();
    home.advance(SECOND);
    assert_at_rest(&pool, &fake, 0);
}

// ---- everything at random

#[test]
fn runtimes_that_freeze_and_end_at_random_lose_nothing() {
    for seed in 0..300 {
        let home = SimRuntime::new(seed);
        let mut runtimes = [home.clone(), home.another(), home.another()];
        let manager = fake(&home);
        let pool = Pool::builder(manager.clone(), home.clone())
            .min_size(1)
            .max_size(3)
            .get_timeout(20 * SECOND)
            .idle_timeout(5 * SECOND)
            .evict_interval(SECOND)
            .build_lazy()
            .unwrap();
        let mut gets = Vec::new();
        for _ in 0..40 {
            let one = home.random() as usize % runtimes.len();
            match home.random() % 8 {
                0 => runtimes[one].freeze(),
                1 | 2 => runtimes[one].thaw(),
                3 if one > 0 => {
                    runtimes[one].shut_down();
                    runtimes[one] = home.another();
                }
                4 if home.random() % 4 == 0 => home.shut_down(),
                _ => {
                    let (pool, runtime) = (pool.clone(), runtimes[one].clone());
                    gets.push(spawn(&runtimes[one], async move {
                        let conn = pool.get_owned().await;
                        runtime.sleep(200 * MILLI).await;
                        conn.map(drop).map_err(|error| error.to_string())
                    }));
                }
            }
            home.advance(Duration::from_millis(home.random() % 1_000));
            let stats = pool.stats();
            assert!(stats.size + stats.connecting <= 3, "seed {seed}: {stats}");
        }
        // What goes on finds a pool in order.
        runtimes.iter().for_each(SimRuntime::thaw);
        let last = home.another();
        last.advance(30 * SECOND);
        let held = [get(&last, &pool).0, get(&last, &pool).0, get(&last, &pool).0];
        drop(held);
        last.advance(10 * SECOND);
        assert_at_rest(&pool, &manager, 0);
        let report = last.block_on(pool.close(5 * SECOND));
        assert!(!report.timed_out, "seed {seed}: {report:?}");
        assert_eq!(manager.alive(), 0, "seed {seed}");
    }
}

#[test]
fn waiter_for_a_return_takes_over_from_a_home_that_owes_something_else() {
    let (home, fake) = new(1);
    let elsewhere = home.another();
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = home.block_on(pool.get_owned()).unwrap();
    home.settle();
    home.freeze();
    pool.clear();
    let waiter = spawn(&elsewhere, pool.get_owned_timeout(10 * SECOND));
    elsewhere.advance(SECOND);
    drop(held);
    elsewhere.advance(2 * SECOND);
    assert!(waiter.take().is_some_and(|got| got.is_ok()), "{}", pool.stats());
}
