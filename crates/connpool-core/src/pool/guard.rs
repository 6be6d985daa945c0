//! The guard of a borrowed connection.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};

use crate::machine::disposition::GuardFlags;
use crate::manager::{Manager, Severity};
use crate::observe::event::Event;
use crate::pool::conn::Conn;
use crate::pool::release::{end_lease, release, take_flags};
use crate::pool::shared::{BoxConn, Shared};
use crate::util::sync::Arc;

/// A connection borrowed from a pool. Dereferences to the connection, and is a byte stream if the
/// connection is one. Dropping the guard returns it.
///
/// Dropping never blocks, spawns or panics, and works anywhere: outside of any runtime, after the
/// runtime has ended, after the pool is gone. The connection is destroyed instead of kept if it was
/// [marked](PooledConnection::mark_unusable), if its thread is panicking, if an
/// [`exchange`](PooledConnection::exchange) did not end well, if its manager says that it is not
/// reusable, or if it is over a limit.
///
/// # What the pool cannot see
///
/// A request that was written completely and whose reply was not read yet leaves no trace until the
/// reply arrives. Code that may be cancelled between the two uses
/// [`exchange`](PooledConnection::exchange).
#[must_use = "dropping the guard returns the connection to the pool"]
pub struct PooledConnection<'p, M: Manager> {
    // Two words and no more: larger guards are moved through memory.
    /// `None` for an owned guard, whose connection knows the pool.
    pool: Option<&'p Shared<M>>,
    /// `None` only while it is dropped or detached.
    conn: Option<BoxConn<M>>,
}

impl<'p, M: Manager> PooledConnection<'p, M> {
    #[inline]
    pub(crate) fn borrowed(shared: &'p Shared<M>, conn: BoxConn<M>) -> Self {
        PooledConnection { pool: Some(shared), conn: Some(conn) }
    }

    /// Creates a guard that keeps the pool's memory alive, but is no handle.
    #[inline]
    pub(crate) fn owned(shared: Arc<Shared<M>>, mut conn: BoxConn<M>) -> Self {
        conn.pool_ref = Some(shared);
        PooledConnection { pool: None, conn: Some(conn) }
    }

