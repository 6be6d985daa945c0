//! Managers made of one closure.

use std::error::Error;
use std::fmt;

use crate::manager::Manager;
use crate::stream::{Connection, Liveness};

/// A manager made of a closure that connects. Created by [`object_fn`] and [`stream_fn`].
pub struct FromFn<F, C> {
    connect: F,
    /// `None` if liveness is unknown.
    liveness: Option<fn(&mut C) -> Liveness>,
    /// `None` if every connection is reusable.
    is_reusable: Option<fn(&C) -> bool>,
}

/// Creates a manager of client objects from a closure that makes one.
///
/// An object counts as alive and reusable until [`with_liveness`](FromFn::with_liveness),
/// [`with_is_reusable`](FromFn::with_is_reusable) or
/// [`mark_unusable`](crate::PooledConnection::mark_unusable) says otherwise. Not for streams: a socket
/// would never be probed. Use [`stream_fn`], or a constructor of the adapter crates.
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
    FromFn { connect, liveness: None, is_reusable: None }
}

/// Creates a manager of byte streams from a closure that connects one.
///
/// A stream that was closed, or that holds bytes that were not requested, is found and replaced before it
/// is checked out. A user that gave up in the middle of a read goes unnoticed unless the stream keeps
/// track and [`with_is_reusable`](FromFn::with_is_reusable) asks it; `io_fn` of the adapter crates does
/// both.
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
pub fn stream_fn<F, Fut, C, E>(connect: F) -> FromFn<F, C>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C, E>> + Send,
    C: Connection,
    E: Error + Send + Sync + 'static,
{
    FromFn { connect, liveness: Some(C::liveness), is_reusable: None }
}

impl<F, C> FromFn<F, C> {
    /// Sets the liveness probe, for example one that asks the kernel about a socket.
    pub fn with_liveness(self, liveness: fn(&mut C) -> Liveness) -> Self {
        FromFn { liveness: Some(liveness), ..self }
    }

    /// Sets the check of a returned connection, for example of a stream that knows whether it was left in
    /// the middle of a read.
    pub fn with_is_reusable(self, is_reusable: fn(&C) -> bool) -> Self {
        FromFn { is_reusable: Some(is_reusable), ..self }
    }
}

impl<F, Fut, C, E> Manager for FromFn<F, C>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C, E>> + Send,
    C: Send + 'static,
    E: Error + Send + Sync + 'static,
{
    type Connection = C;
    type Error = E;

    fn connect(&self) -> impl Future<Output = Result<C, E>> + Send {
        (self.connect)()
    }

    fn needs_reset(&self) -> bool {
        false
    }

    fn liveness(&self, conn: &mut C) -> Liveness {
        self.liveness.map_or(Liveness::Unknown, |look| look(conn))
    }

    fn has_liveness(&self) -> bool {
        self.liveness.is_some()
    }

    fn has_close(&self) -> bool {
        false
    }

    fn is_reusable(&self, conn: &mut C) -> bool {
        self.is_reusable.is_none_or(|tells| tells(conn))
    }
}

impl<F, C> fmt::Debug for FromFn<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn")
    }
}
