//! Errors that users report, and the connections they condemn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{
    Behavior, Call, Job, MILLI, SECOND, ScriptedError, assert_at_rest, assert_full_capacity,
    closed, fill, hold, new, spawn,
};
use connpool_core::{CloseReason, Event, ResetWhen, Severity};

const ERROR: ScriptedError = ScriptedError(0);

#[test]
fn failed_request_is_judged_by_the_manager() {
    let cases = [
        (Severity::Request, None, 2),
        (Severity::Connection, Some(CloseReason::Marked), 1),
        (Severity::Permanent, Some(CloseReason::Marked), 1),
        (Severity::Generation, Some(CloseReason::Cleared), 0),
    ];
    for (severity, reason, left) in cases {
        let (sim, fake) = new(1);
        let pool = fake.pool().build_lazy().unwrap();
        fill(&sim, &pool, 2);
        fake.set_severity(severity);
        let mut held = hold(&sim, &pool, 1);
        assert_eq!(held[0].failed(&ERROR), severity);
        drop(held);
        sim.settle();
        assert_eq!(pool.stats().available, left, "{severity:?}");
        if let Some(reason) = reason {
            assert!(closed(&pool, reason) > 0, "{severity:?}");
        }
        assert_full_capacity(&sim, &fake, &pool);
    }
}

#[test]
fn permanent_error_of_a_request_stops_no_connect() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.set_severity(Severity::Permanent);
    let mut held = hold(&sim, &pool, 1);
    held[0].failed(&ERROR);
    drop(held);
    assert!(sim.block_on(pool.get()).is_ok());
    assert_eq!(sim.elapsed(), Duration::ZERO);
}

/// Runs twenty users of a backend that fails over: the answer, which takes up to 200 ms, tells each that
/// its connection is stale. Returns the numbers of clears and of connections opened afterwards.
fn fail_over(condemn: bool) -> (usize, u64) {
    let (sim, fake) = new(1);
    let clears = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&clears);
    let observer = move |_: &str, event: &Event<'_>| {
        count.fetch_add(usize::from(matches!(event, Event::Cleared)), Ordering::SeqCst);
    };
    let pool = fake.pool().max_size(20).observer(observer).build_lazy().unwrap();
    fill(&sim, &pool, 20);
    let users: Vec<_> = (0..20)
        .map(|nth| {
            let (pool, sim_) = (pool.clone(), sim.clone());
            spawn(&sim, async move {
                for _ in 0..5 {
                    loop {
                        let mut conn = pool.get().await.unwrap();
                        sim_.sleep((5 + nth * 10) * MILLI).await;
                        if conn.id() > 20 {
                            break;
                        }
                        if condemn {
                            conn.condemn();
                        } else {
                            conn.mark_unusable();
                            pool.clear();
                        }
                    }
                }
            })
        })
        .collect();
    sim.advance(10 * SECOND);
    assert!(users.iter().all(Job::has_ended));
    assert_at_rest(&pool, &fake, 0);
    (clears.load(Ordering::SeqCst), pool.stats().created - 20)
}

#[test]
fn users_that_condemn_clear_once_and_lose_no_newer_connection() {
    let (clears, opened) = fail_over(true);
    assert!(clears == 1 && opened <= 20, "{clears} clears, {opened} opened");
    // Each later `clear` throws away what was opened since the one before.
    let (clears, opened) = fail_over(false);
    assert!(clears >= 20 && opened > 50, "{clears} clears, {opened} opened");
}

#[test]
fn condemned_connections_do_not_slow_down_the_connects_that_replace_them() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(20).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 20);
    fake.always(Call::Connect, Behavior::Take(10 * MILLI));
    held.iter_mut().for_each(|conn| conn.condemn());
    drop(held);
    drop(hold(&sim, &pool, 1));
    let before = sim.elapsed();
    let gets: Vec<_> = (0..20).map(|_| spawn(&sim, pool.get_owned())).collect();
    sim.advance(11 * MILLI);
    assert!(gets.iter().all(Job::has_ended), "since {before:?}");
}

#[test]
fn connects_under_way_are_abandoned_with_a_condemned_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 1);
    fake.next(Call::Connect, [Behavior::Hang, Behavior::Hang]);
    let gets = [(); 2].map(|()| spawn(&sim, pool.get_owned()));
    sim.settle();
    held[0].condemn();
    sim.settle();
    assert!(gets.iter().all(Job::has_ended));
}

#[test]
fn ping_and_reset_that_report_a_failover_make_the_generation_stale() {
    for call in [Call::Ping, Call::Reset] {
        for failure in [Behavior::Fail, Behavior::FailAfter(MILLI)] {
            let (sim, fake) = new(1);
            fake.require_reset();
            let pool = fake.pool().ping_after(Duration::ZERO).reset_when(ResetWhen::OnGet);
            let pool = pool.build_lazy().unwrap();
            fill(&sim, &pool, 3);
            fake.set_severity(Severity::Generation).next(call, [failure]);
            assert_eq!(sim.block_on(pool.get()).unwrap().id(), 4);
            sim.settle();
            assert_eq!(closed(&pool, CloseReason::Cleared), 2);
            assert_full_capacity(&sim, &fake, &pool);
        }
    }
}

#[test]
fn connect_that_reports_a_failover_fails_like_any_other() {
    let (sim, fake) = new(1);
    let pool = fake.pool().fail_fast_after(None).build_lazy().unwrap();
    fake.set_severity(Severity::Generation).next(Call::Connect, [Behavior::Fail]);
    drop(hold(&sim, &pool, 1));
    assert!(sim.elapsed() > 100 * MILLI, "did not back off");
}

#[test]
fn exchange_with_keeps_the_connection_after_an_error_about_the_request() {
    let cases = [
        (Severity::Request, 2, None),
        (Severity::Connection, 1, Some(CloseReason::Unfinished)),
        (Severity::Permanent, 1, Some(CloseReason::Unfinished)),
        (Severity::Generation, 0, Some(CloseReason::Cleared)),
    ];
    for (severity, left, reason) in cases {
        let (sim, fake) = new(1);
        let pool = fake.pool().build_lazy().unwrap();
        fill(&sim, &pool, 2);
        let mut held = hold(&sim, &pool, 1);
        let result = sim.block_on(held[0].exchange_with(
            |error: &&str| {
                assert_eq!(*error, "rejected");
                severity
            },
            async |_| Err::<(), _>("rejected"),
        ));
        assert_eq!(result, Err("rejected"));
        drop(held);
        sim.settle();
        assert_eq!(pool.stats().available, left, "{severity:?}");
        assert!(reason.is_none_or(|reason| closed(&pool, reason) > 0), "{severity:?}");
    }
}

#[test]
fn exchange_with_a_panicking_judge_destroys_the_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 1);
    let judge = |_: &&str| -> Severity { panic!("scripted") };
    let exchange = held[0].exchange_with(judge, async |_| Err::<(), _>("rejected"));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sim.block_on(exchange)));
    assert!(caught.is_err());
    drop(held);
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::Unfinished), 1);
    assert_full_capacity(&sim, &fake, &pool);
}
