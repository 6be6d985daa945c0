//! Backends that are down, hang, or accept and close.

use std::time::Duration;

use crate::support::counting::CountingRuntime;
use crate::support::{
    Behavior, Call, Job, MILLI, SECOND, ScriptedError, assert_at_rest, assert_full_capacity, fill,
    hold, new, spawn_get,
};
use connpool_core::{Backoff, BuildError, ConnectError, GetError, Liveness, Phase, Pool};

// ---- fail_fast

#[test]
fn failed_connect_frees_its_slot_for_the_next_waiter() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).fail_fast_after(None).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail, Behavior::Fail]);
    let first = spawn_get(&sim, &pool);
    let second = spawn_get(&sim, &pool);
    sim.advance(SECOND);
    assert!(first.take().is_some_and(|got| got.is_ok()));
    sim.settle();
    assert!(second.take().is_some_and(|got| got.is_ok()));
}

/// Takes the outcomes of gets.
trait Outcomes {
    /// Returns for each get whether it succeeded. Panics if one is pending.
    fn map_results(&self) -> Vec<bool>;
}

impl Outcomes for Vec<Job<crate::support::Got>> {
    fn map_results(&self) -> Vec<bool> {
        let outcomes = self.iter().map(|job| job.take().expect("still pending"));
        outcomes.map(|got| got.is_ok()).collect()
    }
}

#[test]
fn without_fail_fast_the_timeout_carries_the_last_connect_error() {
    let (sim, fake) = new(1);
    let pool = fake.pool().fail_fast_after(None).get_timeout(3 * SECOND).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    let error = sim.block_on(pool.get()).unwrap_err();
    assert_eq!(sim.elapsed(), 3 * SECOND);
    let GetError::Timeout { phase, diagnosis } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*phase, Phase::Connect, "wrong phase");
    let last = fake.calls(Call::Connect);
    let last_error = diagnosis
        .last_error
        .as_ref()
        .and_then(|last| last.downcast_ref::<ConnectError<ScriptedError>>());
    let Some(ConnectError::Failed(refused)) = last_error else {
        panic!("{error:?}");
    };
    assert_eq!(**refused, ScriptedError(last));
    let ago = diagnosis.last_error_ago.unwrap();
    assert!(ago > Duration::ZERO && ago < 3 * SECOND, "{ago:?}");
    let text = format!(" ago: refused the call number {last}; the breaker is open; see that the");
    assert!(error.to_string().contains(&text), "{error}");
}

#[test]
fn build_fails_with_the_first_error_and_leaves_nothing_behind() {
    let (sim, fake) = new(1);
    // The third began with the others and hangs: build does not wait for it.
    fake.next(Call::Connect, [Behavior::FailAfter(MILLI); 2]);
    fake.always(Call::Connect, Behavior::Take(2 * SECOND));
    match sim.block_on(fake.pool().min_size(3).build()) {
        Err(BuildError::Connect(ConnectError::Failed(refused))) => assert!(refused.0 <= 3),
        other => panic!("{:?}", other.map(|pool| pool.stats())),
    }
    assert!(sim.elapsed() < SECOND);
    sim.advance(3 * SECOND);
    assert_eq!((fake.alive(), sim.tasks()), (0, 0));
}

#[test]
fn build_retries_a_failed_connect_beside_open_connections() {
    let (sim, fake) = new(1);
    fake.next(Call::Connect, [Behavior::Succeed, Behavior::Fail]);
    let pool = sim.block_on(fake.pool().min_size(3).build()).unwrap();
    assert_eq!(pool.stats().size, 3);
}

#[test]
fn build_without_fail_fast_retries_until_its_timeout() {
    let (sim, fake) = new(1);
    fake.next(Call::Connect, [Behavior::Fail; 3]);
    let pool = sim.block_on(fake.pool().min_size(2).fail_fast_after(None).build()).unwrap();
    assert_eq!(pool.stats().size, 2);
    fake.always(Call::Connect, Behavior::Fail);
    let start = sim.elapsed();
    let build = fake.pool().min_size(2).fail_fast_after(None).get_timeout(SECOND);
    // The error is the cause, not only the timeout.
    assert!(matches!(sim.block_on(build.build()), Err(BuildError::Connect(_))));
    assert_eq!(sim.elapsed() - start, SECOND);
}

