//! The trait that teaches a pool a protocol.

#[cfg(feature = "dyn")]
pub(crate) mod boxed;
pub(crate) mod closures;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::config::ResetWhen;
use crate::observe::close_reason::CloseReason;
use crate::stream::Liveness;

/// What an error of [`Manager::connect`] says about the next attempt. See [`Manager::severity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Severity {
    /// The attempt failed, and the next one may succeed.
    #[default]
    Connection,
    /// Every attempt will fail until somebody changes something, such as a wrong password.
    Permanent,
}

/// Opens connections, and checks, resets and closes them.
///
/// Only [`connect`](Manager::connect) is required. Implementations write the methods as `async fn`.
///
/// Every future is bounded by the pool (`connect_timeout`, `ping_timeout`, `reset_timeout`,
/// `close_timeout`, `abandon_timeout`), may be dropped at any await point, and may panic: the connection it worked on is
/// then destroyed and its slot freed.
///
/// # Examples
///
/// ```
/// use connpool_core::{Connection, Liveness, Manager};
/// use futures_lite::{io, AsyncReadExt, AsyncWriteExt};
/// # type Stream = futures_lite::io::Cursor<Vec<u8>>;
/// # async fn dial() -> io::Result<Stream> { Ok(io::Cursor::new(Vec::new())) }
///
/// struct Lines;
///
/// impl Manager for Lines {
///     type Connection = Stream;
///     type Error = io::Error;
///
///     async fn connect(&self) -> io::Result<Stream> {
///         dial().await
///     }
///
///     async fn ping(&self, conn: &mut Stream) -> io::Result<()> {
///         conn.write_all(b"PING\n").await?;
///         let mut reply = [0; 5];
///         conn.read_exact(&mut reply).await?;
///         if &reply == b"PONG\n" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
///     }
///
///     fn liveness(&self, conn: &mut Stream) -> Liveness {
///         conn.liveness()
///     }
/// }
/// ```
pub trait Manager: Send + Sync + 'static {
    /// The pooled type: a byte stream, or any client object.
    type Connection: Send + 'static;
    /// The error of connects, pings and resets.
    type Error: Error + Send + Sync + 'static;

    /// Opens a connection that is ready for use, handshake and login included.
    ///
    /// If the server speaks first, its greeting must be read here: bytes that wait in an idle connection
    /// count as a fault.
    ///
    /// Runs as a task of the pool, for `connect_timeout` at most. A caller that gives up does not cancel
    /// it: the connection goes to the next waiter or becomes idle.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Opens a connection within `limit`, or without a limit if it is `None`.
    ///
    /// The pool calls this method. The default calls [`connect`](Manager::connect); a manager that has
    /// several addresses to divide the time between overrides it.
    fn connect_within(
        &self,
        limit: Option<Duration>,
    ) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send {
        let _ = limit;
        self.connect()
    }

    /// Judges an error of [`connect`](Manager::connect). The default is [`Severity::Connection`].
    ///
    /// After a [`Permanent`](Severity::Permanent) error callers get it at once. The pool connects again
    /// only if a caller asks, and at most once per `backoff.max`, until [`clear`](crate::Pool::clear),
    /// [`resume`](crate::Pool::resume) or [`reconfigure`](crate::Pool::reconfigure) ends it. If another
    /// connection is open, a single permanent error counts like any other, and two in a row count.
    fn severity(&self, error: &Self::Error) -> Severity {
        let _ = error;
        Severity::Connection
    }

    /// Checks actively that the peer answers, with one round trip. An error destroys the connection, and
    /// the pool tries another one.
    ///
    /// Called before a checkout if the last sign of life is older than `ping_after`, for `ping_timeout`
    /// at most. The default succeeds.
    fn ping(
        &self,
        conn: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = conn;
        async { Ok(()) }
    }

    /// Resets what one user left behind (a transaction, a subscription, a selected database) before the
    /// next one gets the connection. An error destroys it.
    ///
    /// Called after each return, or before the connection is checked out again, see
    /// [`reset_when`](Manager::reset_when); for `reset_timeout` at most, and never for a connection that was
    /// not borrowed yet. The default succeeds.
    fn reset(
        &self,
        conn: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = conn;
        async { Ok(()) }
    }

    /// Returns whether [`reset`](Manager::reset) has anything to do.
    ///
    /// `true` unless overridden, so that implementing `reset` is enough. `false` saves the call and lets
    /// [`try_get`](crate::Pool::try_get) return connections that were borrowed before.
    fn needs_reset(&self) -> bool {
        true
    }

    /// Returns when connections are reset, unless the setting
    /// [`reset_when`](crate::PoolConfig::reset_when) says it. The default is [`ResetWhen::OnReturn`].
    fn reset_when(&self) -> ResetWhen {
        ResetWhen::OnReturn
    }

    /// Probes a connection passively: without waiting, and without consuming a byte of a reply.
    ///
    /// The default returns [`Liveness::Unknown`], which counts as alive. For a stream, return
    /// [`Connection::liveness`](crate::Connection::liveness), or ask the kernel.
    fn liveness(&self, conn: &mut Self::Connection) -> Liveness {
        let _ = conn;
        Liveness::Unknown
    }

    /// Returns whether [`liveness`](Manager::liveness) can tell anything.
    ///
    /// `true` unless overridden, so that implementing `liveness` is enough. `false` saves the call, except
    /// the one for a new connection.
    fn has_liveness(&self) -> bool {
        true
    }

    /// Returns whether a returned connection can be used again. Called in the drop of the guard, so it must
    /// be quick and must not block. The default returns `true`.
    ///
    /// A manager of streams should reject one that was left in the middle of a read or a write: `is_clean`
    /// of the adapters' `TcpConn` and `Io` tells. Other streams can keep a
    /// [`StreamState`](crate::StreamState).
    fn is_reusable(&self, conn: &mut Self::Connection) -> bool {
        let _ = conn;
        true
    }

    /// Closes a connection, whatever the `reason`: says `QUIT` if it is healthy, asks the server to give up
    /// the work that was left on it, or drops it where blocking is allowed. The default drops it.
    ///
    /// Called in the background, by the maintenance task, and polled at least once. Await a reply only if
    /// [`reason.is_healthy()`](CloseReason::is_healthy): the peer of a broken connection does not answer,
    /// and what comes from one with unfinished work may be the reply to that. How long the future may take,
    /// and who waits for the slot meanwhile, follows from the [group of the reason](CloseReason). Without a
    /// maintenance task, outside of any runtime or after its end, the connection is dropped where it is.
    ///
    /// # Examples
    ///
    /// A client whose drop blocks, for half a second perhaps, is dropped where it holds up no task:
    ///
    /// ```
    /// # use connpool_core::{CloseReason, Manager};
    /// # struct Client;
    /// # struct Clients;
    /// # mod tokio { pub mod task { pub async fn spawn_blocking(work: impl FnOnce()) { work() } } }
    /// impl Manager for Clients {
    ///     type Connection = Client;
    ///     type Error = std::io::Error;
    ///
    ///     async fn connect(&self) -> Result<Client, Self::Error> {
    ///         Ok(Client)
    ///     }
    ///
    ///     async fn close(&self, client: Client, _reason: CloseReason) {
    ///         _ = tokio::task::spawn_blocking(move || drop(client)).await;
    ///     }
    /// }
    /// ```
    fn close(
        &self,
        conn: Self::Connection,
        reason: CloseReason,
    ) -> impl Future<Output = ()> + Send {
        let _ = reason;
        async { drop(conn) }
    }

    /// Returns whether [`close`](Manager::close) does more than to drop the connection.
    ///
    /// `true` unless overridden, so that implementing `close` is enough. `false` saves the way to the
    /// maintenance task: a connection that its user left unfit is dropped with its guard. Not for
    /// connections whose drop blocks.
    fn has_close(&self) -> bool {
        true
    }
}

