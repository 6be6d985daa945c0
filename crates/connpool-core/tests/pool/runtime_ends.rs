//! What is left of a pool when its runtime, its driver or its handles are gone.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::support::watched::Watched;
use crate::support::{
    Behavior, Call, Fake, MILLI, SECOND, Wakes, assert_books, assert_lends_all, fill, go, go_get,
    hold, new, poll_once,
};
use connpool_core::{
    Backoff, BoxFuture, BuildError, CloseReason, GetError, Instant, Phase, Pool, Runtime,
};
use connpool_testkit::SimRuntime;

// ---- guards

#[test]
fn a_guard_can_be_dropped_outside_of_any_runtime() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 2);
    std::thread::scope(|threads| {
        threads.spawn(move || drop(held));
    });
    assert_eq!(pool.stats().available, 2);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_guard_can_be_dropped_after_its_runtime_was_shut_down() {
    for spoiled in [false, true] {
        let (sim, fake) = new(1);
        let pool = fake.pool().max_size(1).build_lazy().unwrap();
        let mut held = hold(&sim, &pool, 1);
        sim.shut_down();
        let spawned = sim.spawned();
        if spoiled {
            held[0].mark_unusable();
        }
        drop(held);
        assert_eq!(sim.spawned(), spawned, "a drop has spawned");
        let kept = usize::from(!spoiled);
        assert_eq!((fake.alive(), pool.stats().available), (kept, kept));
        sim.restart();
        assert_lends_all(&sim, &fake, &pool);
    }
}

#[test]
fn a_guard_dropped_while_nothing_runs_serves_who_waits() {
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
fn an_owned_guard_outlives_its_pool_and_what_it_brings_back_is_destroyed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    drop(pool);
    sim.settle();
    assert_eq!(held[0].id(), 1);
    assert_eq!(fake.alive(), 1);
    drop(held);
    assert_eq!(fake.alive(), 0);
    sim.settle();
    assert_eq!(sim.tasks(), 0);
}

#[test]
fn a_guard_is_not_a_handle() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let weak = pool.downgrade();
    assert!(weak.upgrade().is_some());
    drop(pool);
    assert!(weak.upgrade().is_none());
    drop(held);
}

// ---- a runtime that takes no tasks

#[test]
fn a_get_on_a_runtime_that_refuses_all_tasks_ends_at_its_deadline_without_spinning() {
    for fail_fast in [false, true] {
        let (sim, fake) = new(1);
        sim.shut_down();
        let runtime = Watched::new(&sim, 1_000);
        let pool = Pool::builder(fake.clone(), runtime.clone())
            .fail_fast(fail_fast)
            .get_timeout(10 * SECOND)
            .build_lazy()
            .unwrap();
        let error = sim.block_on(runtime.watch(pool.get())).unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(sim.elapsed(), 10 * SECOND);
        assert!(runtime.polls() <= 5, "{} polls", runtime.polls());
        assert!(sim.spawned() <= 10, "{} tasks", sim.spawned());
        assert_books(&pool, &fake, 0);
    }
}

