//! The handle of a pool.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use crate::observe::holders::Borrower;
use crate::pool::acquire::fast::AtOnce;
use crate::pool::acquire::find_now;
use crate::pool::shared::Shared;
use crate::time::Nanos;
use crate::util::sync::{Arc, Weak};
use crate::{
    Builder, CloseReport, ConfigError, GetError, Holder, Manager, PoolConfig, PooledConnection,
    Runtime, Stats,
};

/// A pool of connections. Cheap to clone; all clones are handles of the same pool.
///
/// When the last handle is dropped the pool is closed: idle connections are closed, with a goodbye
/// if the pool's background task is still there to say it, those in line are told, and what is
/// still on loan is destroyed when it comes back.
pub struct Pool<M: Manager> {
    handle: Arc<Handle<M>>,
}

/// A handle that does not keep the pool open. Made by [`Pool::downgrade`].
pub struct WeakPool<M: Manager> {
    handle: Weak<Handle<M>>,
}

/// Apart from what guards and tasks share, to know when the last handle is gone.
struct Handle<M: Manager> {
    shared: Arc<Shared<M>>,
}

impl<M: Manager> Drop for Handle<M> {
    fn drop(&mut self) {
        self.shared.abandon();
    }
}

impl<M: Manager> Pool<M> {
    /// Begins a pool of what `manager` connects, on `runtime`. The adapter crates have a shorter
    /// way: `connpool_tokio::builder(manager)`, `connpool_smol::builder(manager)`.
    pub fn builder(manager: M, runtime: impl Runtime) -> Builder<M> {
        Builder::new(manager, Arc::new(runtime))
    }

    pub(crate) fn from_shared(shared: Arc<Shared<M>>) -> Self {
        Pool {
            handle: Arc::new(Handle { shared }),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<M>> {
        &self.handle.shared
    }

    /// A connection: an idle one that passes its checks, or a new one, or the first to come back.
    /// Takes at most `get_timeout`.
    ///
    /// Nobody overtakes: those who have to wait are served in the order in which they came, with
    /// whatever comes first, a returned connection or a new one. A `get` that waits and that is
    /// handed a connection keeps it until it is polled again or dropped; do not hold on to the
    /// future without polling it.
    ///
    /// # Errors
    ///
    /// * [`GetError::Closed`] if the pool is closed, before or meanwhile.
    /// * [`GetError::Exhausted`] if there is nothing to lend and `max_waiters` stand in line.
    /// * [`GetError::Timeout`] after `get_timeout`, or when a connect for which this `get` was
    ///   first in line took longer than `connect_timeout` or made what was of no use; with
    ///   `fail_fast` and an open breaker also at once, if that is how the last one failed.
    /// * [`GetError::Connect`] or [`GetError::Panicked`] if such a connect failed; with `fail_fast`
    ///   only.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing: the place in line is given up, a connection it was handed
    /// is passed on, one that was being checked is destroyed, a connect that was begun for it goes
    /// on for others.
    #[doc(alias = "acquire")]
    #[track_caller]
    pub fn get(
        &self,
    ) -> impl Future<Output = Result<PooledConnection<'_, M>, GetError<M::Error>>> + Send {
        let limit = self.shared().settings.get_timeout();
        self.lend(limit, Borrower::at(Location::caller()))
    }

    /// [`get`](Pool::get) with a limit of its own. Zero: what is idle, or nothing.
    ///
    /// # Errors
    ///
    /// As [`get`](Pool::get).
    #[track_caller]
    pub fn get_timeout(
        &self,
        limit: Duration,
    ) -> impl Future<Output = Result<PooledConnection<'_, M>, GetError<M::Error>>> + Send {
        self.lend(limit.into(), Borrower::at(Location::caller()))
    }

    /// [`get`](Pool::get) with a guard that borrows nothing: for a struct, or another task.
    ///
    /// The guard keeps the pool's memory alive, but not the pool open.
    ///
    /// # Errors
    ///
    /// As [`get`](Pool::get).
    #[track_caller]
    pub fn get_owned(
        &self,
    ) -> impl Future<Output = Result<PooledConnection<'static, M>, GetError<M::Error>>> + Send + use<M>
    {
        let limit = self.shared().settings.get_timeout();
        self.lend_owned(limit, Borrower::at(Location::caller()))
    }

