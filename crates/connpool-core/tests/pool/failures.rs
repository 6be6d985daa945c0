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
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail, Behavior::Fail]);
    let jobs: Vec<_> = (0..3).map(|_| spawn_get(&sim, &pool)).collect();
    assert_eq!(jobs.iter().filter(|job| job.has_ended()).count(), 1);
    sim.advance(SECOND);
    let outcomes = jobs.map_results();
    assert_eq!(outcomes, [false, false, true]);
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
    let pool = fake.pool().fail_fast(false).get_timeout(3 * SECOND).build_lazy().unwrap();
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
    fake.next(Call::Connect, [Behavior::Succeed, Behavior::Fail, Behavior::Take(SECOND)]);
    match sim.block_on(fake.pool().min_size(3).build()) {
        Err(BuildError::Connect(ConnectError::Failed(refused))) => assert!(refused.0 <= 3),
        other => panic!("{:?}", other.map(|pool| pool.stats())),
    }
    sim.advance(2 * SECOND);
    assert_eq!((fake.alive(), sim.tasks()), (0, 0));
}

#[test]
fn build_without_fail_fast_retries_until_its_timeout() {
    let (sim, fake) = new(1);
    fake.next(Call::Connect, [Behavior::Fail; 3]);
    let pool = sim.block_on(fake.pool().min_size(2).fail_fast(false).build()).unwrap();
    assert_eq!(pool.stats().size, 2);
    fake.always(Call::Connect, Behavior::Fail);
    let start = sim.elapsed();
    let build = fake.pool().min_size(2).fail_fast(false).get_timeout(SECOND);
    // The error is the cause, not only the timeout.
    assert!(matches!(sim.block_on(build.build()), Err(BuildError::Connect(_))));
    assert_eq!(sim.elapsed() - start, SECOND);
}

// ---- backoff

/// Returns the pauses between the connects for a get that waits for a minute.
fn pauses(seed: u64, backoff: Option<Backoff>) -> Vec<Duration> {
    let (sim, fake) = new(seed);
    let mut builder = fake.pool().fail_fast(false).breaker(None).get_timeout(60 * SECOND);
    if let Some(backoff) = backoff {
        builder = builder.backoff(backoff);
    }
    let pool = builder.build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    assert!(sim.block_on(pool.get()).is_err());
    let at = fake.connects_at();
    at.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn backoff_ceiling_doubles_up_to_five_seconds() {
    let mut longest = [Duration::ZERO; 8];
    for seed in 0..40 {
        let pauses = pauses(seed, None);
        for (nth, pause) in pauses.iter().enumerate() {
            let doubled = 50 * MILLI * 2_u32.pow(nth.min(16) as u32);
            let ceiling = doubled.min(5 * SECOND);
            assert!(*pause <= ceiling, "seed {seed}: {pause:?} > {ceiling:?}");
            if let Some(longest) = longest.get_mut(nth) {
                *longest = (*longest).max(*pause);
            }
        }
        assert!(pauses.len() >= 12, "{} attempts in a minute", pauses.len());
    }
    // Full jitter covers the whole range.
    for (nth, longest) in longest.into_iter().enumerate() {
        let ceiling = (50 * MILLI * 2_u32.pow(nth as u32)).min(5 * SECOND);
        assert!(longest > ceiling / 2, "pause {nth} is too short: {longest:?}");
    }
}

#[test]
fn backoff_follows_the_settings() {
    let backoff = Backoff::new(SECOND, SECOND, 1.0);
    let pauses = pauses(1, Some(backoff));
    assert!(pauses.iter().all(|pause| *pause <= SECOND));
    assert!((60..300).contains(&pauses.len()), "{}", pauses.len());
}

#[test]
fn one_successful_connect_ends_the_backoff() {
    let (sim, fake) = new(1);
    let pool = fake.pool().fail_fast(false).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail; 5]);
    let held = hold(&sim, &pool, 1);
    fake.next(Call::Connect, [Behavior::Fail]);
    let start = sim.elapsed();
    let more = hold(&sim, &pool, 1);
    assert!(sim.elapsed() - start <= 50 * MILLI, "the backoff was not reset");
    drop((held, more));
}

#[test]
fn simultaneous_connect_failures_count_once_for_backoff() {
    for seed in 0..20 {
        let (sim, fake) = new(seed);
        let pool = fake.pool().max_size(10).build_lazy().unwrap();
        fake.next(Call::Connect, [Behavior::FailAfter(MILLI); 10]);
        let jobs: Vec<_> = (0..10).map(|_| spawn_get(&sim, &pool)).collect();
        assert_eq!(fake.calls(Call::Connect), 10);
        sim.advance(MILLI);
        assert!(jobs.iter().all(Job::has_ended));
        let start = sim.elapsed();
        drop(sim.block_on(pool.get()).unwrap());
        assert!(sim.elapsed() - start <= 50 * MILLI, "seed {seed}");
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
fn hanging_connect_ends_at_connect_timeout_and_fails_the_first_waiter() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).connect_timeout(2 * SECOND).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Hang]);
    let error = sim.block_on(pool.get()).unwrap_err();
    assert!(matches!(error, GetError::Connect(ConnectError::TimedOut)), "{error:?}");
    assert_eq!(sim.elapsed(), 2 * SECOND);
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
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn get_during_a_hanging_connect_is_served_by_the_next_connect() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).connect_timeout(2 * SECOND).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Hang]);
    let first = spawn_get(&sim, &pool);
    let second = spawn_get(&sim, &pool);
    sim.advance(2 * SECOND + 50 * MILLI);
    assert!(first.take().is_some_and(|got| got.is_err()));
    assert!(second.take().is_some_and(|got| got.is_ok()));
}

// ---- a backend that accepts and hangs up

fn run_accept_and_close(increment: usize, gets: usize, fail_fast: bool) -> (usize, bool) {
    let (sim, fake) = new(1);
    let runtime = CountingRuntime::new(&sim, 100_000);
    let pool = Pool::builder(fake.clone(), runtime)
        .max_size(20)
        .increment(increment)
        .fail_fast(fail_fast)
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
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let jobs: Vec<_> = (0..6).map(|_| spawn_get(&sim, &pool)).collect();
    for second in 1..=3 {
        assert_eq!(pool.stats().connecting, 2);
        sim.advance(SECOND);
        assert_eq!(jobs.iter().filter(|job| job.has_ended()).count(), 2 * second);
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
    let pool = fake.pool().max_size(10).max_connecting(1).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::FailAfter(MILLI), Behavior::Hang]);
    let jobs: Vec<_> = (0..4).map(|_| spawn_get(&sim, &pool)).collect();
    sim.advance(8 * SECOND);
    assert_eq!(jobs.map_results(), [false, false, true, true]);
}
