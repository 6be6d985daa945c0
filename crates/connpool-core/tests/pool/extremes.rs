//! Settings at their extremes: zero, one nanosecond, the maximum.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::support::counting::CountingRuntime;
use crate::support::{Behavior, Call, Fake, MILLI, SECOND, fill, new};
use connpool_core::{Backoff, Breaker, Builder, Event, Pool};

type Set = fn(Builder<Fake>, Duration) -> Builder<Fake>;

const DURATIONS: [(&str, Set); 12] = [
    ("idle_timeout", |pool, span| pool.idle_timeout(span)),
    ("max_lifetime", |pool, span| pool.max_lifetime(span)),
    ("evict_interval", |pool, span| pool.evict_interval(span)),
    ("get_timeout", |pool, span| pool.get_timeout(span)),
    ("connect_timeout", |pool, span| pool.connect_timeout(span)),
    ("ping_timeout", |pool, span| pool.ping_timeout(span)),
    ("reset_timeout", |pool, span| pool.reset_timeout(span)),
    ("close_timeout", |pool, span| pool.close_timeout(span)),
    ("ping_after", |pool, span| pool.ping_after(span)),
    ("liveness_after", |pool, span| pool.liveness_after(span)),
    ("slow_get_warning", |pool, span| {
        pool.slow_get_warning(span).observer(|_: &str, _: &Event<'_>| ())
    }),
    ("keepalive", |pool, span| pool.keepalive(span)),
];

const SPANS: [Duration; 3] = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];

/// Uses a pool in all ways for two seconds; if `slow`, each call of the manager takes a
/// millisecond. Returns the numbers of successful and failed gets.
fn exercise(settings: impl Fn(Builder<Fake>) -> Builder<Fake>, slow: bool) -> (u64, u64) {
    let (sim, fake) = new(1);
    fake.require_reset();
    let runtime = CountingRuntime::new(&sim, 60_000);
    let builder = Pool::builder(fake.clone(), runtime.clone());
    let pool = settings(builder.max_size(2).min_size(1)).build_lazy().unwrap();
    if slow {
        for op in [Call::Connect, Call::Ping, Call::Reset, Call::Close] {
            fake.always(op, Behavior::Take(MILLI));
        }
    }
    let (mut good, mut bad) = (0, 0);
    for _ in 0..20 {
        // The polls are counted, so a pool that spins fails the test.
        match sim.block_on(runtime.count_polls(pool.get())) {
            Ok(_) => good += 1,
            Err(_) => bad += 1,
        }
        let _ = pool.try_get();
        sim.advance(100 * MILLI);
    }
    fake.clear_script();
    sim.block_on(runtime.count_polls(pool.close(SECOND)));
    sim.advance(SECOND);
    assert_eq!(fake.alive(), 0);
    assert!(fake.peak() <= 2);
    (good, bad)
}

/// Returns how many of the gets must succeed.
fn expected_successes(name: &str, span: Duration, slow: bool) -> std::ops::RangeInclusive<u64> {
    match (name, span < MILLI, slow) {
        ("connect_timeout", true, true) => 0..=0,
        // What is returned is under reset for a while.
        ("get_timeout", true, true) => 9..=20,
        // The first get finds no idle connection.
        ("get_timeout", true, false) => 19..=20,
        _ => 20..=20,
    }
}

#[test]
fn each_duration_setting_may_be_zero_one_nanosecond_or_max() {
    for (name, set) in DURATIONS {
        for span in SPANS {
            for slow in [false, true] {
                let outcome =
                    catch_unwind(AssertUnwindSafe(|| exercise(|pool| set(pool, span), slow)));
                let Ok((good, bad)) = outcome else {
                    panic!("{name} = {span:?}, slow: {slow}");
                };
                assert!(
                    expected_successes(name, span, slow).contains(&good),
                    "{name} = {span:?}, slow: {slow}: {good} good, {bad} bad"
                );
            }
        }
    }
}

#[test]
fn all_duration_settings_may_be_extreme_together() {
    for span in SPANS {
        for slow in [false, true] {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                exercise(|pool| DURATIONS.iter().fold(pool, |pool, (_, set)| set(pool, span)), slow)
            }));
            let Ok((good, _)) = outcome else {
                panic!("{span:?}, slow: {slow}");
            };
            if span == Duration::MAX {
                assert_eq!(good, 20);
            }
        }
    }
}

