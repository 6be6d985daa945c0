//! Pairs of operations that run at the same moment.
//!
//! On a multi-threaded runtime the operations overlap within nanoseconds, so each pair runs thousands
//! of times. No other task uses the pool meanwhile, as it could repair the damage of a lost wake-up.

use std::future::poll_fn;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use connpool_core::{BoxFuture, CloseReason, Instant, Pool};
use futures_lite::future::{or, yield_now};

use crate::env::{Env, LONG, closed, waiting};
use crate::join_handle::JoinHandle;
use connpool_testkit::FaultyManager;
use connpool_testkit::{Behavior, Call};

/// Detects the wake-up that is lost if checking the idle set and enqueueing are two steps.
pub(crate) async fn concurrent_return_and_get_lose_no_wakeup(env: Env) {
    let mut race = Race::new(&env);
    let (backend, pool) = pool(&env, 1);
    while race.next_round() {
        let guard = pool.get_owned().await.unwrap();
        let get = pool.get_owned();
        let (_, got) = race.run_both(async move { drop(guard) }, get).await;
        assert_eq!(got.unwrap().id(), 1);
    }
    assert_eq!(env.until_at_rest(&pool, &backend, 0).await.created, 1);
}

/// Does the same with a slot that becomes free.
pub(crate) async fn concurrent_freed_slot_and_get_lose_no_wakeup(env: Env) {
    let mut race = Race::new(&env);
    let (backend, pool) = pool(&env, 1);
    while race.next_round() {
        let mut guard = pool.get_owned().await.unwrap();
        guard.mark_unusable();
        let id = guard.id();
        let get = pool.get_owned();
        let (_, got) = race.run_both(async move { drop(guard) }, get).await;
        assert_eq!(got.unwrap().id(), id + 1);
    }
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(stats.created, closed(&pool, CloseReason::Marked) + 1);
}

/// Assigns a connection to a waiter that is being dropped.
pub(crate) async fn concurrent_return_and_cancelled_get_lose_no_connection(env: Env) {
    let mut race = Race::new(&env);
    let (backend, pool) = pool(&env, 1);
    while race.next_round() {
        let guard = pool.get_owned().await.unwrap();
        let first = waiting(pool.get_owned()).await;
        let second = waiting(pool.get_owned()).await;
        race.run_both(async move { drop(guard) }, async move { drop(first) }).await;
        assert_eq!(second.await.unwrap().id(), 1);
    }
    assert_eq!(env.until_at_rest(&pool, &backend, 0).await.created, 1);
}

/// Ends a connect while its waiter is being dropped.
pub(crate) async fn concurrent_connect_and_cancelled_get_lose_no_connection(env: Env) {
    let mut race = Race::new(&env);
    while race.next_round() {
        let (backend, pool) = pool(&env, 1);
        backend.next(Call::Connect, [Behavior::Hold]);
        let get = waiting(pool.get_owned()).await;
        while backend.held(Call::Connect) == 0 {
            yield_now().await;
        }
        let manager = backend.clone();
        let connects = async move { manager.release(Call::Connect, Behavior::Succeed) };
        race.run_both(connects, async move { drop(get) }).await;
        let stats = env.until_at_rest(&pool, &backend, 0).await;
        assert_eq!((stats.created, stats.available), (1, 1));
    }
}

/// Runs `close` against `get`: no connection outlives the pool.
pub(crate) async fn concurrent_close_and_get_leave_no_connection(env: Env) {
    let mut race = Race::new(&env);
    while race.next_round() {
        let (backend, pool) = pool(&env, 2);
        env.fill(&pool, 1).await;
        let (closing, get) = (pool.clone(), pool.get_owned());
        let close = async move { closing.close(Duration::ZERO).await };
        let (_, got) = race.run_both(close, get).await;
        if let Err(error) = got.map(drop) {
            assert!(error.is_closed(), "{error}");
        }
        let report = pool.close(LONG).await;
        assert_eq!((report.still_out.len(), report.timed_out), (0, false));
        assert_eq!(backend.alive(), 0);
    }
}

/// Runs `close` against a return: a closed pool keeps no connection.
pub(crate) async fn concurrent_close_and_return_leave_no_connection(env: Env) {
    let mut race = Race::new(&env);
    while race.next_round() {
        let (backend, pool) = pool(&env, 1);
        let guard = pool.get_owned().await.unwrap();
        let closing = pool.clone();
        let close = async move { closing.close(LONG).await };
        let (_, report) = race.run_both(async move { drop(guard) }, close).await;
        assert_eq!((report.still_out.len(), report.timed_out), (0, false));
        assert_eq!(backend.alive(), 0);
    }
}

/// Drops the last handle and a guard.
pub(crate) async fn concurrent_last_handle_and_guard_drop_leave_no_connection(env: Env) {
    let mut race = Race::new(&env);
    while race.next_round() {
        let (backend, pool) = pool(&env, 1);
        let guard = pool.get_owned().await.unwrap();
        race.run_both(async move { drop(pool) }, async move { drop(guard) }).await;
        env.until(|| backend.alive() == 0).await;
    }
}

