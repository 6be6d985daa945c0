//! Pools whose runtime, maintenance task or handles are gone.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::support::counting::CountingRuntime;
use crate::support::{
    Behavior, Call, Fake, MILLI, SECOND, Wakes, assert_at_rest, assert_full_capacity, fill,
    graceful_closes, hold, new, poll_once, spawn, spawn_get,
};
use connpool_core::{
    Backoff, BoxFuture, BuildError, CloseReason, GetError, Instant, Phase, Pool, Runtime,
};
use connpool_testkit::SimRuntime;

// ---- guards

#[test]
fn guard_can_be_dropped_after_runtime_shutdown() {
    for marked in [false, true] {
        let (sim, fake) = new(1);
        let pool = fake.pool().max_size(1).build_lazy().unwrap();
        let mut held = hold(&sim, &pool, 1);
        sim.shut_down();
        let spawned = sim.spawned();
        if marked {
            held[0].mark_unusable();
        }
        drop(held);
        assert_eq!(sim.spawned(), spawned, "a drop spawned a task");
        let kept = usize::from(!marked);
        assert_eq!((fake.alive(), pool.stats().available), (kept, kept));
        sim.restart();
        assert_full_capacity(&sim, &fake, &pool);
    }
}

#[test]
fn guard_dropped_after_runtime_shutdown_serves_a_waiter() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut get = Box::pin(pool.get_owned());
    assert!(poll_once(get.as_mut()).is_pending());
    sim.shut_down();
    drop(held);
    assert!(poll_once(get.as_mut()).is_ready());
}

#[test]
fn owned_guard_outlives_its_pool_and_destroys_its_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    drop(pool);
    sim.settle();
    assert_eq!(held[0].id(), 1);
    assert_eq!(fake.alive(), 1);
    drop(held);
    sim.settle();
    assert_eq!(fake.closes(), [(1, CloseReason::PoolClosed)]);
    assert_eq!((fake.alive(), sim.tasks()), (0, 0));
}

// ---- a runtime that drops all tasks

#[test]
fn get_on_a_runtime_without_tasks_ends_at_its_deadline_without_spinning() {
    for fail_fast in [false, true] {
        let (sim, fake) = new(1);
        sim.shut_down();
        let runtime = CountingRuntime::new(&sim, 1_000);
        let pool = Pool::builder(fake.clone(), runtime.clone())
            .fail_fast_after(fail_fast.then_some(Duration::ZERO))
            .get_timeout(10 * SECOND)
            .build_lazy()
            .unwrap();
        let error = sim.block_on(runtime.count_polls(pool.get())).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(sim.elapsed(), 10 * SECOND);
        assert!(runtime.polls() <= 5, "{} polls", runtime.polls());
        assert!(sim.spawned() <= 10, "{} tasks", sim.spawned());
        assert_at_rest(&pool, &fake, 0);
    }
}

#[test]
fn gets_on_a_runtime_without_tasks_do_not_wake_each_other_forever() {
    let (sim, fake) = new(1);
    let pool = Pool::builder(fake.clone(), CountingRuntime::new(&sim, 100_000))
        .max_size(3)
        .get_timeout(10 * SECOND)
        .build_lazy()
        .unwrap();
    sim.shut_down();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&waker);
    let mut gets: Vec<_> = (0..10).map(|_| Box::pin(pool.get_owned())).collect();
    let mut rounds = 0;
    let mut seen = usize::MAX;
    while seen != wakes.count() {
        seen = wakes.count();
        rounds += 1;
        assert!(rounds < 50, "the gets keep waking each other");
        for get in &mut gets {
            assert!(get.as_mut().poll(&mut context).is_pending());
        }
    }
    sim.advance(10 * SECOND);
    for get in &mut gets {
        match get.as_mut().poll(&mut context) {
            Poll::Ready(Err(GetError::Timeout { .. })) => {}
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => panic!("still pending after its deadline"),
        }
    }
    sim.restart();
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn idle_connections_are_lent_on_a_runtime_without_tasks() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    fill(&sim, &pool, 2);
    sim.shut_down();
    for _ in 0..5 {
        let held = hold(&sim, &pool, 2);
        assert_eq!(sim.elapsed(), Duration::ZERO);
        drop(held);
        assert!(pool.try_get().is_ok());
    }
    assert_at_rest(&pool, &fake, 0);
}

#[test]
fn build_on_a_runtime_without_tasks_fails_immediately() {
    let (sim, fake) = new(1);
    sim.shut_down();
    match sim.block_on(fake.pool().min_size(2).build()) {
        Err(BuildError::NoRuntime) => {}
        other => panic!("{:?}", other.map(|pool| pool.stats())),
    }
    assert_eq!(sim.elapsed(), Duration::ZERO);
}

#[test]
fn build_without_fail_fast_ends_on_a_runtime_without_tasks() {
    let (sim, fake) = new(1);
    sim.shut_down();
    let runtime = CountingRuntime::new(&sim, 1_000);
    let build = Pool::builder(fake, runtime.clone())
        .min_size(2)
        .fail_fast_after(None)
        .get_timeout(SECOND)
        .build();
    match sim.block_on(runtime.count_polls(build)) {
        Err(BuildError::Timeout | BuildError::NoRuntime) => {}
        other => panic!("{:?}", other.map(|pool| pool.stats())),
    }
    assert!(sim.elapsed() <= SECOND);
}

