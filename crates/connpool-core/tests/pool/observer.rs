//! Events as an observer receives them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, Job, MILLI, SECOND, assert_full_capacity, fill, hold, new, poll_once,
    spawn, spawn_get,
};
use connpool_core::{Breaker, Event, Liveness, Observer, Pool, ResetWhen, Runtime, WeakPool};

/// Records the text and the label of every event.
#[derive(Default)]
struct EventLog(Mutex<Vec<(&'static str, String)>>);

impl Observer for EventLog {
    fn on_event(&self, pool: &str, event: &Event<'_>) {
        assert_eq!(pool, "orders");
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.push((event.label(), event.to_string()));
    }
}

impl EventLog {
    /// Takes the texts of all events since the last call.
    fn take(&self) -> Vec<String> {
        let log = std::mem::take(&mut *self.0.lock().unwrap());
        log.into_iter().map(|(_, text)| text).collect()
    }

    fn count(&self, label: &str) -> usize {
        let log = self.0.lock().unwrap();
        log.iter().filter(|(other, _)| *other == label).count()
    }

    /// Takes all events since the last call and returns the texts of those with this label.
    fn only(&self, label: &str) -> Vec<String> {
        let log = std::mem::take(&mut *self.0.lock().unwrap());
        let matching = log.into_iter().filter(|(other, _)| *other == label);
        matching.map(|(_, text)| text).collect()
    }
}

fn logged_pool(fake: &Fake) -> (Arc<EventLog>, connpool_core::Builder<Fake>) {
    let log = Arc::new(EventLog::default());
    let builder = fake.pool().name("orders").observer(Arc::clone(&log));
    (log, builder)
}

#[test]
fn observer_receives_breaker_burst_and_pause_events() {
    let (sim, fake) = new(1);
    let (log, builder) = logged_pool(&fake);
    let breaker = Breaker::new(1, SECOND);
    let pool = builder.breaker(breaker).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail]);
    assert!(sim.block_on(pool.get()).is_err());
    assert_eq!(log.only("breaker"), ["the breaker was closed and is open"]);
    sim.advance(SECOND);
    fill(&sim, &pool, 8);
    let texts =
        ["the breaker was open and is half open", "the breaker was half open and is closed"];
    assert_eq!(log.only("breaker"), texts);
    fake.set_liveness_with(|conn| match conn.id() {
        6.. => Liveness::Closed,
        _ => Liveness::Alive,
    });
    drop(sim.block_on(pool.get_timeout(MILLI)));
    assert_eq!(log.only("burst").len(), 1);
    pool.pause();
    pool.pause();
    pool.resume();
    let texts =
        ["paused: no connection is checked out", "the breaker was open and is closed", "resumed"];
    assert_eq!(log.take(), texts);
}

#[test]
fn ping_that_is_wrong_itself_is_told_after_three_new_connections() {
    for (call, step) in [(Call::Ping, "ping"), (Call::Reset, "reset")] {
        let (sim, fake) = new(1);
        let (log, mut builder) = logged_pool(&fake);
        match call {
            Call::Reset => {
                fake.require_reset();
                builder = builder.reset_when(ResetWhen::OnGet);
            }
            _ => builder = builder.ping_after(Duration::ZERO),
        }
        let pool = builder.max_size(4).build_lazy().unwrap();
        fill(&sim, &pool, 3);
        fake.always(call, Behavior::Fail);
        // The three that were open count as one.
        for _ in 0..3 {
            drop(sim.block_on(pool.get()).unwrap());
        }
        let error = "failed: refused the call number";
        let doubt = format!("; 3 new connections in a row failed it: the {step} is probably wrong");
        let told = log.only("check_failed");
        let (last, first) = told.split_last().unwrap();
        assert!(
            first.iter().all(|text| text.contains(error) && !text.contains(&doubt)),
            "{told:#?}"
        );
        assert!(last.contains(error) && last.ends_with(&doubt), "{told:#?}");
        // The diagnosis of a timeout says the same, with a remedy.
        fake.always(Call::Connect, Behavior::Hang);
        let text = sim.block_on(pool.get_timeout(SECOND)).unwrap_err().to_string();
        let remedy =
            "see that the ping and the reset of the manager are what the backend understands";
        assert!(text.contains(error) && text.contains("is probably wrong"), "{text}");
        assert!(text.ends_with(remedy), "{text}");
        // One success ends the doubt.
        fake.clear_script();
        sim.advance(10 * SECOND);
        (0..3).for_each(|_| drop(hold(&sim, &pool, 1)));
        fake.always(call, Behavior::Hang);
        fake.always(Call::Connect, Behavior::Hang);
        log.take();
        let text = sim.block_on(pool.get_timeout(600 * MILLI)).unwrap_err().to_string();
        assert!(!text.contains("is probably wrong"), "{text}");
        assert!(log.only("check_failed")[0].ends_with("failed: no answer within 200.0 ms"));
    }
}

