//! Managers made of one closure: the pool for those who need nothing but `connect`.

use std::error::Error;
use std::fmt;
use std::future::Future;

use crate::{Connection, Liveness, Manager};

/// A manager that only connects: any object, no checks. See [`from_fn`].
pub struct FromFn<F>(F);

/// A manager that connects byte streams and looks at them before lending. See [`stream_fn`].
pub struct StreamFn<F>(F);

/// Pools whatever `connect` makes, and takes it for alive and in good order until somebody says
/// otherwise: for client objects, not for streams.
///
/// The closure is called for every connection, so what it captures is cloned into its future:
///
/// ```
/// use connpool_core::from_fn;
///
/// let address = String::from("10.0.0.1");
/// let manager = from_fn(move || {
///     let address = address.clone();
///     async move { Ok::<_, std::io::Error>(format!("a client of {address}")) }
/// });
/// # let _ = manager;
/// ```
pub fn from_fn<F, Fut, C, E>(connect: F) -> FromFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C, E>> + Send,
    C: Send + 'static,
    E: Error + Send + Sync + 'static,
{
    FromFn(connect)
}

/// Pools the byte streams that `connect` makes: a stream that was closed, or that holds bytes
/// nobody asked for, is found and replaced before it is lent.
///
/// It does not see that a user gave up in the middle of a read. The `stream_fn` of the adapter
/// crates does, since it wraps each stream in an `Io`.
///
/// ```
/// use connpool_core::stream_fn;
/// use futures_lite::io::{Cursor, Error};
///
/// let manager = stream_fn(|| async { Ok::<_, Error>(Cursor::new(Vec::<u8>::new())) });
/// # let _ = manager;
/// ```
pub fn stream_fn<F, Fut, C, E>(connect: F) -> StreamFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C, E>> + Send,
    C: Connection,
    E: Error + Send + Sync + 'static,
{
    StreamFn(connect)
}

impl<F, Fut, C, E> Manager for FromFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C, E>> + Send,
    C: Send + 'static,
    E: Error + Send + Sync + 'static,
{
    type Connection = C;
    type Error = E;

    fn connect(&self) -> impl Future<Output = Result<C, E>> + Send {
        (self.0)()
    }

    fn resets(&self) -> bool {
        false
    }
}

impl<F, Fut, C, E> Manager for StreamFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C, E>> + Send,
    C: Connection,
    E: Error + Send + Sync + 'static,
{
    type Connection = C;
    type Error = E;

    fn connect(&self) -> impl Future<Output = Result<C, E>> + Send {
        (self.0)()
    }

    fn resets(&self) -> bool {
        false
    }

    fn liveness(&self, conn: &mut C) -> Liveness {
        conn.liveness()
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn")
    }
}

impl<F> fmt::Debug for StreamFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamFn")
    }
}
