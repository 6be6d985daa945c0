//! What the pool needs to know of a protocol: one trait, of which only `connect` is required.

#[cfg(feature = "dyn")]
pub(crate) mod boxed;
pub(crate) mod closures;

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::stream::Liveness;

/// Makes connections of one kind and knows how to check, clean and end them.
///
/// Only [`connect`](Manager::connect) has to be written. The methods are `async fn`s in an
/// implementation:
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
///
/// Every future is bounded by the pool (`connect_timeout`, `ping_timeout`, `reset_timeout`,
/// `close_timeout`), may be dropped at any await, and may panic: the connection it worked on is
/// then destroyed and its slot is free again.
pub trait Manager: Send + Sync + 'static {
    /// What is pooled: a byte stream, or any client object.
    type Connection: Send + 'static;
    /// What goes wrong with it.
    type Error: Error + Send + Sync + 'static;

    /// Makes a connection, ready to be lent: with handshake and login, if there are any. If the
    /// server speaks first, its greeting is to be read here: bytes that wait in a connection at
    /// rest are taken for a fault.
    ///
    /// Runs as a task of the pool's own. A caller that gives up does not cancel it: what it makes
    /// goes to the next in line or becomes idle. Bounded by `connect_timeout`.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Makes a connection, and is told how much time the pool gives it (`None`: no limit).
    ///
    /// The pool calls this one; it calls [`connect`](Manager::connect) unless overridden, as by a
    /// manager that has several addresses to divide the time between.
    fn connect_within(
        &self,
        limit: Option<Duration>,
    ) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send {
        let _ = limit;
        self.connect()
    }

    /// Asks the peer whether it is there: the active check before a connection is lent, one
    /// round trip. An error destroys the connection and the next one is tried.
    ///
    /// Asked only of a connection whose last proof of life is older than `ping_after`. Bounded by
    /// `ping_timeout`. The default knows no question and is always content.
    fn ping(
        &self,
        conn: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = conn;
        async { Ok(()) }
    }

    /// Takes away what one user left behind (a transaction, a subscription, a chosen database)
    /// before the next one gets the connection. An error destroys it. Bounded by `reset_timeout`.
    ///
    /// Never called for a connection that was not lent yet. The default has nothing to do.
    fn reset(
        &self,
        conn: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = conn;
        async { Ok(()) }
    }

    /// Whether [`reset`](Manager::reset) has anything to do. `true` unless overridden, so that
    /// writing `reset` is enough; `false` saves the call and lets
    /// [`try_get`](crate::Pool::try_get) lend used connections.
    fn needs_reset(&self) -> bool {
        true
    }

    /// Looks at a connection: no wait, no byte consumed that belongs to somebody.
    ///
    /// [`Liveness::Unknown`] unless overridden, which counts as alive. For a stream, answer with
    /// [`Connection::liveness`](crate::Connection::liveness), or with what the kernel says.
    fn liveness(&self, conn: &mut Self::Connection) -> Liveness {
        let _ = conn;
        Liveness::Unknown
    }

    /// Whether [`liveness`](Manager::liveness) has anything to tell. `true` unless overridden, so that
    /// writing `liveness` is enough; `false` saves the call, but for one when a connection is new.
    fn has_liveness(&self) -> bool {
        true
    }

    /// Whether a connection that comes back can be lent again. Asked in the guard's drop: must be
    /// quick and must not block. `true` unless overridden.
    ///
    /// A manager of streams should say no to one whose user gave up in the middle of a read or a
    /// write: the adapters' `TcpConn` and `Io` know, and say so by `is_clean()`. A stream of one's
    /// own can keep a [`StreamState`](crate::StreamState).
    fn is_reusable(&self, conn: &mut Self::Connection) -> bool {
        let _ = conn;
        true
    }

    /// Says goodbye, then closes. For connections believed to be in good order (idle too long,
    /// over age, no longer wanted), in the background, for at most `close_timeout`, and not at all
    /// while somebody waits for a connection. The default closes without a word.
    fn close(&self, conn: Self::Connection) -> impl Future<Output = ()> + Send {
        async { drop(conn) }
    }
}

impl<M: Manager> Manager for Arc<M> {
    type Connection = M::Connection;
    type Error = M::Error;

    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send {
        (**self).connect()
    }

    fn connect_within(
        &self,
        limit: Option<Duration>,
    ) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send {
        (**self).connect_within(limit)
    }

    fn ping(
        &self,
        conn: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        (**self).ping(conn)
    }

    fn reset(
        &self,
        conn: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        (**self).reset(conn)
    }

    fn needs_reset(&self) -> bool {
        (**self).needs_reset()
    }

    fn liveness(&self, conn: &mut Self::Connection) -> Liveness {
        (**self).liveness(conn)
    }

    fn has_liveness(&self) -> bool {
        (**self).has_liveness()
    }

    fn is_reusable(&self, conn: &mut Self::Connection) -> bool {
        (**self).is_reusable(conn)
    }

    fn close(&self, conn: Self::Connection) -> impl Future<Output = ()> + Send {
        (**self).close(conn)
    }
}