#[test]
fn many_gets_on_a_runtime_that_refuses_all_tasks_do_not_wake_each_other_for_ever() {
    let (sim, fake) = new(1);
    let pool = Pool::builder(fake.clone(), Watched::new(&sim, 100_000))
        .max_size(3)
        .get_timeout(10 * SECOND)
        .build_lazy()
        .unwrap();
    sim.shut_down();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut context = Context::from_waker(&waker);
    let mut line: Vec<_> = (0..10).map(|_| Box::pin(pool.get_owned())).collect();
    let mut rounds = 0;
    let mut seen = usize::MAX;
    while seen != wakes.count() {
        seen = wakes.count();
        rounds += 1;
        assert!(rounds < 50, "they keep waking each other");
        for get in &mut line {
            assert!(get.as_mut().poll(&mut context).is_pending());
        }
    }
    sim.advance(10 * SECOND);
    for get in &mut line {
        match get.as_mut().poll(&mut context) {
            Poll::Ready(Err(GetError::Timeout { .. })) => {}
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => panic!("its time is up"),
        }
    }
    sim.restart();
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn what_is_idle_is_lent_by_a_runtime_that_refuses_all_tasks() {
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
    assert_books(&pool, &fake, 0);
}

#[test]
fn a_build_on_a_runtime_that_refuses_all_tasks_says_so_at_once() {
    let (sim, fake) = new(1);
    sim.shut_down();
    match sim.block_on(fake.pool().min_size(2).build()) {
        Err(BuildError::NoRuntime) => {}
        other => panic!("{:?}", other.map(|pool| pool.stats())),
    }
    assert_eq!(sim.elapsed(), Duration::ZERO);
}

#[test]
fn a_build_that_waits_on_ends_on_a_runtime_that_refuses_all_tasks() {
    let (sim, fake) = new(1);
    sim.shut_down();
    let runtime = Watched::new(&sim, 1_000);
    let build = Pool::builder(fake, runtime.clone())
        .min_size(2)
        .fail_fast(false)
        .get_timeout(SECOND)
        .build();
    match sim.block_on(runtime.watch(build)) {
        Err(BuildError::Timeout | BuildError::NoRuntime) => {}
        other => panic!("{:?}", other.map(|pool| pool.stats())),
    }
    assert!(sim.elapsed() <= SECOND);
}

/// Each failure wants the next attempt at once, and the deadline still counts.
#[test]
fn a_build_without_pauses_ends_on_a_runtime_that_refuses_all_tasks() {
    let (sim, fake) = new(1);
    sim.shut_down();
    let runtime = Watched::new(&sim, 1_000);
    let build = Pool::builder(fake, runtime.clone())
        .min_size(2)
        .fail_fast(false)
        .get_timeout(Duration::ZERO)
        .backoff(Backoff::new(Duration::ZERO, Duration::ZERO, 1.0))
        .build();
    match sim.block_on(runtime.watch(build)) {
        Err(BuildError::Timeout | BuildError::NoRuntime) => {}
        other => panic!("{:?}", other.map(|pool| pool.stats())),
    }
}

#[test]
fn a_close_on_a_runtime_that_refuses_all_tasks_closes_everything() {
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
fn a_connect_that_its_runtime_drops_frees_its_slot() {
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
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn who_waits_when_all_tasks_are_dropped_starts_them_again() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Hang]);
    let mut get = Box::pin(pool.get_owned());
    assert!(poll_once(get.as_mut()).is_pending());
    sim.settle();
    sim.shut_down();
    sim.restart();
    assert!(sim.block_on(get).is_ok());
    assert!(sim.elapsed() <= 50 * MILLI, "no more than a first pause");
    assert_eq!(fake.calls(Call::Connect), 2);
}

#[test]
fn a_pool_whose_driver_was_dropped_still_lends_takes_back_and_grows() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(3)
        .idle_timeout(SECOND)
        .evict_interval(SECOND)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 1);
    for _ in 0..3 {
        sim.shut_down();
        sim.restart();
        assert_lends_all(&sim, &fake, &pool);
    }
    // The new driver does the old one's work.
    sim.advance(3 * SECOND);
    assert_eq!(fake.alive(), 0);
    assert_eq!(pool.stats().closed.get(CloseReason::Idle), 3);
}

#[test]
fn goodbyes_that_are_dropped_with_their_runtime_free_their_slots() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(2)
        .max_idle(0)
        .close_timeout(None)
        .build_lazy()
        .unwrap();
    fake.always(Call::Close, Behavior::Hang);
    drop(hold(&sim, &pool, 2));
    sim.settle();
    assert_eq!((fake.graceful_closes().len(), fake.alive()), (2, 2));
    sim.shut_down();
    assert_books(&pool, &fake, 0);
    assert_eq!(fake.alive(), 0);
    sim.restart();
    assert_lends_all_hanging(&sim, &fake, &pool);
}

fn assert_lends_all_hanging(sim: &SimRuntime, fake: &Fake, pool: &Pool<Fake>) {
    fake.clear_script();
    assert_lends_all(sim, fake, pool);
}

#[test]
fn what_the_driver_was_to_close_is_closed_without_it() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    // All three are left to the driver, which never runs again.
    pool.clear();
    assert_eq!(fake.alive(), 3);
    sim.shut_down();
    assert_eq!(fake.alive(), 0);
    assert_books(&pool, &fake, 0);
}

// ---- handles

#[test]
fn the_last_handle_closes_the_pool_with_goodbyes_and_ends_its_driver() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 3);
    let clone = pool.clone();
    drop(pool);
    sim.settle();
    assert_eq!(fake.alive(), 3);
    drop(clone);
    sim.settle();
    assert_eq!((fake.graceful_closes().len(), fake.alive()), (3, 0));
    assert_eq!(sim.tasks(), 0);
}