    /// [`get_owned`](Pool::get_owned) with a limit of its own.
    ///
    /// # Errors
    ///
    /// As [`get`](Pool::get).
    #[track_caller]
    pub fn get_owned_timeout(
        &self,
        limit: Duration,
    ) -> impl Future<Output = Result<PooledConnection<'static, M>, GetError<M::Error>>> + Send + use<M>
    {
        self.lend_owned(limit.into(), Borrower::at(Location::caller()))
    }

    /// An idle connection, here and now: never waits, starts no connect, needs no runtime.
    ///
    /// Checks limits and liveness, but does not ping; lends a connection that was used before only
    /// if the manager does not reset.
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`], or [`GetError::Exhausted`] if there is none, if others are in line, or
    /// if the first three were not fit.
    #[track_caller]
    pub fn try_get(&self) -> Result<PooledConnection<'_, M>, GetError<M::Error>> {
        let shared = self.shared();
        let borrower = Borrower::at(Location::caller());
        let entry = match shared.lend_at_once() {
            AtOnce::Lent(entry) => entry,
            AtOnce::Not(tried) => find_now(shared, tried)?,
        };
        Ok(PooledConnection::borrowed(shared, entry, &borrower))
    }

    /// The pool's name: as set, or made up.
    pub fn name(&self) -> &str {
        &self.shared().name
    }

    /// The settings that are in force.
    pub fn config(&self) -> PoolConfig {
        PoolConfig::clone(&self.shared().config())
    }

    /// Who has a connection now, longest first.
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let pool = Pool::builder(
    /// #     object_fn(|| async { Ok::<_, std::io::Error>("a client") }), sim.clone()).build_lazy()?;
    /// let mut conn = sim.block_on(pool.get())?;
    /// conn.label("nightly");
    /// for holder in pool.holders() {
    ///     println!("{holder}"); // src/report.rs:41 "nightly" for 32.1 s
    /// }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Costs a look at a cell for each connection that was ever open at once. Those that come and go
    /// meanwhile may be in it or not.
    pub fn holders(&self) -> Vec<Holder> {
        let shared = self.shared();
        shared.leases.holders(shared.runtime.now())
    }

    /// The figures of this moment.
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    /// Whether the pool is closed.
    pub fn is_closed(&self) -> bool {
        self.shared().is_closed()
    }

    /// No connection begun before this moment is lent again: idle ones are closed now, those on
    /// loan when they come back, those being opened when they are there. For when the backend has
    /// changed: a failover, a new password.
    pub fn clear(&self) {
        self.shared().clear();
    }

    /// Changes `max_size`. If fewer are allowed than there are, idle ones are closed now and the
    /// others when they come back; if more, those in line are served.
    ///
    /// # Errors
    ///
    /// If `max_size` would be zero or less than `min_size`.
    pub fn resize(&self, max_size: usize) -> Result<(), ConfigError> {
        self.shared().reconfigure(|config| {
            ConfigError::check_max_size(max_size, config.min_size)?;
            config.max_size = max_size;
            Ok(())
        })
    }

    /// Changes all settings at once, or none. [`config`](Pool::config) tells them.
    ///
    /// It takes effect from now on: for the next `get`, connect or check, and for connections that
    /// are open already, which the driver looks at within the new `evict_interval`. Those in line
    /// keep their place and their time. Of a shorter `max_lifetime`, connections that are open
    /// already get no random part; of a longer one, those opened from now on have the benefit. A pause
    /// after a failed connect that is longer than the new settings allow is cut short.
    ///
    /// A name of `None` leaves the pool's as it is.
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # use std::time::Duration;
    /// # let pool = Pool::builder(
    /// #     object_fn(|| async { Ok::<_, std::io::Error>(()) }),
    /// #     connpool_testkit::SimRuntime::new(1)).build_lazy()?;
    /// let mut config = pool.config();
    /// config.max_size = 20;
    /// config.get_timeout = Some(Duration::from_secs(2));
    /// pool.reconfigure(config)?;
    /// assert_eq!(pool.config().max_size, 20);
    /// # Ok::<_, connpool_core::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A setting that is not allowed, as for [`build`](Builder::build), or another name. Nothing is
    /// changed then.
    pub fn reconfigure(&self, config: PoolConfig) -> Result<(), ConfigError> {
        self.shared().reconfigure(|current| {
            config.validate()?;
            let name = current.name.take();
            config.check_same_name(name.as_deref())?;
            *current = PoolConfig { name, ..config };
            Ok(())
        })
    }

    /// Lends nothing from now on until [`resume`](Pool::resume): for a failover that is known to
    /// take a while. Whoever comes stands in line, as those do who stand there, each until his own
    /// time is up; nobody is told of failed connects. What comes back becomes idle. Nothing is
    /// opened for those in line, but `min_size` is kept up.
    ///
    /// [`try_get`](Pool::try_get) finds nothing, and `max_waiters` bounds the line as ever. Closing
    /// the pool ends the pause. Pausing twice is pausing once.
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # use std::time::Duration;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// # sim.block_on(async {
    /// pool.pause();
    /// let get = pool.get_timeout(Duration::from_secs(1));
    /// assert!(get.await.unwrap_err().is_timeout());
    /// // The new primary is there, and what is open to the old one is of no use.
    /// pool.clear();
    /// pool.resume();
    /// assert!(pool.get().await.is_ok());
    /// # });
    /// # Ok::<_, connpool_core::ConfigError>(())
    /// ```
    pub fn pause(&self) {
        self.shared().pause();
    }

