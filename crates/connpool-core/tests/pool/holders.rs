//! Holders: in `Pool::holders`, in the report of a close, and in leak warnings.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Behavior, Call, Fake, Got, Guard, MILLI, SECOND, hold, new};
use connpool_core::{Builder, Event, GetError, Holder, Pool};
use connpool_testkit::SimRuntime;

fn call_site_line(holder: &Holder) -> u32 {
    let site = holder.site.expect("no call site recorded");
    assert_eq!(site.file(), file!());
    site.line()
}

#[test]
fn every_get_method_records_its_call_site() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let (mut lines, mut owned, mut borrowed) = (Vec::new(), Vec::new(), Vec::new());
    sim.block_on(async {
        lines.push(line!() + 1);
        borrowed.push(pool.get().await.unwrap());
        lines.push(line!() + 1);
        borrowed.push(pool.get_timeout(SECOND).await.unwrap());
        lines.push(line!() + 1);
        owned.push(pool.get_owned().await.unwrap());
        lines.push(line!() + 1);
        owned.push(pool.get_owned_timeout(SECOND).await.unwrap());
        lines.push(line!() + 1);
        borrowed.extend(pool.get_many(1).await.unwrap());
        lines.push(line!() + 1);
        borrowed.extend(pool.get_many_timeout(1, SECOND).await.unwrap());
        drop(borrowed.remove(0));
        lines.remove(0);
        lines.push(line!() + 1);
        borrowed.push(pool.try_get().unwrap());
        lines.push(line!() + 1);
        let exchange = pool.exchange(async |_| {
            let mut found: Vec<u32> = pool.holders().iter().map(call_site_line).collect();
            found.sort_unstable();
            Ok::<_, GetError<_>>(found)
        });
        assert_eq!(exchange.await.unwrap(), lines);
    });
    lines.pop();
    let mut found: Vec<u32> = pool.holders().iter().map(call_site_line).collect();
    found.sort_unstable();
    assert_eq!(found, lines);
    drop((owned, borrowed));
    assert_eq!(pool.holders(), []);
}

#[test]
fn holder_reports_held_time_and_label() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let mut first = hold(&sim, &pool, 1).remove(0);
    sim.advance(2 * SECOND);
    let second = hold(&sim, &pool, 1).remove(0);
    first.label("nightly");
    first.label("nightly report");
    sim.advance(SECOND);
    let holders = pool.holders();
    let summary: Vec<_> =
        holders.iter().map(|holder| (holder.id, holder.label.as_deref(), holder.held)).collect();
    assert_eq!(
        summary,
        [(first.id(), Some("nightly report"), Some(3 * SECOND)), (second.id(), None, Some(SECOND)),]
    );
    drop(first);
    let again = hold(&sim, &pool, 1).remove(0);
    assert_eq!(pool.holders().iter().filter(|holder| holder.label.is_some()).count(), 0);
    let _ = again.detach();
    assert_eq!(pool.holders().len(), 1);
}

#[test]
fn held_time_starts_after_the_ping() {
    let (sim, fake) = new(1);
    let pool =
        fake.pool().ping_after(Duration::ZERO).idle_timeout(60 * SECOND).build_lazy().unwrap();
    drop(hold(&sim, &pool, 1));
    fake.always(Call::Ping, Behavior::Take(10 * MILLI));
    let started = sim.elapsed();
    let _held = hold(&sim, &pool, 1);
    assert_eq!(sim.elapsed() - started, 10 * MILLI);
    sim.advance(MILLI);
    assert_eq!(pool.holders()[0].held, Some(MILLI));
}

#[test]
fn held_time_is_unknown_without_any_time_limit() {
    let (sim, fake) = new(1);
    let lazy = |builder: Builder<Fake>| builder.ping_after(None).build_lazy().unwrap();
    let pool = lazy(fake.pool());
    let _held = hold(&sim, &pool, 1);
    assert_eq!(pool.holders()[0].held, None);
    let tracked = lazy(fake.pool().leak_warning(SECOND));
    let _held = hold(&sim, &tracked, 1);
    sim.advance(MILLI);
    assert_eq!(tracked.holders()[0].held, Some(MILLI));
}

