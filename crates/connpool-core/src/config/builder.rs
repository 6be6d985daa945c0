//! From settings to a pool.

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

/// A pool in the making: every setting has a default, see [`PoolConfig`].
///
/// Durations are given as `Duration` or, where there may be none, also as `None`. Zero and
/// `Duration::MAX` are legal everywhere.
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
        Builder {
            manager,
            runtime,
            config: PoolConfig::default(),
            observer: None,
        }
    }

    /// Takes all settings from `config`, as from a file.
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = config;
        self
    }

    /// What the pool is called in errors and statistics. Default: made up.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// The most connections that are ever open or being opened, whoever has them. Default: 10.
    ///
    /// Too small, and callers wait for each other; too large, and the backend has more
    /// connections than it can serve at once. Zero is an error.
    pub fn max_size(mut self, max_size: usize) -> Self {
        self.config.max_size = max_size;
        self
    }

    /// How many connections are open when [`build`](Builder::build) returns, and kept open in the
    /// background. Default: 0. More than `max_size` is an error.
    ///
    /// Equal to `max_size` it makes a pool of fixed size.
    pub fn min_size(mut self, min_size: usize) -> Self {
        self.config.min_size = min_size;
        self
    }

    /// How many connections are opened at once when the pool has to grow. Default: 1.
    ///
    /// More than one gets ahead of a burst; what nobody took by then is idle. Never beyond
    /// `max_size`. Zero is an error.
    pub fn increment(mut self, increment: usize) -> Self {
        self.config.increment = increment;
        self
    }

    /// A connection that nobody wanted for this long is closed, as long as more than `min_size`
    /// are open. Default: `None`, never.
    ///
    /// Set it below what firewalls and load balancers on the way allow. Zero lets no connection
    /// beyond `min_size` be used twice.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = limit.into();
        self
    }

    /// A connection older than this is closed when it is next not in use. Default: `None`, never.
    ///
    /// Each connection's own limit is shorter by a random part, see
    /// [`lifetime_jitter`](Builder::lifetime_jitter). Zero lets every connection be used
    /// once; one that was never lent is kept for a millisecond, to be lent in.
    pub fn max_lifetime(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.max_lifetime = limit.into();
        self
    }

    /// By which fraction of it, at most, each connection's `max_lifetime` is shortened at random;
    /// drawn once, when it is opened. Default: 0.1. Outside of 0.0 to 1.0 is an error.
    ///
    /// 0.0 has connections opened together expire, and be opened, together again; 1.0 spreads them
    /// over the whole lifetime, some of them dying at once.
    pub fn lifetime_jitter(mut self, fraction: f64) -> Self {
        self.config.lifetime_jitter = fraction;
        self
    }

    /// How often all idle connections are looked at: for their limits, and whether they are dead.
    /// Default: 30 s; less than 1 ms is 1 ms.
    ///
    /// It is also the latest by which a limit acts on a connection that nobody asks for. `None`
    /// stops these looks; connections are then only checked when they are lent or returned.
    pub fn evict_interval(mut self, every: impl Into<Option<Duration>>) -> Self {
        self.config.evict_interval = every.into();
        self
    }

    /// How long a [`get`](Pool::get) may take, all in all: waiting, connecting, checking.
    /// Default: 10 s.
    ///
    /// Zero lends what is idle and else fails at once; `None` waits for ever.
    pub fn get_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.get_timeout = limit.into();
        self
    }

    /// How long one attempt to connect may take. Default: 5 s.
    ///
    /// `None` lets an attempt that hangs keep its slot for ever; after a failure, when there is one
    /// attempt at a time, no other one is begun meanwhile.
    pub fn connect_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.connect_timeout = limit.into();
        self
    }

    /// How long a ping may take before the connection counts as dead. Default: 1 s.
    ///
    /// `None` leaves it to the time of the whole `get`.
    pub fn ping_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.ping_timeout = limit.into();
        self
    }

    /// How long a reset may take before the connection is given up. Default: 1 s.
    ///
    /// `None` leaves it to the time of the whole `get`.
    pub fn reset_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.reset_timeout = limit.into();
        self
    }

    /// How long a goodbye ([`Manager::close`]) may take. Default: 10 s.
    ///
    /// `None` lets a goodbye that hangs keep its slot until somebody waits for it.
    pub fn close_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.close_timeout = limit.into();
        self
    }

    /// A connection whose last proof of life (opened, used, pinged, reset) is at least this old is
    /// pinged before it is lent. Default: 1 s.
    ///
    /// Zero pings before every lending but that of a new connection, a round trip each; `None`
    /// never does.
    pub fn ping_after(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.config.ping_after = age.into();
        self
    }

    /// A connection whose last proof of life is at least this old is looked at before it is lent.
    /// Default: 0, every time.
    ///
    /// A look at a TCP connection is one system call, less than a microsecond. `None` never looks:
    /// a connection that the peer has closed is then lent.
    pub fn liveness_after(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.config.liveness_after = age.into();
        self
    }

    /// How many may stand in line beyond those for whom a connection is being opened; the next one
    /// gets [`Exhausted`](crate::GetError::Exhausted) at once. Default: `None`, any number.
    ///
    /// Zero lets nobody wait for a return: what is idle is lent, and the pool still grows.
    pub fn max_waiters(mut self, most: impl Into<Option<usize>>) -> Self {
        self.config.max_waiters = most.into();
        self
    }

    /// How many connections may be idle; what comes back beyond that is closed. Default: `None`,
    /// `max_size`. Less than `min_size` is an error.
    ///
    /// Far below `max_size` it opens and closes connections all day long.
    pub fn max_idle(mut self, most: impl Into<Option<usize>>) -> Self {
        self.config.max_idle = most.into();
        self
    }

    /// How often a connection may be lent before it is closed. Default: `None`, any number. Zero
    /// is an error; one makes every connection new.
    pub fn max_uses(mut self, most: impl Into<Option<u64>>) -> Self {
        self.config.max_uses = most.into();
        self
    }

    /// How many connections may be under way at once. Default: `None`, as many as there is room
    /// for. Zero is an error.
    ///
    /// A pool in trouble limits itself, whatever this says: after a failed connect, or when
    /// several connections were found broken, there is one at a time, and one more for each that
    /// succeeds; when users have lost several in a second, it begins with four.
    pub fn max_connecting(mut self, most: impl Into<Option<usize>>) -> Self {
        self.config.max_connecting = most.into();
        self
    }

    /// Whether a failed connect answers the first in line with its error. Default: true.
    ///
    /// `false` has those in line wait on for the next attempt, until their time is up; the error
    /// is then part of the timeout's diagnosis. With `true`, an open [`breaker`](Builder::breaker)
    /// answers everybody whom no open connection can serve.
    pub fn fail_fast(mut self, fail_fast: bool) -> Self {
        self.config.fail_fast = fail_fast;
        self
    }

    /// How long to wait after failed connects. Default: 50 ms, doubling up to 5 s, of which a
    /// random part is waited.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// When to stop dialling a backend that is down and only probe it: after how many failures in
    /// a row, and how often. Default: 5, and 1 s.
    ///
    /// Zero failures are an error; `None` dials on, with the pauses of
    /// [`backoff`](Builder::backoff). A `probe_every` that is too long is how late the pool notices
    /// that the backend is back.
    pub fn breaker(mut self, breaker: impl Into<Option<Breaker>>) -> Self {
        self.config.breaker = breaker.into();
        self
    }

    /// An idle connection whose last proof of life is this old, less up to a quarter at random, is
    /// pinged in the background. Default: `None`, never.
    ///
    /// For peers that hang up on the silent, and firewalls that forget them. One connection is
    /// pinged at a time, and none while anybody waits; it can be lent again when the ping is over,
    /// which takes `ping_timeout` at most, or without one as long as this. Idle connections are
    /// looked at twice in this time, whatever `evict_interval` says, so that a ping may come half
    /// of it late. Too short, and the backend has more pings than work: zero pings every
    /// millisecond.
    ///
    /// It is about connections that nobody asks for. What is lent is checked by
    /// [`ping_after`](Builder::ping_after); TCP's own keepalive is the manager's.
    pub fn keepalive(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.config.keepalive = age.into();
        self
    }

    /// Which idle connection is lent first. Default: the one used last.
    pub fn idle_order(mut self, order: IdleOrder) -> Self {
        self.config.idle_order = order;
        self
    }

    /// A `get` that took this long, whatever came of it, is told to the
    /// [`observer`](Builder::observer) as [`SlowGet`](crate::Event::SlowGet). Default: 1 s.
    ///
    /// Nothing is measured without an observer. Zero tells of every `get`; `None` of none.
    pub fn slow_get_warning(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.config.slow_get_warning = after.into();
        self
    }

    /// A connection that was lent for this long is told to the [`observer`](Builder::observer) as
    /// [`Leak`](crate::Event::LeakSuspected), once, and as [`CameBack`](crate::Event::LeakReturned) when it comes
    /// back after all. Counted in [`Stats::leaked`](crate::Stats). Default: `None`, never. 60 s suits
    /// most.
    ///
    /// Below what a request of yours may take, it warns of what is none. Less than 1 ms is 1 ms, at
    /// which the background looks all the time.
    pub fn leak_warning(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.config.leak_warning = after.into();
        self
    }

    /// Who is told what the pool does, see [`Observer`]. Default: nobody, which costs nothing.
    ///
    /// A second one replaces the first.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Builds the pool and opens its first `min_size` connections.
    ///
    /// # Errors
    ///
    /// A setting that is not allowed; that the runtime takes no tasks; with `fail_fast`, the first
    /// connect that fails; else, the last one that failed if `min_size` connections were not open
    /// within `get_timeout`. What was opened is closed again.
    ///
    /// # Cancellation
    ///
    /// Dropping the future closes the pool.
    pub async fn build(self) -> Result<Pool<M>, BuildError<M::Error>> {
        let pool = self.build_lazy()?;
        open_min_size(pool.shared()).await?;
        Ok(pool)
    }

    /// Builds the pool and opens nothing: neither connection nor task exists before the first
    /// [`get`](Pool::get). Needs no runtime to be running yet.
    ///
    /// # Errors
    ///
    /// A setting that is not allowed.
    pub fn build_lazy(self) -> Result<Pool<M>, ConfigError> {
        self.config.validate()?;
        Ok(Pool::from_shared(Shared::new(
            self.manager,
            self.runtime,
            self.config,
            self.observer,
        )))
    }
}

/// The settings only: the manager is never formatted.
impl<M: Manager> fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
