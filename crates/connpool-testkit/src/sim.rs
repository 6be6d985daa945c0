//! A single-threaded runtime in virtual time.

mod state;
mod tasks;
#[cfg(test)]
mod tests;
mod trace;

use std::any::TypeId;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use connpool_core::{BoxFuture, Instant, Runtime, RuntimeId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::state::{Executor, State, Timer};
use self::trace::Trace;
use crate::conn::FaultyConn;
use crate::stream::SimStream;
use crate::wake_flag::WakeFlag;

/// A simulated runtime with virtual time and a seeded schedule.
///
/// Tasks run inside [`block_on`](SimRuntime::block_on), [`settle`](SimRuntime::settle) and
/// [`advance`](SimRuntime::advance), one at a time, in an order drawn from the seed. When no task is
/// ready, `block_on` advances the clock to the next timer. Clones share the same runtime.
///
/// ```
/// use connpool_core::{object_fn, Pool};
/// use connpool_testkit::SimRuntime;
/// use std::time::Duration;
///
/// let sim = SimRuntime::new(42);
/// let pool = Pool::builder(object_fn(|| async { Ok::<_, std::io::Error>(()) }), sim.clone())
///     .max_size(1)
///     .get_timeout(Duration::from_secs(3600))
///     .build_lazy()
///     .unwrap();
/// sim.block_on(async {
///     let _held = pool.get().await.unwrap();
///     assert!(pool.get().await.unwrap_err().is_timeout());
/// });
/// assert_eq!(sim.elapsed(), Duration::from_secs(3600));
/// ```
#[derive(Clone)]
pub struct SimRuntime {
    state: Arc<Mutex<State>>,
    executor: usize,
}

impl SimRuntime {
    /// Creates a runtime at the origin of time. The schedule and all random numbers follow from `seed`.
    pub fn new(seed: u64) -> Self {
        SimRuntime {
            executor: 0,
            state: Arc::new(Mutex::new(State {
                now: Instant::ORIGIN,
                wall_ahead: START_OF_WALL,
                rng: StdRng::seed_from_u64(seed),
                executors: vec![Executor::default()],
                current: None,
                timers: BTreeMap::new(),
                next_timer: 0,
                spawned: 0,
                timers_created: 0,
                trace: Trace::default(),
            })),
        }
    }

    /// Creates another runtime on the same clock, as where a program has several: each with tasks of its
    /// own, and each can be shut down or frozen while the others go on.
    ///
    /// Call this before pools are built on either, which are then told of
    /// [the runtime they are at home on](Runtime::home).
    ///
    /// ```
    /// use connpool_core::{CloseReason, object_fn, Pool};
    /// use connpool_testkit::SimRuntime;
    /// use std::time::Duration;
    ///
    /// let home = SimRuntime::new(42);
    /// let elsewhere = home.another();
    /// let manager = object_fn(|| async { Ok::<_, std::io::Error>(()) });
    /// let pool = Pool::builder(manager, home.clone()).build_lazy().unwrap();
    /// home.block_on(async { drop(pool.get().await.unwrap()) });
    /// home.shut_down();
    /// elsewhere.block_on(async { drop(pool.get().await.unwrap()) });
    /// assert_eq!(pool.stats().closed.get(CloseReason::RuntimeGone), 1);
    /// ```
    pub fn another(&self) -> Self {
        let mut state = self.state();
        state.executors.push(Executor::default());
        SimRuntime { state: Arc::clone(&self.state), executor: state.executors.len() - 1 }
    }

    /// Polls no task of this runtime until [`thaw`](SimRuntime::thaw), as if its thread did something
    /// else.
    pub fn freeze(&self) {
        self.state().executors[self.executor].frozen = true;
    }

    /// Polls the tasks of this runtime again.
    pub fn thaw(&self) {
        self.state().executors[self.executor].frozen = false;
    }

    /// Runs `future` to completion together with the spawned tasks. Advances the clock when nothing is
    /// ready.
    ///
    /// # Panics
    ///
    /// Panics if nothing is ready and no timer is set, since the future would wait forever.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let flag = WakeFlag::raised();
        let waker = Waker::from(Arc::clone(&flag));
        let mut cx = Context::from_waker(&waker);
        loop {
            let poll_main = flag.is_raised() && self.state().draws_main();
            if poll_main {
                flag.take();
                let before = {
                    let mut state = self.state();
                    state.trace.record(u64::MAX);
                    state.current.replace(self.executor)
                };
                let poll = future.as_mut().poll(&mut cx);
                self.state().current = before;
                if let Poll::Ready(output) = poll {
                    return output;
                }
            } else if !self.run_one() {
                assert!(
                    self.advance_to_next_timer(),
                    "deadlock: no task is ready and no timer is set"
                );
            }
        }
    }

    /// Runs tasks until none is ready. Does not advance the clock.
    pub fn settle(&self) {
        while self.run_one() {}
    }

    /// Advances the clock by `span`. Stops at each timer in between and runs the tasks that it wakes.
    ///
    /// # Panics
    ///
    /// Panics if the new time does not fit into an `Instant`.
    pub fn advance(&self, span: Duration) {
        let end = self.now().checked_add(span).expect("an instant that is representable");
        self.settle();
        while self.next_timer().is_some_and(|at| at <= end) {
            self.advance_to_next_timer();
            self.settle();
        }
        self.state().now = end;
    }

    /// Lets the wall clock leap ahead by `span`, as in a suspend of the machine: neither
    /// [`now`](Runtime::now) nor the timers notice. Saturates 292 years ahead, from where it goes on.
    pub fn leap(&self, span: Duration) {
        let mut state = self.state();
        state.wall_ahead = state.wall_ahead.saturating_add(nanos(span)).min(FARTHEST_WALL);
    }

    /// Sets the wall clock back by `span`. Saturates at the origin.
    pub fn set_wall_back(&self, span: Duration) {
        let mut state = self.state();
        state.wall_ahead = state.wall_ahead.saturating_sub(nanos(span));
    }

    /// Sleeps for `span` of virtual time. Never returns if the deadline does not fit into an `Instant`.
    pub async fn sleep(&self, span: Duration) {
        match self.now().checked_add(span) {
            Some(at) => self.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Returns the virtual time since the runtime was created.
    pub fn elapsed(&self) -> Duration {
        self.now().since(Instant::ORIGIN)
    }

    /// Returns a hash of the schedule so far: the order of polls and the times of the clock. Two runs
    /// of the same program with the same seed have the same hash.
    pub fn trace_hash(&self) -> u64 {
        self.state().trace.hash()
    }

    /// Returns the number of tasks spawned so far.
    pub fn spawned(&self) -> usize {
        self.state().spawned
    }

    /// Returns the number of timers created so far.
    pub fn timers_created(&self) -> usize {
        self.state().timers_created
    }

    /// Returns the number of tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.state().executors.iter().map(|executor| executor.tasks.len()).sum()
    }

    /// Shuts the runtime down: drops all tasks, and every task spawned later. The clock and timers
    /// keep working for futures polled elsewhere.
    pub fn shut_down(&self) {
        let tasks = {
            let executor = &mut self.state().executors[self.executor];
            executor.shut_down = true;
            executor.tasks.remove_all()
        };
        drop(tasks);
    }

    /// Accepts tasks again after [`shut_down`](SimRuntime::shut_down).
    pub fn restart(&self) {
        self.state().executors[self.executor].shut_down = false;
    }

    fn spawn_on(&self, executor: usize, task: BoxFuture) {
        let mut state = self.state();
        state.spawned += 1;
        let number = state.spawned;
        let executor = &mut state.executors[executor];
        if !executor.shut_down {
            executor.tasks.insert(number, task);
            return;
        }
        drop(state);
        drop(task);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_timer(&self) -> Option<Instant> {
        self.state().timers.keys().next().map(|(at, _)| *at)
    }

    /// Polls one ready task. Returns false if no task is ready.
    pub fn run_one(&self) -> bool {
        let Some(mut polled) = self.state().start_poll() else { return false };
        let waker = Waker::from(Arc::clone(&polled.waker));
        let ended = polled.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let rest = self.state().end_poll(polled, ended);
        // Foreign code: dropped after unlocking.
        drop(rest);
        true
    }

    fn advance_to_next_timer(&self) -> bool {
        let mut woken = Vec::new();
        {
            let State { now, timers, trace, .. } = &mut *self.state();
            let Some((at, _)) = timers.keys().next().copied() else {
                return false;
            };
            *now = at.max(*now);
            trace.record(now.as_nanos());
            while let Some(first) = timers.first_entry().filter(|timer| timer.key().0 <= *now) {
                woken.push(first.remove());
            }
        }
        woken.into_iter().for_each(Waker::wake);
        true
    }
}

impl Runtime for SimRuntime {
    fn now(&self) -> Instant {
        self.state().now
    }

    fn wall(&self) -> Instant {
        let state = self.state();
        Instant::from_nanos(state.now.as_nanos().saturating_add(state.wall_ahead))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        let mut timer = Timer::new(Arc::clone(&self.state), at);
        self.state().timers_created += 1;
        Box::pin(poll_fn(move |cx| timer.poll(cx)))
    }

    fn shares_wait_timer(&self) -> bool {
        self.current() == self.home()
    }

    fn spawn(&self, task: BoxFuture) {
        let here = self.state().current.unwrap_or(self.executor);
        self.spawn_on(here, task);
    }

    fn current(&self) -> Option<RuntimeId> {
        let state = self.state();
        state.current.filter(|_| state.executors.len() > 1).map(runtime_id)
    }

    fn home(&self) -> Option<RuntimeId> {
        (self.state().executors.len() > 1).then(|| runtime_id(self.executor))
    }

    fn spawn_at_home(&self, task: BoxFuture) {
        self.spawn_on(self.executor, task);
    }

    fn remedy_for_unprobed(&self, connection: TypeId) -> Option<&'static str> {
        [TypeId::of::<SimStream>(), TypeId::of::<FaultyConn>()]
            .contains(&connection)
            .then_some("return `Some(|conn| conn)`")
    }

    fn random(&self) -> u64 {
        self.state().rng.next_u64()
    }
}

fn runtime_id(executor: usize) -> RuntimeId {
    let number =
        u32::try_from(executor).ok().and_then(|number| NonZeroU32::MIN.checked_add(number));
    RuntimeId::new(number.unwrap_or(NonZeroU32::MAX))
}

/// How far the wall clock can be ahead: it must go on in any case.
const FARTHEST_WALL: u64 = u64::MAX / 2;

/// The wall clock at the origin of time: some day of 2020. No two clocks should agree by accident.
const START_OF_WALL: u64 = 1_600_000_000_000_000_000;

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
