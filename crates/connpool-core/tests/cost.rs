//! What a connection costs, out and back, and at rest: allocations, tasks, timers, clock reads.

#[path = "pool/support/mod.rs"]
mod support;

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use connpool_core::{Builder, Manager, Pool, PooledConnection, object_fn};
use connpool_testkit::SimRuntime;
use support::watched::Watched;
use support::{SECOND, Wakes, poll_once};

type NoError = std::io::Error;

/// A pool of eight-byte connections that are neither reset nor looked at in any costly way.
fn pool_of(
    idle: usize,
    settings: impl FnOnce(Builder<Numbers>) -> Builder<Numbers>,
) -> (Watched, Pool<Numbers>) {
    let watched = Watched::new(&SimRuntime::new(1), usize::MAX / 1_000);
    let builder = Pool::builder(Numbers, watched.clone())
        .max_size(idle)
        .min_size(idle)
        // So that the simulation has few tasks to choose from.
        .max_connecting(64);
    let pool = watched.sim.block_on(settings(builder).build()).unwrap();
    watched.sim.settle();
    // The first lending moves it from one part of the idle set to the other.
    drop(take(&pool));
    (watched, pool)
}

struct Numbers;

impl Manager for Numbers {
    type Connection = u64;
    type Error = NoError;

    async fn connect(&self) -> Result<u64, NoError> {
        Ok(7)
    }

    fn needs_reset(&self) -> bool {
        false
    }
}

fn take<M: Manager>(pool: &Pool<M>) -> PooledConnection<'_, M> {
    let mut get = pin!(pool.get());
    match poll_once(get.as_mut()) {
        Poll::Ready(Ok(guard)) => guard,
        _ => panic!("nothing is idle"),
    }
}

/// What one get and one return cost together.
#[derive(Debug, PartialEq)]
struct Cost {
    allocations: u64,
    spawned: usize,
    slept: usize,
    reads: (usize, usize),
}

fn round_trip(watched: &Watched, pool: &Pool<Numbers>) -> Cost {
    let (spawned, slept) = (watched.sim.spawned(), watched.sim.timers_created());
    let mut reads = [watched.reads(), 0, 0];
    let info = measure(|| {
        let guard = take(pool);
        reads[1] = watched.reads();
        black_box(*guard);
        drop(guard);
        reads[2] = watched.reads();
    });
    Cost {
        allocations: info.count_total,
        spawned: watched.sim.spawned() - spawned,
        slept: watched.sim.timers_created() - slept,
        reads: (reads[1] - reads[0], reads[2] - reads[1]),
    }
}

fn nothing_but_reads(get: usize, give_back: usize) -> Cost {
    Cost {
        allocations: 0,
        spawned: 0,
        slept: 0,
        reads: (get, give_back),
    }
}

#[test]
fn without_limits_a_round_trip_allocates_spawns_arms_and_reads_nothing() {
    for idle in [1, 10_000] {
        for liveness_after in [None, Some(Duration::ZERO)] {
            let (watched, pool) = pool_of(idle, |pool| {
                pool.ping_after(None).liveness_after(liveness_after)
            });
            for _ in 0..3 {
                assert_eq!(
                    round_trip(&watched, &pool),
                    nothing_but_reads(0, 0),
                    "{idle} idle, liveness_after {liveness_after:?}"
                );
            }
        }
    }
}

/// A prewarmed connection, as after a build with `min_size`.
#[test]
fn the_first_lending_of_a_connection_costs_no_more_than_the_others() {
    let (watched, pool) = pool_of(2, |pool| pool.ping_after(None));
    let used = take(&pool);
    assert_eq!(used.uses(), 2);
    assert_eq!(round_trip(&watched, &pool), nothing_but_reads(0, 0));
    drop(used);
    let (watched, pool) = pool_of(2, |pool| pool);
    let _used = take(&pool);
    assert_eq!(round_trip(&watched, &pool), nothing_but_reads(1, 1));
}

#[test]
fn with_every_limit_a_round_trip_reads_the_clock_once_each_way() {
    for idle in [1, 10_000] {
        let (watched, pool) = pool_of(idle, |pool| {
            pool.idle_timeout(3_600 * SECOND)
                .max_lifetime(3_600 * SECOND)
                .max_uses(1_000_000)
                .liveness_after(SECOND)
                .ping_after(SECOND)
        });
        for _ in 0..3 {
            assert_eq!(
                round_trip(&watched, &pool),
                nothing_but_reads(1, 1),
                "{idle} idle"
            );
        }
    }
}

#[test]
fn the_default_settings_cost_no_more() {
    for idle in [1, 10_000] {
        let (watched, pool) = pool_of(idle, |pool| pool);
        assert_eq!(round_trip(&watched, &pool), nothing_but_reads(1, 1));
    }
}

#[test]
fn a_check_that_is_over_at_once_arms_no_timer() {
    let (watched, pool) = pool_of(1, |pool| pool.ping_after(Duration::ZERO));
    let cost = round_trip(&watched, &pool);
    assert_eq!((cost.allocations, cost.spawned, cost.slept), (0, 0, 0));
}

