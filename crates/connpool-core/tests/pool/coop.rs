//! Gets that never wait let other tasks run.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use crate::support::{
    Fake, SECOND, Wakes, assert_at_rest, assert_full_capacity, fill, hold, poll_once,
};
use connpool_core::{BoxFuture, GetError, Instant, Pool, Runtime};
use connpool_testkit::SimRuntime;

/// The simulation with a script of when a task should yield. Clones share it.
#[derive(Clone)]
struct CoopRuntime {
    sim: SimRuntime,
    script: Arc<Script>,
}

#[derive(Default)]
struct Script {
    asked: AtomicUsize,
    /// How often the answer is still `Pending`.
    yields: AtomicUsize,
}

impl Runtime for CoopRuntime {
    fn now(&self) -> Instant {
        self.sim.now()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        self.sim.sleep_until(at)
    }

    fn spawn(&self, task: BoxFuture) {
        self.sim.spawn(task);
    }

    fn random(&self) -> u64 {
        self.sim.random()
    }

    fn poll_coop(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.script.asked.fetch_add(1, Ordering::SeqCst);
        let yields = self.script.yields.load(Ordering::SeqCst);
        if yields == 0 {
            return Poll::Ready(());
        }
        self.script.yields.store(yields - 1, Ordering::SeqCst);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

struct Case {
    runtime: CoopRuntime,
    fake: Fake,
    pool: Pool<Fake>,
}

impl Case {
    /// Creates a pool of at most two connections, one of which is idle. If it has to be reset, no
    /// `get` takes the fast path.
    fn new(reset: bool) -> Self {
        let sim = SimRuntime::new(1);
        let runtime = CoopRuntime { sim: sim.clone(), script: Arc::default() };
        let fake = Fake::new(runtime.clone());
        if reset {
            fake.require_reset();
        }
        let pool = fake.pool().max_size(2).evict_interval(None).build_lazy().unwrap();
        fill(&sim, &pool, 1);
        Case { runtime, fake, pool }
    }

    /// Creates a pool whose next `get` yields this many times.
    fn about_to_yield(reset: bool, times: usize) -> Self {
        let case = Case::new(reset);
        case.until_next_asks();
        case.yields(times);
        case
    }

    fn asked(&self) -> usize {
        self.runtime.script.asked.load(Ordering::SeqCst)
    }

    fn yields(&self, times: usize) {
        self.runtime.script.yields.store(times, Ordering::SeqCst);
    }

    fn get_and_return(&self) {
        drop(self.runtime.sim.block_on(self.pool.get()).unwrap());
    }

    /// Gets and returns until the next `get` is one that asks.
    fn until_next_asks(&self) {
        let asked = self.asked();
        while self.asked() == asked {
            self.get_and_return();
        }
        for _ in 1..32 {
            self.get_and_return();
        }
        assert_eq!(self.asked(), asked + 1);
    }

    fn assert_nothing_lost(&self) {
        assert_at_rest(&self.pool, &self.fake, 0);
        assert_full_capacity(&self.runtime.sim, &self.fake, &self.pool);
    }
}

#[test]
fn every_32nd_get_of_an_idle_connection_asks_whether_to_yield() {
    for reset in [false, true] {
        let case = Case::new(reset);
        case.until_next_asks();
        let asked = case.asked();
        for _ in 0..32 * 10 {
            case.get_and_return();
        }
        assert_eq!(case.asked(), asked + 10);
        case.assert_nothing_lost();
    }
}

#[test]
fn get_that_yields_wakes_its_task_and_then_takes_the_connection() {
    for reset in [false, true] {
        let case = Case::about_to_yield(reset, 2);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        let mut get = pin!(case.pool.get());
        for polled in 1..=2 {
            assert!(get.as_mut().poll(&mut cx).is_pending());
            assert_eq!(wakes.count(), polled);
        }
        let Poll::Ready(Ok(conn)) = get.poll(&mut cx) else { panic!("it yielded again") };
        assert_eq!(conn.id(), 1);
        drop(conn);
        case.assert_nothing_lost();
    }
}

#[test]
fn get_dropped_while_it_yields_loses_nothing() {
    for reset in [false, true] {
        for owned in [false, true] {
            let case = Case::about_to_yield(reset, 1);
            let success = case.pool.stats().success;
            if owned {
                assert!(poll_once(pin!(case.pool.get_owned())).is_pending());
            } else {
                assert!(poll_once(pin!(case.pool.get())).is_pending());
            }
            let stats = case.pool.stats();
            assert_eq!((stats.available, stats.waiting, stats.success), (1, 0, success));
            case.assert_nothing_lost();
        }
    }
}

#[test]
fn connection_is_there_for_others_while_a_get_yields() {
    for reset in [false, true] {
        let case = Case::about_to_yield(reset, 1);
        let mut get = pin!(case.pool.get());
        assert!(poll_once(get.as_mut()).is_pending());
        let other = hold(&case.runtime.sim, &case.pool, 1);
        assert_eq!(other[0].id(), 1);
        // The first one does without it.
        assert_eq!(case.runtime.sim.block_on(get).unwrap().id(), 2);
        drop(other);
        case.assert_nothing_lost();
    }
}

#[test]
fn get_that_yields_while_the_pool_closes_takes_nothing() {
    for reset in [false, true] {
        let case = Case::about_to_yield(reset, 1);
        let mut get = pin!(case.pool.get());
        assert!(poll_once(get.as_mut()).is_pending());
        case.runtime.sim.block_on(case.pool.close(SECOND));
        assert!(matches!(case.runtime.sim.block_on(get), Err(GetError::Closed)));
        assert_at_rest(&case.pool, &case.fake, 0);
    }
}

#[test]
fn try_get_never_asks() {
    let case = Case::new(false);
    let asked = case.asked();
    case.yields(usize::MAX);
    for _ in 0..100 {
        drop(case.pool.try_get().unwrap());
    }
    assert_eq!(case.asked(), asked);
}