#[test]
fn a_pool_whose_driver_rests_is_freed_with_its_last_handle() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .evict_interval(Duration::MAX)
        .build_lazy()
        .unwrap();
    hold(&sim, &pool, 1)[0].mark_unusable();
    sim.settle();
    drop(pool);
    sim.settle();
    assert_eq!(sim.tasks(), 0, "the driver outlives its pool");
}

#[test]
fn the_last_handle_without_a_runtime_drops_what_is_idle_in_place() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 3);
    sim.shut_down();
    let spawned = sim.spawned();
    drop(pool);
    assert_eq!((fake.alive(), sim.spawned()), (0, spawned));
}

#[test]
fn a_pool_that_was_never_used_leaves_nothing() {
    let (sim, fake) = new(1);
    drop(fake.pool().build_lazy().unwrap());
    assert_eq!((sim.spawned(), sim.timers_created()), (0, 0));
}

#[test]
fn the_last_handle_tells_those_who_wait_and_ends_their_connects() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Hang);
    let jobs = [0, 1, 2].map(|_| go(&sim, pool.get_owned()));
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
fn a_get_that_is_first_polled_after_the_last_handle_is_gone_finds_the_pool_closed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let get = pool.get_owned();
    drop(pool);
    assert!(matches!(sim.block_on(get), Err(GetError::Closed)));
    assert_eq!(sim.spawned(), 0);
}

#[test]
fn the_last_handle_can_be_dropped_by_a_connections_own_drop() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 2);
    let keeper = std::sync::Mutex::new(Some(pool.clone()));
    fake.at_drop(move |_| drop(keeper.lock().unwrap().take()));
    pool.clear();
    drop(pool);
    sim.settle();
    assert_eq!(fake.alive(), 0);
    assert_eq!(sim.tasks(), 0);
}

// ---- clocks

#[test]
fn a_coarse_clock_makes_nothing_spin() {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let runtime = Watched::new(&sim, 5_000).coarse(70 * MILLI);
    let pool = Pool::builder(fake.clone(), runtime.clone())
        .max_size(2)
        .min_size(1)
        .evict_interval(10 * MILLI)
        .idle_timeout(SECOND)
        .max_lifetime(2 * SECOND)
        .ping_after(Duration::ZERO)
        .fail_fast(false)
        .build_lazy()
        .unwrap();
    fake.next(
        Call::Connect,
        [Behavior::Fail, Behavior::Fail, Behavior::Hang],
    );
    fake.next(Call::Ping, [Behavior::Hang]);
    for _ in 0..20 {
        let got = sim.block_on(runtime.watch(pool.get_timeout(7 * SECOND)));
        assert!(got.is_ok());
        sim.advance(100 * MILLI);
    }
    sim.advance(5 * SECOND);
    assert_eq!(pool.stats().available, 1);
}

/// Moves its timers forward by less than was asked, as a runtime with a resolution of its own may.
struct Early(SimRuntime);

impl Runtime for Early {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        let early = Instant::from_nanos(at.as_nanos().saturating_sub(1_000_000));
        self.0.sleep_until(early)
    }

    fn spawn(&self, task: BoxFuture) {
        self.0.spawn(task);
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

#[test]
fn a_timer_that_fires_early_counts_as_its_deadline() {
    let (sim, fake) = new(1);
    let pool = Pool::builder(fake.clone(), Early(sim.clone()))
        .max_size(1)
        .evict_interval(SECOND)
        .idle_timeout(SECOND)
        .build_lazy()
        .unwrap();
    let held = hold(&sim, &pool, 1);
    let error = sim.block_on(pool.get_timeout(SECOND)).unwrap_err();
    assert!(matches!(
        error,
        GetError::Timeout {
            phase: Phase::Wait,
            ..
        }
    ));
    drop(held);
    sim.advance(5 * SECOND);
    assert_eq!(fake.alive(), 0);
}

#[test]
fn a_waker_that_panics_keeps_nobody_else_from_being_told() {
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
    let second = go_get(&sim, &pool);
    let mut close = pin!(pool.close(SECOND));
    assert!(poll_once(close.as_mut()).is_pending());
    sim.settle();
    assert!(matches!(second.take(), Some(Err(GetError::Closed))));
    drop(held);
    assert_eq!(fake.alive(), 0);
}

#[test]
fn a_connect_that_ends_with_its_runtime_is_one_that_failed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Hang);
    let waiter = go_get(&sim, &pool);
    assert_eq!(pool.stats().connecting, 1);
    sim.shut_down();
    let stats = pool.stats();
    assert_eq!((stats.connecting, stats.connect_failed), (0, 1));
    drop(waiter);
}
