//! What the pool needs of an async runtime: one small trait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::time::Instant;

/// A boxed background task, or a timer.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An async runtime, as the pool sees it.
///
/// The adapter crates `connpool-tokio` and `connpool-smol` implement it; a third runtime is these
/// four methods. The pool holds it as `Arc<dyn Runtime>`, so that a `Pool` has one type on every
/// runtime. `connpool_testkit::conformance!` tests that everything a pool does works on it.
///
/// ```
/// use connpool_core::{Instant, Runtime, BoxFuture};
/// use std::time;
///
/// /// One thread a task, one thread a timer: slow, correct, and runs anywhere.
/// struct Threads {
///     epoch: time::Instant,
/// }
///
/// impl Runtime for Threads {
///     fn now(&self) -> Instant {
///         Instant::ORIGIN.checked_add(self.epoch.elapsed()).unwrap_or(Instant::ORIGIN)
///     }
///     fn sleep_until(&self, at: Instant) -> BoxFuture {
///         let left = at.since(self.now());
///         let event = event_listener::Event::<()>::new();
///         let listener = event.listen();
///         std::thread::spawn(move || {
///             std::thread::sleep(left);
///             event.notify(1);
///         });
///         Box::pin(listener)
///     }
///     fn spawn(&self, task: BoxFuture) {
///         std::thread::spawn(move || futures_lite::future::block_on(task));
///     }
///     fn random(&self) -> u64 {
///         self.now().as_nanos().wrapping_mul(0x9e37_79b9_7f4a_7c15)
///     }
/// }
/// # let runtime = Threads { epoch: time::Instant::now() };
/// # let pool = connpool_core::Pool::builder(
/// #     connpool_core::object_fn(|| async { Ok::<_, std::io::Error>(7) }), runtime)
/// #     .build_lazy().unwrap();
/// # futures_lite::future::block_on(async { assert_eq!(*pool.get().await.unwrap(), 7) });
/// ```
pub trait Runtime: Send + Sync + 'static {
    /// The time on this runtime's monotonic clock. It may be coarse, and a simulated runtime moves
    /// it by hand; it must never go back.
    fn now(&self) -> Instant;

    /// What the time was a few milliseconds ago at most: [`now`](Runtime::now), or a reading of the same
    /// time from a clock that costs less. It must never be ahead of `now`, and never go back.
    ///
    /// Asked when a connection is lent, comes back or is looked at, and when a wait begins and ends,
    /// unless a setting in force is an age of less than half a second. Ages, limits and
    /// [`wait_time`](crate::Stats::wait_time) are then told with that error; deadlines and timers go by
    /// [`now`](Runtime::now).
    fn recent(&self) -> Instant {
        self.now()
    }

    /// A future that is ready at `at`, or soon after, on this runtime's clock.
    ///
    /// Called from a polled future only, on the runtime of whoever polls it.
    fn sleep_until(&self, at: Instant) -> BoxFuture;

    /// Runs `task` to its end in the background, or drops it if that is not possible (any more).
    /// Never panics.
    ///
    /// A dropped task is a legal answer: what it held goes back to the pool.
    fn spawn(&self, task: BoxFuture);

    /// A random number, uniform over all of `u64`. Used for jitter, not for secrets.
    fn random(&self) -> u64;

    /// Runs `probe` outside of any cooperative budget that the runtime keeps.
    ///
    /// tokio answers `Pending` to a task that has used up its budget, whatever the socket says: a
    /// probe inside of it would take a closed connection for a quiet one.
    fn unconstrained(&self, probe: &mut dyn FnMut()) {
        probe();
    }
}

impl<R: Runtime + ?Sized> Runtime for Arc<R> {
    fn now(&self) -> Instant {
        (**self).now()
    }

    fn recent(&self) -> Instant {
        (**self).recent()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        (**self).sleep_until(at)
    }

    fn spawn(&self, task: BoxFuture) {
        (**self).spawn(task);
    }

    fn random(&self) -> u64 {
        (**self).random()
    }

    fn unconstrained(&self, probe: &mut dyn FnMut()) {
        (**self).unconstrained(probe);
    }
}