#[test]
fn failed_checks_of_connections_that_were_open_together_put_no_doubt_on_the_check() {
    let (sim, fake) = new(1);
    let (log, builder) = logged_pool(&fake);
    let pool = builder.max_size(20).ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 9);
    fake.next(Call::Ping, vec![Behavior::Fail; 9]);
    let guards = hold(&sim, &pool, 3);
    assert_eq!(guards.len(), 3);
    let told = log.only("check_failed");
    assert_eq!(told.len(), 9);
    assert!(told.iter().all(|text| !text.contains("probably")), "{told:#?}");
}

#[test]
fn debug_of_an_event_prints_no_debug_of_an_error() {
    let (sim, fake) = new(1);
    let texts = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&texts);
    let observer = move |_: &str, event: &Event<'_>| {
        record.lock().unwrap().push((event.label(), format!("{event:?}"), event.to_string()));
    };
    let pool = fake.pool().ping_after(Duration::ZERO).observer(observer).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail]);
    assert!(sim.block_on(pool.get()).is_err());
    sim.advance(SECOND);
    fill(&sim, &pool, 1);
    fake.next(Call::Ping, [Behavior::Fail]);
    fill(&sim, &pool, 1);
    let texts = texts.lock().unwrap();
    for label in ["connect_failed", "check_failed"] {
        let (_, debug, display) = texts.iter().find(|text| text.0 == label).unwrap();
        assert_eq!(*debug, format!("Event({display})"));
    }
}

#[test]
fn ping_timeout_that_outlasts_the_get_is_reported_once() {
    for (get_timeout, warnings) in [(SECOND, 1), (1_001 * MILLI, 0)] {
        let (_, fake) = new(1);
        let (log, builder) = logged_pool(&fake);
        let pool = builder.get_timeout(get_timeout).build_lazy().unwrap();
        assert_eq!(log.count("config_warning"), warnings, "{get_timeout:?}");
        pool.resize(3).unwrap();
        assert_eq!(log.count("config_warning"), warnings, "{get_timeout:?}");
        let mut config = pool.config();
        config.get_timeout = Some(SECOND);
        pool.reconfigure(config).unwrap();
        assert_eq!(log.count("config_warning"), 1, "{get_timeout:?}");
    }
}

#[test]
fn observer_receives_the_events_of_a_connection_in_order() {
    let (sim, fake) = new(1);
    let (log, builder) = logged_pool(&fake);
    let pool = builder.max_uses(2).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Take(20 * MILLI)]);
    let guard = sim.block_on(pool.get()).unwrap();
    sim.advance(SECOND);
    drop(guard);
    sim.advance(500 * MILLI);
    drop(pool.try_get().unwrap());
    sim.settle();
    assert_eq!(
        log.take(),
        [
            "a get has to wait",
            "opened connection 1 in 20.0ms",
            "checked out connection 1 after 20.0ms",
            "connection 1 returned after 1.0s",
            "checked out connection 1 after 0.0ns",
            "connection 1 returned after 0.0ns",
            "closed connection 1 (max_uses) 1.5s old",
        ]
    );
    let guard = sim.block_on(pool.get()).unwrap();
    drop(guard.detach());
    pool.clear();
    pool.resize(3).unwrap();
    assert_eq!(
        log.take()[3..],
        [
            "connection 2 was detached",
            "cleared: connections opened before are not used again",
            "settings changed",
        ]
    );
}

#[test]
fn observer_receives_connect_failures_with_error_and_count() {
    let (sim, fake) = new(1);
    let (log, builder) = logged_pool(&fake);
    let pool = builder.connect_timeout(MILLI).fail_fast_after(None).build_lazy().unwrap();
    let failures = [Behavior::Fail, Behavior::Hang, Behavior::Panic];
    fake.next(Call::Connect, failures);
    drop(sim.block_on(pool.get()).unwrap());
    let texts = log.take();
    let failed: Vec<_> = texts.iter().filter(|text| text.contains("cannot")).cloned().collect();
    assert_eq!(
        failed,
        [
            "cannot connect (failure 1 in a row, after 0.0ns): refused the call number 1",
            "cannot connect (failure 2 in a row, after 1.0ms): it took longer than connect_timeout or fail_fast_after",
            "cannot connect (failure 3 in a row, after 0.0ns): it panicked; the event `Panicked` has the message",
        ]
    );
    assert!(texts.contains(&String::from("connect panicked: scripted panic in Connect")));
}

