//! A backend that is down, slow, or says hello and hangs up.

use std::error::Error;
use std::time::Duration;

use crate::support::watched::Watched;
use crate::support::{
    Behavior, Call, Fake, Job, MILLI, SECOND, ScriptedError, assert_books, assert_lends_all, fill,
    go_get, hold, new,
};
use connpool_core::{Backoff, BuildError, GetError, Liveness, Phase, Pool};

// ---- fail_fast

#[test]
fn each_failed_connect_answers_one() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::FailAfter(MILLI); 3]);
    let jobs: Vec<_> = (0..5).map(|_| go_get(&sim, &pool)).collect();
    sim.advance(MILLI);
    let answered = jobs.iter().filter(|job| job.has_ended()).count();
    assert_eq!(answered, 3);
    let error = jobs[0]
        .take()
        .expect("first in, first answered")
        .unwrap_err();
    assert!(matches!(&error, GetError::Connect(refused) if refused.0 <= 3));
    assert!(
        error
            .source()
            .is_some_and(|source| source.is::<ScriptedError>())
    );
    assert!(
        error.to_string().contains("cannot connect: refused"),
        "{error}"
    );
    sim.advance(SECOND);
    assert!(jobs[1..].iter().all(Job::has_ended));
    assert_eq!(pool.stats().connect_failed, 3);
    drop(jobs);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_failed_connect_that_answers_one_makes_room_for_the_next() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail, Behavior::Fail]);
    let jobs: Vec<_> = (0..3).map(|_| go_get(&sim, &pool)).collect();
    assert_eq!(jobs.iter().filter(|job| job.has_ended()).count(), 1);
    sim.advance(SECOND);
    let ends = jobs.map_results();
    assert_eq!(ends, [false, false, true]);
}

/// Whether each of some `get`s got a connection.
trait Ends {
    fn map_results(&self) -> Vec<bool>;
}

impl Ends for Vec<Job<crate::support::Got>> {
    fn map_results(&self) -> Vec<bool> {
        let ends = self.iter().map(|job| job.take().expect("no end"));
        ends.map(|got| got.is_ok()).collect()
    }
}

#[test]
fn with_nobody_in_line_a_failed_connect_answers_nobody() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fake.next(Call::Connect, [Behavior::FailAfter(SECOND)]);
    let waiter = go_get(&sim, &pool);
    drop(held);
    sim.settle();
    assert!(waiter.take().is_some_and(|got| got.is_ok()));
    sim.advance(SECOND);
    assert_eq!(pool.stats().connect_failed, 1);
    assert!(sim.block_on(pool.get()).is_ok());
}

#[test]
fn without_fail_fast_they_wait_on_and_the_timeout_carries_the_last_error() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .fail_fast(false)
        .get_timeout(3 * SECOND)
        .build_lazy()
        .unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    let error = sim.block_on(pool.get()).unwrap_err();
    assert_eq!(sim.elapsed(), 3 * SECOND);
    let GetError::Timeout { phase, diagnosis } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*phase, Phase::Connect, "that is what it waited for");
    assert!(diagnosis.last_error.is_some());
    let last = fake.calls(Call::Connect);
    let source = error.source().and_then(|source| source.downcast_ref());
    assert_eq!(source, Some(&ScriptedError(last)));
    let ago = diagnosis.last_error_ago.unwrap();
    assert!(ago > Duration::ZERO && ago < 3 * SECOND, "{ago:?}");
    let text = format!(" ago: refused the call number {last}; the breaker is open; see that the");
    assert!(error.to_string().contains(&text), "{error}");
}

#[test]
fn without_fail_fast_who_waits_is_served_when_the_backend_is_back() {
    let (sim, fake) = new(1);
    let pool = fake.pool().fail_fast(false).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail; 4]);
    let jobs: Vec<_> = (0..4).map(|_| go_get(&sim, &pool)).collect();
    sim.advance(2 * SECOND);
    let served = jobs.iter().filter_map(Job::take).filter(|got| got.is_ok());
    assert_eq!(served.count(), 4);
    let error = sim.block_on(async {
        let _all = hold_all(&pool).await;
        pool.get_timeout(SECOND).await.unwrap_err()
    });
    assert!(error.source().is_none(), "an old error: {error}");
}

async fn hold_all(pool: &Pool<Fake>) -> Vec<crate::support::Guard> {
    let mut all = Vec::new();
    while all.len() < pool.config().max_size {
        all.push(pool.get_owned().await.unwrap());
    }
    all
}

#[test]
fn a_build_fails_with_the_first_error_and_leaves_nothing() {
    let (sim, fake) = new(1);
    fake.next(
        Call::Connect,
        [Behavior::Succeed, Behavior::Fail, Behavior::Take(SECOND)],
    );
    match sim.block_on(fake.pool().min_size(3).build()) {
        Err(BuildError::Connect(refused)) => assert!(refused.0 <= 3),
        other => panic!("{:?}", other.map(|pool| pool.stats())),
    }
    sim.advance(2 * SECOND);
    assert_eq!((fake.alive(), sim.tasks()), (0, 0));
}

