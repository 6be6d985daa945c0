//! The cost of a checkout and return, of a wait and of an idle connection: allocations, tasks,
//! timers, clock reads, memory.

#[path = "pool/support/mod.rs"]
mod support;

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::{AllocationInfo, measure};
use connpool_core::{
    Builder, Event, EventKinds, Manager, Pool, PooledConnection, StreamOf, object_fn,
};
use connpool_testkit::SimRuntime;
use support::counting::CountingRuntime;
use support::{SECOND, Wakes, poll_once};

type NoError = std::io::Error;

/// Builds a pool with `idle` eight-byte connections that need no reset and no liveness probe.
fn pool_of(
    idle: usize,
    settings: impl FnOnce(Builder<Numbers>) -> Builder<Numbers>,
) -> (CountingRuntime, Pool<Numbers>) {
    let runtime = CountingRuntime::new(&SimRuntime::new(1), usize::MAX / 1_000);
    let builder = Pool::builder(Numbers, runtime.clone())
        .max_size(idle)
        .min_size(idle)
        // Keeps the number of tasks in the simulation small.
        .max_connecting(64);
    let pool = runtime.sim.block_on(settings(builder).build()).unwrap();
    runtime.sim.settle();
    // The first checkout moves a connection from one part of the idle set to the other.
    drop(take(&pool));
    (runtime, pool)
}

struct Numbers;

impl Manager for Numbers {
    type Connection = u64;
    type Error = NoError;

    async fn connect(&self) -> Result<u64, NoError> {
        Ok(7)
    }

    fn stream(&self) -> Option<StreamOf<u64>> {
        None
    }

    fn needs_reset(&self) -> bool {
        false
    }
}

fn take<M: Manager>(pool: &Pool<M>) -> PooledConnection<'_, M> {
    let mut get = pin!(pool.get());
    match poll_once(get.as_mut()) {
        Poll::Ready(Ok(guard)) => guard,
        _ => panic!("no idle connection"),
    }
}

/// The cost of one checkout and its return.
#[derive(Debug, PartialEq)]
struct Cost {
    allocations: u64,
    spawned: usize,
    slept: usize,
    reads: (usize, usize),
}

fn round_trip(runtime: &CountingRuntime, pool: &Pool<Numbers>) -> Cost {
    let (spawned, slept) = (runtime.sim.spawned(), runtime.sim.timers_created());
    let mut reads = [runtime.reads(), 0, 0];
    let info = measure(|| {
        let guard = take(pool);
        reads[1] = runtime.reads();
        black_box(*guard);
        drop(guard);
        reads[2] = runtime.reads();
    });
    Cost {
        allocations: info.count_total,
        spawned: runtime.sim.spawned() - spawned,
        slept: runtime.sim.timers_created() - slept,
        reads: (reads[1] - reads[0], reads[2] - reads[1]),
    }
}

fn only_clock_reads(get: usize, release: usize) -> Cost {
    Cost { allocations: 0, spawned: 0, slept: 0, reads: (get, release) }
}

#[test]
fn round_trip_without_limits_costs_no_allocation_task_timer_or_clock_read() {
    for idle in [1, 10_000] {
        for liveness_after in [None, Some(Duration::ZERO)] {
            let (runtime, pool) =
                pool_of(idle, |pool| pool.ping_after(None).liveness_after(liveness_after));
            for _ in 0..3 {
                assert_eq!(
                    round_trip(&runtime, &pool),
                    only_clock_reads(0, 0),
                    "{idle} idle, liveness_after {liveness_after:?}"
                );
            }
        }
    }
}

