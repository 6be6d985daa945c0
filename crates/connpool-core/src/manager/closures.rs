//! Managers made of one closure: the pool for those who need nothing but `connect`.

use std::error::Error;
use std::fmt;
use std::future::Future;

use crate::manager::Manager;
use crate::stream::{Connection, Liveness};

/// A manager made of a closure that connects, and of what there is to ask of a connection. See
/// [`object_fn`] and [`stream_fn`].
pub struct FromFn<F, C> {
    connect: F,
    /// `None`: nobody could tell.
    liveness: Option<fn(&mut C) -> Liveness>,
    /// `None`: it always is.
    is_reusable: Option<fn(&C) -> bool>,
}

/// Pools whatever `connect` makes, and takes it for alive and in good order until somebody says
/// otherwise: for client objects, not for streams.
///
/// The closure is called for every connection, so what it captures is cloned into its future:
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
pub fn object_fn<F, Fut, C, E>(connect: F) -> FromFn<F, C>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<C, E>> + Send,
    C: Send + 'static,
    E: Error + Send + Sync + 'static,
{
    FromFn {
        connect,
        liveness: None,
        is_reusable: None,
    }
}

/// Pools the byte streams that `connect` makes: a stream that was closed, or that holds bytes
/// nobody asked for, is found and replaced before it is lent.
///
/// It does not see that a user gave up in the middle of a read, unless the stream knows and is
/// asked by [`with_is_reusable`](FromFn::with_is_reusable). The `stream_fn` of the adapter crates does both.
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
    FromFn {
        connect,
        liveness: Some(C::liveness),
        is_reusable: None,
    }
}

impl<F, C> FromFn<F, C> {
    /// Looks at an idle connection in this way: for a stream that knows more of itself than a read
    /// would tell, such as a socket that can be looked at in the kernel.
    pub fn with_liveness(self, liveness: fn(&mut C) -> Liveness) -> Self {
        FromFn {
            liveness: Some(liveness),
            ..self
        }
    }

    /// Lends again only what `is_reusable` says yes to when it comes back, such as a stream that
    /// knows whether it was left half read.
    pub fn with_is_reusable(self, is_reusable: fn(&C) -> bool) -> Self {
        FromFn {
            is_reusable: Some(is_reusable),
            ..self
        }
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

    fn is_reusable(&self, conn: &mut C) -> bool {
        self.is_reusable.is_none_or(|tells| tells(conn))
    }
}

impl<F, C> fmt::Debug for FromFn<F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromFn")
    }
}