#[test]
fn a_build_without_fail_fast_waits_for_the_backend_until_its_time_is_up() {
    let (sim, fake) = new(1);
    fake.next(Call::Connect, [Behavior::Fail; 3]);
    let pool = sim
        .block_on(fake.pool().min_size(2).fail_fast(false).build())
        .unwrap();
    assert_eq!(pool.stats().size, 2);
    fake.always(Call::Connect, Behavior::Fail);
    let start = sim.elapsed();
    let build = fake.pool().min_size(2).fail_fast(false).get_timeout(SECOND);
    // With the reason, not only the fact.
    assert!(matches!(
        sim.block_on(build.build()),
        Err(BuildError::Connect(_))
    ));
    assert_eq!(sim.elapsed() - start, SECOND);
}

// ---- backoff

/// The pauses between the attempts of somebody who waits for a minute.
fn pauses(seed: u64, backoff: Option<Backoff>) -> Vec<Duration> {
    let (sim, fake) = new(seed);
    let mut builder = fake
        .pool()
        .fail_fast(false)
        .breaker(None)
        .get_timeout(60 * SECOND);
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
fn pauses_stay_below_a_ceiling_that_doubles_up_to_five_seconds() {
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
    // Full jitter uses the whole range.
    for (nth, longest) in longest.into_iter().enumerate() {
        let ceiling = (50 * MILLI * 2_u32.pow(nth as u32)).min(5 * SECOND);
        assert!(
            longest > ceiling / 2,
            "the pause {nth} is too short: {longest:?}"
        );
    }
}

#[test]
fn pauses_follow_the_settings() {
    let backoff = Backoff::new(SECOND, SECOND, 1.0);
    let pauses = pauses(1, Some(backoff));
    assert!(pauses.iter().all(|pause| *pause <= SECOND));
    assert!((60..300).contains(&pauses.len()), "{}", pauses.len());
}

#[test]
fn one_success_ends_the_backoff() {
    let (sim, fake) = new(1);
    let pool = fake.pool().fail_fast(false).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail; 5]);
    let held = hold(&sim, &pool, 1);
    fake.next(Call::Connect, [Behavior::Fail]);
    let start = sim.elapsed();
    let more = hold(&sim, &pool, 1);
    assert!(
        sim.elapsed() - start <= 50 * MILLI,
        "still as if it were down"
    );
    drop((held, more));
}

#[test]
fn failures_of_one_moment_count_once() {
    for seed in 0..20 {
        let (sim, fake) = new(seed);
        let pool = fake.pool().max_size(10).build_lazy().unwrap();
        fake.next(Call::Connect, [Behavior::FailAfter(MILLI); 10]);
        let jobs: Vec<_> = (0..10).map(|_| go_get(&sim, &pool)).collect();
        assert_eq!(fake.calls(Call::Connect), 10);
        sim.advance(MILLI);
        assert!(jobs.iter().all(Job::has_ended));
        let start = sim.elapsed();
        drop(sim.block_on(pool.get()).unwrap());
        assert!(sim.elapsed() - start <= 50 * MILLI, "seed {seed}");
    }
}

#[test]
fn a_dead_backend_does_not_keep_what_is_idle_from_being_lent() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Fail);
    assert!(matches!(
        sim.block_on(pool.get()),
        Err(GetError::Connect(_))
    ));
    drop(held);
    let now = sim.elapsed();
    for _ in 0..10 {
        assert!(sim.block_on(pool.get()).is_ok());
    }
    assert_eq!(sim.elapsed(), now);
}

#[test]
fn min_size_is_not_dialled_without_rest_while_the_backend_is_down() {
    let (sim, fake) = new(1);
    let runtime = Watched::new(&sim, 10_000);
    let pool = Pool::builder(fake.clone(), runtime)
        .max_size(20)
        .min_size(5)
        .build_lazy()
        .unwrap();
    fake.always(Call::Connect, Behavior::Fail);
    let _ = sim.block_on(pool.get());
    sim.advance(60 * SECOND);
    // Five at a time, once for each pause.
    let calls = fake.calls(Call::Connect);
    assert!((10..300).contains(&calls), "{calls} connects in a minute");
    fake.clear_script();
    sim.advance(10 * SECOND);
    assert_eq!(pool.stats().available, 5);
}

// ---- connects that hang

