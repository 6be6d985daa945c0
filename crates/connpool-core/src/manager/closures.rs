//! Managers made of one closure.

use std::error::Error;
use std::fmt;

use crate::manager::Manager;
use crate::stream::{Connection, Liveness, Probe, StreamOf};
use crate::tracked::Tracked;

/// A manager made of a closure that connects. Created by [`object_fn`] and [`stream_fn`], and by `io_fn` and
/// `socket_fn` of the adapter crates.
///
/// `S` is the type that the closure connects, and `C` the type of the connections that the pool checks out.
pub struct FromFn<F, S, C = S> {
    connect: F,
    wrap: fn(S) -> C,
    stream: Option<StreamOf<C>>,
    strict: bool,
    liveness: Option<fn(&mut C) -> Liveness>,
    is_reusable: Option<fn(&C) -> bool>,
}

/// Creates a manager of client objects from a closure that makes one.
///
/// An object counts as alive and reusable until [`with_liveness`](FromFn::with_liveness),
/// [`with_is_reusable`](FromFn::with_is_reusable) or
/// [`mark_unusable`](crate::PooledConnection::mark_unusable) says otherwise. Not for streams: a socket
/// would never be probed, and a pool of the runtime's own sockets is not built. Use [`stream_fn`], or `io_fn`
/// and `socket_fn` of the adapter crates.
///
/// The closure is called for each connection, so it clones what its future needs.
///
/// # Examples
///
/// ```
/// use connpool_core::object_fn;
///
/// let address = String::from("10.0.0.1");
/// let manager = object_fn(move || {
///     let address = address.clone();
///     async move { Ok::<_, std::io::Error>(format!("a client of {address}")) }
/// });
/// # let _ = manager;
/// ```
#[doc(alias = "from_fn")]
pub fn object_fn<F, Fut, C, E>(connect: F) -> FromFn<F, C>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C, E>> + Send,
    C: Send + 'static,
    E: Error + Send + Sync + 'static,
{
    let wrap = |object| object;
    FromFn { connect, wrap, stream: None, strict: false, liveness: None, is_reusable: None }
}

/// Creates a manager of the byte streams that `connect` opens, each wrapped in a [`Tracked`].
///
/// A stream that was closed, or that holds bytes that were not requested, is found and replaced before it
/// is checked out. A stream on which a read or a write was abandoned halfway is not reused.
///
/// Takes streams in the sense of `futures-io`. `io_fn` of the adapter crates takes those of their runtime, and
/// probes sockets in the kernel.
///
/// # Examples
///
/// ```
/// use connpool_core::stream_fn;
/// use futures_lite::io::{Cursor, Error};
///
/// let manager = stream_fn(|| async { Ok::<_, Error>(Cursor::new(Vec::<u8>::new())) });
/// # let _ = manager;
/// ```
pub fn stream_fn<F, Fut, S, E>(connect: F) -> FromFn<F, S, Tracked<S>>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<S, E>> + Send,
    S: Connection,
    E: Error + Send + Sync + 'static,
{
    FromFn::wrapping(connect, Tracked::new)
}

impl<F, S, C: Probe> FromFn<F, S, C> {
    /// Creates a manager of the streams that `connect` opens, each wrapped by `wrap`. For adapters whose
    /// wrapper is not [`Tracked`].
    pub fn wrapping(connect: F, wrap: fn(S) -> C) -> Self {
        let stream: StreamOf<C> = |conn| conn;
        let stream = Some(stream);
        FromFn { connect, wrap, stream, strict: false, liveness: None, is_reusable: None }
    }

    /// Sets whether a connection is reused only if something was read after the last write, see
    /// [`Probe::set_strict`]. Default: `false`.
    pub fn strict(self, strict: bool) -> Self {
        FromFn { strict, ..self }
    }
}

impl<F, S, C> FromFn<F, S, C> {
    /// Sets the liveness probe, instead of that of the stream, if the connection is one.
    pub fn with_liveness(self, liveness: fn(&mut C) -> Liveness) -> Self {
        FromFn { liveness: Some(liveness), ..self }
    }

    /// Sets a check of returned connections. If the connection is a stream, it must also be
    /// [clean](Probe::is_clean).
    pub fn with_is_reusable(self, is_reusable: fn(&C) -> bool) -> Self {
        FromFn { is_reusable: Some(is_reusable), ..self }
    }
}

impl<F, Fut, S, C, E> Manager for FromFn<F, S, C>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<S, E>> + Send,
    S: 'static,
    C: Send + 'static,
    E: Error + Send + Sync + 'static,
{
    type Connection = C;
    type Error = E;

    fn connect(&self) -> impl Future<Output = Result<C, E>> + Send {
        let connecting = (self.connect)();
        let (wrap, strict) = (self.wrap, self.stream.filter(|_| self.strict));
        async move {
            let mut conn = wrap(connecting.await?);
            if let Some(stream) = strict {
                stream(&mut conn).set_strict(true);
            }
            Ok(conn)
        }
    }

    fn stream(&self) -> Option<StreamOf<C>> {
        self.stream
    }

    fn needs_reset(&self) -> bool {
        false
    }

    fn liveness(&self, conn: &mut C) -> Liveness {
        match (self.liveness, self.stream) {
            (Some(liveness), _) => liveness(conn),
            (None, Some(stream)) => stream(conn).probe(),
            (None, None) => Liveness::Unknown,
        }
    }

    fn has_liveness(&self) -> bool {
        self.liveness.is_some() || self.stream.is_some()
    }

    fn has_close(&self) -> bool {
        false
    }

    fn is_reusable(&self, conn: &mut C) -> bool {
        self.stream.is_none_or(|stream| stream(conn).is_clean())
            && self.is_reusable.is_none_or(|is_reusable| is_reusable(conn))
    }
}

impl<F, S, C> fmt::Debug for FromFn<F, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn")
    }
}
