//! What counts as trouble with the backend, what ends it, and what is told of it.

use std::error::Error;
use std::time::Duration;

use connpool_core::{CloseReason, GetError, Liveness};

use crate::support::{Act, MILLI, Op, SECOND, assert_lends_all, closed, fill, go_get, hold, new};

#[test]
fn a_connection_older_than_the_failure_ends_no_pause() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(3)
        .evict_interval(10 * MILLI)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 2);
    // Never lent, and good: but opened before the backend went away.
    sim.advance(SECOND);
    fake.always(Op::Connect, Act::Fail);
    let held = hold(&sim, &pool, 2);
    let before = fake.calls(Op::Connect);
    for _ in 0..600 {
        assert!(sim.block_on(pool.get_timeout(100 * MILLI)).is_err());
    }
    let calls = fake.calls(Op::Connect) - before;
    assert!(calls <= 40, "{calls} connects in a minute");
    drop(held);
}

#[test]
fn min_size_that_cannot_be_kept_up_is_not_dialled_without_rest_for_the_sake_of_old_ones() {
    let (sim, fake) = new(1);
    let pool = sim
        .block_on(
            fake.pool()
                .max_size(3)
                .min_size(2)
                .evict_interval(10 * MILLI)
                .build(),
        )
        .unwrap();
    let guard = sim.block_on(pool.get()).unwrap();
    sim.advance(SECOND);
    fake.always(Op::Connect, Act::Fail);
    let before = fake.calls(Op::Connect);
    // Two idle ones were asked for and one is gone: the sweep looks at the one never lent.
    drop(guard.detach());
    sim.advance(60 * SECOND);
    let calls = fake.calls(Op::Connect) - before;
    assert!((1..=60).contains(&calls), "{calls} connects in a minute");
    fake.calm();
    sim.advance(10 * SECOND);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn the_trouble_is_over_even_if_the_first_lending_pings() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(1)
        .min_size(1)
        .get_timeout(SECOND)
        .build_lazy()
        .unwrap();
    fake.next(Op::Connect, [Act::Fail]);
    assert!(sim.block_on(pool.get()).is_err());
    sim.advance(3 * SECOND);
    let pings = fake.calls(Op::Ping);
    let guard = sim.block_on(pool.get()).unwrap();
    assert_eq!(fake.calls(Op::Ping), pings + 1);
    let error = sim.block_on(pool.get()).unwrap_err();
    assert!(error.source().is_none(), "an old story: {error}");
    drop(guard);
}

#[test]
fn a_server_that_speaks_first_is_explained() {
    let (sim, fake) = new(1);
    let pool = fake.pool().get_timeout(SECOND).build_lazy().unwrap();
    fake.looks_like(Liveness::Unsolicited);
    let error = sim.block_on(pool.get()).unwrap_err();
    assert!(error.is_timeout());
    let text = error.to_string();
    assert!(
        text.contains("read its greeting in Manager::connect"),
        "{text}"
    );
    assert!(closed(&pool, CloseReason::Unsolicited) > 0);
}

#[test]
fn a_timeout_tells_of_connects_that_took_too_long() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .connect_timeout(SECOND)
        .get_timeout(5 * SECOND)
        .fail_fast(false)
        .build_lazy()
        .unwrap();
    fake.always(Op::Connect, Act::Hang);
    let error = sim.block_on(pool.get()).unwrap_err();
    assert!(matches!(error, GetError::Timeout { .. }));
    let text = error.to_string();
    assert!(text.contains("longer than connect_timeout"), "{text}");
    assert!(error.source().is_some());
}

#[test]
fn connects_that_a_close_ends_have_not_failed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fake.always(Op::Connect, Act::Hang);
    let job = go_get(&sim, &pool);
    sim.block_on(pool.close(SECOND));
    sim.settle();
    assert!(matches!(job.take(), Some(Err(GetError::Closed))));
    assert_eq!(pool.stats().connect_failed, 0);
}

#[test]
fn a_goodbye_that_goes_on_is_not_a_closed_connection_yet() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.always(Op::Close, Act::Hang);
    let report = sim.block_on(pool.close(SECOND));
    assert_eq!((report.closed, report.timed_out), (0, true));
    let rest = sim.block_on(pool.close(Duration::MAX));
    assert_eq!((rest.closed, rest.timed_out), (3, false));
}
