//! Backoff: its start and end, and the errors that report it.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use connpool_core::{BuildError, CloseReason, ConnectError, GetError, Liveness, Pool};

use crate::support::counting::CountingRuntime;
use crate::support::{
    Behavior, Call, MILLI, SECOND, Wakes, assert_full_capacity, closed, fill, hold, new, spawn_get,
};

#[test]
fn connection_older_than_the_failure_does_not_end_the_backoff() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).evict_interval(10 * MILLI).build_lazy().unwrap();
    fill(&sim, &pool, 2);
    // Healthy and never checked out, but opened before the backend failed.
    sim.advance(SECOND);
    fake.always(Call::Connect, Behavior::Fail);
    let held = hold(&sim, &pool, 2);
    let before = fake.calls(Call::Connect);
    for _ in 0..600 {
        assert!(sim.block_on(pool.get_timeout(100 * MILLI)).is_err());
    }
    let calls = fake.calls(Call::Connect) - before;
    assert!(calls <= 75, "{calls} connects in a minute");
    drop(held);
}

#[test]
fn old_idle_connections_do_not_end_the_backoff_for_min_size() {
    let (sim, fake) = new(1);
    let pool = sim
        .block_on(fake.pool().max_size(3).min_size(2).evict_interval(10 * MILLI).build())
        .unwrap();
    let guard = sim.block_on(pool.get()).unwrap();
    sim.advance(SECOND);
    fake.always(Call::Connect, Behavior::Fail);
    let before = fake.calls(Call::Connect);
    // min_size is 2 and one connection is gone: the sweep probes the other, which was never checked out.
    drop(guard.detach());
    sim.advance(60 * SECOND);
    let calls = fake.calls(Call::Connect) - before;
    assert!((1..=75).contains(&calls), "{calls} connects in a minute");
    fake.clear_script();
    sim.advance(10 * SECOND);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn backoff_ends_even_if_the_first_checkout_pings() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).min_size(1).get_timeout(SECOND).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail]);
    assert!(sim.block_on(pool.get()).is_err());
    sim.advance(3 * SECOND);
    let pings = fake.calls(Call::Ping);
    let guard = sim.block_on(pool.get()).unwrap();
    assert_eq!(fake.calls(Call::Ping), pings + 1);
    let error = sim.block_on(pool.get()).unwrap_err();
    assert!(!error.to_string().contains("the last connect failed"), "outdated error: {error}");
    drop(guard);
}

#[test]
fn error_explains_a_server_that_speaks_first() {
    let (sim, fake) = new(1);
    let pool = fake.pool().get_timeout(SECOND).build_lazy().unwrap();
    fake.set_liveness(Liveness::Unsolicited);
    let error = sim.block_on(pool.get()).unwrap_err();
    let GetError::Connect(ConnectError::DeadOnArrival(reason)) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*reason, CloseReason::Unsolicited);
    assert!(!error.is_timeout());
    let text = error.to_string();
    assert!(text.contains("read its greeting in Manager::connect"), "{text}");
    sim.settle();
    assert!(closed(&pool, CloseReason::Unsolicited) > 0);
}

#[test]
fn timeout_reports_connects_over_connect_timeout() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .connect_timeout(SECOND)
        .get_timeout(5 * SECOND)
        .fail_fast_after(None)
        .build_lazy()
        .unwrap();
    fake.always(Call::Connect, Behavior::Hang);
    let error = sim.block_on(pool.get()).unwrap_err();
    assert!(matches!(error, GetError::Timeout { .. }));
    let text = error.to_string();
    assert!(text.contains("longer than connect_timeout"), "{text}");
}

#[test]
fn connects_ended_by_close_do_not_count_as_failed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Hang);
    let job = spawn_get(&sim, &pool);
    sim.block_on(pool.close(SECOND));
    sim.settle();
    assert!(matches!(job.take(), Some(Err(GetError::Closed))));
    assert_eq!(pool.stats().connect_failed, 0);
}

#[test]
fn graceful_close_in_progress_does_not_count_as_closed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.always(Call::Close, Behavior::Hang);
    let report = sim.block_on(pool.close(SECOND));
    assert_eq!((report.closed, report.timed_out), (0, true));
    let rest = sim.block_on(pool.close(Duration::MAX));
    assert_eq!((rest.closed, rest.timed_out), (3, false));
}

#[test]
fn connections_closed_by_an_idle_peer_cause_no_backoff() {
    let (sim, fake) = new(1);
    let pool = sim.block_on(fake.pool().min_size(2).build()).unwrap();
    // Connections older than ten seconds are dead, and no get asks for one.
    let clock = sim.clone();
    let opened = fake.clone();
    fake.set_liveness_with(move |conn| {
        let created_at = opened.connects_at()[usize::try_from(conn.id()).unwrap() - 1];
        if clock.elapsed() - created_at > 10 * SECOND { Liveness::Closed } else { Liveness::Alive }
    });
    sim.advance(600 * SECOND);
    assert!(closed(&pool, CloseReason::Dead) >= 20);
    let start = sim.elapsed();
    let held = hold(&sim, &pool, 10);
    assert_eq!(sim.elapsed(), start, "the get had to wait");
    drop(held);
}

#[test]
fn dead_new_connections_found_by_try_get_cause_backoff() {
    let (sim, fake) = new(1);
    let pool = sim.block_on(fake.pool().min_size(1).build()).unwrap();
    fake.set_liveness(Liveness::Closed);
    let before = fake.calls(Call::Connect);
    for _ in 0..1_000 {
        assert!(pool.try_get().is_err());
        sim.advance(MILLI);
    }
    let calls = fake.calls(Call::Connect) - before;
    assert!((1..=20).contains(&calls), "{calls} connects in a second");
}

#[test]
fn coarse_clock_does_not_shorten_the_backoff() {
    let (sim, fake) = new(1);
    let runtime = CountingRuntime::new(&sim, 100_000).coarse(15 * MILLI);
    let pool = Pool::builder(fake.clone(), runtime)
        .fail_fast_after(None)
        .get_timeout(None)
        .build_lazy()
        .unwrap();
    fake.always(Call::Connect, Behavior::FailAfter(Duration::from_micros(50)));
    let job = spawn_get(&sim, &pool);
    sim.advance(10 * SECOND);
    assert!(!job.has_ended());
    let calls = fake.calls(Call::Connect);
    assert!((5..=60).contains(&calls), "{calls} connects in ten seconds");
}

#[test]
fn build_whose_maintenance_task_is_dropped_returns_no_runtime() {
    let (sim, fake) = new(1);
    fake.always(Call::Connect, Behavior::Fail);
    let mut build =
        Box::pin(fake.pool().min_size(1).fail_fast_after(None).get_timeout(None).build());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut cx = Context::from_waker(&waker);
    assert!(build.as_mut().poll(&mut cx).is_pending());
    sim.settle();
    assert!(build.as_mut().poll(&mut cx).is_pending());
    let before = wakes.count();
    sim.shut_down();
    assert!(wakes.count() > before, "the build was not woken");
    let built = sim.block_on(build);
    assert!(matches!(built, Err(BuildError::NoRuntime)));
}