#[test]
fn observer_receives_slow_gets_whatever_their_outcome() {
    let (sim, fake) = new(1);
    let (log, builder) = logged_pool(&fake);
    let pool = builder
        .max_size(1)
        .get_timeout(5 * SECOND)
        .slow_get_warning(2 * SECOND)
        .build_lazy()
        .unwrap();
    let held = hold(&sim, &pool, 1);
    let mut cancelled = Box::pin(pool.get_owned());
    let mut cancelled_early = Box::pin(pool.get_owned());
    assert!(poll_once(cancelled.as_mut()).is_pending());
    assert!(poll_once(cancelled_early.as_mut()).is_pending());
    let timed_out = spawn_get(&sim, &pool);
    sim.advance(SECOND);
    drop(cancelled_early);
    sim.advance(SECOND);
    drop(cancelled);
    let served = spawn_get(&sim, &pool);
    sim.advance(3 * SECOND);
    drop(held);
    sim.settle();
    assert!(timed_out.has_ended() && served.has_ended());
    let end = "; check max_size and backend latency";
    assert_eq!(
        log.only("slow_get"),
        [
            format!("slow get: no connection after 2.0s{end}"),
            format!("slow get: no connection after 5.0s{end}"),
            format!("slow get: connection 1 after 3.0s{end}"),
        ]
    );
    let mut config = pool.config();
    drop(served);
    for (limit, expected) in [(Some(Duration::ZERO), 1), (Some(Duration::MAX), 0), (None, 0)] {
        config.slow_get_warning = limit;
        pool.reconfigure(config.clone()).unwrap();
        drop(sim.block_on(pool.get()).unwrap());
        assert_eq!(log.only("slow_get").len(), expected, "{limit:?}");
    }
}

#[test]
fn observer_receives_closes_that_are_cut_short() {
    let (sim, fake) = new(1);
    let (log, builder) = logged_pool(&fake);
    let pool = builder.max_size(1).max_uses(1).close_timeout(SECOND).build_lazy().unwrap();
    fake.always(Call::Close, Behavior::Hang);
    drop(sim.block_on(pool.get()).unwrap());
    sim.advance(2 * SECOND);
    drop(sim.block_on(pool.get()).unwrap());
    sim.settle();
    let guard = sim.block_on(pool.get()).unwrap();
    assert_eq!(
        log.only("close_cut_short"),
        [
            "close of connection 1 (max_uses) cut short: it took longer than close_timeout",
            "close of connection 2 (max_uses) cut short: a caller waits for its slot",
        ]
    );
    drop(guard);
}

#[test]
fn observer_receives_every_caught_panic() {
    let (sim, fake) = new(1);
    fake.require_reset();
    let (log, builder) = logged_pool(&fake);
    let pool = builder
        .max_size(3)
        .ping_after(Duration::ZERO)
        .reset_when(ResetWhen::OnGet)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 2);
    fake.next(Call::Ping, [Behavior::Panic]);
    fake.next(Call::Reset, [Behavior::Panic]);
    drop(sim.block_on(pool.get()).unwrap());
    fake.set_liveness_with(|_| panic!("scripted panic"));
    assert!(pool.try_get().is_err());
    fake.set_liveness_with(|_| Liveness::Alive);
    sim.advance(SECOND);
    fake.set_is_reusable_with(|_| panic!("scripted panic"));
    drop(sim.block_on(pool.get()).unwrap());
    sim.settle();
    fake.set_is_reusable_with(|_| true);
    fake.at_drop(|_| panic!("scripted panic"));
    let mut marked = sim.block_on(pool.get()).unwrap();
    marked.mark_unusable();
    drop(marked);
    sim.settle();
    fake.at_drop(|_| ());
    fake.next(Call::Close, [Behavior::Panic]);
    drop(sim.block_on(pool.get()).unwrap());
    sim.block_on(pool.close(SECOND));
    let texts = log.only("panicked");
    let steps: Vec<_> = texts.iter().map(|text| text.split(' ').next().unwrap()).collect();
    assert_eq!(steps, ["ping", "reset", "is_reusable", "close", "close"], "{texts:?}");
}

