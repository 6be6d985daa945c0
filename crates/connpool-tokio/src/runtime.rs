//! The pool's runtime on tokio.

use std::any::TypeId;
use std::future::{Future, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use connpool_core::{BoxFuture, Instant, Runtime, RuntimeId};
use connpool_tcp::RecentClock;
use pin_project_lite::pin_project;
use rand::Rng;
use tokio::runtime::Handle;
use tokio::task::coop;
use tokio::time;

use crate::unprobed;

/// Runs a pool on tokio. Pass it to [`Pool::builder`](connpool_core::Pool::builder).
///
/// The pool is at home on the tokio runtime in which this value was created, or on the one given to
/// [`on`](TokioRuntime::on): its connects and its maintenance task run there, whichever runtime a `get`
/// comes from. So a pool in a `static` can be used from the short-lived runtimes of tests, or from
/// threads that each have their own. Created outside of any runtime, the pool is at home on the first
/// that polls one of its futures. If the home ends or is no longer polled, the runtime of a caller takes
/// over, see [`Runtime::current`]. If there is no runtime at all, tasks are dropped and timers fire at
/// once, so a `get` that has to wait fails with a timeout.
///
/// The timer of a `get` that waits belongs to the runtime of its caller.
///
/// The clock is tokio's, which the timers use as well. With `tokio::time::pause`, which needs the
/// feature `test-util`, the pool's time stands still, too. In a program that cannot pause it, ages
/// of half a second and more are measured by the [coarse clock](connpool_tcp::RecentClock) of the
/// system, and [leaps of the clock](connpool_core::Runtime::wall) are noticed.
///
/// # Panics
///
/// The runtime needs its time driver, and its I/O driver for TCP: build it with `enable_all`.
/// Without the time driver, tokio panics when the pool arms its first timer.
#[derive(Debug, Clone)]
pub struct TokioRuntime {
    home: Option<Home>,
    start: time::Instant,
    recent: RecentClock,
}

#[derive(Debug, Clone)]
struct Home {
    handle: Handle,
    id: RuntimeId,
}

impl TokioRuntime {
    /// Creates a runtime whose home is the tokio runtime that it is created in, if any.
    pub fn new() -> Self {
        TokioRuntime::at_home(Handle::try_current().ok())
    }

    /// Creates a runtime whose home is that of `handle`, wherever it is created.
    ///
    /// # Examples
    ///
    /// ```
    /// use connpool_tokio::{Pool, TcpManager, TokioRuntime};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let background = tokio::runtime::Runtime::new()?;
    /// let runtime = TokioRuntime::on(background.handle().clone());
    /// let pool = Pool::builder(TcpManager::new("127.0.0.1:9090"), runtime).build_lazy()?;
    /// # let _ = pool; Ok(()) }
    /// ```
    pub fn on(handle: Handle) -> Self {
        TokioRuntime::at_home(Some(handle))
    }

    fn at_home(handle: Option<Handle>) -> Self {
        TokioRuntime {
            home: handle.map(|handle| Home { id: ids::of(&handle), handle }),
            recent: RecentClock::new(),
            // After the other clock, so that no timer fires before its time on that one.
            start: time::Instant::now(),
        }
    }

    fn home_handle(&self) -> Option<&Handle> {
        self.home.as_ref().map(|home| &home.handle)
    }

    fn handle(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| self.home_handle().cloned())
    }
}

impl Default for TokioRuntime {
    fn default() -> Self {
        TokioRuntime::new()
    }
}

impl Runtime for TokioRuntime {
    fn now(&self) -> Instant {
        // The clock that tokio's is.
        if !pause_support::is_available() {
            return self.recent.precise();
        }
        // tokio's clock is paused per runtime: outside of it, `now` would read the system's clock.
        #[cfg(feature = "test-util")]
        let _entered = match Handle::try_current() {
            Ok(_) => None,
            Err(_) => self.home_handle().map(Handle::enter),
        };
        let elapsed = time::Instant::now().saturating_duration_since(self.start);
        Instant::ORIGIN.checked_add(elapsed).unwrap_or_default()
    }

    fn recent(&self) -> Instant {
        if pause_support::is_available() {
            return self.now();
        }
        self.recent.now()
    }

