//! The handle of a pool.

use std::fmt;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::config::PoolConfig;
use crate::error::GetError;
use crate::manager::Manager;
use crate::observe::histogram::Histograms;
use crate::observe::holders::{CallSite, Holder};
use crate::observe::stats::Stats;
use crate::pool::acquire::examine::Mode;
use crate::pool::acquire::prepare::within_prepared;
use crate::pool::acquire::{acquire, fast, within};
use crate::pool::close::abandon;
use crate::pool::guard::PooledConnection;
use crate::pool::report::{QueuePlace, exhausted, stats};
use crate::pool::shared::Shared;
use crate::time::Nanos;
use crate::util::sync::{Arc, Weak};
use crate::util::timeout::Deadline;

/// The result of a `get`.
type GetResult<'p, M> = Result<PooledConnection<'p, M>, GetError<<M as Manager>::Error>>;

/// A pool of connections. Cheap to clone: all clones are handles of the same pool.
///
/// When the last handle is dropped the pool is closed. Idle connections are closed, gracefully if the
/// maintenance task still runs, waiters get [`GetError::Closed`], and borrowed connections are
/// destroyed when they are returned. Guards are no handles.
pub struct Pool<M: Manager> {
    handle: Arc<Handle<M>>,
}

/// A handle that does not keep the pool open. Created by [`Pool::downgrade`].
pub struct WeakPool<M: Manager> {
    handle: Weak<Handle<M>>,
}

/// Counted apart from what guards and tasks share, to notice the drop of the last handle.
struct Handle<M: Manager> {
    shared: Arc<Shared<M>>,
}

impl<M: Manager> Drop for Handle<M> {
    fn drop(&mut self) {
        abandon(&self.shared);
    }
}