#[test]
fn a_connect_that_hangs_ends_at_its_timeout_and_answers_the_first() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(1)
        .connect_timeout(2 * SECOND)
        .build_lazy()
        .unwrap();
    fake.next(Call::Connect, [Behavior::Hang]);
    let error = sim.block_on(pool.get()).unwrap_err();
    assert!(matches!(
        error,
        GetError::Timeout {
            phase: Phase::Connect,
            ..
        }
    ));
    assert_eq!(sim.elapsed(), 2 * SECOND);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_connect_that_hangs_frees_its_slot_even_if_its_getter_has_left() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(1)
        .connect_timeout(2 * SECOND)
        .build_lazy()
        .unwrap();
    fake.next(Call::Connect, [Behavior::Hang]);
    assert!(sim.block_on(pool.get_timeout(SECOND)).is_err());
    assert_eq!(pool.stats().connecting, 1);
    sim.advance(SECOND);
    assert_books(&pool, &fake, 0);
    assert_eq!(pool.stats().connect_failed, 1);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn who_comes_while_a_connect_hangs_gets_the_next_one() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(1)
        .connect_timeout(2 * SECOND)
        .build_lazy()
        .unwrap();
    fake.next(Call::Connect, [Behavior::Hang]);
    let first = go_get(&sim, &pool);
    let second = go_get(&sim, &pool);
    sim.advance(2 * SECOND + 50 * MILLI);
    assert!(first.take().is_some_and(|got| got.is_err()));
    assert!(second.take().is_some_and(|got| got.is_ok()));
}

// ---- a backend that accepts and hangs up

fn accept_then_dead(increment: usize, getters: usize, fail_fast: bool) -> (usize, bool) {
    let (sim, fake) = new(1);
    let runtime = Watched::new(&sim, 100_000);
    let pool = Pool::builder(fake.clone(), runtime)
        .max_size(20)
        .increment(increment)
        .fail_fast(fail_fast)
        .build_lazy()
        .unwrap();
    fake.set_liveness(Liveness::Closed);
    let jobs: Vec<_> = (0..getters).map(|_| go_get(&sim, &pool)).collect();
    sim.advance(SECOND);
    let calls = fake.calls(Call::Connect);
    let got = jobs.iter().filter_map(Job::take).any(|got| got.is_ok());
    drop(jobs);
    sim.advance(60 * SECOND);
    fake.clear_script();
    assert_lends_all(&sim, &fake, &pool);
    (calls, got)
}

#[test]
fn a_backend_that_accepts_and_hangs_up_is_not_dialled_without_rest() {
    for fail_fast in [true, false] {
        let (calls, got) = accept_then_dead(1, 1, fail_fast);
        assert!(!got, "a dead connection was lent");
        assert!((2..=20).contains(&calls), "{calls} connects in a second");
    }
}

#[test]
fn nor_by_many_who_wait() {
    let (calls, got) = accept_then_dead(1, 3, true);
    assert!(!got, "a dead connection was lent");
    assert!((2..=60).contains(&calls), "{calls} connects in a second");
}

/// The surplus of a batch becomes idle without anybody looking at it: that proves nothing.
#[test]
fn nor_by_a_pool_that_grows_in_batches() {
    let (calls, got) = accept_then_dead(5, 1, true);
    assert!(!got, "a dead connection was lent");
    // Batches of five.
    assert!((2..=100).contains(&calls), "{calls} connects in a second");
}

#[test]
fn nor_to_keep_up_min_size() {
    let (sim, fake) = new(1);
    let runtime = Watched::new(&sim, 200_000);
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
    // Two at a time.
    assert!(calls <= 40, "{calls} connects in a second");
}

// ---- how many at once

#[test]
fn no_more_connects_are_under_way_than_allowed() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(10)
        .max_connecting(2)
        .build_lazy()
        .unwrap();
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let jobs: Vec<_> = (0..6).map(|_| go_get(&sim, &pool)).collect();
    for second in 1..=3 {
        assert_eq!(pool.stats().connecting, 2);
        sim.advance(SECOND);
        assert_eq!(
            jobs.iter().filter(|job| job.has_ended()).count(),
            2 * second
        );
    }
    assert_eq!(fake.peak(), 6);
}

#[test]
fn a_build_opens_many_a_few_at_a_time() {
    let (sim, fake) = new(1);
    fake.always(Call::Connect, Behavior::Take(MILLI));
    let build = fake.pool().max_size(50).min_size(50).max_connecting(10);
    let pool = sim.block_on(build.build()).unwrap();
    assert_eq!(pool.stats().available, 50);
    assert_eq!(sim.elapsed(), 5 * MILLI);
}

#[test]
fn with_max_connecting_a_failed_connect_lets_the_next_begin() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(10)
        .max_connecting(1)
        .build_lazy()
        .unwrap();
    fake.next(Call::Connect, [Behavior::FailAfter(MILLI), Behavior::Hang]);
    let jobs: Vec<_> = (0..4).map(|_| go_get(&sim, &pool)).collect();
    sim.advance(8 * SECOND);
    assert_eq!(jobs.map_results(), [false, false, true, true]);
}
