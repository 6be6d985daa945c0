//! Histograms, the counts of what came of gets, and observers of some kinds of events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Behavior, Call, MILLI, SECOND, hold, new, spawn};
use connpool_core::{Event, EventKinds, GetError, Histogram};

/// Asserts that a histogram has this many durations, all of about this length.
#[track_caller]
fn assert_all(histogram: &Histogram, count: u64, length: Duration) {
    assert_eq!(histogram.count(), count, "{histogram}");
    for q in [0.0, 0.5, 1.0] {
        let found = histogram.quantile(q).unwrap();
        assert!(length <= found && found <= length * 5 / 4, "{histogram}");
    }
    assert_eq!(histogram.sum(), length * u32::try_from(count).unwrap());
}

#[test]
fn waits_uses_and_connects_are_recorded() {
    let (sim, fake) = new(1);
    fake.always(Call::Connect, Behavior::Take(150 * MILLI));
    let pool = fake.pool().max_size(1).histograms(true).build_lazy().unwrap();
    for _ in 0..160 {
        let held = hold(&sim, &pool, 1);
        sim.advance(10 * MILLI);
        drop(held);
    }
    let held = hold(&sim, &pool, 1);
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let pool = pool.clone();
            spawn(&sim, async move { drop(pool.get_owned().await.unwrap()) })
        })
        .collect();
    sim.advance(70 * MILLI);
    drop(held);
    sim.settle();
    assert!(waiters.iter().all(|waiter| waiter.has_ended()));
    let histograms = pool.histograms().unwrap();
    assert_all(&histograms.connect, 1, 150 * MILLI);
    assert_all(&histograms.wait, 3, 70 * MILLI);
    assert_eq!(pool.stats().wait_time, 210 * MILLI);
    assert_all(&histograms.held, 160, 10 * MILLI);
}

#[test]
fn histograms_are_kept_while_the_setting_is_on() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    assert!(pool.histograms().is_none());
    let use_sixteen = || (0..16).for_each(|_| drop(hold(&sim, &pool, 1)));
    use_sixteen();
    let mut config = pool.config();
    config.histograms = true;
    pool.reconfigure(config.clone()).unwrap();
    assert_eq!(pool.histograms().unwrap().held.count(), 0);
    use_sixteen();
    let before = pool.histograms().unwrap();
    assert_eq!((before.held.count(), before.connect.count()), (16, 0));
    use_sixteen();
    use_sixteen();
    assert_eq!(pool.histograms().unwrap().held.since(&before.held).count(), 32);
    config.histograms = false;
    pool.reconfigure(config).unwrap();
    assert!(pool.histograms().is_none());
}

#[test]
fn gets_that_fail_are_counted_by_what_became_of_them() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).max_waiters(1).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail]);
    assert!(matches!(sim.block_on(pool.get()), Err(GetError::Connect(_))));
    sim.advance(SECOND);
    let held = hold(&sim, &pool, 1);
    assert!(pool.try_get().is_err());
    let waiter = spawn(&sim, pool.get_owned_timeout(50 * MILLI));
    sim.settle();
    assert!(matches!(sim.block_on(pool.get()), Err(GetError::Exhausted(_))));
    sim.advance(50 * MILLI);
    assert!(waiter.has_ended());
    let stats = pool.stats();
    assert_eq!((stats.connect_errors, stats.exhausted, stats.timed_out), (1, 2, 1), "{stats}");
    assert_eq!((stats.request, stats.success), (5, 1), "{stats}");
    assert!(stats.to_string().ends_with("timed_out=1 connect_errors=1 exhausted=2"), "{stats}");
    drop(held);
}

#[test]
fn observer_receives_the_kinds_that_it_asks_for() {
    for (kinds, expected) in [
        (EventKinds::NONE, vec![]),
        (EventKinds::GETS, vec!["waiting", "lent", "returned"]),
        (EventKinds::CONNECTIONS, vec!["opened", "closed"]),
        (EventKinds::INCIDENTS, vec!["cleared"]),
        (EventKinds::ALL, vec!["waiting", "opened", "lent", "returned", "cleared", "closed"]),
    ] {
        let (sim, fake) = new(1);
        let labels = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&labels);
        let observer = kinds.to(move |_: &str, event: &Event<'_>| {
            assert!(event.kind().intersects(EventKinds::ALL));
            log.lock().unwrap().push(event.label());
        });
        let pool = fake.pool().max_size(1).observer(observer).build_lazy().unwrap();
        drop(hold(&sim, &pool, 1));
        pool.clear();
        sim.settle();
        assert_eq!(*labels.lock().unwrap(), expected, "{kinds:?}");
    }
}

#[test]
fn get_that_waits_twice_is_recorded_once() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).ping_after(Duration::ZERO).histograms(true);
    let pool = pool.build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let waiter = spawn(&sim, pool.get_owned());
    sim.advance(10 * MILLI);
    fake.next(Call::Ping, [Behavior::Fail]);
    drop(held);
    sim.advance(SECOND);
    assert!(waiter.take().unwrap().is_ok());
    assert_eq!(fake.calls(Call::Ping), 1);
    let waits = pool.histograms().unwrap().wait;
    assert_eq!((waits.count(), pool.stats().wait_count), (1, 1));
    assert_eq!(waits.sum(), pool.stats().wait_time);
}