#[test]
fn leak_warning_alone_records_held_time_on_every_checkout_path() {
    let (sim, fake) = new(1);
    let (pool, _) = pool_with_leak_log(&fake, |pool| pool.ping_after(None));
    sim.advance(SECOND);
    for _ in 0..2 {
        drop(hold(&sim, &pool, 1));
        sim.advance(SECOND);
    }
    let _held = pool.try_get().unwrap();
    sim.advance(MILLI);
    assert_eq!(pool.holders()[0].held, Some(MILLI));
}

#[test]
fn close_report_lists_holders_and_their_held_time() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let mut kept = hold(&sim, &pool, 2);
    kept[1].label("stuck");
    sim.advance(SECOND);
    let report = sim.block_on(pool.close(SECOND));
    assert!(report.timed_out);
    let labels: Vec<_> = report.still_out.iter().map(|holder| holder.label.as_deref()).collect();
    assert_eq!(labels, [None, Some("stuck")]);
    assert!(report.still_out.iter().all(|holder| holder.held == Some(2 * SECOND)));
}

// ---- leaks

/// Builds a pool and a log of its leak events.
fn pool_with_leak_log(
    fake: &Fake,
    settings: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
) -> (Pool<Fake>, Arc<Mutex<Vec<String>>>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&log);
    let builder = fake.pool().observer(move |_: &str, event: &Event<'_>| {
        let holder = match event {
            Event::LeakSuspected { holder, .. } | Event::LeakReturned { holder, .. } => holder,
            _ => return,
        };
        let note = format!("{} {} {:?}", event.label(), holder.id, holder.held.unwrap());
        notes.lock().unwrap().push(note);
    });
    (settings(builder).build_lazy().unwrap(), log)
}

#[test]
fn leak_is_reported_once_and_again_on_its_return() {
    let (sim, fake) = new(1);
    let (pool, log) =
        pool_with_leak_log(&fake, |pool| pool.leak_warning(10 * SECOND).evict_interval(None));
    let first = hold(&sim, &pool, 1);
    sim.advance(4 * SECOND);
    let second = hold(&sim, &pool, 1);
    sim.advance(5 * SECOND + 999 * MILLI);
    assert_eq!(*log.lock().unwrap(), [""; 0]);
    sim.advance(MILLI);
    assert_eq!(*log.lock().unwrap(), ["leak_suspected 1 10s"]);
    sim.advance(4 * SECOND);
    sim.advance(60 * SECOND);
    assert_eq!(*log.lock().unwrap(), ["leak_suspected 1 10s", "leak_suspected 2 10s"]);
    drop(first);
    let _detached = second.into_iter().map(|guard| guard.detach()).collect::<Vec<_>>();
    let back = ["leak_returned 1 74s", "leak_returned 2 70s"];
    assert_eq!(log.lock().unwrap()[2..], back);
    // The next lease of the same connection is a new one.
    let third = hold(&sim, &pool, 1);
    sim.advance(9 * SECOND);
    drop(third);
    sim.advance(60 * SECOND);
    assert_eq!(log.lock().unwrap().len(), 4);
    assert_eq!(pool.stats().leaked, 2);
    assert!(pool.stats().to_string().contains(" leaked=2"));
}

#[test]
fn returned_leak_reports_its_label_which_the_next_lease_does_not_inherit() {
    let (sim, fake) = new(1);
    let labels = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&labels);
    let builder = fake.pool().observer(move |_: &str, event: &Event<'_>| {
        if let Event::LeakReturned { holder, .. } = event {
            notes.lock().unwrap().push(holder.label.clone());
        }
    });
    let pool = builder.leak_warning(SECOND).build_lazy().unwrap();
    for label in [Some("nightly"), None] {
        let mut guard = sim.block_on(pool.get()).unwrap();
        if let Some(label) = label {
            guard.label(label);
        }
        sim.advance(SECOND);
    }
    assert_eq!(*labels.lock().unwrap(), [Some("nightly".into()), None]);
}

