//! What an observer is told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, Job, MILLI, SECOND, assert_lends_all, fill, go, go_get, hold, new,
    poll_once,
};
use connpool_core::{Breaker, Event, Liveness, Observer, Pool, Runtime, WeakPool};

/// Keeps the events as they print, and counts them by label.
#[derive(Default)]
struct Notes(Mutex<Vec<(&'static str, String)>>);

impl Observer for Notes {
    fn on_event(&self, pool: &str, event: &Event<'_>) {
        assert_eq!(pool, "orders");
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push((event.label(), event.to_string()));
    }
}

impl Notes {
    /// What was told since it was last asked.
    fn told(&self) -> Vec<String> {
        let notes = std::mem::take(&mut *self.0.lock().unwrap());
        notes.into_iter().map(|(_, text)| text).collect()
    }

    fn count(&self, label: &str) -> usize {
        let notes = self.0.lock().unwrap();
        notes.iter().filter(|(other, _)| *other == label).count()
    }

    /// What was told under this label since it was last asked.
    fn only(&self, label: &str) -> Vec<String> {
        let notes = std::mem::take(&mut *self.0.lock().unwrap());
        let these = notes.into_iter().filter(|(other, _)| *other == label);
        these.map(|(_, text)| text).collect()
    }
}

fn watched(fake: &Fake) -> (Arc<Notes>, connpool_core::Builder<Fake>) {
    let notes = Arc::new(Notes::default());
    let builder = fake.pool().name("orders").observer(Arc::clone(&notes));
    (notes, builder)
}

#[test]
fn what_the_pool_thinks_of_its_backend_is_told_when_it_changes() {
    let (sim, fake) = new(1);
    let (notes, builder) = watched(&fake);
    let breaker = Breaker::new(1, SECOND);
    let pool = builder.breaker(breaker).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Fail]);
    assert!(sim.block_on(pool.get()).is_err());
    assert_eq!(
        notes.only("breaker"),
        ["the breaker was closed and is open"]
    );
    sim.advance(SECOND);
    fill(&sim, &pool, 8);
    let told = [
        "the breaker was open and is half open",
        "the breaker was half open and is closed",
    ];
    assert_eq!(notes.only("breaker"), told);
    fake.set_liveness_with(|conn| match conn.id() {
        6.. => Liveness::Closed,
        _ => Liveness::Alive,
    });
    drop(sim.block_on(pool.get_timeout(MILLI)));
    assert_eq!(notes.only("burst").len(), 1);
    pool.pause();
    pool.pause();
    pool.resume();
    assert_eq!(notes.told(), ["paused: nothing is lent", "resumed"]);
}

#[test]
fn the_life_of_a_connection_is_told_in_order() {
    let (sim, fake) = new(1);
    let (notes, builder) = watched(&fake);
    let pool = builder.max_uses(2).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Take(20 * MILLI)]);
    let guard = sim.block_on(pool.get()).unwrap();
    sim.advance(SECOND);
    drop(guard);
    sim.advance(500 * MILLI);
    drop(pool.try_get().unwrap());
    sim.settle();
    assert_eq!(
        notes.told(),
        [
            "a get has to wait",
            "opened connection 1 in 20.0ms",
            "lent connection 1 after 20.0ms",
            "connection 1 came back after 1.0s",
            "lent connection 1 after 0.0ns",
            "connection 1 came back after 0.0ns",
            "closed connection 1 (max_uses) 1.5s old",
        ]
    );
    let guard = sim.block_on(pool.get()).unwrap();
    drop(guard.detach());
    pool.clear();
    pool.resize(3).unwrap();
    assert_eq!(
        notes.told()[3..],
        [
            "connection 2 was detached",
            "cleared: nothing opened until now is lent again",
            "settings changed",
        ]
    );
}