impl<M: Manager> Pool<M> {
    /// Checks out a connection: an idle one that passes its health check, a new one, or the next to be
    /// returned. Takes `get_timeout` at most.
    ///
    /// Waiters are served strictly first in, first out, with whatever comes first. A waiter that was
    /// handed a connection keeps it until the future is polled again or dropped, so do not hold the
    /// future without polling it.
    ///
    /// A connection whose manager hands out its [`stream`](crate::Manager::stream) is not checked out if the stream
    /// has ended, holds unread bytes, or was left in the middle of an operation. If its last user sent a
    /// request and returned it without the reply, and the reply is still on its way, none of these holds, and
    /// the next user reads that reply. [`exchange`](crate::PooledConnection::exchange) rules this out. So
    /// does a [strict](crate::Probe::set_strict) stream, such as those of `TcpManager::strict(true)`, for
    /// protocols in which every request is answered.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>(String::from("a client")) });
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// # sim.block_on(async {
    /// let conn = pool.get().await?;
    /// assert_eq!(*conn, "a client");
    /// drop(conn); // returns it to the pool
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// * [`GetError::Closed`] if the pool is closed, before or meanwhile.
    /// * [`GetError::Exhausted`] if nothing is idle and `max_waiters` callers wait.
    /// * [`GetError::Timeout`] after `get_timeout`.
    /// * [`GetError::Connect`] with the last cause, a [`ConnectError`](crate::ConnectError), if no open
    ///   connection can come back and either the pool never had a connection, or connects have failed
    ///   for [`fail_fast_after`](crate::PoolConfig::fail_fast_after), or the error is
    ///   [permanent](crate::Severity::Permanent). If `fail_fast_after` is `None`, only if it is
    ///   permanent.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe. If the future is dropped, it gives up its place in the queue, passes
    /// on a connection it was handed, and destroys one that was being checked. A connect that was
    /// started for it goes on for other callers.
    #[doc(alias = "acquire")]
    #[track_caller]
    pub fn get(&self) -> impl Future<Output = GetResult<'_, M>> + Send {
        let limit = self.shared().snapshot.settings.get_timeout.get();
        self.borrow(limit, Location::caller())
    }

    /// Checks out a connection like [`get`](Pool::get), within `limit` instead of `get_timeout`. Zero
    /// takes what is idle, or fails.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # use std::time::Duration;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
    /// # let pool = Pool::builder(manager, sim.clone()).max_size(1).build_lazy()?;
    /// # sim.block_on(async {
    /// let _conn = pool.get().await?;
    /// let second = pool.get_timeout(Duration::from_millis(200)).await;
    /// assert!(second.unwrap_err().is_timeout());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get`](Pool::get).
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe, like [`get`](Pool::get).
    #[track_caller]
    pub fn get_timeout(&self, limit: Duration) -> impl Future<Output = GetResult<'_, M>> + Send {
        self.borrow(limit.into(), Location::caller())
    }

    /// Checks out a connection like [`get`](Pool::get), with a guard that borrows nothing: for a struct
    /// field, or another task.
    ///
    /// The guard keeps the pool's memory alive, but not the pool open.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{object_fn, Manager, Pool, PooledConnection};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// struct Session<M: Manager> {
    ///     conn: PooledConnection<'static, M>,
    /// }
    /// # sim.block_on(async {
    /// let session = Session { conn: pool.get_owned().await? };
    /// # assert_eq!(*session.conn, "a client");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get`](Pool::get).
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe, like [`get`](Pool::get).
    #[track_caller]
    pub fn get_owned(&self) -> impl Future<Output = GetResult<'static, M>> + Send + use<M> {
        let limit = self.shared().snapshot.settings.get_timeout.get();
        self.borrow_owned(limit, Location::caller())
    }

    /// Checks out a connection like [`get_owned`](Pool::get_owned), within `limit`.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Pool::get).
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe, like [`get`](Pool::get).
    #[track_caller]
    pub fn get_owned_timeout(
        &self,
        limit: Duration,
    ) -> impl Future<Output = GetResult<'static, M>> + Send + use<M> {
        self.borrow_owned(limit.into(), Location::caller())
    }

    /// Checks out a connection like [`get`](Pool::get) that `prepare` has prepared for this caller: its
    /// role, tenant or search path. Takes `get_timeout` at most, preparation included.
    ///
    /// `prepare` runs in the task of the caller, on new and on used connections, after all checks. If it
    /// fails, panics, or takes too long, the connection is destroyed. What it leaves on the connection is for
    /// [`reset`](Manager::reset) to remove, or for the next `prepare` to replace.
    ///
    /// The connection counts as borrowed while it is prepared. If the pool is cleared, paused or closed
    /// meanwhile, the caller gets it all the same, as if it had come a moment earlier.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>(String::from("superuser")) });
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// # sim.block_on(async {
    /// let tenant = String::from("tenant 7");
    /// let conn = pool
    ///     .get_with(async |role| {
    ///         role.clone_from(&tenant);
    ///         Ok(())
    ///     })
    ///     .await?;
    /// assert_eq!(*conn, "tenant 7");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get`](Pool::get), and [`GetError::Prepare`] with the error of `prepare`. If the time is up
    /// during `prepare`, the phase of the timeout is [`Prepare`](crate::Phase::Prepare).
    ///
    /// # Panics
    ///
    /// Panics if `prepare` does. The connection is then destroyed.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe, like [`get`](Pool::get). If the future is dropped during `prepare`, the
    /// connection is destroyed.
    #[track_caller]
    pub fn get_with<P>(&self, prepare: P) -> impl Future<Output = GetResult<'_, M>>
    where
        P: AsyncFnOnce(&mut M::Connection) -> Result<(), M::Error>,
    {
        let shared = &**self.shared();
        let limit = shared.snapshot.settings.get_timeout.get();
        let site = Location::caller();
        async move {
            let conn = within_prepared(shared, limit, site, prepare).await?;
            Ok(PooledConnection::borrowed(shared, conn))
        }
    }

    /// Checks out a connection like [`get_with`](Pool::get_with), with a guard that borrows nothing.
    ///
    /// # Errors
    ///
    /// Those of [`get_with`](Pool::get_with).
    ///
    /// # Panics
    ///
    /// Panics if `prepare` does. The connection is then destroyed.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe, like [`get_with`](Pool::get_with).
    #[track_caller]
    pub fn get_owned_with<P>(
        &self,
        prepare: P,
    ) -> impl Future<Output = GetResult<'static, M>> + use<M, P>
    where
        P: AsyncFnOnce(&mut M::Connection) -> Result<(), M::Error>,
    {
        let shared = Arc::clone(self.shared());
        let limit = shared.snapshot.settings.get_timeout.get();
        let site = Location::caller();
        async move {
            let conn = within_prepared(&shared, limit, site, prepare).await?;
            Ok(PooledConnection::owned(shared, conn))
        }
    }

    /// Checks out an idle connection without waiting. Starts no connect and needs no runtime.
    ///
    /// Checks limits and liveness, but does not ping. A connection that was borrowed before is checked
    /// out only if the manager needs no reset.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// assert!(pool.try_get().is_err());
    /// drop(sim.block_on(pool.get())?);
    /// assert!(pool.try_get().is_ok());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`GetError::Closed`], or [`GetError::Exhausted`] if nothing is idle, if other callers wait, or if
    /// the first three connections failed their check.
    #[track_caller]
    pub fn try_get(&self) -> GetResult<'_, M> {
        let shared = &**self.shared();
        let site = Location::caller();
        // Without a future there is nothing that could yield.
        let miss = match fast(shared, site, false) {
            Ok(conn) => return Ok(PooledConnection::borrowed(shared, conn)),
            Err(miss) => miss,
        };
        let deadline = Deadline::new(Duration::ZERO);
        let acquire = pin!(acquire(shared, miss, Mode::Immediate, deadline, site));
        // In this mode the loop never waits.
        match acquire.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(conn)) => Ok(PooledConnection::borrowed(shared, conn)),
            Poll::Ready(Err(error)) => Err(*error),
            Poll::Pending => Err(exhausted(shared, QueuePlace::default())),
        }
    }

    /// Checks out a connection for one request and its reply, and returns it: [`get`](Pool::get) and
    /// [`PooledConnection::exchange`] in one.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{GetError, Pool};
    /// # use futures_lite::io::{AsyncReadExt, AsyncWriteExt, Cursor, Error};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let pool = Pool::builder(
    /// #     connpool_core::object_fn(|| async { Ok::<_, Error>(Cursor::new(b"GET key\nvalue\n".to_vec())) }),
    /// #     sim.clone()).build_lazy().unwrap();
    /// enum Failure {
    ///     Get(GetError<Error>),
    ///     Io(Error),
    /// }
    /// # impl From<GetError<Error>> for Failure {
    /// #     fn from(error: GetError<Error>) -> Self { Failure::Get(error) }
    /// # }
    /// # impl From<Error> for Failure { fn from(error: Error) -> Self { Failure::Io(error) } }
    ///
    /// # sim.block_on(async {
    /// let reply = pool
    ///     .exchange(async |conn| {
    ///         conn.write_all(b"GET key\n").await?;
    ///         let mut reply = [0; 6];
    ///         conn.read_exact(&mut reply).await?;
    ///         Ok::<_, Failure>(reply)
    ///     })
    ///     .await?;
    /// # let _ = reply;
    /// # Ok::<_, Failure>(())
    /// # }).map_err(|_| "failed").unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get`](Pool::get), and what `act` returns.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped during the exchange, the connection is destroyed. Before it, this method
    /// is as cancel safe as [`get`](Pool::get).
    #[track_caller]
    pub fn exchange<T, E: From<GetError<M::Error>>>(
        &self,
        act: impl AsyncFnOnce(&mut M::Connection) -> Result<T, E>,
    ) -> impl Future<Output = Result<T, E>> {
        let get = self.get();
        async move { get.await?.exchange(act).await }
    }

    /// Returns the pool's name: the configured one, or a generated one.
    pub fn name(&self) -> &str {
        &self.shared().events.pool
    }

    /// Returns the settings in force.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
    /// let pool = Pool::builder(manager, sim).max_size(4).build_lazy()?;
    /// assert_eq!(pool.config().max_size, 4);
    /// # Ok::<_, connpool_core::ConfigError>(())
    /// ```
    pub fn config(&self) -> PoolConfig {
        PoolConfig::clone(&self.shared().snapshot.config())
    }

    /// Returns the holders of all borrowed connections, the longest first.
    ///
    /// Reads a cell for each connection that was ever open at the same time. Checkouts and returns
    /// during the call may or may not be included.
    ///
    /// A holder is named by the line that called `get`. A helper that calls it for many handlers passes their
    /// names on with `#[track_caller]`, for which it must be a function that returns the future, not an
    /// `async fn`:
    ///
    /// ```
    /// # use connpool_core::{object_fn, GetError, Manager, Pool, PooledConnection};
    /// #[track_caller]
    /// fn session<M: Manager>(
    ///     pool: &Pool<M>,
    /// ) -> impl Future<Output = Result<PooledConnection<'_, M>, GetError<M::Error>>> {
    ///     pool.get() // called here, so that the location is that of the handler
    /// }
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// let (_conn, line) = (sim.block_on(session(&pool))?, line!());
    /// assert_eq!(pool.holders()[0].site.map(|site| site.line()), Some(line));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Where that is not possible, [`leak_backtrace`](PoolConfig::leak_backtrace) records the whole way to
    /// each checkout.
    ///
    /// # Examples
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
    pub fn holders(&self) -> Vec<Holder> {
        let shared = self.shared();
        shared.leases.longest(usize::MAX, shared.runtime.now())
    }

    /// Returns the gauges of one moment, and the counters.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// let conn = sim.block_on(pool.get())?;
    /// assert_eq!((pool.stats().size, pool.stats().active), (1, 1));
    /// # drop(conn);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> Stats {
        stats(self.shared())
    }

    /// Returns the distributions of waits, uses and connects, if [`histograms`](PoolConfig::histograms) is set.
    /// They begin when the pool is built, or when the setting is first turned on.
    ///
    /// # Examples
    ///
    /// See [`Histogram`](crate::Histogram).
    pub fn histograms(&self) -> Option<Histograms> {
        let shared = self.shared();
        let keeps = shared.snapshot.keeps_histograms();
        keeps.then(|| shared.counters.histograms(|| shared.all_get_counters()))
    }

    /// Returns whether the pool is closed.
    pub fn is_closed(&self) -> bool {
        self.shared().snapshot.is_closed()
    }

    /// Creates a handle that does not keep the pool open.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
    /// # let pool = Pool::builder(manager, sim).build_lazy()?;
    /// let weak = pool.downgrade();
    /// drop(pool);
    /// assert!(weak.upgrade().is_none());
    /// # Ok::<_, connpool_core::ConfigError>(())
    /// ```
    pub fn downgrade(&self) -> WeakPool<M> {
        WeakPool { handle: Arc::downgrade(&self.handle) }
    }

    pub(crate) fn from_shared(shared: Arc<Shared<M>>) -> Self {
        Pool { handle: Arc::new(Handle { shared }) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<M>> {
        &self.handle.shared
    }

    async fn borrow(&self, limit: Nanos, site: CallSite) -> GetResult<'_, M> {
        let shared = &**self.shared();
        let conn = match fast(shared, site, true) {
            Ok(conn) => conn,
            Err(miss) => within(shared, miss, limit, site).await.map_err(|error| *error)?,
        };
        Ok(PooledConnection::borrowed(shared, conn))
    }

    fn borrow_owned(
        &self,
        limit: Nanos,
        site: CallSite,
    ) -> impl Future<Output = GetResult<'static, M>> + Send + use<M> {
        let shared = Arc::clone(self.shared());
        async move {
            let conn = match fast(&shared, site, true) {
                Ok(conn) => conn,
                Err(miss) => within(&shared, miss, limit, site).await.map_err(|error| *error)?,
            };
            Ok(PooledConnection::owned(shared, conn))
        }
    }
}

impl<M: Manager> WeakPool<M> {
    /// Returns a handle of the pool, if it still has one.
    pub fn upgrade(&self) -> Option<Pool<M>> {
        self.handle.upgrade().map(|handle| Pool { handle })
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Pool { handle: Arc::clone(&self.handle) }
    }
}

impl<M: Manager> Clone for WeakPool<M> {
    fn clone(&self) -> Self {
        WeakPool { handle: Weak::clone(&self.handle) }
    }
}

// A panic while a pool is used leaves it intact: the connection in use is destroyed, and no lock of the pool is
// held while foreign code runs. What the manager keeps in itself is up to the manager.
impl<M: Manager> UnwindSafe for Pool<M> {}
impl<M: Manager> RefUnwindSafe for Pool<M> {}
impl<M: Manager> UnwindSafe for WeakPool<M> {}
impl<M: Manager> RefUnwindSafe for WeakPool<M> {}

/// Numbers only: neither the manager nor a connection is formatted.
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