    /// Ends a [`pause`](Pool::pause): those in line are served in their order.
    pub fn resume(&self) {
        self.shared().resume();
    }

    /// Whether the pool is paused.
    pub fn is_paused(&self) -> bool {
        self.shared().is_paused()
    }

    /// Closes the pool: everybody in line is told at once, idle connections are closed with a
    /// goodbye, connects under way are dropped, what is on loan is destroyed when it comes back.
    /// Waits for all of it, at most for `limit`.
    ///
    /// A second close is fine and waits, too.
    ///
    /// # Cancellation
    ///
    /// Once polled, the pool is closed; dropping the future gives up only the waiting.
    #[doc(alias = "stop")]
    pub async fn close(&self, limit: Duration) -> CloseReport {
        self.shared().close(limit).await
    }

    /// A handle that does not keep the pool open.
    pub fn downgrade(&self) -> WeakPool<M> {
        WeakPool {
            handle: Arc::downgrade(&self.handle),
        }
    }

    async fn lend(
        &self,
        limit: Nanos,
        borrower: Borrower,
    ) -> Result<PooledConnection<'_, M>, GetError<M::Error>> {
        let shared = self.shared();
        let entry = match shared.lend_at_once() {
            AtOnce::Lent(entry) => entry,
            AtOnce::Not(tried) => shared
                .lend_some_time(tried, limit)
                .await
                .map_err(|error| *error)?,
        };
        Ok(PooledConnection::borrowed(shared, entry, &borrower))
    }

    fn lend_owned(
        &self,
        limit: Nanos,
        borrower: Borrower,
    ) -> impl Future<Output = Result<PooledConnection<'static, M>, GetError<M::Error>>> + Send + use<M>
    {
        let shared = Arc::clone(self.shared());
        async move {
            let entry = match shared.lend_at_once() {
                AtOnce::Lent(entry) => entry,
                AtOnce::Not(tried) => shared
                    .lend_some_time(tried, limit)
                    .await
                    .map_err(|error| *error)?,
            };
            Ok(PooledConnection::owned(shared, entry, &borrower))
        }
    }
}

impl<M: Manager> WeakPool<M> {
    /// The pool, if a handle is left.
    pub fn upgrade(&self) -> Option<Pool<M>> {
        self.handle.upgrade().map(|handle| Pool { handle })
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Pool {
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<M: Manager> Clone for WeakPool<M> {
    fn clone(&self) -> Self {
        WeakPool {
            handle: Weak::clone(&self.handle),
        }
    }
}

/// Numbers only: neither the manager nor a connection is ever formatted.
impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name())
            .field("closed", &self.is_closed())
            .field("stats", &self.stats())
            .finish()
    }
}

impl<M: Manager> fmt::Debug for WeakPool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakPool").finish_non_exhaustive()
    }
}