#[test]
fn try_get_and_owned_guards_allocate_nothing() {
    let (_, pool) = pool_of(10, |pool| pool);
    let info = measure(|| {
        drop(black_box(pool.try_get()));
        let mut get = pin!(pool.get_owned());
        match poll_once(get.as_mut()) {
            Poll::Ready(Ok(guard)) => drop(black_box(guard)),
            _ => panic!("nothing is idle"),
        }
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn figures_and_names_allocate_nothing() {
    let (_, pool) = pool_of(10, |pool| pool);
    let info = measure(|| {
        black_box(pool.stats());
        black_box(pool.name());
        black_box(pool.is_closed());
        black_box(pool.clone());
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn a_refusal_allocates_no_more_however_many_are_out() {
    let refusal = |out: usize| {
        let (_watched, pool) = pool_of(out, |pool| pool);
        let held: Vec<_> = (0..out).map(|_| take(&pool)).collect();
        // What is allocated once for all is not counted.
        drop(pool.try_get());
        let info = measure(|| assert!(pool.try_get().is_err()));
        drop(held);
        (info.count_total, info.bytes_total)
    };
    assert_eq!(refusal(4), refusal(1_000));
}

#[test]
fn a_wait_costs_one_timer_and_one_wake() {
    let (watched, pool) = pool_of(1, |pool| pool);
    let held = take(&pool);
    let (spawned, slept) = (watched.sim.spawned(), watched.sim.timers_created());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&waker);
    let mut get = pin!(pool.get());
    for _ in 0..5 {
        assert!(get.as_mut().poll(&mut context).is_pending());
    }
    drop(held);
    watched.sim.settle();
    assert_eq!(wakes.count(), 1);
    assert!(get.as_mut().poll(&mut context).is_ready());
    assert_eq!(watched.sim.timers_created() - slept, 1);
    assert_eq!(watched.sim.spawned() - spawned, 0);
}

#[test]
fn a_wait_without_a_deadline_costs_no_timer() {
    let (watched, pool) = pool_of(1, |pool| pool.get_timeout(None));
    let held = take(&pool);
    let slept = watched.sim.timers_created();
    let mut get = pin!(pool.get());
    assert!(poll_once(get.as_mut()).is_pending());
    drop(held);
    assert!(poll_once(get.as_mut()).is_ready());
    assert_eq!(watched.sim.timers_created(), slept);
}

#[test]
fn a_return_wakes_one_of_many_who_wait() {
    let (_, pool) = pool_of(1, |pool| pool);
    let held = take(&pool);
    let wakes: Vec<_> = (0..100).map(|_| Arc::new(Wakes::default())).collect();
    let mut line: Vec<_> = (0..100).map(|_| Box::pin(pool.get())).collect();
    for (get, wakes) in line.iter_mut().zip(&wakes) {
        let waker = Waker::from(Arc::clone(wakes));
        let polled = get.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    drop(held);
    let counts: Vec<usize> = wakes.iter().map(|wakes| wakes.count()).collect();
    assert_eq!((counts[0], counts.iter().sum::<usize>()), (1, 1));
}

/// What is allocated and kept.
fn kept(act: impl FnOnce()) -> AllocationInfo {
    measure(act)
}

#[test]
fn an_idle_connection_costs_at_most_128_bytes_beside_itself() {
    const COUNT: usize = 4_096;
    let mut pool = None;
    let info = kept(|| pool = Some(pool_of(COUNT, |pool| pool)));
    let (_, pool) = pool.unwrap();
    assert_eq!(pool.stats().available, COUNT);
    // What the pool itself and its runtime take is spread over the connections.
    let each = info.bytes_current / i64::try_from(COUNT).unwrap();
    assert!(each <= 128 + 8, "{each} bytes for each");
    assert!(each >= 8, "it was not measured: {each}");
}

#[test]
fn a_pool_without_bounds_costs_nothing_up_front() {
    let sim = SimRuntime::new(1);
    let build = |max_size| {
        let manager = object_fn(|| async { Ok::<_, NoError>(7_u64) });
        let builder = Pool::builder(manager, sim.clone())
            .name("p")
            .max_size(max_size);
        let mut pool = None;
        let info = kept(|| pool = builder.build_lazy().ok());
        assert!(pool.is_some());
        info.bytes_current
    };
    let (small, huge) = (build(1), build(usize::MAX));
    assert_eq!(small, huge);
    assert!(huge < 4_096, "{huge} bytes");
}

#[test]
fn what_a_pool_allocated_is_freed_with_it() {
    let info = measure(|| {
        let (watched, pool) = pool_of(1_000, |pool| pool);
        let mut line: Vec<_> = (0..1_000).map(|_| Box::pin(pool.get())).collect();
        let held: Vec<_> = line.iter_mut().map(|get| poll_once(get.as_mut())).collect();
        let mut more: Vec<_> = (0..100).map(|_| Box::pin(pool.get())).collect();
        for get in &mut more {
            assert!(poll_once(get.as_mut()).is_pending());
        }
        drop((more, held, line));
        drop(pool);
        watched.sim.settle();
        assert_eq!(watched.sim.tasks(), 0);
    });
    assert_eq!(info.bytes_current, 0, "{info:?}");
    assert_eq!(info.count_current, 0);
}

#[test]
fn waiting_costs_the_same_however_many_wait() {
    let cost_after = |others: usize| {
        let (_, pool) = pool_of(1, |pool| pool);
        let held = take(&pool);
        let mut line: Vec<_> = (0..others).map(|_| Box::pin(pool.get())).collect();
        for get in &mut line {
            assert!(poll_once(get.as_mut()).is_pending());
        }
        // The places in line grow now and then; a place that was left is used again.
        drop(line.pop());
        let mut last = pin!(pool.get());
        let info = measure(|| assert!(poll_once(last.as_mut()).is_pending()));
        drop(held);
        info.count_total
    };
    assert_eq!(cost_after(1), cost_after(1_000));
}