// ---- backoff

/// Returns the pauses between the connects of a minute, in which a get waits if `asked`.
fn pauses(seed: u64, asked: bool, backoff: Backoff) -> Vec<Duration> {
    let (sim, fake) = new(seed);
    let builder = fake.pool().min_size(1).fail_fast_after(None).breaker(None).backoff(backoff);
    let pool = builder.build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    let limit = if asked { 60 * SECOND } else { Duration::ZERO };
    assert!(sim.block_on(pool.get_timeout(limit)).is_err());
    sim.advance(60 * SECOND - limit);
    let at = fake.connects_at();
    at.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Asserts that `pause` is `longest`, shortened by at most 15 %.
fn assert_jittered(pause: Duration, longest: Duration, case: &str) {
    let shortest = longest * 85 / 100;
    assert!(shortest <= pause && pause <= longest, "{pause:?} of {longest:?}: {case}");
}

#[test]
fn backoff_doubles_up_to_five_seconds_while_no_caller_waits() {
    for seed in 0..40 {
        let pauses = pauses(seed, false, Backoff::default());
        assert!(pauses.len() >= 12, "{} attempts in a minute", pauses.len());
        for (nth, pause) in (0..).zip(pauses) {
            let doubled = 250 * MILLI * 2_u32.pow(nth);
            assert_jittered(pause, doubled.min(5 * SECOND), &format!("seed {seed}, pause {nth}"));
        }
    }
}

#[test]
fn backoff_is_at_most_a_quarter_second_and_later_a_second_while_a_caller_waits() {
    for seed in 0..40 {
        let mut at = Duration::ZERO;
        for pause in pauses(seed, true, Backoff::default()) {
            let longest = if at <= 5 * SECOND { 250 * MILLI } else { SECOND };
            if at.is_zero() {
                assert!((150 * MILLI..=longest).contains(&pause), "{pause:?}: seed {seed}");
            } else {
                assert_jittered(pause, longest, &format!("seed {seed}, at {at:?}"));
            }
            at += pause;
        }
    }
}

#[test]
fn backoff_follows_the_settings() {
    let backoff = Backoff::new(SECOND, SECOND, 1.0);
    let pauses = pauses(1, false, backoff);
    assert!(pauses.iter().all(|pause| *pause <= SECOND));
    assert!((59..=72).contains(&pauses.len()), "{}", pauses.len());
}

#[test]
fn one_successful_connect_ends_the_backoff() {
    let (sim, fake) = new(1);
    let pool = fake.pool().fail_fast_after(None).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail; 5]);
    let held = hold(&sim, &pool, 1);
    // A failure that comes sooner is contention.
    sim.advance(10 * SECOND);
    fake.next(Call::Connect, [Behavior::Fail]);
    let start = sim.elapsed();
    let more = hold(&sim, &pool, 1);
    assert!(sim.elapsed() - start <= 250 * MILLI, "the backoff was not reset");
    drop((held, more));
}

#[test]
fn connects_that_fail_and_succeed_by_turns_are_a_second_apart_while_something_is_open() {
    let (sim, fake) = new(1);
    let pool = fake.pool().fail_fast_after(None).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail, Behavior::Succeed, Behavior::Fail]);
    let held = hold(&sim, &pool, 1);
    let start = sim.elapsed();
    let more = hold(&sim, &pool, 1);
    let took = sim.elapsed() - start;
    assert!((1_275 * MILLI..=1_500 * MILLI).contains(&took), "{took:?}");
    drop((held, more));
}

