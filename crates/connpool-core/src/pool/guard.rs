//! The guard: a connection on loan.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};

use crate::observe::holders::Borrower;
use crate::pool::conn::{Entry, Live, Told};
use crate::pool::shared::Shared;
use crate::util::sync::Arc;
use crate::{Event, Manager};

/// A connection on loan from a pool. Dereferences to it, and is itself a byte stream if the
/// connection is one. Dropped, it goes back.
///
/// Dropping never blocks, spawns or panics, and works anywhere: outside of any runtime, after the
/// runtime has ended, after the pool is gone. The connection is destroyed instead of kept if it
/// was [marked](PooledConnection::mark_unusable), if its thread is panicking, if an
/// [`exchange`](PooledConnection::exchange) did not end well, if its manager says that it is not
/// reusable, or if it is over a limit.
///
/// # What the pool cannot see
///
/// A request that was written whole and whose reply was not read yet leaves no trace until the
/// reply arrives. Whoever may be cancelled between the two uses
/// [`exchange`](PooledConnection::exchange).
#[must_use = "dropping the guard returns the connection to the pool"]
pub struct PooledConnection<'p, M: Manager> {
    // Two words and no more: larger ones are moved through memory.
    /// `None`: an owned guard, whose connection knows the pool.
    pool: Option<&'p Shared<M>>,
    /// `None` only while it is being dropped or detached.
    live: Option<Entry<M>>,
}

impl<'p, M: Manager> PooledConnection<'p, M> {
    #[inline]
    pub(crate) fn borrowed(shared: &'p Shared<M>, entry: Entry<M>, borrower: &Borrower) -> Self {
        shared.lease_begins(&entry, borrower);
        PooledConnection {
            pool: Some(shared),
            live: Some(entry),
        }
    }

    /// One that keeps the pool's state alive, but is no handle.
    #[inline]
    pub(crate) fn owned(shared: Arc<Shared<M>>, mut entry: Entry<M>, borrower: &Borrower) -> Self {
        shared.lease_begins(&entry, borrower);
        entry.keeper = Some(shared);
        PooledConnection {
            pool: None,
            live: Some(entry),
        }
    }

    /// Has the connection destroyed, not kept, when the guard is dropped. For whoever knows that
    /// it is broken or out of step with its peer.
    pub fn mark_unusable(&mut self) {
        self.tell(Told::UNUSABLE);
    }

    /// Takes the connection out of the pool for good. Its slot is free at once: the pool may open
    /// another one in its place.
    pub fn detach(mut self) -> M::Connection {
        let Some(mut entry) = self.live.take() else {
            taken()
        };
        let keeper = entry.keeper.take();
        let shared = owner(self.pool, keeper.as_ref());
        shared.counters.detached.up();
        shared.lease_ends(&entry);
        shared.forget_what_was_told(&mut entry, false);
        let live = *entry;
        drop(live.slot);
        shared.tell(|| Event::Detached { id: live.stamps.id });
        live.conn
    }

    /// A number that no other connection of the pool has had.
    pub fn id(&self) -> u64 {
        self.live().stamps.id
    }

    /// How long ago the connection was opened.
    pub fn age(&self) -> Duration {
        self.shared().runtime.now().since(self.live().stamps.born)
    }

    /// How often the connection was lent, this time included.
    pub fn uses(&self) -> u64 {
        self.live().stamps.uses
    }

    /// Says what the connection is used for: it stands in
    /// [`holders`](crate::Pool::holders), in errors of those who wait for one, and in warnings, until
    /// the guard is dropped. Cut after 64 characters.
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
        self.tell(Told::LABEL);
        let spot = self.live().slot.spot();
        self.shared().leases.label(spot, text.as_ref());
    }

    /// One request and its reply, whole or not at all.
    ///
    /// If the future is dropped half way, if it panics, or if it ends with `Err`, the connection is
    /// destroyed when the guard is dropped: nobody knows what is still under way on it. An answer
    /// that merely says no is a good answer, to be returned as `Ok(Err(..))`.
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
    /// Whatever `act` returns.
    ///
    /// # Cancellation
    ///
    /// Dropping the future spoils the connection, as said above.
    pub async fn exchange<T, E>(
        &mut self,
        act: impl AsyncFnOnce(&mut M::Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.live().slot.told;
        self.tell(Told::UNFINISHED);
        let result = act(&mut **self).await;
        if let (Ok(_), Some(live)) = (&result, &mut self.live) {
            live.slot.told = before;
        }
        result
    }

    fn tell(&mut self, what: Told) {
        if let Some(live) = &mut self.live {
            live.slot.told = live.slot.told.and(what);
        }
    }

    fn shared(&self) -> &Shared<M> {
        owner(self.pool, self.live().keeper.as_ref())
    }

    fn live(&self) -> &Live<M> {
        match &self.live {
            Some(entry) => entry,
            None => taken(),
        }
    }
}

#[inline]
fn owner<'a, M: Manager>(
    pool: Option<&'a Shared<M>>,
    keeper: Option<&'a Arc<Shared<M>>>,
) -> &'a Shared<M> {
    match (pool, keeper) {
        (Some(shared), _) => shared,
        (None, Some(shared)) => shared,
        (None, None) => taken(),
    }
}

#[cold]
fn taken() -> ! {
    unreachable!("a guard has its connection until it is dropped or detached")
}

impl<M: Manager> Drop for PooledConnection<'_, M> {
    #[inline]
    fn drop(&mut self) {
        match (self.pool, self.live.take()) {
            (Some(shared), Some(entry)) => shared.take_back(entry),
            (None, Some(mut entry)) => {
                if let Some(shared) = entry.keeper.take() {
                    shared.take_back(entry);
                }
            }
            (_, None) => {}
        }
    }
}

impl<M: Manager> Deref for PooledConnection<'_, M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        &self.live().conn
    }
}

impl<M: Manager> DerefMut for PooledConnection<'_, M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        match &mut self.live {
            Some(entry) => &mut entry.conn,
            None => taken(),
        }
    }
}

impl<M: Manager> fmt::Debug for PooledConnection<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledConnection")
            .field("pool", &self.shared().name)
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