impl<M: Manager> Manager for Arc<M> {
    type Connection = M::Connection;
    type Error = M::Error;

    async fn connect(&self) -> Result<M::Connection, M::Error> {
        (**self).connect().await
    }

    async fn connect_within(&self, limit: Option<Duration>) -> Result<M::Connection, M::Error> {
        (**self).connect_within(limit).await
    }

    async fn ping(&self, conn: &mut M::Connection) -> Result<(), M::Error> {
        (**self).ping(conn).await
    }

    async fn reset(&self, conn: &mut M::Connection) -> Result<(), M::Error> {
        (**self).reset(conn).await
    }

    fn needs_reset(&self) -> bool {
        (**self).needs_reset()
    }

    fn reset_when(&self) -> ResetWhen {
        (**self).reset_when()
    }

    fn liveness(&self, conn: &mut M::Connection) -> Liveness {
        (**self).liveness(conn)
    }

    fn has_liveness(&self) -> bool {
        (**self).has_liveness()
    }

    fn is_reusable(&self, conn: &mut M::Connection) -> bool {
        (**self).is_reusable(conn)
    }

    async fn close(&self, conn: M::Connection, reason: CloseReason) {
        (**self).close(conn, reason).await;
    }

    fn has_close(&self) -> bool {
        (**self).has_close()
    }
}