#[test]
fn waiter_that_comes_during_contention_gets_its_connect_in_time() {
    let (sim, fake) = new(1);
    let pool = fake.pool().fail_fast_after(None).evict_interval(None).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail, Behavior::Succeed, Behavior::Fail]);
    let held = hold(&sim, &pool, 1);
    let limit = 600 * MILLI;
    assert!(sim.block_on(pool.get_timeout(limit)).is_err(), "contention has begun");
    sim.advance(500 * MILLI);
    let start = sim.elapsed();
    let more = hold(&sim, &pool, 1);
    assert!(sim.elapsed() - start <= 500 * MILLI, "{:?}", sim.elapsed() - start);
    drop((held, more));
}

#[test]
fn simultaneous_connect_failures_count_once_for_backoff() {
    for seed in 0..20 {
        let (sim, fake) = new(seed);
        let pool = fake.pool().max_size(10).fail_fast_after(None).build_lazy().unwrap();
        fake.next(Call::Connect, [Behavior::FailAfter(MILLI); 10]);
        let jobs: Vec<_> = (0..10).map(|_| spawn_get(&sim, &pool)).collect();
        assert_eq!(fake.calls(Call::Connect), 10);
        sim.advance(MILLI);
        assert!(!jobs.iter().any(Job::has_ended));
        sim.advance(250 * MILLI);
        assert!(jobs.iter().all(Job::has_ended), "seed {seed}");
    }
}

#[test]
fn idle_connections_are_lent_while_connects_fail() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Fail);
    assert!(matches!(sim.block_on(pool.get()), Err(GetError::Connect(_))));
    drop(held);
    let now = sim.elapsed();
    for _ in 0..10 {
        assert!(sim.block_on(pool.get()).is_ok());
    }
    assert_eq!(sim.elapsed(), now);
}

#[test]
fn min_size_respects_backoff_while_the_backend_is_down() {
    let (sim, fake) = new(1);
    let runtime = CountingRuntime::new(&sim, 10_000);
    let pool = Pool::builder(fake.clone(), runtime).max_size(20).min_size(5).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    let _ = sim.block_on(pool.get());
    sim.advance(60 * SECOND);
    // Up to five connects per backoff pause.
    let calls = fake.calls(Call::Connect);
    assert!((10..300).contains(&calls), "{calls} connects in a minute");
    fake.clear_script();
    sim.advance(10 * SECOND);
    assert_eq!(pool.stats().available, 5);
}

// ---- connects that hang

#[test]
fn hanging_connect_ends_at_connect_timeout_and_fails_the_waiter() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).connect_timeout(2 * SECOND).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Hang]);
    let error = sim.block_on(pool.get()).unwrap_err();
    assert!(matches!(error, GetError::Connect(ConnectError::TimedOut)), "{error:?}");
    assert_eq!(sim.elapsed(), 2 * SECOND);
    // The probe for the caller that was told.
    sim.advance(SECOND);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn hanging_connect_of_a_dropped_get_frees_its_slot() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).connect_timeout(2 * SECOND).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Hang]);
    assert!(sim.block_on(pool.get_timeout(SECOND)).is_err());
    assert_eq!(pool.stats().connecting, 1);
    sim.advance(SECOND);
    assert_at_rest(&pool, &fake, 0);
    assert_eq!(pool.stats().connect_failed, 1);
    // Meanwhile a caller would be told of the failure.
    sim.advance(1_100 * MILLI);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn get_during_a_hanging_connect_is_served_by_the_next_connect() {
    let (sim, fake) = new(1);
    let builder = fake.pool().max_size(1).connect_timeout(2 * SECOND);
    let pool = builder.fail_fast_after(None).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Hang]);
    let first = spawn_get(&sim, &pool);
    let second = spawn_get(&sim, &pool);
    sim.advance(2 * SECOND + 250 * MILLI);
    assert!(first.take().is_some_and(|got| got.is_ok()));
    sim.settle();
    assert!(second.take().is_some_and(|got| got.is_ok()));
}

// ---- a backend that accepts and hangs up

