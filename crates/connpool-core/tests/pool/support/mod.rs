//! A runtime that is watched, and small tools for the tests.
#![allow(
    dead_code,
    unused_imports,
    reason = "each test binary uses its own part of it"
)]

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
    Behavior, Call, FaultyConn as Conn, FaultyManager as Fake, ScriptedError,
    assert_at_rest as assert_books,
};

use std::sync::Mutex;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MILLI: Duration = Duration::from_millis(1);

pub(crate) type Guard = PooledConnection<'static, Fake>;
pub(crate) type Got = Result<Guard, GetError<ScriptedError>>;

/// A simulation and a manager in it.
pub(crate) fn new(seed: u64) -> (SimRuntime, Fake) {
    let sim = SimRuntime::new(seed);
    let fake = fake(&sim);
    (sim, fake)
}

/// A manager in a simulation.
pub(crate) fn fake(sim: &SimRuntime) -> Fake {
    silence_scripted_panics();
    Fake::new(sim.clone())
}

/// How many connections were closed for this reason.
pub(crate) fn closed(pool: &Pool<Fake>, reason: CloseReason) -> u64 {
    pool.stats().closed.get(reason)
}

/// A task of a test, and what it came to.
pub(crate) struct Job<T>(Arc<Mutex<Option<T>>>);

impl<T> Job<T> {
    /// Takes what it came to, if it has ended.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap().take()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }
}

/// Runs `future` as a task of its own, beginning with the next turn of the simulation.
pub(crate) fn go<T: Send + 'static>(
    sim: &SimRuntime,
    future: impl Future<Output = T> + Send + 'static,
) -> Job<T> {
    let place = Arc::new(Mutex::new(None));
    let job = Job(Arc::clone(&place));
    sim.spawn(Box::pin(async move {
        let result = future.await;
        *place.lock().unwrap() = Some(result);
    }));
    job
}

/// A `get` of one connection as a task of its own, which has had its first poll.
pub(crate) fn go_get(sim: &SimRuntime, pool: &Pool<Fake>) -> Job<Got> {
    let job = go(sim, pool.get_owned());
    sim.settle();
    job
}

/// Polls once, with nobody to wake.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A waker that counts.
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

/// `count` connections, held at once.
pub(crate) fn hold(sim: &SimRuntime, pool: &Pool<Fake>, count: usize) -> Vec<Guard> {
    (0..count)
        .map(|nth| match sim.block_on(pool.get_owned()) {
            Ok(guard) => guard,
            Err(error) => panic!("connection {} of {count}: {error}", nth + 1),
        })
        .collect()
}

/// Opens `count` connections and leaves them idle, used once.
pub(crate) fn fill(sim: &SimRuntime, pool: &Pool<Fake>, count: usize) {
    drop(hold(sim, pool, count));
    sim.settle();
    assert_eq!(pool.stats().available, count);
}

/// The pool has lost nothing: it lends all that it may, at once.
pub(crate) fn assert_lends_all(sim: &SimRuntime, fake: &Fake, pool: &Pool<Fake>) {
    let all = hold(sim, pool, pool.config().max_size);
    assert_books(pool, fake, all.len());
    drop(all);
    sim.settle();
    assert_books(pool, fake, 0);
}

/// A pool that does not keep its own manager's hooks alive.
pub(crate) fn weak_stats(pool: &WeakPool<Fake>) {
    if let Some(pool) = pool.upgrade() {
        let _ = pool.stats();
        let _ = pool.try_get();
    }
}