/// Each failure is retried immediately, and the deadline still applies.
#[test]
fn build_without_backoff_ends_on_a_runtime_without_tasks() {
    let (sim, fake) = new(1);
    sim.shut_down();
    let runtime = CountingRuntime::new(&sim, 1_000);
    let build = Pool::builder(fake, runtime.clone())
        .min_size(2)
        .fail_fast_after(None)
        .get_timeout(Duration::ZERO)
        .backoff(Backoff::new(Duration::ZERO, Duration::ZERO, 1.0))
        .build();
    match sim.block_on(runtime.count_polls(build)) {
        Err(BuildError::Timeout | BuildError::NoRuntime) => {}
        other => panic!("{:?}", other.map(|pool| pool.stats())),
    }
}

#[test]
fn close_on_a_runtime_without_tasks_closes_all_connections() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 3);
    sim.shut_down();
    let report = sim.block_on(pool.close(SECOND));
    assert_eq!((report.closed, report.timed_out), (3, false));
    assert_eq!((fake.alive(), sim.elapsed()), (0, Duration::ZERO));
}

// ---- a runtime that is shut down and started again

#[test]
fn connect_dropped_by_its_runtime_frees_its_slot() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Hang]);
    let mut get = Box::pin(pool.get_owned_timeout(SECOND));
    assert!(poll_once(get.as_mut()).is_pending());
    sim.settle();
    assert_eq!(pool.stats().connecting, 1);
    sim.shut_down();
    assert_eq!(pool.stats().connecting, 0);
    assert!(sim.block_on(get).unwrap_err().is_timeout());
    sim.restart();
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn waiter_restarts_tasks_that_the_runtime_dropped() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Hang]);
    let mut get = Box::pin(pool.get_owned());
    assert!(poll_once(get.as_mut()).is_pending());
    sim.settle();
    sim.shut_down();
    sim.restart();
    assert!(sim.block_on(get).is_ok());
    assert!(sim.elapsed() <= 250 * MILLI, "more than the first backoff pause");
    assert_eq!(fake.calls(Call::Connect), 2);
}

#[test]
fn waiter_that_leaves_at_its_limit_does_not_keep_the_next_one_waiting() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 1);
    sim.shut_down();
    let mut first = Box::pin(pool.get_owned_timeout(SECOND));
    assert!(poll_once(first.as_mut()).is_pending());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut second = Box::pin(pool.get_owned_timeout(10 * SECOND));
    assert!(second.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    // The timer wakes the first waiter, which is then asked for a connect before it is polled.
    sim.advance(SECOND);
    held[0].mark_unusable();
    drop(held);
    sim.restart();
    let before = wakes.count();
    assert!(poll_once(first.as_mut()).is_ready());
    sim.settle();
    assert!(wakes.count() > before, "the second waiter is not woken for the free slot");
    assert!(sim.block_on(second).is_ok());
}

#[test]
fn pool_restarts_a_dropped_maintenance_task() {
    let (sim, fake) = new(1);
    let pool =
        fake.pool().max_size(3).idle_timeout(SECOND).evict_interval(SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    for _ in 0..3 {
        sim.shut_down();
        sim.restart();
        assert_full_capacity(&sim, &fake, &pool);
    }
    // The new maintenance task takes over.
    sim.advance(3 * SECOND);
    assert_eq!(fake.alive(), 0);
    assert_eq!(pool.stats().closed.get(CloseReason::Idle), 3);
}

#[test]
fn graceful_closes_dropped_by_their_runtime_free_their_slots() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).max_idle(0).close_timeout(None).build_lazy().unwrap();
    fake.always(Call::Close, Behavior::Hang);
    drop(hold(&sim, &pool, 2));
    sim.settle();
    assert_eq!((graceful_closes(&fake).len(), fake.alive()), (2, 2));
    sim.shut_down();
    assert_at_rest(&pool, &fake, 0);
    assert_eq!(fake.alive(), 0);
    sim.restart();
    assert_full_capacity_when_calm(&sim, &fake, &pool);
}

fn assert_full_capacity_when_calm(sim: &SimRuntime, fake: &Fake, pool: &Pool<Fake>) {
    fake.clear_script();
    assert_full_capacity(sim, fake, pool);
}

#[test]
fn connections_queued_for_closing_are_closed_without_the_maintenance_task() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    // All three are queued for the maintenance task, which never runs again.
    pool.clear();
    assert_eq!(fake.alive(), 3);
    sim.shut_down();
    assert_eq!(fake.alive(), 0);
    assert_at_rest(&pool, &fake, 0);
}

// ---- handles

#[test]
fn last_handle_without_a_runtime_drops_idle_connections_in_place() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 3);
    sim.shut_down();
    let spawned = sim.spawned();
    drop(pool);
    assert_eq!((fake.alive(), sim.spawned()), (0, spawned));
}