fn run_accept_and_close(increment: usize, gets: usize, fail_fast: bool) -> (usize, bool) {
    let (sim, fake) = new(1);
    let runtime = CountingRuntime::new(&sim, 100_000);
    let pool = Pool::builder(fake.clone(), runtime)
        .max_size(20)
        .increment(increment)
        .fail_fast_after(fail_fast.then_some(Duration::ZERO))
        .build_lazy()
        .unwrap();
    fake.set_liveness(Liveness::Closed);
    let jobs: Vec<_> = (0..gets).map(|_| spawn_get(&sim, &pool)).collect();
    sim.advance(SECOND);
    let calls = fake.calls(Call::Connect);
    let got = jobs.iter().filter_map(Job::take).any(|got| got.is_ok());
    drop(jobs);
    sim.advance(60 * SECOND);
    fake.clear_script();
    assert_full_capacity(&sim, &fake, &pool);
    (calls, got)
}

#[test]
fn backend_that_accepts_and_closes_is_dialled_with_backoff() {
    for fail_fast in [true, false] {
        let (calls, got) = run_accept_and_close(1, 1, fail_fast);
        assert!(!got, "got a dead connection");
        assert!((2..=20).contains(&calls), "{calls} connects in a second");
    }
}

#[test]
fn backend_that_accepts_and_closes_is_dialled_with_backoff_for_many_waiters() {
    let (calls, got) = run_accept_and_close(1, 3, true);
    assert!(!got, "got a dead connection");
    assert!((2..=60).contains(&calls), "{calls} connects in a second");
}

/// Surplus connections of an increment become idle without a probe, which proves nothing.
#[test]
fn backend_that_accepts_and_closes_is_dialled_with_backoff_by_increments() {
    let (calls, got) = run_accept_and_close(5, 1, true);
    assert!(!got, "got a dead connection");
    // Increments of five.
    assert!((2..=100).contains(&calls), "{calls} connects in a second");
}

#[test]
fn backend_that_accepts_and_closes_is_dialled_with_backoff_for_min_size() {
    let (sim, fake) = new(1);
    let runtime = CountingRuntime::new(&sim, 200_000);
    let pool = Pool::builder(fake.clone(), runtime)
        .min_size(2)
        .evict_interval(10 * MILLI)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 2);
    fake.set_liveness(Liveness::Closed);
    let before = fake.calls(Call::Connect);
    sim.advance(SECOND);
    let calls = fake.calls(Call::Connect) - before;
    // Two connects at a time.
    assert!(calls <= 40, "{calls} connects in a second");
}

// ---- max_connecting

#[test]
fn max_connecting_limits_concurrent_connects() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(10).max_connecting(2).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Take(500 * MILLI));
    let jobs: Vec<_> = (0..6).map(|_| spawn_get(&sim, &pool)).collect();
    for round in 1..=3 {
        assert_eq!(pool.stats().connecting, 2);
        sim.advance(500 * MILLI);
        assert_eq!(jobs.iter().filter(|job| job.has_ended()).count(), 2 * round);
    }
    assert_eq!(fake.peak(), 6);
}

#[test]
fn max_connecting_limits_the_connects_of_a_build() {
    let (sim, fake) = new(1);
    fake.always(Call::Connect, Behavior::Take(MILLI));
    let build = fake.pool().max_size(50).min_size(50).max_connecting(10);
    let pool = sim.block_on(build.build()).unwrap();
    assert_eq!(pool.stats().available, 50);
    assert_eq!(sim.elapsed(), 5 * MILLI);
}

#[test]
fn failed_connect_under_max_connecting_lets_the_next_begin() {
    let (sim, fake) = new(1);
    let builder = fake.pool().max_size(10).max_connecting(1);
    let pool = builder.fail_fast_after(None).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::FailAfter(MILLI), Behavior::Hang]);
    let jobs: Vec<_> = (0..4).map(|_| spawn_get(&sim, &pool)).collect();
    sim.advance(8 * SECOND);
    assert_eq!(jobs.map_results(), [true; 4]);
}
