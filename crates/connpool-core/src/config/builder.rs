//! Builds a pool from its settings.

use std::any::TypeId;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use crate::config::{Backoff, Breaker, ConfigError, IdleOrder, PoolConfig, ResetWhen};
use crate::error::BuildError;
use crate::manager::Manager;
use crate::observe::event::{Event, Observer};
use crate::pool::background::spawn_wanted;
use crate::pool::background::warm_up::{Shortfall, open_min_size};
use crate::pool::handle::Pool;
use crate::pool::shared::{Shared, TaskState};
use crate::runtime::Runtime;
use crate::util::sync::Arc;
use crate::util::timeout::Deadline;

/// Builds a [`Pool`]. Every setting has a default and is described on [`PoolConfig`].
///
/// Optional settings take a value or `None`. Zero and `Duration::MAX` are valid for every duration.
///
/// # Examples
///
/// ```
/// use connpool_core::{object_fn, Pool};
/// use std::time::Duration;
/// # let runtime = connpool_testkit::SimRuntime::new(1);
///
/// let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
/// let pool = Pool::builder(manager, runtime)
///     .name("orders")
///     .max_size(20)
///     .idle_timeout(Duration::from_secs(300))
///     .get_timeout(None)
///     .build_lazy()?;
/// assert_eq!(pool.name(), "orders");
/// # Ok::<_, connpool_core::ConfigError>(())
/// ```
#[must_use = "a builder makes no pool until `build` or `build_lazy` is called"]
pub struct Builder<M: Manager> {
    manager: M,
    runtime: Arc<dyn Runtime>,
    config: PoolConfig,
    observer: Option<Box<dyn Observer>>,
}

impl<M: Manager> Pool<M> {
    /// Creates a builder for a pool of the connections of `manager`, on `runtime`.
    ///
    /// The adapter crates have a shorter form: `connpool_tokio::builder(manager)` and
    /// `connpool_smol::builder(manager)`.
    pub fn builder(manager: M, runtime: impl Runtime) -> Builder<M> {
        let runtime = Arc::new(runtime);
        Builder { manager, runtime, config: PoolConfig::default(), observer: None }
    }
}

impl<M: Manager> Builder<M> {
    /// Replaces all settings, for example by those of a file.
    pub fn config(self, config: PoolConfig) -> Self {
        Builder { config, ..self }
    }

    /// Sets [`name`](PoolConfig::name).
    pub fn name(self, name: impl Into<String>) -> Self {
        self.set(|config| config.name = Some(name.into()))
    }

    /// Sets [`max_size`](PoolConfig::max_size).
    pub fn max_size(self, max_size: usize) -> Self {
        self.set(|config| config.max_size = max_size)
    }

    /// Sets [`min_size`](PoolConfig::min_size).
    pub fn min_size(self, min_size: usize) -> Self {
        self.set(|config| config.min_size = min_size)
    }

    /// Sets [`min_idle`](PoolConfig::min_idle).
    pub fn min_idle(self, min_idle: usize) -> Self {
        self.set(|config| config.min_idle = min_idle)
    }

    /// Sets [`increment`](PoolConfig::increment).
    pub fn increment(self, increment: usize) -> Self {
        self.set(|config| config.increment = increment)
    }

