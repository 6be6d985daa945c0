//! Builds a pool from its settings.

use std::fmt;
use std::time::Duration;

use crate::config::ConfigError;
use crate::config::{Backoff, Breaker, IdleOrder, PoolConfig};
use crate::error::BuildError;
use crate::manager::Manager;
use crate::observe::event::Observer;
use crate::pool::background::warm_up::open_min_size;
use crate::pool::handle::Pool;
use crate::pool::shared::Shared;
use crate::runtime::Runtime;
use crate::util::sync::Arc;

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
        Builder::new(manager, Arc::new(runtime))
    }
}

impl<M: Manager> Builder<M> {
    pub(crate) fn new(manager: M, runtime: Arc<dyn Runtime>) -> Self {
        Builder { manager, runtime, config: PoolConfig::default(), observer: None }
    }

    /// Replaces all settings, for example by those of a file.
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets [`name`](PoolConfig::name).
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// Sets [`max_size`](PoolConfig::max_size).
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.config.max_size = max_size;
        self
    }

    /// Sets [`min_size`](PoolConfig::min_size).
    pub fn min_size(mut self, min_size: usize) -> Self {
        self.config.min_size = min_size;
        self
    }

    /// Sets [`increment`](PoolConfig::increment).
    pub fn increment(mut self, increment: usize) -> Self {
        self.config.increment = increment;
        self
    }

    /// Sets [`idle_timeout`](PoolConfig::idle_timeout).
    pub fn idle_timeout(mut self, idle_timeout: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = idle_timeout.into();
        self
    }

    /// Sets [`max_lifetime`](PoolConfig::max_lifetime).
    pub fn max_lifetime(mut self, max_lifetime: impl Into<Option<Duration>>) -> Self {
        self.config.max_lifetime = max_lifetime.into();
        self
    }

    /// Sets [`lifetime_jitter`](PoolConfig::lifetime_jitter).
    pub fn lifetime_jitter(mut self, lifetime_jitter: f64) -> Self {
        self.config.lifetime_jitter = lifetime_jitter;
        self
    }

    /// Sets [`evict_interval`](PoolConfig::evict_interval).
    pub fn evict_interval(mut self, evict_interval: impl Into<Option<Duration>>) -> Self {
        self.config.evict_interval = evict_interval.into();
        self
    }

    /// Sets [`get_timeout`](PoolConfig::get_timeout).
    pub fn get_timeout(mut self, get_timeout: impl Into<Option<Duration>>) -> Self {
        self.config.get_timeout = get_timeout.into();
        self
    }

    /// Sets [`connect_timeout`](PoolConfig::connect_timeout).
    pub fn connect_timeout(mut self, connect_timeout: impl Into<Option<Duration>>) -> Self {
        self.config.connect_timeout = connect_timeout.into();
        self
    }

    /// Sets [`ping_timeout`](PoolConfig::ping_timeout).
    pub fn ping_timeout(mut self, ping_timeout: impl Into<Option<Duration>>) -> Self {
        self.config.ping_timeout = ping_timeout.into();
        self
    }

    /// Sets [`reset_timeout`](PoolConfig::reset_timeout).
    pub fn reset_timeout(mut self, reset_timeout: impl Into<Option<Duration>>) -> Self {
        self.config.reset_timeout = reset_timeout.into();
        self
    }

    /// Sets [`close_timeout`](PoolConfig::close_timeout).
    pub fn close_timeout(mut self, close_timeout: impl Into<Option<Duration>>) -> Self {
        self.config.close_timeout = close_timeout.into();
        self
    }

    /// Sets [`ping_after`](PoolConfig::ping_after).
    pub fn ping_after(mut self, ping_after: impl Into<Option<Duration>>) -> Self {
        self.config.ping_after = ping_after.into();
        self
    }

    /// Sets [`liveness_after`](PoolConfig::liveness_after).
    pub fn liveness_after(mut self, liveness_after: impl Into<Option<Duration>>) -> Self {
        self.config.liveness_after = liveness_after.into();
        self
    }

    /// Sets [`max_waiters`](PoolConfig::max_waiters).
    pub fn max_waiters(mut self, max_waiters: impl Into<Option<usize>>) -> Self {
        self.config.max_waiters = max_waiters.into();
        self
    }

    /// Sets [`max_idle`](PoolConfig::max_idle).
    pub fn max_idle(mut self, max_idle: impl Into<Option<usize>>) -> Self {
        self.config.max_idle = max_idle.into();
        self
    }

    /// Sets [`max_uses`](PoolConfig::max_uses).
    pub fn max_uses(mut self, max_uses: impl Into<Option<u64>>) -> Self {
        self.config.max_uses = max_uses.into();
        self
    }

    /// Sets [`max_connecting`](PoolConfig::max_connecting).
    pub fn max_connecting(mut self, max_connecting: impl Into<Option<usize>>) -> Self {
        self.config.max_connecting = max_connecting.into();
        self
    }

    /// Sets [`fail_fast`](PoolConfig::fail_fast).
    pub fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.config.fail_fast = fail_fast;
        self
    }

    /// Sets [`backoff`](PoolConfig::backoff).
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// Sets [`breaker`](PoolConfig::breaker).
    pub fn breaker(mut self, breaker: impl Into<Option<Breaker>>) -> Self {
        self.config.breaker = breaker.into();
        self
    }

    /// Sets [`keepalive`](PoolConfig::keepalive).
    pub fn keepalive(mut self, keepalive: impl Into<Option<Duration>>) -> Self {
        self.config.keepalive = keepalive.into();
        self
    }

    /// Sets [`idle_order`](PoolConfig::idle_order).
    pub fn idle_order(mut self, idle_order: IdleOrder) -> Self {
        self.config.idle_order = idle_order;
        self
    }

    /// Sets [`slow_get_warning`](PoolConfig::slow_get_warning).
    pub fn slow_get_warning(mut self, slow_get_warning: impl Into<Option<Duration>>) -> Self {
        self.config.slow_get_warning = slow_get_warning.into();
        self
    }

    /// Sets [`leak_warning`](PoolConfig::leak_warning).
    pub fn leak_warning(mut self, leak_warning: impl Into<Option<Duration>>) -> Self {
        self.config.leak_warning = leak_warning.into();
        self
    }

    /// Sets the [`Observer`] that receives the pool's events, instead of one set before. Without one,
    /// nothing is measured for events.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Builds the pool and opens its first `min_size` connections.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
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
    /// * [`BuildError::Config`] if a setting is not allowed.
    /// * [`BuildError::NoRuntime`] if the runtime takes no tasks.
    /// * With `fail_fast`, the first failed connect. Without it, the last failed connect if `min_size`
    ///   connections were not open within `get_timeout`. Connections opened so far are closed.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe: dropping the future closes the pool.
    pub async fn build(self) -> Result<Pool<M>, BuildError<M::Error>> {
        let pool = self.build_lazy()?;
        open_min_size(pool.shared()).await?;
        Ok(pool)
    }

    /// Builds the pool without opening a connection. No connection and no task exists before the first
    /// [`get`](Pool::get), and the runtime need not run yet.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is not allowed.
    pub fn build_lazy(self) -> Result<Pool<M>, ConfigError> {
        self.config.validate()?;
        Ok(Pool::from_shared(Shared::new(self.manager, self.runtime, self.config, self.observer)))
    }
}

/// Formats the settings only, never the manager.
impl<M: Manager> fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}
