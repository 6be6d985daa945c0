//! A runtime of one thread, whose clock moves only when nothing else can.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use connpool_core::{BoxFuture, Instant, Runtime};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use std::sync::{Mutex, MutexGuard};

/// A simulated runtime: virtual time, and a schedule that follows from the seed.
///
/// Tasks run while [`block_on`](SimRuntime::block_on) or [`settle`](SimRuntime::settle) runs, one
/// at a time, in an order drawn from the seed. When nothing is ready, `block_on` moves the clock to
/// the next timer. Clones are the same runtime.
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
    world: Arc<Mutex<World>>,
}

struct World {
    now: Instant,
    rng: StdRng,
    tasks: Vec<Running>,
    timers: BTreeMap<(Instant, u64), Waker>,
    next_timer: u64,
    spawned: usize,
    slept: usize,
    refusing: bool,
    trace: Trace,
}

struct Running {
    number: usize,
    /// Taken out while it is being polled.
    task: Option<BoxFuture>,
    flag: Arc<Flag>,
}

/// A waker that remembers that it was used.
pub(crate) struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raise();
    }
}

impl Flag {
    pub(crate) fn raised() -> Arc<Self> {
        Arc::new(Flag(AtomicBool::new(true)))
    }

    pub(crate) fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A hash of what happened, by FNV-1a: nothing that differs from one build to the next.
struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Trace(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    fn note(&mut self, what: u64) {
        for byte in what.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl World {
    /// The tasks that could be polled. One that is being polled is not among them: its wake is for
    /// the next time.
    fn ready(&self) -> Vec<usize> {
        let is_ready = |running: &Running| running.task.is_some() && running.flag.is_raised();
        let indices = 0..self.tasks.len();
        indices
            .filter(|index| is_ready(&self.tasks[*index]))
            .collect()
    }

    /// Whether it is the turn of the future that `block_on` runs, among all that is ready.
    fn draw_main(&mut self) -> bool {
        let others = self.ready().len();
        self.rng.random_range(0..=others) == 0
    }
}

impl SimRuntime {
    /// A runtime at the origin of time, whose every choice follows from `seed`.
    pub fn new(seed: u64) -> Self {
        SimRuntime {
            world: Arc::new(Mutex::new(World {
                now: Instant::ORIGIN,
                rng: StdRng::seed_from_u64(seed),
                tasks: Vec::new(),
                timers: BTreeMap::new(),
                next_timer: 0,
                spawned: 0,
                slept: 0,
                refusing: false,
                trace: Trace::default(),
            })),
        }
    }

    /// Runs `future` to its end, with all tasks, moving the clock whenever nothing is ready.
    ///
    /// # Panics
    ///
    /// If nothing is ready and no timer is set: the future would wait for ever.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let flag = Flag::raised();
        let waker = Waker::from(Arc::clone(&flag));
        let mut cx = Context::from_waker(&waker);
        loop {
            let its_turn = flag.is_raised() && self.world().draw_main();
            if its_turn {
                flag.take();
                self.world().trace.note(u64::MAX);
                if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                    return output;
                }
            } else if !self.run_one() {
                assert!(
                    self.leap_to_next_timer(),
                    "nothing is ready and no timer is set: this would wait for ever"
                );
            }
        }
    }

    /// Runs tasks until none is ready. The clock stands still.
    pub fn settle(&self) {
        while self.run_one() {}
    }

    /// Moves the clock by `span`, stopping at every timer on the way to run what it wakes.
    pub fn advance(&self, span: Duration) {
        let end = self
            .now()
            .checked_add(span)
            .expect("a moment beyond the end of time");
        self.settle();
        while self.next_timer().is_some_and(|at| at <= end) {
            self.leap_to_next_timer();
            self.settle();
        }
        self.world().now = end;
    }

    /// Sleeps for `span` of virtual time.
    pub async fn sleep(&self, span: Duration) {
        match self.now().checked_add(span) {
            Some(at) => self.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// How much virtual time has passed.
    pub fn elapsed(&self) -> Duration {
        self.now().since(Instant::ORIGIN)
    }

    /// A number that follows from everything that happened so far: which task ran when, and how the
    /// clock moved. Two runs of one program from one seed have the same.
    pub fn trace_hash(&self) -> u64 {
        self.world().trace.0
    }

    /// How many tasks were ever spawned.
    pub fn spawned(&self) -> usize {
        self.world().spawned
    }

    /// How many timers were ever made.
    pub fn slept(&self) -> usize {
        self.world().slept
    }

    /// How many tasks have not ended.
    pub fn tasks(&self) -> usize {
        self.world().tasks.len()
    }

    /// Drops all tasks, and from now on every new one: a runtime that was shut down. Its clock and
    /// its timers go on for whoever polls them from elsewhere.
    pub fn shut_down(&self) {
        let tasks = {
            let mut world = self.world();
            world.refusing = true;
            std::mem::take(&mut world.tasks)
        };
        drop(tasks);
    }

    /// Takes tasks again after [`shut_down`](SimRuntime::shut_down).
    pub fn start_again(&self) {
        self.world().refusing = false;
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_timer(&self) -> Option<Instant> {
        self.world().timers.keys().next().map(|(at, _)| *at)
    }

    /// Polls one of the ready tasks; false if there is none.
    pub fn run_one(&self) -> bool {
        let (task, flag) = {
            let mut world = self.world();
            let ready = world.ready();
            if ready.is_empty() {
                return false;
            }
            let chosen = ready[world.rng.random_range(0..ready.len())];
            let World { tasks, trace, .. } = &mut *world;
            let running = &mut tasks[chosen];
            trace.note(running.number as u64);
            running.flag.take();
            (running.task.take(), Arc::clone(&running.flag))
        };
        let Some(mut task) = task else { return true };
        let waker = Waker::from(Arc::clone(&flag));
        let ended = task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        let mut world = self.world();
        let place = world
            .tasks
            .iter()
            .position(|running| Arc::ptr_eq(&running.flag, &flag));
        match place {
            Some(place) if ended => drop(world.tasks.swap_remove(place)),
            Some(place) => {
                world.tasks[place].task = Some(task);
                return true;
            }
            // Shut down by the task itself.
            None => {}
        }
        drop(world);
        drop(task);
        true
    }

    fn leap_to_next_timer(&self) -> bool {
        let woken: Vec<Waker> = {
            let mut world = self.world();
            let Some((at, _)) = world.timers.keys().next().copied() else {
                return false;
            };
            world.now = world.now.max(at);
            let now = world.now;
            world.trace.note(now.as_nanos());
            let later = world.timers.split_off(&(now, u64::MAX));
            std::mem::replace(&mut world.timers, later)
                .into_values()
                .collect()
        };
        woken.into_iter().for_each(Waker::wake);
        true
    }
}

impl Runtime for SimRuntime {
    fn now(&self) -> Instant {
        self.world().now
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        let mut timer = Timer {
            world: Arc::clone(&self.world),
            at,
            key: None,
        };
        self.world().slept += 1;
        Box::pin(poll_fn(move |cx| timer.poll(cx)))
    }

    fn spawn(&self, task: BoxFuture) {
        let mut world = self.world();
        world.spawned += 1;
        if !world.refusing {
            let number = world.spawned;
            world.tasks.push(Running {
                number,
                task: Some(task),
                flag: Flag::raised(),
            });
            return;
        }
        drop(world);
        drop(task);
    }

    fn random(&self) -> u64 {
        self.world().rng.next_u64()
    }
}

/// Takes itself out of the heap when it is dropped, so that the clock does not stop for nobody.
struct Timer {
    world: Arc<Mutex<World>>,
    at: Instant,
    key: Option<(Instant, u64)>,
}

impl Timer {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if world.now >= self.at {
            return Poll::Ready(());
        }
        let key = *self.key.get_or_insert_with(|| {
            world.next_timer += 1;
            (self.at, world.next_timer)
        });
        world.timers.insert(key, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
            let waker = world.timers.remove(&key);
            drop(world);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_only_when_nothing_is_ready() {
        let sim = SimRuntime::new(1);
        sim.block_on(sim.sleep(Duration::from_secs(3600)));
        assert_eq!(sim.elapsed(), Duration::from_secs(3600));
        sim.block_on(async {});
        assert_eq!(sim.elapsed(), Duration::from_secs(3600));
    }

    #[test]
    fn a_dropped_timer_does_not_stop_the_clock() {
        let sim = SimRuntime::new(1);
        let mut timer = sim.sleep_until(Instant::from_nanos(5));
        assert!(
            timer
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        drop(timer);
        assert_eq!(sim.next_timer(), None);
    }

    #[test]
    #[should_panic(expected = "wait for ever")]
    fn a_deadlock_is_told() {
        SimRuntime::new(1).block_on(std::future::pending::<()>());
    }

    #[test]
    fn advancing_runs_what_wakes_on_the_way() {
        let sim = SimRuntime::new(1);
        let seen = Arc::new(Mutex::new(Vec::new()));
        for seconds in [3, 1, 2] {
            let (sim_, seen) = (sim.clone(), Arc::clone(&seen));
            sim.spawn(Box::pin(async move {
                sim_.sleep(Duration::from_secs(seconds)).await;
                seen.lock().unwrap().push(seconds);
            }));
        }
        sim.advance(Duration::from_secs(2));
        assert_eq!(*seen.lock().unwrap(), [1, 2]);
        assert_eq!(sim.tasks(), 1);
    }

    /// Ready at the second poll, and woken at once.
    async fn turn() {
        let mut turned = false;
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if std::mem::replace(&mut turned, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    #[test]
    fn a_future_that_is_always_ready_starves_no_task() {
        let sim = SimRuntime::new(1);
        let done = Arc::new(AtomicBool::new(false));
        let task = Arc::clone(&done);
        sim.spawn(Box::pin(async move {
            turn().await;
            task.store(true, Ordering::SeqCst);
        }));
        sim.block_on(async {
            while !done.load(Ordering::SeqCst) {
                turn().await;
            }
        });
    }

    #[test]
    fn a_task_that_is_woken_while_it_is_polled_is_polled_again() {
        let sim = SimRuntime::new(1);
        let inside = sim.clone();
        sim.spawn(Box::pin(async move {
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                // Whoever runs tasks from within a task does not swallow its wake.
                inside.settle();
                Poll::<()>::Ready(())
            })
            .await;
            turn().await;
        }));
        sim.settle();
        assert_eq!(sim.tasks(), 0);
    }

    #[test]
    fn the_order_of_tasks_follows_from_the_seed() {
        let order = |seed| {
            let sim = SimRuntime::new(seed);
            let seen = Arc::new(Mutex::new(Vec::new()));
            for task in 0..20 {
                let seen = Arc::clone(&seen);
                sim.spawn(Box::pin(async move { seen.lock().unwrap().push(task) }));
            }
            sim.settle();
            std::mem::take(&mut *seen.lock().unwrap())
        };
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
    }

    #[test]
    fn the_trace_follows_from_the_seed_and_from_what_is_run() {
        let trace = |seed, tasks: u64| {
            let sim = SimRuntime::new(seed);
            for task in 0..tasks {
                let sim_ = sim.clone();
                sim.spawn(Box::pin(async move {
                    sim_.sleep(Duration::from_nanos(task)).await;
                }));
            }
            sim.advance(Duration::from_secs(1));
            sim.trace_hash()
        };
        assert_eq!(trace(7, 9), trace(7, 9));
        assert_ne!(trace(7, 9), trace(8, 9));
        assert_ne!(trace(7, 9), trace(7, 8));
    }
}
