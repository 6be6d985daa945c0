//! Instrumented runtimes and helpers for the tests.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of this module")]

pub(crate) mod counting;
pub(crate) mod hooks;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use connpool_core::{CloseReason, GetError, Pool, PooledConnection, Runtime, WeakPool};
use connpool_testkit::{SimRuntime, silence_scripted_panics};

pub(crate) use connpool_testkit::{
    Behavior, Call, FaultyConn as Conn, FaultyManager as Fake, ScriptedError, assert_at_rest,
};

use std::sync::Mutex;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MILLI: Duration = Duration::from_millis(1);

pub(crate) type Guard = PooledConnection<'static, Fake>;
pub(crate) type Got = Result<Guard, GetError<ScriptedError>>;

/// Creates a simulation and a manager in it.
pub(crate) fn new(seed: u64) -> (SimRuntime, Fake) {
    let sim = SimRuntime::new(seed);
    let fake = fake(&sim);
    (sim, fake)
}

/// Creates a manager in a simulation.
pub(crate) fn fake(sim: &SimRuntime) -> Fake {
    silence_scripted_panics();
    Fake::new(sim.clone())
}

/// Returns how many connections were closed for this reason.
pub(crate) fn closed(pool: &Pool<Fake>, reason: CloseReason) -> u64 {
    pool.stats().closed.get(reason)
}

/// Returns the ids of the connections whose graceful close was started, in order.
pub(crate) fn graceful_closes(fake: &Fake) -> Vec<u64> {
    fake.graceful_closes()
}

/// The handle of a task of a test.
pub(crate) struct Job<T>(Arc<Mutex<Option<T>>>);

impl<T> Job<T> {
    /// Takes the result of the task, if it has ended.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap().take()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }
}

/// Spawns `future` as a task. It first runs when the simulation does.
pub(crate) fn spawn<T: Send + 'static>(
    sim: &SimRuntime,
    future: impl Future<Output = T> + Send + 'static,
) -> Job<T> {
    let cell = Arc::new(Mutex::new(None));
    let job = Job(Arc::clone(&cell));
    sim.spawn(Box::pin(async move {
        let result = future.await;
        *cell.lock().unwrap() = Some(result);
    }));
    job
}

/// Spawns a task that gets one connection, and polls it once.
pub(crate) fn spawn_get(sim: &SimRuntime, pool: &Pool<Fake>) -> Job<Got> {
    let job = spawn(sim, pool.get_owned());
    sim.settle();
    job
}

/// Polls once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A waker that counts its wake-ups.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Borrows `count` connections at once.
pub(crate) fn hold(sim: &SimRuntime, pool: &Pool<Fake>, count: usize) -> Vec<Guard> {
    (0..count)
        .map(|index| match sim.block_on(pool.get_owned()) {
            Ok(guard) => guard,
            Err(error) => panic!("connection {} of {count}: {error}", index + 1),
        })
        .collect()
}

/// Opens `count` connections and returns them.
pub(crate) fn fill(sim: &SimRuntime, pool: &Pool<Fake>, count: usize) {
    drop(hold(sim, pool, count));
    sim.settle();
    assert_eq!(pool.stats().available, count);
}

/// Asserts that the pool has lost no capacity: `max_size` connections can be checked out at once.
pub(crate) fn assert_full_capacity(sim: &SimRuntime, fake: &Fake, pool: &Pool<Fake>) {
    let all = hold(sim, pool, pool.config().max_size);
    assert_at_rest(pool, fake, all.len());
    drop(all);
    sim.settle();
    assert_at_rest(pool, fake, 0);
}

/// Uses a pool from a callback that must not keep it open.
pub(crate) fn use_pool(pool: &WeakPool<Fake>) {
    if let Some(pool) = pool.upgrade() {
        let _ = pool.stats();
        let _ = pool.try_get();
    }
}
