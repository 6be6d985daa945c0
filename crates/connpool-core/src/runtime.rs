//! The trait that an async runtime implements for the pool.

use std::any::TypeId;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::machine::home::RuntimeId;
use crate::time::Instant;

/// A boxed future: a background task, or a timer.
pub type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An async runtime.
///
/// The adapter crates `connpool-tokio` and `connpool-smol` implement it. Another runtime implements four
/// methods. The pool holds it as `Arc<dyn Runtime>`, so a `Pool` has the same type on every runtime.
/// `connpool_testkit::conformance!` tests an implementation with everything a pool does.
///
/// # Examples
///
/// ```
/// use connpool_core::{Instant, Runtime, BoxFuture};
/// use std::time;
///
/// /// One thread for each task and each timer: slow, correct, and runs anywhere.
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a runtime for a pool",
    label = "does not implement `Runtime`",
    note = "pass `TokioRuntime::new()` of connpool-tokio or `SmolRuntime::new()` of connpool-smol, or use \
            `builder` of one of these crates, which takes only the manager"
)]
pub trait Runtime: Send + Sync + 'static {
    /// Returns the time on this runtime's monotonic clock. It may be coarse, and a simulated clock is moved
    /// by hand; it must never go back.
    fn now(&self) -> Instant;

    /// Returns the time with a lag of a few milliseconds at most: [`now`](Runtime::now), or a cheaper clock
    /// of the same time. Must never be ahead of `now`, and never go back.
    ///
    /// Read at checkouts, returns and liveness probes, unless a setting is an age of less than half a second.
    /// Ages and limits then have this error. Deadlines, timers and [`wait_time`](crate::Stats::wait_time) use
    /// [`now`](Runtime::now).
    fn recent(&self) -> Instant {
        self.now()
    }

    /// Returns the time on a clock that goes on while the machine is suspended, in nanoseconds since any
    /// epoch. It may be coarse, and it may be set forward and back. Default: [`recent`](Runtime::recent), with
    /// which no suspend is noticed.
    ///
    /// Most monotonic clocks stand still while a machine is suspended, a virtual machine paused or a function
    /// frozen. Connections that their peers closed meanwhile then look fresh. So the pool compares this clock
    /// with [`recent`](Runtime::recent). If it has run ahead by more than
    /// [`ping_after`](crate::PoolConfig::ping_after), and by more than 1 s, since the last comparison, idle
    /// connections are pinged before they are checked out, or only probed if `ping_after` is `None`. A clock that is
    /// set forward costs one round of pings, a clock that is set back nothing.
    ///
    /// A `get` of an idle connection tells the time by this clock, as it was set at the last comparison, and
    /// compares the clocks before it checks out a connection that was returned more than 100 ms ago or later than
    /// now. So a leap is noticed by the first `get` after it. The maintenance task compares them too. With
    /// settings that read no clock in `get`, such as `ping_after` `None` without an age limit, only the
    /// maintenance task does. A pause that the clocks of the guest never show stays unnoticed.
    fn wall(&self) -> Instant {
        self.recent()
    }

    /// Returns a future that is ready at `at`, or soon after, on this runtime's clock.
    ///
    /// Called from polled futures only, on the runtime of the task that polls them.
    fn sleep_until(&self, at: Instant) -> BoxFuture;

    /// Returns whether the calling code may rely on [`wait_timer`](Runtime::wait_timer): the runtime that polls
    /// it is the one that such a timer runs on. Default: `false`, with which each wait sets a timer of its own.
    ///
    /// All waits for which this is `true` share one timer, so a wait that ends before its limit costs none.
    fn shares_wait_timer(&self) -> bool {
        false
    }

    /// Returns a timer like [`sleep_until`](Runtime::sleep_until) that can be created, polled and dropped
    /// anywhere, also outside of futures and by the waker of such a timer. Default: `sleep_until`.
    ///
    /// Called only if [`shares_wait_timer`](Runtime::shares_wait_timer) has returned `true`.
    fn wait_timer(&self, at: Instant) -> BoxFuture {
        self.sleep_until(at)
    }

    /// Runs `task` to its end in the background, or drops it if that is not possible. Never panics.
    ///
    /// Dropping the task is allowed: everything it held returns to the pool. Where there are several
    /// runtimes, the task goes to the [current](Runtime::current) one, or else to the
    /// [home](Runtime::home).
    fn spawn(&self, task: BoxFuture);

    /// Returns the id of the runtime that polls the calling code; `None` outside of any, or if there is
    /// only one. Default: `None`.
    ///
    /// With tokio, a pool may be used from several runtimes, of which one ends, or is no longer polled,
    /// while the others go on. What a runtime opened lives only as long as it does. So the pool connects,
    /// and maintains itself, on its home.
    ///
    /// - A connect that the home does not begin within 100 ms is begun by a caller that waits for it, on
    ///   its own runtime.
    /// - A connection that was opened there and idle for 100 ms is checked out by a caller elsewhere only if
    ///   the home answers within 100 ms. Else it is closed as
    ///   [`RuntimeGone`](crate::CloseReason::RuntimeGone). With settings that read no clock in `get`, see
    ///   [`wall`](Runtime::wall), the home is not asked.
    /// - If the home ends, or does not run the pool's maintenance task for 2 s although it has work, the
    ///   task moves to the runtime of a caller, and so do connects. Idle connections of the old home are
    ///   closed. An observer receives [`TakenOver`](crate::Event::TakenOver). If the home goes on later, the task moves back.
    fn current(&self) -> Option<RuntimeId> {
        None
    }

    /// Returns the id of the runtime that the pool is at home on; `None` if there is only one, or if the
    /// pool was not built on any. It is then at home on the first that polls one of its futures. Must not
    /// change. Default: `None`.
    fn home(&self) -> Option<RuntimeId> {
        None
    }

    /// Like [`spawn`](Runtime::spawn), but always on the [home](Runtime::home). Default: `spawn`.
    fn spawn_at_home(&self, task: BoxFuture) {
        self.spawn(task);
    }

    /// Returns a random number, uniform over all of `u64`. Used for jitter, not for secrets.
    fn random(&self) -> u64;

    /// Runs `probe` outside of the runtime's cooperative budget, if it has one.
    ///
    /// tokio returns `Pending` to a task that has used up its budget, whatever the socket says. A probe
    /// inside of the budget would take a closed connection for a quiet one.
    fn unconstrained(&self, probe: &mut dyn FnMut()) {
        probe();
    }

    /// Returns `Pending` if the current task should yield to other tasks before it goes on, and wakes it
    /// through `cx` as soon as they had their turn. `Ready` counts as a unit of work of the task.
    ///
    /// A `get` of an idle connection never waits for anything, so a task that gets and returns in a loop
    /// would not let others run, nor a timeout around the loop fire. Every 32nd such `get` therefore calls
    /// this before it takes the connection, and again at each poll until it returns `Ready`. The caller
    /// may drop the `get` at that point instead.
    ///
    /// The default never asks a task to yield. That is right for runtimes that preempt their tasks.
    fn poll_coop(&self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Ready(())
    }

    /// Returns what to write instead of `None` in [`Manager::stream`](crate::Manager::stream) if `connection`
    /// is a type of stream of this runtime. Default: `None`, no type is.
    ///
    /// A pool with such connections is not built if its manager's `stream` returns `None`: closed and
    /// half-used connections would be checked out. The [`ConfigError`](crate::ConfigError) ends with the remedy, a
    /// sentence without its full stop, such as ``return `Some(|conn| conn)` ``.
    fn remedy_for_unprobed(&self, connection: TypeId) -> Option<&'static str> {
        let _ = connection;
        None
    }
}