    fn wall(&self) -> Instant {
        // A clock that a test has paused is not suspended.
        if pause_support::is_available() {
            return self.now();
        }
        self.recent.wall()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture {
        let Some(at) = self.start.checked_add(Duration::from_nanos(at.as_nanos())) else {
            return Box::pin(pending());
        };
        // Inside a task the runtime is known. Elsewhere it is looked up, which costs an increment
        // and a decrement of a shared reference count.
        let handle = match tokio::task::try_id() {
            Some(_) => None,
            None => match self.handle() {
                None => return Box::pin(ready(())),
                handle => handle,
            },
        };
        let _entered = handle.as_ref().map(Handle::enter);
        Box::pin(Timer { sleep: tokio::time::sleep_until(at) })
    }

    fn shares_wait_timer(&self) -> bool {
        // tokio documents that the id of a runtime that has ended may be used again. In fact it counts them.
        let is_home =
            |home: &Home| Handle::try_current().is_ok_and(|here| here.id() == home.handle.id());
        self.home.as_ref().is_some_and(is_home)
    }

    fn wait_timer(&self, at: Instant) -> BoxFuture {
        let _entered = self.home_handle().map(Handle::enter);
        self.sleep_until(at)
    }

    fn spawn(&self, task: BoxFuture) {
        // A runtime that has ended drops the task, as `Runtime::spawn` allows.
        if let Some(handle) = self.handle() {
            drop(handle.spawn(task));
        }
    }

    fn current(&self) -> Option<RuntimeId> {
        let here = ids::of(&Handle::try_current().ok()?);
        // In a test whose paused clock runs ahead, time that has passed says nothing about the home.
        match self.home() {
            Some(home) if pause_support::clock_runs_ahead() => Some(home),
            _ => Some(here),
        }
    }

    fn home(&self) -> Option<RuntimeId> {
        self.home.as_ref().map(|home| home.id)
    }

    fn spawn_at_home(&self, task: BoxFuture) {
        match self.home_handle() {
            Some(home) => drop(home.spawn(task)),
            None => self.spawn(task),
        }
    }

    fn random(&self) -> u64 {
        rand::rng().next_u64()
    }

    fn unconstrained(&self, probe: &mut dyn FnMut()) {
        let mut once = Some(probe);
        let probe = std::future::poll_fn(|_| {
            if let Some(probe) = once.take() {
                probe();
            }
            Poll::Ready(())
        });
        let probe = pin!(tokio::task::unconstrained(probe));
        let _ = probe.poll(&mut Context::from_waker(Waker::noop()));
    }

    fn poll_coop(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Outside of a runtime there is no budget, and this is ready.
        coop::poll_proceed(cx).map(|unit| unit.made_progress())
    }

    fn remedy_for_unprobed(&self, connection: TypeId) -> Option<&'static str> {
        unprobed::remedy_for_unprobed(connection)
    }
}

/// The ids of tokio's runtimes.
///
/// tokio may use the id of a runtime again when that has ended. So each runtime gets a number of its own
/// here, and a task that does nothing: when it is dropped, the runtime has ended.
mod ids {
    use std::collections::HashMap;
    use std::future::pending;
    use std::num::NonZeroU32;
    use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

    use connpool_core::RuntimeId;
    use tokio::runtime::{Handle, Id};

    #[derive(Default)]
    struct Ids {
        last: u32,
        runtimes: HashMap<Id, (RuntimeId, Weak<()>)>,
    }

    static IDS: LazyLock<Mutex<Ids>> = LazyLock::new(Mutex::default);

    pub(super) fn of(handle: &Handle) -> RuntimeId {
        let mut ids = IDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((id, is_running)) = ids.runtimes.get(&handle.id()) {
            if is_running.strong_count() > 0 {
                return *id;
            }
        }
        // The largest number is never used. After it, runtimes would share their numbers.
        ids.last = ids.last.saturating_add(1).min(u32::MAX - 1);
        let id = RuntimeId::new(NonZeroU32::new(ids.last).unwrap_or(NonZeroU32::MIN));
        let running = Arc::new(());
        ids.runtimes.retain(|_, (_, is_running)| is_running.strong_count() > 0);
        ids.runtimes.insert(handle.id(), (id, Arc::downgrade(&running)));
        drop(ids);
        drop(handle.spawn(async move {
            let _running = running;
            pending::<()>().await;
        }));
        id
    }
}

/// Detects whether tokio's clock can be paused, in which case the pool must not use the system's
/// coarse clock: that one does not pause.
///
/// The clock can be paused if any crate in the build enables tokio's feature `test-util`. There is
/// no `cfg` for the features of a dependency, so this module tests whether the function
/// `tokio::time::pause` exists, by name resolution: names from a glob import inside a function body
/// take precedence over items of the enclosing module. In `is_available`, `pause` is therefore
/// `tokio::time::pause`, which returns `()`, if that exists, and otherwise the `pause` below, which
/// returns `NotAvailable`. The return type tells which of the two it is.
mod pause_support {
    pub(super) fn is_available() -> bool {
        // Shadows the `pause` below if tokio has one.
        #[allow(unused_imports, clippy::wildcard_imports)]
        use tokio::time::*;
        is_tokios(pause)
    }

    /// The fallback for a tokio without `pause`. Never called.
    #[allow(dead_code)]
    fn pause() -> NotAvailable {
        NotAvailable
    }

    /// Returns whether the clock of the current runtime was paused and has run ahead of the system's.
    pub(super) fn clock_runs_ahead() -> bool {
        let system = std::time::Instant::now();
        is_available() && tokio::time::Instant::now().into_std() > system + MARGIN
    }

    /// Longer than it takes to read two clocks, shorter than any wait for a home.
    const MARGIN: std::time::Duration = std::time::Duration::from_millis(50);

    struct NotAvailable;

    trait PauseResult {
        const IS_TOKIOS: bool;
    }

    impl PauseResult for () {
        const IS_TOKIOS: bool = true;
    }

    impl PauseResult for NotAvailable {
        const IS_TOKIOS: bool = false;
    }

    fn is_tokios<A: PauseResult>(_: fn() -> A) -> bool {
        A::IS_TOKIOS
    }

    #[cfg(test)]
    mod tests {
        /// The dev-dependencies enable `test-util`.
        #[test]
        fn pausable_clock_is_detected() {
            assert!(super::is_available());
        }
    }
}

pin_project! {
    /// A timer that fires when its runtime ends. tokio's own panics when it is polled after that.
    struct Timer {
        #[pin]
        sleep: tokio::time::Sleep,
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.project().sleep;
        catch_unwind(AssertUnwindSafe(|| sleep.poll(cx))).unwrap_or(Poll::Ready(()))
    }
}