    /// Marks the connection as unusable, so that the drop of the guard destroys it: it is broken, or out
    /// of step with its peer.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// let mut conn = sim.block_on(pool.get())?;
    /// conn.mark_unusable();
    /// drop(conn);
    /// assert_eq!(pool.stats().available, 0);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn mark_unusable(&mut self) {
        self.set_flag(GuardFlags::UNUSABLE);
    }

    /// Heeds an error that a request on this connection returned, as far as the manager judges it
    /// ([`Manager::severity`]). Returns the judgement.
    ///
    /// * [`Request`](Severity::Request): the connection is in good order, and nothing happens.
    /// * [`Connection`](Severity::Connection) and [`Permanent`](Severity::Permanent): it is
    ///   [marked](PooledConnection::mark_unusable).
    /// * [`Generation`](Severity::Generation): it is [condemned](PooledConnection::condemn).
    ///
    /// # Examples
    ///
    /// ```
    /// use connpool_core::{Manager, Pool, Severity, StreamOf};
    /// use std::io::{Error, ErrorKind};
    ///
    /// struct Sessions;
    ///
    /// impl Manager for Sessions {
    ///     type Connection = &'static str;
    ///     type Error = Error;
    ///
    ///     async fn connect(&self) -> Result<&'static str, Error> {
    ///         Ok("a session")
    ///     }
    ///
    ///     fn stream(&self) -> Option<StreamOf<&'static str>> {
    ///         None
    ///     }
    ///
    ///     fn severity(&self, error: &Error) -> Severity {
    ///         match error.kind() {
    ///             ErrorKind::NotFound => Severity::Request,
    ///             ErrorKind::ReadOnlyFilesystem => Severity::Generation,
    ///             _ => Severity::Connection,
    ///         }
    ///     }
    /// }
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let pool = Pool::builder(Sessions, sim.clone()).build_lazy()?;
    /// let mut conn = sim.block_on(pool.get())?;
    /// assert_eq!(conn.failed(&ErrorKind::NotFound.into()), Severity::Request);
    /// drop(conn);
    /// # sim.settle();
    /// assert_eq!(pool.stats().available, 1);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn failed(&mut self, error: &M::Error) -> Severity {
        let severity = self.shared().judge(error);
        match severity {
            Severity::Request => {}
            Severity::Connection | Severity::Permanent => self.mark_unusable(),
            Severity::Generation => self.condemn(),
        }
        severity
    }

    /// Destroys this connection when the guard is dropped, and makes all connections of its generation
    /// stale: those that were opened since the same [`clear`](crate::Pool::clear).
    ///
    /// Clears the pool, unless it was cleared since this connection was opened. However many users hear of
    /// a failover, and whenever, the first one clears the pool, and what was opened afterwards stays.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// # sim.block_on(async {
    /// let (mut first, mut second) = (pool.get().await?, pool.get().await?);
    /// first.condemn();
    /// let new = pool.get().await?;
    /// second.condemn(); // it was stale already
    /// drop((first, second, new));
    /// assert_eq!(pool.stats().available, 1);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn condemn(&mut self) {
        // No flag: from now on the connection is older than the last `clear`.
        self.shared().condemn(self.conn().meta.origin.version());
    }

    /// Takes the connection out of the pool for good. Its slot is free at once, so the pool may open
    /// another one in its place.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// let client: &str = sim.block_on(pool.get())?.detach();
    /// assert_eq!((client, pool.stats().size), ("a client", 0));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn detach(mut self) -> M::Connection {
        let Some(mut conn) = self.conn.take() else { taken() };
        let pool_ref = conn.pool_ref.take();
        let shared = self.pool.or(pool_ref.as_deref()).unwrap_or_else(|| taken());
        shared.counters.detached.inc();
        end_lease(shared, &conn);
        take_flags(shared, &mut conn);
        let conn = *conn;
        drop(conn.slot);
        let id = conn.meta.id();
        shared.events.tell(|| Event::Detached { id });
        conn.inner
    }

    /// Returns a number that no other connection of the pool has had.
    pub fn id(&self) -> u64 {
        self.conn().meta.id()
    }

    /// Returns how long ago the connection was opened.
    pub fn age(&self) -> Duration {
        self.shared().age(self.conn().meta.created_at)
    }

    /// Returns how often the connection was borrowed, this time included.
    pub fn uses(&self) -> u64 {
        self.conn().meta.uses
    }

    /// Sets a label that says what the connection is used for. Until the guard is dropped it appears in
    /// [`holders`](crate::Pool::holders), in the errors of waiters, and in leak warnings. Cut after 64
    /// characters.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let pool = Pool::builder(
    /// #     object_fn(|| async { Ok::<_, std::io::Error>("a client") }), sim.clone()).build_lazy()?;
    /// let mut conn = sim.block_on(pool.get())?;
    /// conn.label("monthly report");
    /// assert_eq!(pool.holders()[0].label.as_deref(), Some("monthly report"));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn label(&mut self, text: impl AsRef<str>) {
        self.set_flag(GuardFlags::NOTED);
        let index = self.conn().slot.index;
        self.shared().leases.label(index, text.as_ref());
    }

    /// Runs one request and its reply, completely or not at all.
    ///
    /// If the future is dropped half way, if it panics, or if it returns `Err`, the drop of the guard
    /// destroys the connection, on which work may be unfinished. A reply that reports a failure is a
    /// complete reply, to be returned as `Ok(Err(..))`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::Pool;
    /// # use futures_lite::io::{AsyncReadExt, AsyncWriteExt, Cursor, Error};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let pool = Pool::builder(
    /// #     connpool_core::object_fn(|| async { Ok::<_, Error>(Cursor::new(b"GET key\nvalue\n".to_vec())) }),
    /// #     sim.clone()).build_lazy().unwrap();
    /// # sim.block_on(async {
    /// let mut conn = pool.get().await?;
    /// let reply = conn
    ///     .exchange(async |conn| {
    ///         conn.write_all(b"GET key\n").await?;
    ///         let mut reply = [0; 6];
    ///         conn.read_exact(&mut reply).await?;
    ///         Ok::<_, Error>(reply)
    ///     })
    ///     .await?;
    /// # let _ = reply;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The error that `act` returns.
    ///
    /// # Cancel safety
    ///
    /// This method is not cancel safe: if the future is dropped, the connection is destroyed when the
    /// guard is dropped.
    pub async fn exchange<T, E>(
        &mut self,
        act: impl AsyncFnOnce(&mut M::Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.conn().slot.flags;
        self.set_flag(GuardFlags::UNFINISHED);
        let result = act(&mut **self).await;
        if let (Ok(_), Some(conn)) = (&result, &mut self.conn) {
            conn.slot.flags = before;
        }
        result
    }

    /// Runs one request and its reply like [`exchange`](PooledConnection::exchange), and has an error
    /// judged by `judge`, as [`failed`](PooledConnection::failed) has it judged by the manager.
    ///
    /// For an `act` whose errors are not those of the manager. After an error that is judged as
    /// [`Request`](Severity::Request) the connection is in good order.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool, Severity};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
    /// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
    /// # sim.block_on(async {
    /// enum Reply {
    ///     Rejected,
    ///     Broken,
    /// }
    /// let judge = |reply: &Reply| match reply {
    ///     Reply::Rejected => Severity::Request,
    ///     Reply::Broken => Severity::Connection,
    /// };
    /// let mut conn = pool.get().await?;
    /// let reply = conn.exchange_with(judge, async |_conn| Err::<(), _>(Reply::Rejected)).await;
    /// # assert!(matches!(reply, Err(Reply::Rejected)));
    /// drop(conn);
    /// assert_eq!(pool.stats().available, 1);
    /// # drop(Reply::Broken);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error that `act` returns.
    ///
    /// # Cancel safety
    ///
    /// This method is not cancel safe, like [`exchange`](PooledConnection::exchange).
    pub async fn exchange_with<T, E>(
        &mut self,
        judge: impl FnOnce(&E) -> Severity,
        act: impl AsyncFnOnce(&mut M::Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.conn().slot.flags;
        let result = self.exchange(act).await;
        if let Err(error) = &result {
            let severity = judge(error);
            if severity == Severity::Generation {
                self.condemn();
            }
            let is_complete = matches!(severity, Severity::Request | Severity::Generation);
            if let Some(conn) = self.conn.as_mut().filter(|_| is_complete) {
                conn.slot.flags = before;
            }
        }
        result
    }

    fn set_flag(&mut self, flag: GuardFlags) {
        if let Some(conn) = &mut self.conn {
            conn.slot.flags = conn.slot.flags.with(flag);
        }
    }

    fn shared(&self) -> &Shared<M> {
        self.pool.or(self.conn().pool_ref.as_deref()).unwrap_or_else(|| taken())
    }

    fn conn(&self) -> &Conn<M::Connection, Shared<M>> {
        let Some(conn) = &self.conn else { taken() };
        conn
    }
}

#[cold]
fn taken() -> ! {
    unreachable!("a guard has its connection until it is dropped or detached")
}

impl<M: Manager> Drop for PooledConnection<'_, M> {
    #[inline]
    fn drop(&mut self) {
        match (self.pool, self.conn.take()) {
            (Some(shared), Some(conn)) => release(shared, conn),
            (None, Some(mut conn)) => {
                // Taken out before the connection is pooled: otherwise it would keep the pool alive.
                if let Some(shared) = conn.pool_ref.take() {
                    release(&shared, conn);
                }
            }
            (_, None) => {}
        }
    }
}

impl<M: Manager> Deref for PooledConnection<'_, M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        &self.conn().inner
    }
}

impl<M: Manager> DerefMut for PooledConnection<'_, M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        let Some(conn) = &mut self.conn else { taken() };
        &mut conn.inner
    }
}

// A guard that is dropped by a panic destroys its connection.
impl<M: Manager> UnwindSafe for PooledConnection<'_, M> {}
impl<M: Manager<Connection: RefUnwindSafe>> RefUnwindSafe for PooledConnection<'_, M> {}

impl<M: Manager> fmt::Debug for PooledConnection<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledConnection")
            .field("pool", &self.shared().events.pool)
            .field("id", &self.id())
            .field("uses", &self.uses())
            .finish_non_exhaustive()
    }
}

impl<M: Manager> AsyncRead for PooledConnection<'_, M>
where
    M::Connection: AsyncRead + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self).poll_read_vectored(cx, bufs)
    }
}

impl<M: Manager> AsyncWrite for PooledConnection<'_, M>
where
    M::Connection: AsyncWrite + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut **self).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self).poll_close(cx)
    }
}