// ---- observers that misbehave

#[test]
fn observer_may_use_the_pool_without_unbounded_recursion() {
    let (sim, fake) = new(1);
    let cell: Arc<Mutex<Option<WeakPool<Fake>>>> = Arc::default();
    let deepest = Arc::new(Mutex::new((0, 0)));
    let (pool_of, depth) = (Arc::clone(&cell), Arc::clone(&deepest));
    let use_pool = move |_: &str, _: &Event<'_>| {
        let pool = pool_of.lock().unwrap().as_ref().and_then(WeakPool::upgrade);
        let Some(pool) = pool else { return };
        {
            let (now, most) = &mut *depth.lock().unwrap();
            *now += 1;
            *most = (*now).max(*most);
        }
        let _ = (pool.stats(), pool.config(), pool.try_get().map(drop));
        pool.resize(2).unwrap();
        depth.lock().unwrap().0 -= 1;
    };
    let pool = fake.pool().max_size(2).observer(use_pool).build_lazy().unwrap();
    *cell.lock().unwrap() = Some(pool.downgrade());
    fill(&sim, &pool, 2);
    let _held = hold(&sim, &pool, 2);
    let mut waiter = Box::pin(pool.get());
    assert!(poll_once(waiter.as_mut()).is_pending());
    pool.clear();
    drop((waiter, _held));
    sim.settle();
    assert_eq!(*deepest.lock().unwrap(), (0, 4));
    assert_full_capacity(&sim, &fake, &pool);
}

// ---- all events together

/// Every connection is opened once and closed or detached once, and its checkouts and returns
/// alternate.
#[test]
fn observer_event_counts_match_stats_under_random_faults() {
    for seed in 0..10 {
        let (sim, fake) = new(seed);
        fake.require_reset();
        let (log, builder) = logged_pool(&fake);
        let pool = builder
            .max_size(4)
            .max_lifetime(30 * MILLI)
            .ping_after(2 * MILLI)
            .evict_interval(5 * MILLI)
            .get_timeout(40 * MILLI)
            .build_lazy()
            .unwrap();
        for op in [Call::Connect, Call::Ping, Call::Reset, Call::Close] {
            fake.always(op, Behavior::Take(MILLI));
            fake.next(op, [Behavior::Take(MILLI), Behavior::Fail, Behavior::Hang, Behavior::Panic]);
        }
        let jobs: Vec<_> = (0..60)
            .map(|nth| {
                let (pool, sim_) = (pool.clone(), sim.clone());
                spawn(&sim, async move {
                    sim_.sleep(MILLI * (sim_.random() % 60) as u32).await;
                    let Ok(mut guard) = pool.get_owned().await else {
                        return;
                    };
                    sim_.sleep(MILLI * (sim_.random() % 9) as u32).await;
                    if nth % 7 == 0 {
                        guard.mark_unusable();
                    } else if nth % 7 == 1 {
                        drop(guard.detach());
                    } else if nth % 7 == 2 {
                        pool.clear();
                    }
                })
            })
            .collect();
        sim.advance(60 * SECOND);
        assert!(jobs.iter().all(Job::has_ended));
        let stats = pool.stats();
        let count = |label: &str| log.count(label) as u64;
        assert_eq!(count("opened"), stats.created);
        assert_eq!(count("connect_failed"), stats.connect_failed);
        assert_eq!(count("lent"), stats.success);
        assert_eq!(count("closed"), stats.closed.total());
        assert_eq!(count("detached"), stats.detached);
        assert_eq!(count("returned"), stats.success - stats.detached);
        assert!(count("waiting") > 0, "seed {seed}");
        sim.block_on(pool.close(SECOND));
        assert_eq!(count("opened"), count("closed") + count("detached"), "seed {seed}");
    }
}

#[test]
fn observer_receives_events_of_the_maintenance_task() {
    let (sim, fake) = new(1);
    let (log, builder) = logged_pool(&fake);
    let pool: Pool<Fake> =
        sim.block_on(builder.min_size(2).evict_interval(SECOND).build()).unwrap();
    assert_eq!(log.only("opened").len(), 2);
    fake.hang_up_all();
    sim.advance(2 * SECOND);
    let texts = log.take();
    assert_eq!(texts.iter().filter(|text| text.contains("(dead)")).count(), 2);
    assert_eq!(texts.iter().filter(|text| text.contains("opened")).count(), 2);
    drop(pool);
}