#[test]
fn running_pool_survives_extreme_settings_and_their_reversal() {
    for span in SPANS.map(Some).into_iter().chain([None]) {
        let (sim, fake) = new(1);
        let runtime = CountingRuntime::new(&sim, 60_000);
        let pool = Pool::builder(fake.clone(), runtime.clone())
            .max_size(2)
            .observer(|_: &str, _: &Event<'_>| ())
            .build_lazy()
            .unwrap();
        fill(&sim, &pool, 2);
        let mut config = pool.config();
        let before = config.clone();
        for setting in [
            &mut config.idle_timeout,
            &mut config.max_lifetime,
            &mut config.evict_interval,
            &mut config.get_timeout,
            &mut config.connect_timeout,
            &mut config.ping_timeout,
            &mut config.reset_timeout,
            &mut config.close_timeout,
            &mut config.ping_after,
            &mut config.liveness_after,
            &mut config.slow_get_warning,
        ] {
            *setting = span;
        }
        (config.max_size, config.increment) = (usize::MAX, usize::MAX);
        (config.max_idle, config.max_waiters) = (Some(usize::MAX), Some(0));
        config.max_uses = Some(u64::MAX);
        // Limits the number of connect tasks, whose polls are counted.
        config.max_connecting = Some(1);
        pool.reconfigure(config).unwrap();
        for _ in 0..10 {
            let _ = sim.block_on(runtime.count_polls(pool.get_timeout(SECOND)));
            let _ =
                sim.block_on(runtime.count_polls(pool.get_many_timeout(2, span.unwrap_or(SECOND))));
            sim.advance(10 * MILLI);
        }
        pool.reconfigure(before).unwrap();
        pool.clear();
        sim.advance(SECOND);
        let all = sim.block_on(runtime.count_polls(pool.get_many(2))).unwrap();
        assert_eq!(all.len(), 2, "{span:?}");
    }
}

#[test]
fn backoff_may_be_zero_one_nanosecond_or_max() {
    for first in SPANS {
        for max in SPANS {
            if first > max {
                continue;
            }
            let (sim, fake) = new(1);
            let backoff = Backoff::new(first, max, 2.0);
            let pool = Pool::builder(fake.clone(), CountingRuntime::new(&sim, 60_000))
                .fail_fast_after(None)
                .backoff(backoff)
                .build_lazy()
                .unwrap();
            fake.next(Call::Connect, [Behavior::FailAfter(MILLI); 3]);
            let got = sim.block_on(pool.get_timeout(SECOND));
            // While a caller waits, no pause is longer than 250 ms.
            assert!(got.is_ok(), "{first:?}, {max:?}");
        }
    }
}

#[test]
fn breaker_probe_interval_may_be_zero_one_nanosecond_or_max() {
    for probe_every in SPANS {
        for failures in [1, u32::MAX] {
            let (sim, fake) = new(1);
            let breaker = Breaker::new(failures, probe_every);
            let pool = Pool::builder(fake.clone(), CountingRuntime::new(&sim, 60_000))
                .fail_fast_after(None)
                .breaker(breaker)
                .build_lazy()
                .unwrap();
            fake.next(Call::Connect, [Behavior::FailAfter(MILLI); 3]);
            let got = sim.block_on(pool.get_timeout(SECOND));
            assert!(got.is_ok(), "{failures}, {probe_every:?}");
        }
    }
}

#[test]
fn size_settings_may_be_the_largest_integers() {
    let (sim, fake) = new(1);
    let runtime = CountingRuntime::new(&sim, 10_000);
    let pool = Pool::builder(fake.clone(), runtime)
        .max_size(usize::MAX)
        .max_waiters(usize::MAX)
        .max_idle(usize::MAX)
        .max_connecting(usize::MAX)
        .max_uses(u64::MAX)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 3);
    pool.resize(1).unwrap();
    sim.settle();
    pool.resize(usize::MAX).unwrap();
    fake.always(Call::Connect, Behavior::Hang);
    let all = sim.block_on(pool.get_many_timeout(usize::MAX, MILLI));
    assert!(all.unwrap_err().is_timeout());
    fake.clear_script();
    pool.clear();
    sim.advance(60 * SECOND);
    fill(&sim, &pool, 3);
    assert!(fake.peak() <= 3);
}

#[test]
fn evict_interval_below_one_millisecond_counts_as_one_millisecond() {
    for every in [Duration::ZERO, Duration::from_nanos(1)] {
        let (sim, fake) = new(1);
        let pool = fake.pool().evict_interval(every).build_lazy().unwrap();
        fill(&sim, &pool, 1);
        let before = fake.probes();
        sim.advance(100 * MILLI);
        let probes = fake.probes() - before;
        assert!((90..=101).contains(&probes), "{probes} probes in 100 ms");
    }
}
