//! The trait that teaches a pool a protocol.

#[cfg(feature = "dyn")]
pub(crate) mod boxed;
pub(crate) mod closures;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::config::ResetWhen;
use crate::observe::close_reason::CloseReason;
use crate::stream::{Liveness, StreamOf};

/// How much an error says about: one request, its connection, or more. See [`Manager::severity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Severity {
    /// The request failed, and the connection is in good order: a complete reply that reports an error.
    Request,
    /// The connection is broken, or the attempt to open one failed. Others may work.
    #[default]
    Connection,
    /// The connection and all of its generation are stale: those that the pool opened since the same
    /// [`clear`](crate::Pool::clear). After a failover, for example, the old primary refuses all writes.
    Generation,
    /// Every connect will fail until something changes, such as a wrong password.
    Permanent,
}

/// Opens connections, and checks, resets and closes them.
///
/// [`connect`](Manager::connect) and [`stream`](Manager::stream) are required. Implementations write the
/// async methods as `async fn`.
///
/// These two suffice for the pool to check out no stream that has ended, that holds unread bytes, or on which an
/// operation was abandoned halfway. They do not detect a reply that is still on its way, see
/// [`Pool::get`](crate::Pool::get).
///
/// Every future is bounded by the pool (`connect_timeout`, `ping_timeout`, `reset_timeout`,
/// `close_timeout`, `abandon_timeout`), may be dropped at any await point, and may panic: the connection it worked on is
/// then destroyed and its slot freed.
///
/// # Clients with a driver task
///
/// The socket of some clients belongs to a task that their connect returns: hyper's `SendRequest`, the
/// `Client` of tokio-postgres. The manager of such a client
///
/// * spawns the task in [`connect`](Manager::connect), and returns `None` from [`stream`](Manager::stream);
/// * asks the client and the kernel in [`liveness`](Manager::liveness): the client learns that its peer is
///   gone only when the task runs. `SocketProbe` of the adapter crates is a second handle of the socket;
/// * waits in [`reset`](Manager::reset) until the task has finished the last request, `ready().await` in
///   hyper. When the guard is dropped, the task may have that still to do: an
///   [`is_reusable`](Manager::is_reusable) that asks whether the client is ready destroys good connections;
/// * has the server give up unfinished work in [`close`](Manager::close), and ends the task.
///
/// Requests run in an [`exchange`](crate::PooledConnection::exchange), since the stream does not show
/// whether one was given up. A body that is read later keeps the guard. `examples/clients` in the
/// repository has managers to copy for hyper and tokio-postgres, and one for a `Framed` stream.
///
/// # Examples
///
/// ```
/// use connpool_core::{Manager, StreamOf, Tracked};
/// use futures_lite::{io, AsyncReadExt, AsyncWriteExt};
/// # async fn dial() -> io::Result<io::Cursor<Vec<u8>>> { Ok(io::Cursor::new(Vec::new())) }
///
/// type Stream = Tracked<io::Cursor<Vec<u8>>>;
///
/// struct Lines;
///
/// impl Manager for Lines {
///     type Connection = Stream;
///     type Error = io::Error;
///
///     async fn connect(&self) -> io::Result<Stream> {
///         dial().await.map(Tracked::new)
///     }
///
///     fn stream(&self) -> Option<StreamOf<Stream>> {
///         Some(|conn| conn)
///     }
///
///     async fn ping(&self, conn: &mut Stream) -> io::Result<()> {
///         conn.write_all(b"PING\n").await?;
///         let mut reply = [0; 5];
///         conn.read_exact(&mut reply).await?;
///         if &reply == b"PONG\n" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a manager of connections",
    label = "does not implement `Manager`",
    note = "implement `Manager`, or make a manager of a closure that connects: `io_fn` or `socket_fn` of \
            the adapter crate for streams, `object_fn` for client objects"
)]
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

    /// Returns a function that borrows the byte stream inside a connection, or `None` if its socket is out of
    /// reach.
    ///
    /// The pool checks this stream by itself: [`liveness`](Manager::liveness) and
    /// [`is_reusable`](Manager::is_reusable) ask it unless they are overridden. Return
    ///
    /// * `Some(|conn| conn)` if the connection is a stream that implements [`Probe`](crate::Probe), such as
    ///   `TcpConn` and `Io` of the adapter crates and [`Tracked`](crate::Tracked);
    /// * `Some(|conn| &mut conn.stream)`, or `Some(|framed| framed.get_mut())`, if the stream is inside. If the
    ///   connection also has buffers, `is_reusable` must check that they are empty;
    /// * `self.inner.stream()` if `connect` returns the connections of another manager, `inner`;
    /// * `None` if the stream is owned by a [task](#clients-with-a-driver-task) or by a library that does not
    ///   hand it out. The connection then counts as alive and reusable, and `liveness`, `is_reusable` and `ping`
    ///   should ask the client.
    ///
    /// Must not change: the pool also asks before there is a connection. A pool is not built if the
    /// connection is a socket of its runtime and this method returns `None`.
    fn stream(&self) -> Option<StreamOf<Self::Connection>>;

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

    /// Judges an error. The default is [`Severity::Connection`].
    ///
    /// | severity     | error of `connect` | of `ping`, `reset`, `get_with` | passed to [`failed`](crate::PooledConnection::failed) |
    /// |--------------|--------------------|--------------------------------|---------------------------|
    /// | `Request`    | as `Connection`    | as `Connection`                | the connection is kept    |
    /// | `Connection` | the connect failed | the connection is destroyed    | the connection is destroyed |
    /// | `Generation` | as `Connection`    | so is its whole generation     | so is its whole generation |
    /// | `Permanent`  | see below          | as `Connection`                | as `Connection`           |
    ///
    /// If it panics, the error counts as `Connection`.
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
    ///
    /// It is the end of the last use, not the begin of the next one: it is not called for a new connection,
    /// runs before the next caller is known, and perhaps in a task of the pool. What depends on the caller,
    /// such as the role of a tenant, belongs to [`get_with`](crate::Pool::get_with).
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
    /// The default [probes](crate::Probe::probe) the [`stream`](Manager::stream). Without one it returns
    /// [`Liveness::Unknown`], which counts as alive.
    fn liveness(&self, conn: &mut Self::Connection) -> Liveness {
        self.stream().map_or(Liveness::Unknown, |stream| stream(conn).probe())
    }

    /// Returns whether [`liveness`](Manager::liveness) can tell anything.
    ///
    /// `true` unless overridden, so that implementing `liveness` is enough. `false` saves the call, except
    /// the one for a new connection.
    fn has_liveness(&self) -> bool {
        true
    }

    /// Returns whether a returned connection can be used again. Called in the drop of the guard, so it must
    /// be quick and must not block.
    ///
    /// The default returns whether the [`stream`](Manager::stream) is [clean](crate::Probe::is_clean).
    /// Without one it returns `true`. A method that overrides it should ask the stream too.
    fn is_reusable(&self, conn: &mut Self::Connection) -> bool {
        self.stream().is_none_or(|stream| stream(conn).is_clean())
    }

    /// Returns for how much longer the peer accepts requests on the connection, if it has announced that:
    /// `Keep-Alive: timeout=5`, the rest of a token's validity. The default returns `None`: nothing new was
    /// announced, and an earlier announcement stands.
    ///
    /// Asked when a connection was opened and when it is returned, where it must be quick and must not block.
    /// Each announcement replaces the one before; `max_lifetime` applies beside it. The connection is not
    /// checked out in the last tenth of the announced time, at most in its last second, and closed then with
    /// the reason [`Lifetime`](crate::CloseReason::Lifetime).
    fn expires_in(&self, conn: &Self::Connection) -> Option<Duration> {
        let _ = conn;
        None
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
    /// The slot is free when the future ends. To bound the work at the server by `max_size`, a `close` that cancels
    /// [unfinished](CloseReason::is_unfinished) work must not end before that work does: it waits for the end of the
    /// stream, and repeats the request to cancel until then, since one that overtakes the work has no effect.
    ///
    /// # Examples
    ///
    /// A client whose drop blocks, for half a second perhaps, is dropped where it holds up no task:
    ///
    /// ```
    /// # use connpool_core::{CloseReason, Manager, StreamOf};
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
    ///     fn stream(&self) -> Option<StreamOf<Client>> {
    ///         None
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

    fn stream(&self) -> Option<StreamOf<M::Connection>> {
        (**self).stream()
    }

    async fn connect_within(&self, limit: Option<Duration>) -> Result<M::Connection, M::Error> {
        (**self).connect_within(limit).await
    }

    fn severity(&self, error: &M::Error) -> Severity {
        (**self).severity(error)
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

    fn expires_in(&self, conn: &M::Connection) -> Option<Duration> {
        (**self).expires_in(conn)
    }

    async fn close(&self, conn: M::Connection, reason: CloseReason) {
        (**self).close(conn, reason).await;
    }

    fn has_close(&self) -> bool {
        (**self).has_close()
    }
}