#[test]
fn a_connect_that_fails_is_told_with_its_error_and_how_many_there_were() {
    let (sim, fake) = new(1);
    let (notes, builder) = watched(&fake);
    let pool = builder
        .connect_timeout(MILLI)
        .fail_fast(false)
        .build_lazy()
        .unwrap();
    let failures = [Behavior::Fail, Behavior::Hang, Behavior::Panic];
    fake.next(Call::Connect, failures);
    drop(sim.block_on(pool.get()).unwrap());
    let told = notes.told();
    let failed: Vec<_> = told
        .iter()
        .filter(|text| text.contains("cannot"))
        .cloned()
        .collect();
    assert_eq!(
        failed,
        [
            "cannot connect (failure 1 in a row, after 0.0ns): refused the call number 1",
            "cannot connect (failure 2 in a row, after 1.0ms): it took longer than connect_timeout",
            "cannot connect (failure 3 in a row, after 0.0ns): it panicked: scripted panic in Connect",
        ]
    );
    assert!(told.contains(&String::from("connect panicked: scripted panic in Connect")));
}

#[test]
fn a_get_that_takes_too_long_is_told_whatever_comes_of_it() {
    let (sim, fake) = new(1);
    let (notes, builder) = watched(&fake);
    let pool = builder
        .max_size(1)
        .get_timeout(5 * SECOND)
        .slow_get_warning(2 * SECOND)
        .build_lazy()
        .unwrap();
    let held = hold(&sim, &pool, 1);
    let mut given_up = Box::pin(pool.get_owned());
    let mut too_early = Box::pin(pool.get_owned());
    assert!(poll_once(given_up.as_mut()).is_pending());
    assert!(poll_once(too_early.as_mut()).is_pending());
    let timed_out = go_get(&sim, &pool);
    sim.advance(SECOND);
    drop(too_early);
    sim.advance(SECOND);
    drop(given_up);
    let served = go_get(&sim, &pool);
    sim.advance(3 * SECOND);
    drop(held);
    sim.settle();
    assert!(timed_out.has_ended() && served.has_ended());
    let end = "; see the pool's statistics, and max_size or the backend";
    assert_eq!(
        notes.only("slow_get"),
        [
            format!("a get took 2.0s and got no connection{end}"),
            format!("a get took 5.0s and got no connection{end}"),
            format!("a get took 3.0s and got connection 1{end}"),
        ]
    );
    let mut config = pool.config();
    drop(served);
    for (limit, expected) in [
        (Some(Duration::ZERO), 1),
        (Some(Duration::MAX), 0),
        (None, 0),
    ] {
        config.slow_get_warning = limit;
        pool.reconfigure(config.clone()).unwrap();
        drop(sim.block_on(pool.get()).unwrap());
        assert_eq!(notes.only("slow_get").len(), expected, "{limit:?}");
    }
}

#[test]
fn a_goodbye_that_is_given_up_is_told() {
    let (sim, fake) = new(1);
    let (notes, builder) = watched(&fake);
    let pool = builder
        .max_size(1)
        .max_uses(1)
        .close_timeout(SECOND)
        .build_lazy()
        .unwrap();
    fake.always(Call::Close, Behavior::Hang);
    drop(sim.block_on(pool.get()).unwrap());
    sim.advance(2 * SECOND);
    drop(sim.block_on(pool.get()).unwrap());
    sim.settle();
    let guard = sim.block_on(pool.get()).unwrap();
    assert_eq!(
        notes.only("graceful_close_failed"),
        [
            "gave up the goodbye to connection 1: it took longer than close_timeout",
            "gave up the goodbye to connection 2: somebody waits for its slot",
        ]
    );
    drop(guard);
}

#[test]
fn every_panic_that_is_caught_is_told() {
    let (sim, fake) = new(1);
    fake.require_reset();
    let (notes, builder) = watched(&fake);
    let pool = builder
        .max_size(3)
        .ping_after(Duration::ZERO)
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
    fake.set_is_reusable_with(|_| true);
    fake.at_drop(|_| panic!("scripted panic"));
    let mut marked = sim.block_on(pool.get()).unwrap();
    marked.mark_unusable();
    drop(marked);
    fake.at_drop(|_| ());
    fake.next(Call::Close, [Behavior::Panic]);
    drop(sim.block_on(pool.get()).unwrap());
    sim.block_on(pool.close(SECOND));
    let told = notes.only("panicked");
    let steps: Vec<_> = told
        .iter()
        .map(|text| text.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        steps,
        ["ping", "reset", "is_reusable", "drop", "close"],
        "{told:?}"
    );
}

