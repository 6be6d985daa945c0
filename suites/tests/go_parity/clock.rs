//! A runtime with real sockets and tasks, and a clock that only the test moves.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{self, Duration};

use futures_lite::future::yield_now;

use crate::RealRuntime;
use crate::adapter::{BoxFuture, Builder, Instant, Pool, Runtime, TcpManager};
use suites::server::LIMIT;

/// A runtime on the adapter's own, with a manual clock that timers follow. Clones share the clock.
#[derive(Clone)]
pub(crate) struct Clock(Arc<Inside>);

struct Inside {
    runtime: RealRuntime,
    nanos: AtomicU64,
    timers: Mutex<Timers>,
}

#[derive(Default)]
struct Timers {
    wakers: Vec<Waker>,
    sleeps: Vec<Duration>,
}

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock(Arc::new(Inside {
            runtime: RealRuntime::new(),
            nanos: AtomicU64::new(0),
            timers: Mutex::default(),
        }))
    }

    /// Starts building a pool of connections to `address` on this clock, without pings.
    pub(crate) fn pool_of(&self, address: String) -> Builder<TcpManager> {
        Pool::builder(TcpManager::new(address), self.clone()).ping_after(None)
    }

    pub(crate) fn advance(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap();
        self.0.nanos.fetch_add(nanos, Ordering::SeqCst);
        let wakers = std::mem::take(&mut self.0.timers.lock().unwrap().wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns the durations for which timers were armed so far.
    pub(crate) fn sleeps(&self) -> Vec<Duration> {
        self.0.timers.lock().unwrap().sleeps.clone()
    }

    /// Waits until a timer was armed for one of these durations, e.g. by the evictor for its interval.
    pub(crate) async fn wait_for_a_sleep_of(&self, spans: &[Duration]) {
        let start = time::Instant::now();
        while !self.sleeps().iter().any(|span| spans.contains(span)) {
            assert!(start.elapsed() < LIMIT, "only these timers: {:?}", self.sleeps());
            yield_now().await;
        }
    }
}

impl Runtime for Clock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.nanos.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        let sleep = at.since(self.now());
        self.0.timers.lock().unwrap().sleeps.push(sleep);
        Box::pin(Timer { clock: self.clone(), at })
    }

    fn spawn(&self, task: BoxFuture) {
        self.0.runtime.spawn(task);
    }

    fn random(&self) -> u64 {
        self.0.runtime.random()
    }

    fn unconstrained(&self, probe: &mut dyn FnMut()) {
        self.0.runtime.unconstrained(probe);
    }

    fn poll_coop(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.runtime.poll_coop(cx)
    }
}

struct Timer {
    clock: Clock,
    at: Instant,
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut timers = self.clock.0.timers.lock().unwrap();
        if self.clock.now() >= self.at {
            return Poll::Ready(());
        }
        timers.wakers.push(cx.waker().clone());
        Poll::Pending
    }
}