#[test]
fn unused_pool_spawns_and_arms_nothing() {
    let (sim, fake) = new(1);
    drop(fake.pool().build_lazy().unwrap());
    assert_eq!((sim.spawned(), sim.timers_created()), (0, 0));
}

#[test]
fn last_handle_fails_waiters_and_ends_their_connects() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Hang);
    let jobs = [0, 1, 2].map(|_| spawn(&sim, pool.get_owned()));
    sim.settle();
    assert_eq!(pool.stats().waiting, 3);
    drop(pool);
    sim.settle();
    for job in jobs {
        assert!(matches!(job.take(), Some(Err(GetError::Closed))));
    }
    drop(held);
    sim.settle();
    assert_eq!((fake.alive(), sim.tasks()), (0, 0));
}

#[test]
fn get_first_polled_after_the_last_handle_dropped_returns_closed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let get = pool.get_owned();
    drop(pool);
    assert!(matches!(sim.block_on(get), Err(GetError::Closed)));
    assert_eq!(sim.spawned(), 0);
}

#[test]
fn last_handle_can_be_dropped_by_the_drop_of_a_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 2);
    let last_handle = std::sync::Mutex::new(Some(pool.clone()));
    fake.at_drop(move |_| drop(last_handle.lock().unwrap().take()));
    pool.clear();
    drop(pool);
    sim.settle();
    assert_eq!(fake.alive(), 0);
    assert_eq!(sim.tasks(), 0);
}

// ---- clocks

#[test]
fn coarse_clock_does_not_cause_spinning() {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let runtime = CountingRuntime::new(&sim, 5_000).coarse(70 * MILLI);
    let pool = Pool::builder(fake.clone(), runtime.clone())
        .max_size(2)
        .min_size(1)
        .evict_interval(10 * MILLI)
        .idle_timeout(SECOND)
        .max_lifetime(2 * SECOND)
        .ping_after(Duration::ZERO)
        .fail_fast_after(None)
        .build_lazy()
        .unwrap();
    fake.next(Call::Connect, [Behavior::Fail, Behavior::Fail, Behavior::Hang]);
    fake.next(Call::Ping, [Behavior::Hang]);
    for _ in 0..20 {
        let got = sim.block_on(runtime.count_polls(pool.get_timeout(7 * SECOND)));
        assert!(got.is_ok());
        sim.advance(100 * MILLI);
    }
    sim.advance(5 * SECOND);
    assert_eq!(pool.stats().available, 1);
}

/// A runtime whose timers fire up to a millisecond early.
struct EarlyTimers {
    sim: SimRuntime,
    shares_wait_timer: bool,
}

impl Runtime for EarlyTimers {
    fn now(&self) -> Instant {
        self.sim.now()
    }

    fn wall(&self) -> Instant {
        self.sim.wall()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        let early = Instant::from_nanos(at.as_nanos().saturating_sub(1_000_000));
        self.sim.sleep_until(early)
    }

    fn shares_wait_timer(&self) -> bool {
        self.shares_wait_timer
    }

    fn spawn(&self, task: BoxFuture) {
        self.sim.spawn(task);
    }

    fn random(&self) -> u64 {
        self.sim.random()
    }
}

#[test]
fn timer_that_fires_early_counts_as_its_deadline() {
    for shares_wait_timer in [false, true] {
        let (sim, fake) = new(1);
        let runtime = EarlyTimers { sim: sim.clone(), shares_wait_timer };
        let pool = Pool::builder(fake.clone(), runtime)
            .max_size(1)
            .evict_interval(SECOND)
            .idle_timeout(SECOND)
            .build_lazy()
            .unwrap();
        let held = hold(&sim, &pool, 1);
        let error = sim.block_on(pool.get_timeout(SECOND)).unwrap_err();
        assert!(matches!(error, GetError::Timeout { phase: Phase::Wait, .. }));
        drop(held);
        sim.advance(5 * SECOND);
        assert_eq!(fake.alive(), 0);
    }
}

#[test]
fn panicking_waker_does_not_keep_other_waiters_from_being_woken() {
    struct Bomb;
    impl std::task::Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("scripted panic of a waker");
        }
    }
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let bomb = Waker::from(Arc::new(Bomb));
    let mut first = pin!(pool.get_owned());
    let polled = first.as_mut().poll(&mut Context::from_waker(&bomb));
    assert!(polled.is_pending());
    let second = spawn_get(&sim, &pool);
    let mut close = pin!(pool.close(SECOND));
    assert!(poll_once(close.as_mut()).is_pending());
    sim.settle();
    assert!(matches!(second.take(), Some(Err(GetError::Closed))));
    drop(held);
    sim.settle();
    assert_eq!(fake.alive(), 0);
}

#[test]
fn connect_ended_by_its_runtime_counts_as_failed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Hang);
    let waiter = spawn_get(&sim, &pool);
    assert_eq!(pool.stats().connecting, 1);
    sim.shut_down();
    let stats = pool.stats();
    assert_eq!((stats.connecting, stats.connect_failed), (0, 1));
    drop(waiter);
}