#[test]
fn observer_that_receives_no_gets_costs_them_nothing() {
    let kinds = EventKinds::CONNECTIONS | EventKinds::INCIDENTS;
    let (runtime, pool) =
        pool_of(1, |pool| pool.ping_after(None).observer(kinds.to(|_: &str, _: &Event<'_>| ())));
    for _ in 0..3 {
        assert_eq!(round_trip(&runtime, &pool), only_clock_reads(0, 0));
    }
}

#[test]
fn histograms_read_the_clock_for_one_use_in_sixteen() {
    let (runtime, pool) = pool_of(1, |pool| pool.ping_after(None).histograms(true));
    (0..16).for_each(|_| drop(take(&pool)));
    let costs: Vec<_> = (0..16).map(|_| round_trip(&runtime, &pool)).collect();
    let free = costs.iter().filter(|cost| **cost == only_clock_reads(0, 0)).count();
    let measured = costs.iter().filter(|cost| **cost == only_clock_reads(1, 1)).count();
    assert_eq!((free, measured), (15, 1), "{costs:?}");
}

/// Prewarmed connections are those of a build with `min_size`.
#[test]
fn first_checkout_of_a_connection_allocates_nothing() {
    let (runtime, pool) = pool_of(2, |pool| pool.ping_after(None));
    let used = take(&pool);
    assert_eq!(used.uses(), 2);
    assert_eq!(round_trip(&runtime, &pool), only_clock_reads(0, 0));
    drop(used);
    let (runtime, pool) = pool_of(2, |pool| pool);
    let _used = take(&pool);
    // The fast path leaves it alone, and the loop behind it reads both clocks.
    assert_eq!(round_trip(&runtime, &pool), only_clock_reads(3, 1));
}

#[test]
fn round_trip_with_all_limits_reads_the_clock_once_each_way() {
    for idle in [1, 10_000] {
        let (runtime, pool) = pool_of(idle, |pool| {
            pool.idle_timeout(3_600 * SECOND)
                .max_lifetime(3_600 * SECOND)
                .max_uses(1_000_000)
                .liveness_after(SECOND)
                .ping_after(SECOND)
        });
        for _ in 0..3 {
            assert_eq!(round_trip(&runtime, &pool), only_clock_reads(1, 1), "{idle} idle");
        }
    }
}

#[test]
fn round_trip_with_default_settings_reads_the_clock_once_each_way() {
    for idle in [1, 10_000] {
        let (runtime, pool) = pool_of(idle, |pool| pool);
        assert_eq!(round_trip(&runtime, &pool), only_clock_reads(1, 1));
    }
}

#[test]
fn check_that_completes_immediately_arms_no_timer() {
    let (runtime, pool) = pool_of(1, |pool| pool.ping_after(Duration::ZERO));
    let cost = round_trip(&runtime, &pool);
    // The check is allocated, so that the future of a get does not have to hold it.
    assert_eq!((cost.allocations, cost.spawned, cost.slept), (1, 0, 0));
}

#[test]
fn try_get_and_owned_guards_allocate_nothing() {
    let (_, pool) = pool_of(10, |pool| pool);
    let info = measure(|| {
        drop(black_box(pool.try_get()));
        let mut get = pin!(pool.get_owned());
        match poll_once(get.as_mut()) {
            Poll::Ready(Ok(guard)) => drop(black_box(guard)),
            _ => panic!("no idle connection"),
        }
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn stats_and_name_allocate_nothing() {
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
fn failed_try_get_allocates_the_same_for_any_number_of_holders() {
    let failure_cost = |held_count: usize| {
        let (_runtime, pool) = pool_of(held_count, |pool| pool);
        let held: Vec<_> = (0..held_count).map(|_| take(&pool)).collect();
        // Excludes one-time allocations from the count.
        drop(pool.try_get());
        let info = measure(|| assert!(pool.try_get().is_err()));
        drop(held);
        (info.count_total, info.bytes_total)
    };
    assert_eq!(failure_cost(4), failure_cost(1_000));
}

#[test]
fn wait_costs_one_timer_and_one_wake() {
    let (runtime, pool) = pool_of(1, |pool| pool);
    let held = take(&pool);
    let (spawned, slept) = (runtime.sim.spawned(), runtime.sim.timers_created());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&waker);
    let mut get = pin!(pool.get());
    for _ in 0..5 {
        assert!(get.as_mut().poll(&mut context).is_pending());
    }
    drop(held);
    runtime.sim.settle();
    assert_eq!(wakes.count(), 1);
    assert!(get.as_mut().poll(&mut context).is_ready());
    assert_eq!(runtime.sim.timers_created() - slept, 1);
    assert_eq!(runtime.sim.spawned() - spawned, 0);
}

#[test]
fn wait_without_a_deadline_costs_no_timer() {
    let (runtime, pool) = pool_of(1, |pool| pool.get_timeout(None));
    let held = take(&pool);
    let slept = runtime.sim.timers_created();
    let mut get = pin!(pool.get());
    assert!(poll_once(get.as_mut()).is_pending());
    drop(held);
    assert!(poll_once(get.as_mut()).is_ready());
    assert_eq!(runtime.sim.timers_created(), slept);
}

#[test]
fn return_wakes_one_of_many_waiters() {
    let (_, pool) = pool_of(1, |pool| pool);
    let held = take(&pool);
    let wakes: Vec<_> = (0..100).map(|_| Arc::new(Wakes::default())).collect();
    let mut gets: Vec<_> = (0..100).map(|_| Box::pin(pool.get())).collect();
    for (get, wakes) in gets.iter_mut().zip(&wakes) {
        let waker = Waker::from(Arc::clone(wakes));
        let polled = get.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    drop(held);
    let counts: Vec<usize> = wakes.iter().map(|wakes| wakes.count()).collect();
    assert_eq!((counts[0], counts.iter().sum::<usize>()), (1, 1));
}

/// Measures the allocations of `act`; the caller keeps what it allocates.
fn allocated(act: impl FnOnce()) -> AllocationInfo {
    measure(act)
}

#[test]
fn idle_connection_costs_at_most_128_bytes_beside_itself() {
    const COUNT: usize = 4_096;
    let mut pool = None;
    let info = allocated(|| pool = Some(pool_of(COUNT, |pool| pool)));
    let (_, pool) = pool.unwrap();
    assert_eq!(pool.stats().available, COUNT);
    // The fixed memory of the pool and the runtime is spread over the connections.
    let each = info.bytes_current / i64::try_from(COUNT).unwrap();
    assert!(each <= 128 + 8, "{each} bytes for each");
    assert!(each >= 8, "the memory was not measured: {each}");
}

#[test]
fn unbounded_pool_costs_nothing_up_front() {
    let sim = SimRuntime::new(1);
    let build = |max_size| {
        let manager = object_fn(|| async { Ok::<_, NoError>(7_u64) });
        let builder = Pool::builder(manager, sim.clone()).name("p").max_size(max_size);
        let mut pool = None;
        let info = allocated(|| pool = builder.build_lazy().ok());
        assert!(pool.is_some());
        info.bytes_current
    };
    let (small, huge) = (build(1), build(usize::MAX));
    assert_eq!(small, huge);
    assert!(huge < 6_144, "{huge} bytes");
}

#[test]
fn dropped_pool_frees_all_its_memory() {
    let info = measure(|| {
        let (runtime, pool) = pool_of(1_000, |pool| pool);
        let mut gets: Vec<_> = (0..1_000).map(|_| Box::pin(pool.get())).collect();
        let held: Vec<_> = gets.iter_mut().map(|get| poll_once(get.as_mut())).collect();
        let mut more: Vec<_> = (0..100).map(|_| Box::pin(pool.get())).collect();
        for get in &mut more {
            assert!(poll_once(get.as_mut()).is_pending());
        }
        drop((more, held, gets));
        drop(pool);
        runtime.sim.settle();
        assert_eq!(runtime.sim.tasks(), 0);
    });
    assert_eq!(info.bytes_current, 0, "{info:?}");
    assert_eq!(info.count_current, 0);
}

#[test]
fn wait_allocates_the_same_for_any_number_of_waiters() {
    let cost_after = |others: usize| {
        let (_, pool) = pool_of(1, |pool| pool);
        let held = take(&pool);
        let mut gets: Vec<_> = (0..others).map(|_| Box::pin(pool.get())).collect();
        for get in &mut gets {
            assert!(poll_once(get.as_mut()).is_pending());
        }
        // The queue grows in steps; dropping one waiter leaves a free entry for the measured one.
        drop(gets.pop());
        let mut last = pin!(pool.get());
        let info = measure(|| assert!(poll_once(last.as_mut()).is_pending()));
        drop(held);
        info.count_total
    };
    assert_eq!(cost_after(1), cost_after(1_000));
}