impl<R: Runtime + ?Sized> Runtime for Arc<R> {
    fn now(&self) -> Instant {
        (**self).now()
    }

    fn recent(&self) -> Instant {
        (**self).recent()
    }

    fn wall(&self) -> Instant {
        (**self).wall()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        (**self).sleep_until(at)
    }

    fn shares_wait_timer(&self) -> bool {
        (**self).shares_wait_timer()
    }

    fn wait_timer(&self, at: Instant) -> BoxFuture {
        (**self).wait_timer(at)
    }

    fn spawn(&self, task: BoxFuture) {
        (**self).spawn(task);
    }

    fn current(&self) -> Option<RuntimeId> {
        (**self).current()
    }

    fn home(&self) -> Option<RuntimeId> {
        (**self).home()
    }

    fn spawn_at_home(&self, task: BoxFuture) {
        (**self).spawn_at_home(task);
    }

    fn random(&self) -> u64 {
        (**self).random()
    }

    fn unconstrained(&self, probe: &mut dyn FnMut()) {
        (**self).unconstrained(probe);
    }

    fn poll_coop(&self, cx: &mut Context<'_>) -> Poll<()> {
        (**self).poll_coop(cx)
    }

    fn remedy_for_unprobed(&self, connection: TypeId) -> Option<&'static str> {
        (**self).remedy_for_unprobed(connection)
    }
}