// ---- observers that misbehave

#[test]
fn an_observer_that_panics_each_time_changes_nothing() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(2)
        .observer(|_: &str, _: &Event<'_>| panic!("scripted panic"))
        .build_lazy()
        .unwrap();
    fake.next(Call::Connect, [Behavior::Fail]);
    assert!(sim.block_on(pool.get()).is_err());
    sim.advance(SECOND);
    fill(&sim, &pool, 2);
    pool.clear();
    pool.resize(1).unwrap();
    pool.resize(2).unwrap();
    assert_lends_all(&sim, &fake, &pool);
    sim.block_on(pool.close(SECOND));
    assert_eq!(fake.alive(), 0);
}

#[test]
fn an_observer_may_use_the_pool_and_is_not_told_without_end() {
    let (sim, fake) = new(1);
    let place: Arc<Mutex<Option<WeakPool<Fake>>>> = Arc::default();
    let deepest = Arc::new(Mutex::new((0, 0)));
    let (pool_of, depth) = (Arc::clone(&place), Arc::clone(&deepest));
    let meddle = move |_: &str, _: &Event<'_>| {
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
    let pool = fake
        .pool()
        .max_size(2)
        .observer(meddle)
        .build_lazy()
        .unwrap();
    *place.lock().unwrap() = Some(pool.downgrade());
    fill(&sim, &pool, 2);
    let _held = hold(&sim, &pool, 2);
    let mut waiter = Box::pin(pool.get());
    assert!(poll_once(waiter.as_mut()).is_pending());
    pool.clear();
    drop((waiter, _held));
    sim.settle();
    assert_eq!(*deepest.lock().unwrap(), (0, 4));
    assert_lends_all(&sim, &fake, &pool);
}

// ---- all together

/// Every connection is opened once and ends once, and is lent and returned in turns.
#[test]
fn what_is_told_of_a_wild_hour_adds_up() {
    for seed in 0..10 {
        let (sim, fake) = new(seed);
        fake.require_reset();
        let (notes, builder) = watched(&fake);
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
            fake.next(
                op,
                [
                    Behavior::Take(MILLI),
                    Behavior::Fail,
                    Behavior::Hang,
                    Behavior::Panic,
                ],
            );
        }
        let jobs: Vec<_> = (0..60)
            .map(|nth| {
                let (pool, sim_) = (pool.clone(), sim.clone());
                go(&sim, async move {
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
        let count = |label: &str| notes.count(label) as u64;
        assert_eq!(count("opened"), stats.created);
        assert_eq!(count("connect_failed"), stats.connect_failed);
        assert_eq!(count("lent"), stats.success);
        assert_eq!(count("closed"), stats.closed.total());
        assert_eq!(count("detached"), stats.detached);
        assert_eq!(count("returned"), stats.success - stats.detached);
        assert!(count("waiting") > 0, "seed {seed}");
        sim.block_on(pool.close(SECOND));
        assert_eq!(
            count("opened"),
            count("closed") + count("detached"),
            "seed {seed}"
        );
    }
}

#[test]
fn a_driver_in_the_background_is_not_silent() {
    let (sim, fake) = new(1);
    let (notes, builder) = watched(&fake);
    let pool: Pool<Fake> = sim
        .block_on(builder.min_size(2).evict_interval(SECOND).build())
        .unwrap();
    assert_eq!(notes.only("opened").len(), 2);
    fake.hang_up_all();
    sim.advance(2 * SECOND);
    let told = notes.told();
    assert_eq!(
        told.iter().filter(|text| text.contains("(dead)")).count(),
        2
    );
    assert_eq!(
        told.iter().filter(|text| text.contains("opened")).count(),
        2
    );
    drop(pool);
}