    /// Sets [`idle_timeout`](PoolConfig::idle_timeout).
    pub fn idle_timeout(self, idle_timeout: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.idle_timeout = idle_timeout.into())
    }

    /// Sets [`max_lifetime`](PoolConfig::max_lifetime).
    pub fn max_lifetime(self, max_lifetime: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.max_lifetime = max_lifetime.into())
    }

    /// Sets [`lifetime_jitter`](PoolConfig::lifetime_jitter).
    pub fn lifetime_jitter(self, lifetime_jitter: f64) -> Self {
        self.set(|config| config.lifetime_jitter = lifetime_jitter)
    }

    /// Sets [`evict_interval`](PoolConfig::evict_interval).
    pub fn evict_interval(self, evict_interval: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.evict_interval = evict_interval.into())
    }

    /// Sets [`get_timeout`](PoolConfig::get_timeout).
    pub fn get_timeout(self, get_timeout: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.get_timeout = get_timeout.into())
    }

    /// Sets [`connect_timeout`](PoolConfig::connect_timeout).
    pub fn connect_timeout(self, connect_timeout: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.connect_timeout = connect_timeout.into())
    }

    /// Sets [`ping_timeout`](PoolConfig::ping_timeout).
    pub fn ping_timeout(self, ping_timeout: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.ping_timeout = ping_timeout.into())
    }

    /// Sets [`reset_timeout`](PoolConfig::reset_timeout).
    pub fn reset_timeout(self, reset_timeout: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.reset_timeout = reset_timeout.into())
    }

    /// Sets [`reset_when`](PoolConfig::reset_when).
    pub fn reset_when(self, reset_when: impl Into<Option<ResetWhen>>) -> Self {
        self.set(|config| config.reset_when = reset_when.into())
    }

    /// Sets [`close_timeout`](PoolConfig::close_timeout).
    pub fn close_timeout(self, close_timeout: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.close_timeout = close_timeout.into())
    }

    /// Sets [`abandon_timeout`](PoolConfig::abandon_timeout).
    pub fn abandon_timeout(self, abandon_timeout: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.abandon_timeout = abandon_timeout.into())
    }

    /// Sets [`ping_after`](PoolConfig::ping_after).
    pub fn ping_after(self, ping_after: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.ping_after = ping_after.into())
    }

    /// Sets [`liveness_after`](PoolConfig::liveness_after).
    pub fn liveness_after(self, liveness_after: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.liveness_after = liveness_after.into())
    }

    /// Sets [`max_waiters`](PoolConfig::max_waiters).
    pub fn max_waiters(self, max_waiters: impl Into<Option<usize>>) -> Self {
        self.set(|config| config.max_waiters = max_waiters.into())
    }

    /// Sets [`max_idle`](PoolConfig::max_idle).
    pub fn max_idle(self, max_idle: impl Into<Option<usize>>) -> Self {
        self.set(|config| config.max_idle = max_idle.into())
    }

    /// Sets [`max_uses`](PoolConfig::max_uses).
    pub fn max_uses(self, max_uses: impl Into<Option<u64>>) -> Self {
        self.set(|config| config.max_uses = max_uses.into())
    }

    /// Sets [`max_connecting`](PoolConfig::max_connecting).
    pub fn max_connecting(self, max_connecting: impl Into<Option<usize>>) -> Self {
        self.set(|config| config.max_connecting = max_connecting.into())
    }

    /// Sets [`fail_fast_after`](PoolConfig::fail_fast_after).
    pub fn fail_fast_after(self, fail_fast_after: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.fail_fast_after = fail_fast_after.into())
    }

    /// Sets [`backoff`](PoolConfig::backoff).
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.set(|config| config.backoff = backoff)
    }

    /// Sets [`breaker`](PoolConfig::breaker).
    pub fn breaker(self, breaker: impl Into<Option<Breaker>>) -> Self {
        self.set(|config| config.breaker = breaker.into())
    }

    /// Sets [`keepalive`](PoolConfig::keepalive).
    pub fn keepalive(self, keepalive: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.keepalive = keepalive.into())
    }

    /// Sets [`idle_order`](PoolConfig::idle_order).
    pub fn idle_order(self, idle_order: IdleOrder) -> Self {
        self.set(|config| config.idle_order = idle_order)
    }

    /// Sets [`slow_get_warning`](PoolConfig::slow_get_warning).
    pub fn slow_get_warning(self, slow_get_warning: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.slow_get_warning = slow_get_warning.into())
    }

    /// Sets [`leak_warning`](PoolConfig::leak_warning).
    pub fn leak_warning(self, leak_warning: impl Into<Option<Duration>>) -> Self {
        self.set(|config| config.leak_warning = leak_warning.into())
    }

    /// Sets [`leak_backtrace`](PoolConfig::leak_backtrace).
    pub fn leak_backtrace(self, leak_backtrace: bool) -> Self {
        self.set(|config| config.leak_backtrace = leak_backtrace)
    }

    /// Sets [`histograms`](PoolConfig::histograms).
    pub fn histograms(self, histograms: bool) -> Self {
        self.set(|config| config.histograms = histograms)
    }

    /// Sets the [`Observer`] that receives the pool's events, instead of one set before. Without one,
    /// nothing is measured for events.
    pub fn observer(self, observer: impl Observer) -> Self {
        Builder { observer: Some(Box::new(observer)), ..self }
    }

    /// Builds the pool and opens its first `min_size` connections.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
    /// # sim.clone().block_on(async {
    /// let pool = Pool::builder(manager, sim).min_size(2).build().await?;
    /// assert_eq!(pool.stats().available, 2);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// * [`BuildError::Config`] if a setting is not allowed, or if connections are a type of stream of the
    ///   runtime and [`Manager::stream`] returns `None`.
    /// * [`BuildError::NoRuntime`] if the runtime takes no tasks.
    /// * The first failed connect, unless others succeed or `fail_fast_after` is `None`. The last failed
    ///   connect if `min_size` connections were not open within `get_timeout`. Connections opened so far
    ///   are closed.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: dropping the future closes the pool.
    pub async fn build(self) -> Result<Pool<M>, BuildError<M::Error>> {
        let pool = self.build_lazy()?;
        let shared = pool.shared();
        let mut deadline = Deadline::new(shared.snapshot.settings.get_timeout.get());
        match open_min_size(shared, &mut deadline).await {
            Ok(()) => Ok(pool),
            Err(Shortfall::Connect(error) | Shortfall::TimedOut(Some(error))) => {
                Err(BuildError::Connect(error))
            }
            Err(Shortfall::NoRuntime) => Err(BuildError::NoRuntime),
            Err(Shortfall::TimedOut(None) | Shortfall::Closed | Shortfall::Paused) => {
                Err(BuildError::Timeout)
            }
        }
    }

    /// Builds the pool and opens its first `min_size` connections in the background, for a service that
    /// may start before its backend. Fails for no fault of the backend; [`Pool::warm_up`] waits for the
    /// connections.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
    /// # sim.clone().block_on(async {
    /// let pool = Pool::builder(manager, sim).min_size(2).start()?;
    /// pool.warm_up().await?;
    /// assert_eq!(pool.stats().available, 2);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is not allowed, if the runtime takes no tasks, or if connections are a
    /// type of stream of the runtime and [`Manager::stream`] returns `None`.
    pub fn start(self) -> Result<Pool<M>, ConfigError> {
        let pool = self.build_lazy()?;
        let shared = pool.shared();
        spawn_wanted(shared, shared.runtime.now());
        if shared.peek(|state| state.maintenance == TaskState::Absent) {
            return Err(ConfigError::no_runtime());
        }
        Ok(pool)
    }

    /// Builds the pool without opening a connection. No connection and no task exists before the first
    /// [`get`](Pool::get), and the runtime need not run yet.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is not allowed, or if connections are a type of stream of the runtime
    /// and [`Manager::stream`] returns `None`.
    pub fn build_lazy(self) -> Result<Pool<M>, ConfigError> {
        self.config.validate()?;
        if self.manager.stream().is_none() {
            let connection = TypeId::of::<M::Connection>();
            if let Some(remedy) = self.runtime.remedy_for_unprobed(connection) {
                return Err(ConfigError::unprobed(remedy));
            }
        }
        let warning = self.config.warning();
        let shared = Shared::new(self.manager, self.runtime, self.config, self.observer);
        if let Some(message) = warning {
            shared.events.tell(|| Event::ConfigWarning { message });
        }
        Ok(Pool::from_shared(shared))
    }

    fn set(mut self, change: impl FnOnce(&mut PoolConfig)) -> Self {
        change(&mut self.config);
        self
    }
}

// As for the pool: see there.
impl<M: Manager> UnwindSafe for Builder<M> {}
impl<M: Manager> RefUnwindSafe for Builder<M> {}

/// Formats the settings only, never the manager.
impl<M: Manager> fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}
