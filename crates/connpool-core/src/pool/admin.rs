//! Changes a pool from outside: settings, pauses, and what is in it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::config::{ConfigError, PoolConfig};
use crate::error::GetError;
use crate::error::add_error::AddError;
use crate::error::connect_error::ConnectError;
use crate::error::diagnosis::Phase;
use crate::machine::disposition::Disposition;
use crate::manager::Manager;
use crate::observe::close_reason::CloseReason;
use crate::observe::event::Event;
use crate::pool::background::warm_up::{Shortfall, open_min_size};
use crate::pool::close::{CloseReport, close, drain};
use crate::pool::connect::ConnectTask;
use crate::pool::handle::Pool;
use crate::pool::release::settle;
use crate::pool::report::{QueuePlace, exhausted, timeout};
use crate::pool::shared::Shared;
use crate::util::sync::Arc;
use crate::util::timeout::Deadline;

impl<M: Manager> Pool<M> {
    /// Invalidates all existing connections. Idle ones are closed now and borrowed ones on return.
    /// Connects under way are abandoned, and their slots are free.
    ///
    /// For changes of the backend, such as a failover or a new password. The pool forgets that connects
    /// failed, and the next one is due at once; still at most 20 fail in any second. If `clear` is called
    /// again and again, the last connect goes on, and what it opens is discarded. A user whose connection
    /// has told it of the change calls [`condemn`](crate::PooledConnection::condemn) instead, which clears
    /// once for all connections of the same age.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
    /// # let pool = sim.block_on(Pool::builder(manager, sim.clone()).min_size(1).build())?;
    /// let before = pool.try_get()?.id();
    /// pool.clear();
    /// assert_ne!(sim.block_on(pool.get())?.id(), before);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear(&self) {
        self.shared().clear();
    }

    /// Changes `max_size`. Connections beyond a smaller size are closed, idle ones now and borrowed ones
    /// on return; a larger size serves waiters.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
    /// # let pool = Pool::builder(manager, sim).build_lazy()?;
    /// pool.resize(20)?;
    /// assert!(pool.resize(0).is_err());
    /// # Ok::<_, connpool_core::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if `max_size` is zero or less than `min_size` or `min_idle`. Nothing is changed then.
    pub fn resize(&self, max_size: usize) -> Result<(), ConfigError> {
        reconfigure(self.shared(), |config| {
            ConfigError::check_max_size(max_size, config.min_size, config.min_idle)?;
            config.max_size = max_size;
            Ok(())
        })
    }

    /// Changes all settings at once, or none. [`config`](Pool::config) returns the current ones.
    ///
    /// The new settings apply to the next `get`, connect and check, and to open connections, which are
    /// swept within the new `evict_interval`. Waiters keep their place and their deadline. A shorter
    /// `max_lifetime` applies to open connections without a random part, a longer one only to
    /// connections opened from now on. A backoff pause that is longer than the new settings allow is cut
    /// short. A name of `None` keeps the pool's name.
    ///
    /// # Examples
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
    /// Returns an error if a setting is not allowed, as for [`build`](crate::Builder::build), or if the
    /// name differs. Nothing is changed then.
    pub fn reconfigure(&self, config: PoolConfig) -> Result<(), ConfigError> {
        reconfigure(self.shared(), |current| {
            config.validate()?;
            let name = current.name.take();
            config.check_same_name(name.as_deref())?;
            *current = PoolConfig { name, ..config };
            Ok(())
        })
    }

    /// Stops checking out connections until [`resume`](Pool::resume), for a failover that takes a while.
    ///
    /// New and existing callers wait, each until its own deadline. No connect starts, not even for
    /// `min_size`, and connect errors are not reported. Returned connections become idle.
    /// [`try_get`](Pool::try_get) finds nothing, and `max_waiters` bounds the queue as ever. Closing the
    /// pool ends the pause. Pausing twice is pausing once.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # use std::time::Duration;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// # sim.block_on(async {
    /// pool.pause();
    /// let get = pool.get_timeout(Duration::from_secs(1));
    /// assert!(get.await.unwrap_err().is_timeout());
    /// // The new primary is up, and connections to the old one are useless.
    /// pool.clear();
    /// pool.resume();
    /// assert!(pool.get().await.is_ok());
    /// # });
    /// # Ok::<_, connpool_core::ConfigError>(())
    /// ```
    pub fn pause(&self) {
        self.shared().with(|locked| locked.state.machine.pause());
    }

    /// Ends a [`pause`](Pool::pause). Waiters are served in their order.
    ///
    /// The pool forgets that connects failed, and the next one is due at once.
    pub fn resume(&self) {
        let shared = self.shared();
        let now = shared.runtime.now();
        shared.with(|locked| {
            locked.state.machine.resume();
            locked.rebalance(now);
            locked.actions.notify_maintenance = true;
        });
    }

    /// Waits until `min_size` connections are open, for `get_timeout` at most.
    ///
    /// For a pool of [`Builder::start`](crate::Builder::start), before it reports that it is ready.
    /// Connects go on if it fails.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Pool::get), under the same conditions; and
    /// [`GetError::Exhausted`](crate::GetError::Exhausted) if the pool is paused.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe. Connects that were started go on.
    pub async fn warm_up(&self) -> Result<(), GetError<M::Error>> {
        let shared = self.shared();
        let mut deadline = Deadline::new(shared.snapshot.settings.get_timeout.get());
        match open_min_size(shared, &mut deadline).await {
            Ok(()) => Ok(()),
            Err(Shortfall::Closed) => Err(GetError::Closed),
            Err(Shortfall::Paused) => Err(exhausted(shared, QueuePlace::default())),
            Err(Shortfall::Connect(error)) => Err(GetError::Connect(error)),
            Err(Shortfall::NoRuntime) => Err(GetError::Connect(ConnectError::Dropped)),
            Err(Shortfall::TimedOut(_)) => {
                Err(timeout(shared, Phase::Connect, &deadline, QueuePlace::default()))
            }
        }
    }

    /// Returns whether the pool is paused.
    pub fn is_paused(&self) -> bool {
        self.shared().snapshot.is_paused()
    }

    /// Calls `keep` for every idle connection and closes those for which it returns `false`. Returns the
    /// number of closed connections.
    ///
    /// Only the connection that `keep` inspects is out of the pool meanwhile, and a `get` that comes just
    /// then may open another one. Borrowed connections, and those that become idle later, are not
    /// inspected. `keep` may use the pool, and should be quick.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>(String::from("10.0.0.7")) });
    /// # let pool = sim.block_on(Pool::builder(manager, sim.clone()).min_size(2).build())?;
    /// // This server is about to be shut down.
    /// let closed = pool.retain(|server| *server != "10.0.0.7");
    /// assert_eq!(closed, 2);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if `keep` does. The connection it inspected is then destroyed.
    pub fn retain(&self, mut keep: impl FnMut(&mut M::Connection) -> bool) -> usize {
        let shared = self.shared();
        let mut closed = 0_usize;
        for (segment, count) in shared.idle.segments() {
            for _ in 0..count {
                let Some(mut conn) = shared.idle.pop_oldest_in(segment) else { break };
                match catch_unwind(AssertUnwindSafe(|| keep(&mut conn.inner))) {
                    Ok(true) => settle(shared, conn, Disposition::Reuse),
                    Ok(false) => {
                        settle(shared, conn, Disposition::Close(CloseReason::Evicted));
                        closed = closed.saturating_add(1);
                    }
                    Err(panic) => {
                        settle(shared, conn, Disposition::Close(CloseReason::Panicked));
                        resume_unwind(panic);
                    }
                }
            }
        }
        closed
    }

    /// Adds a connection that was made elsewhere: one that was detached, or accepted instead of dialled.
    ///
    /// It goes to the first waiter or becomes idle, and counts as opened just now and never borrowed: it
    /// is probed before its first use, but neither pinged nor reset.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>(String::from("dialled")) });
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// pool.add(String::from("accepted"))?;
    /// assert_eq!(*sim.block_on(pool.get())?, "accepted");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the connection in the error if `max_size` connections are open, if `max_idle` are idle,
    /// or if the pool is closed.
    pub fn add(&self, conn: M::Connection) -> Result<(), AddError<M::Connection>> {
        let shared = self.shared();
        let now = shared.runtime.now();
        let here = shared.runtime.current();
        let (begun, conn) = shared.with(|locked| {
            if locked.state.machine.closed || locked.state.machine.is_draining() {
                return Err(AddError::Closed(conn));
            }
            if locked.state.machine.capacity.room() == 0 || shared.idle.is_full() {
                return Err(AddError::Full(conn));
            }
            // Begun under the same lock, so that no task connects for it.
            let id = locked.start_connect(now);
            match id.and_then(|id| Some((id, locked.state.connecting.begin(id, here)?))) {
                Some(begun) => Ok((begun, conn)),
                None => Err(AddError::Full(conn)),
            }
        })?;
        ConnectTask::begun(Arc::clone(shared), begun, here).succeed(conn);
        Ok(())
    }

    /// Closes the pool and waits, for `limit` at most, until everything is closed.
    ///
    /// Waiters get [`GetError::Closed`](crate::GetError::Closed) at once, idle connections are closed
    /// gracefully, connects under way are dropped, and borrowed connections are destroyed when they are
    /// returned. Closing a closed pool waits as well.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # use std::time::Duration;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// # sim.block_on(async {
    /// let report = pool.close(Duration::from_secs(5)).await;
    /// assert!(!report.timed_out);
    /// # });
    /// # Ok::<_, connpool_core::ConfigError>(())
    /// ```
    ///
    /// # Cancel safety
    ///
    /// The first poll closes the pool. Dropping the future afterwards ends only the wait.
    #[doc(alias = "stop")]
    pub async fn close(&self, limit: Duration) -> CloseReport {
        close(self.shared(), limit).await
    }

    /// Refuses new callers, serves those that already wait, and then closes the pool, within `limit` for all
    /// of it.
    ///
    /// For a shutdown that finishes the requests it has accepted. New callers get
    /// [`GetError::Closed`](crate::GetError::Closed) at once, and so do [`add`](Pool::add) and
    /// [`warm_up`](Pool::warm_up). Callers that wait, be it for a connection, for its check, or in
    /// [`get_many`](Pool::get_many), are served as ever. When none is left, or when the limit is over, the
    /// pool is closed as by [`close`](Pool::close), with what is left of the limit. A paused pool is
    /// [resumed](Pool::resume) first, and cannot be paused again.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # use std::time::Duration;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// # sim.block_on(async {
    /// let report = pool.drain(Duration::from_secs(5)).await;
    /// println!("{report}"); // closed 4 connections
    /// assert!(pool.get().await.is_err_and(|error| error.is_closed()));
    /// # });
    /// # Ok::<_, connpool_core::ConfigError>(())
    /// ```
    ///
    /// # Cancel safety
    ///
    /// The first poll starts to drain the pool. Dropping the future afterwards ends only the wait: the
    /// maintenance task closes the pool when the callers are served, or when the limit is over.
    pub async fn drain(&self, limit: Duration) -> CloseReport {
        drain(self.shared(), limit).await
    }
}

/// Changes the settings as `change` does, or leaves them all as they are.
fn reconfigure<M: Manager>(
    shared: &Shared<M>,
    change: impl FnOnce(&mut PoolConfig) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let now = shared.runtime.now();
    shared.with(|locked| {
        // Read under the pool's lock, so that of two changes neither is lost.
        let mut config = PoolConfig::clone(&shared.snapshot.config());
        let warned = config.warning();
        change(&mut config)?;
        let warning = config.warning().filter(|_| warned.is_none());
        let needed_clock = shared.snapshot.needs_clock();
        locked.state.machine.reconfigure(&config);
        for conn in shared.idle.reconfigure(config.idle_order, config.max_idle) {
            locked.close_later(conn, CloseReason::Overflow);
        }
        shared.snapshot.configure(config);
        shared.date_idle(needed_clock, now);
        locked.actions.tell(Event::Reconfigured);
        if let Some(message) = warning {
            locked.actions.tell(Event::ConfigWarning { message });
        }
        locked.rebalance(now);
        locked.actions.notify_maintenance = true;
        // A caller that gathers more connections than there may be now has nothing to wait for.
        locked.actions.state_changed = true;
        Ok(())
    })
}
