//! The maintenance task: sweeps, min_size and graceful closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{
    Behavior, Call, MILLI, SECOND, assert_at_rest, assert_full_capacity, closed, fill,
    graceful_closes, hold, new, spawn_get,
};
use connpool_core::{BoxFuture, CloseReason, Instant, Liveness, Pool, Runtime};
use connpool_testkit::SimRuntime;
use futures_lite::future::yield_now;

// ---- sweeps

#[test]
fn sweep_closes_dead_connections_without_a_get() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 5);
    fake.set_liveness_with(|conn| match conn.id() {
        2 | 4 => Liveness::Closed,
        5 => Liveness::Unsolicited,
        _ => Liveness::Alive,
    });
    sim.advance(30 * SECOND);
    assert_eq!((fake.alive(), pool.stats().available), (2, 2));
    assert_eq!(closed(&pool, CloseReason::Dead), 2);
    assert_eq!(closed(&pool, CloseReason::Unsolicited), 1);
    assert_eq!(graceful_closes(&fake), [0; 0]);
}

#[test]
fn no_sweep_without_evict_interval() {
    let (sim, fake) = new(1);
    let pool = fake.pool().evict_interval(None).idle_timeout(SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.set_liveness(Liveness::Closed);
    let (probes, slept) = (fake.probes(), sim.timers_created());
    sim.advance(1_000 * SECOND);
    assert_eq!((fake.probes(), sim.timers_created()), (probes, slept));
    assert_eq!(fake.alive(), 3);
}

#[test]
fn min_size_is_maintained_without_evict_interval() {
    let (sim, fake) = new(1);
    let build = fake.pool().min_size(2).evict_interval(None).build();
    let pool = sim.block_on(build).unwrap();
    let mut held = hold(&sim, &pool, 1);
    held[0].mark_unusable();
    drop(held);
    sim.settle();
    assert_eq!((fake.alive(), pool.stats().available), (2, 2));
}

#[test]
fn sweep_pings_nothing_and_keeps_the_order() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(Duration::ZERO).evict_interval(SECOND).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 4);
    while !held.is_empty() {
        drop(held.remove(0));
    }
    fake.always(Call::Ping, Behavior::Fail);
    sim.advance(10 * SECOND);
    assert_eq!((fake.calls(Call::Ping), fake.alive()), (0, 4));
    fake.clear_script();
    let ids: Vec<u64> = hold(&sim, &pool, 4).iter().map(|held| held.id()).collect();
    assert_eq!(ids, [4, 3, 2, 1]);
}

/// The evictor of the Go library took all connections out of the pool before probing them.
#[test]
fn sweep_hides_no_healthy_connection_from_try_get() {
    for with_dead in [false, true] {
        let (sim, fake) = new(1);
        let pool = fake.pool().max_size(1_000).evict_interval(60 * SECOND).build_lazy().unwrap();
        fill(&sim, &pool, 1_000);
        let served = Arc::new(AtomicUsize::new(0));
        let (weak, served_) = (pool.downgrade(), Arc::clone(&served));
        let inside = AtomicUsize::new(0);
        fake.set_liveness_with(move |conn| {
            // The probe of the inner try_get does not recurse.
            if inside.fetch_add(1, Ordering::SeqCst) == 0 {
                let pool = weak.upgrade().unwrap();
                let got = pool.try_get();
                assert!(got.is_ok(), "the sweep hid all connections: {}", pool.stats());
                served_.fetch_add(1, Ordering::SeqCst);
            }
            inside.fetch_sub(1, Ordering::SeqCst);
            match conn.id() % 2 {
                0 if with_dead => Liveness::Closed,
                _ => Liveness::Alive,
            }
        });
        sim.advance(60 * SECOND);
        // With every second connection dead, a try_get may find three dead ones in a row.
        assert!(served.load(Ordering::SeqCst) >= 500);
        fake.clear_script();
        assert_eq!(pool.stats().available, fake.alive());
        assert_full_capacity(&sim, &fake, &pool);
        if with_dead {
            break;
        }
    }
}

#[test]
fn get_between_two_sweep_steps_is_served_immediately() {
    let (sim, fake) = new(3);
    let pool = fake.pool().max_size(1_000).evict_interval(60 * SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 1_000);
    let all = pool.stats().created;
    sim.advance(60 * SECOND - MILLI);
    let jobs: Vec<_> = (0..50)
        .map(|_| {
            let (pool, sim_) = (pool.clone(), sim.clone());
            crate::support::spawn(&sim, async move {
                sim_.sleep(MILLI).await;
                for _ in 0..20 {
                    drop(pool.get_owned().await.unwrap());
                    futures_lite::future::yield_now().await;
                }
            })
        })
        .collect();
    sim.advance(10 * MILLI);
    assert!(jobs.iter().all(crate::support::Job::has_ended));
    assert_eq!(pool.stats().created, all, "a connect was started");
    assert_eq!(pool.stats().available, 1_000);
}