/// Runs `clear` against a return: no earlier connection is reused.
pub(crate) async fn concurrent_clear_and_return_leave_no_old_connection(env: Env) {
    let mut race = Race::new(&env);
    let (backend, pool) = pool(&env, 1);
    while race.next_round() {
        let guard = pool.get_owned().await.unwrap();
        let (id, clearing) = (guard.id(), pool.clone());
        race.run_both(async move { drop(guard) }, async move { clearing.clear() }).await;
        assert_eq!(pool.get().await.unwrap().id(), id + 1);
    }
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(stats.created, closed(&pool, CloseReason::Cleared) + 1);
}

/// Runs `resize` against a return: the surplus connection is closed.
pub(crate) async fn concurrent_resize_and_return_leave_no_surplus(env: Env) {
    let mut race = Race::new(&env);
    let (backend, pool) = pool(&env, 2);
    while race.next_round() {
        pool.resize(2).unwrap();
        let held = env.hold(&pool, 2).await;
        let resizing = pool.clone();
        let resize = async move { resizing.resize(1).unwrap() };
        race.run_both(async move { drop(held) }, resize).await;
        env.until_stats(&pool, |stats| (stats.size, stats.available) == (1, 1)).await;
    }
    let shrunk = closed(&pool, CloseReason::Shrunk);
    assert_eq!((pool.stats().created, backend.peak()), (shrunk + 1, 2));
}

/// Builds a pool without timeout and sweep, so that a lost wake-up is never repaired.
fn pool(env: &Env, max_size: usize) -> (FaultyManager, Pool<FaultyManager>) {
    let backend = env.backend();
    let builder = backend.pool().max_size(max_size);
    let builder = builder.get_timeout(None).evict_interval(None);
    (backend, builder.build_lazy().unwrap())
}

/// Runs many rounds of two concurrent operations, bounded in number and time. The second operation
/// runs in a task that exists already: a newly spawned one would start too late.
struct Race<'a> {
    env: &'a Env,
    partner: Arc<Partner>,
    left: usize,
    end: Instant,
}

impl<'a> Race<'a> {
    const ROUNDS: usize = 2_000;
    /// With a single processor a round is slow and proves little.
    const TIME: Duration = Duration::from_millis(300);

    fn new(env: &'a Env) -> Self {
        let partner = Arc::<Partner>::default();
        drop(env.spawn(Arc::clone(&partner).run()));
        Race { env, partner, left: Self::ROUNDS, end: env.now().checked_add(Self::TIME).unwrap() }
    }

    fn next_round(&mut self) -> bool {
        self.left -= 1;
        self.left > 0 && self.env.now() < self.end
    }

    async fn run_both<A, B>(&self, one: A, other: B) -> (A::Output, B::Output)
    where
        A: Future,
        B: Future<Output: Send + 'static> + Send + 'static,
    {
        let ready = Arc::new(AtomicUsize::new(0));
        let (second, completer) = JoinHandle::new();
        let (env, both) = (self.env.clone(), Arc::clone(&ready));
        self.partner.send(Command::Run(Box::pin(async move {
            start_together(&env, &both).await;
            completer.complete(other.await);
        })));
        start_together(self.env, &ready).await;
        let one = one.await;
        let too_late = async {
            self.env.sleep(LONG).await;
            panic!("the second operation has not ended after {LONG:?}")
        };
        (one, or(second, too_late).await)
    }
}

impl Drop for Race<'_> {
    fn drop(&mut self) {
        self.partner.send(Command::Stop);
    }
}

/// The task that runs the second operation of each round.
#[derive(Default)]
struct Partner(Mutex<(Command, Option<Waker>)>);

#[derive(Default)]
enum Command {
    #[default]
    None,
    Run(BoxFuture),
    Stop,
}

impl Partner {
    fn send(&self, command: Command) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 = command;
            state.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    async fn run(self: Arc<Self>) {
        while let Some(task) = poll_fn(|cx| self.poll_command(cx)).await {
            task.await;
        }
    }

    fn poll_command(&self, cx: &mut Context<'_>) -> Poll<Option<BoxFuture>> {
        let mut state = self.0.lock().unwrap();
        match std::mem::take(&mut state.0) {
            Command::Run(task) => Poll::Ready(Some(task)),
            Command::Stop => Poll::Ready(None),
            Command::None => {
                state.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Waits for the other side, then spins for a random short time, so that either side may behavior first.
async fn start_together(env: &Env, ready: &AtomicUsize) {
    ready.fetch_add(1, Ordering::SeqCst);
    while ready.load(Ordering::SeqCst) < 2 {
        yield_now().await;
    }
    (0..env.runtime().random() % 256).for_each(|_| spin_loop());
}