#[test]
fn leak_warning_can_be_switched_while_connections_are_borrowed() {
    let (sim, fake) = new(1);
    let (pool, log) = pool_with_leak_log(&fake, |pool| pool);
    let _held = hold(&sim, &pool, 1);
    sim.advance(60 * SECOND);
    let mut config = pool.config();
    config.leak_warning = Some(SECOND);
    pool.reconfigure(config.clone()).unwrap();
    sim.settle();
    assert_eq!(*log.lock().unwrap(), ["leak_suspected 1 60s"]);
    config.leak_warning = None;
    pool.reconfigure(config).unwrap();
    let _other = hold(&sim, &pool, 1);
    sim.advance(60 * SECOND);
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[test]
fn extreme_leak_warnings_neither_spin_nor_overflow() {
    for (after, leaks) in [(Duration::ZERO, 1), (Duration::from_nanos(1), 1), (Duration::MAX, 0)] {
        let (sim, fake) = new(1);
        let pool = fake.pool().leak_warning(after).build_lazy().unwrap();
        let held = hold(&sim, &pool, 1);
        sim.advance(SECOND);
        assert_eq!(pool.stats().leaked, leaks, "{after:?}");
        drop(held);
    }
}

#[test]
fn leak_warning_beyond_the_clock_range_arms_no_timer() {
    let (sim, fake) = new(1);
    sim.advance(SECOND);
    let never = Duration::from_nanos(u64::MAX - 1);
    let builder = fake.pool().leak_warning(never).evict_interval(None);
    let pool = builder.build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    let slept = sim.timers_created();
    sim.advance(60 * SECOND);
    assert_eq!(sim.timers_created(), slept);
}

// ---- handlers behind a helper

#[track_caller]
fn helper(pool: &Pool<Fake>) -> impl Future<Output = Got> + use<> {
    pool.get_owned()
}

#[test]
fn helper_with_track_caller_names_its_callers() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let (_first, first) = (sim.block_on(helper(&pool)), line!());
    let (_second, second) = (sim.block_on(helper(&pool)), line!());
    let mut lines: Vec<_> =
        pool.holders().iter().map(|holder| holder.site.unwrap().line()).collect();
    lines.sort_unstable();
    assert_eq!(lines, [first, second]);
}

#[inline(never)]
fn handler_behind_a_helper(sim: &SimRuntime, pool: &Pool<Fake>) -> Guard {
    sim.block_on(pool.get_owned()).unwrap()
}

#[test]
fn leak_backtrace_names_the_callers_of_a_helper() {
    let (sim, fake) = new(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let observer = move |_: &str, event: &Event<'_>| {
        if matches!(event, Event::LeakSuspected { .. }) {
            tell.lock().unwrap().push(event.to_string());
        }
    };
    let pool = fake.pool().leak_warning(SECOND).leak_backtrace(true).observer(observer);
    let pool = pool.build_lazy().unwrap();
    let guard = handler_behind_a_helper(&sim, &pool);
    sim.advance(2 * SECOND);
    let holder = pool.holders().remove(0);
    let name = "handler_behind_a_helper";
    assert!(holder.backtrace().unwrap().to_string().contains(name));
    assert!(!holder.to_string().contains(name));
    assert!(told.lock().unwrap()[0].contains(name));
    assert!(pool.holders() == [holder]);
    drop(guard);
    // The next checkout has its own, or none.
    let mut config = pool.config();
    config.leak_backtrace = false;
    pool.reconfigure(config).unwrap();
    let _guard = sim.block_on(pool.get_owned()).unwrap();
    assert!(pool.holders()[0].backtrace().is_none());
}