#[test]
fn get_during_the_sweep_of_the_only_connection_does_not_connect() {
    let (sim, fake) = new(1);
    let pool = fake.pool().evict_interval(SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    let got = Arc::new(std::sync::Mutex::new(None));
    let (got_, sim_, weak) = (Arc::clone(&got), sim.clone(), pool.downgrade());
    fake.set_liveness_with(move |_| {
        if got_.lock().unwrap().is_none() {
            // As if from another thread, during the probe.
            let pool = weak.upgrade().unwrap();
            let mut get = Box::pin(pool.get_owned());
            assert!(crate::support::poll_once(get.as_mut()).is_pending());
            *got_.lock().unwrap() = Some(crate::support::spawn(&sim_, get));
        }
        Liveness::Alive
    });
    sim.advance(SECOND);
    let job = got.lock().unwrap().take().expect("no sweep");
    assert_eq!(job.take().expect("not served").unwrap().id(), 1);
    assert_eq!(fake.calls(Call::Connect), 1);
}

#[test]
fn min_size_is_maintained_in_the_background() {
    let (sim, fake) = new(1);
    let pool = sim.block_on(fake.pool().min_size(3).build()).unwrap();
    assert_eq!(pool.stats().available, 3);
    let mut held = hold(&sim, &pool, 3);
    held.iter_mut().for_each(|guard| guard.mark_unusable());
    drop(held);
    sim.settle();
    assert_eq!(pool.stats().available, 3);
    pool.clear();
    sim.settle();
    assert_eq!((pool.stats().available, fake.calls(Call::Connect)), (3, 9));
    fake.set_liveness(Liveness::Closed);
    sim.advance(30 * SECOND);
    fake.clear_script();
    sim.advance(30 * SECOND);
    assert_eq!(pool.stats().available, 3);
}

// ---- graceful closes

#[test]
fn graceful_close_holds_its_slot_until_close_timeout() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).max_idle(0).close_timeout(3 * SECOND).build_lazy().unwrap();
    fake.always(Call::Close, Behavior::Hang);
    drop(hold(&sim, &pool, 1));
    sim.advance(3 * SECOND - MILLI);
    let stats = pool.stats();
    assert_eq!((stats.size, stats.available, fake.alive()), (1, 0, 1));
    sim.advance(MILLI);
    assert_at_rest(&pool, &fake, 0);
    assert_eq!(fake.alive(), 0);
}

#[test]
fn graceful_close_is_polled_once_while_a_get_waits() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).max_uses(1).build_lazy().unwrap();
    fake.always(Call::Close, Behavior::Hang);
    let held = hold(&sim, &pool, 2);
    let waiters = [(); 4].map(|()| spawn_get(&sim, &pool));
    drop(held);
    sim.settle();
    assert_eq!(graceful_closes(&fake), [1, 2]);
    assert_eq!(waiters.iter().filter(|job| job.has_ended()).count(), 2);
    assert_eq!(sim.elapsed(), Duration::ZERO);
}

#[test]
fn graceful_close_is_cut_short_by_a_waiter_for_its_slot() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).max_uses(1).close_timeout(None).build_lazy().unwrap();
    fake.always(Call::Close, Behavior::Hang);
    drop(hold(&sim, &pool, 3));
    sim.advance(SECOND);
    assert_eq!((graceful_closes(&fake).len(), fake.alive()), (3, 3));
    let held = hold(&sim, &pool, 1);
    assert_eq!(sim.elapsed(), SECOND);
    assert_eq!(fake.dropped().len(), 1, "another graceful close was cut short");
    let more = hold(&sim, &pool, 2);
    assert_eq!((sim.elapsed(), fake.peak()), (SECOND, 3));
    drop((held, more));
}

// ---- a clock that advances when it is read

/// Each read of the clock takes ten microseconds.
#[derive(Clone)]
struct AdvancingClock {
    sim: SimRuntime,
    reads: Arc<AtomicU64>,
}

impl Runtime for AdvancingClock {
    fn now(&self) -> Instant {
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        assert!(reads < 1_000_000, "the sweep does not yield");
        Instant::from_nanos(reads * 10_000)
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        let clock = self.clone();
        Box::pin(async move {
            while clock.now() < at {
                yield_now().await;
            }
        })
    }

    fn spawn(&self, task: BoxFuture) {
        self.sim.spawn(task);
    }

    fn random(&self) -> u64 {
        self.sim.random()
    }
}

#[test]
fn sweep_longer_than_evict_interval_yields_to_other_tasks() {
    let (sim, fake) = new(1);
    let runtime = AdvancingClock { sim: sim.clone(), reads: Arc::default() };
    let pool = Pool::builder(fake, runtime)
        .max_size(200)
        .evict_interval(Duration::ZERO)
        .build_lazy()
        .unwrap();
    sim.block_on(async {
        let mut held = Vec::new();
        for _ in 0..200 {
            held.push(pool.get().await.unwrap());
        }
        drop(held);
        for _ in 0..100 {
            yield_now().await;
        }
    });
    assert!(pool.stats().available >= 199, "{}", pool.stats());
}
