//! Managers of byte streams, made from a closure.

use std::error::Error;
use std::future::Future;

use connpool_core::FromFn;
use futures_lite::{AsyncRead, AsyncWrite};

use crate::stream::Io;

/// Creates a manager of the byte streams that `connect` opens, each wrapped in an [`Io`].
///
/// A stream that has ended or holds unread bytes is closed and not checked out. A stream on which
/// a read or a write was abandoned halfway is not reused. [`Io`] says which streams are probed in the
/// kernel.
///
/// # Examples
///
/// ```
/// use connpool_smol::{builder, io_fn};
/// use smol::net::unix::UnixStream;
///
/// # fn main() -> Result<(), connpool_smol::ConfigError> {
/// let manager = io_fn(|| UnixStream::connect("/run/app.sock")).strict(true);
/// let pool = builder(manager).build_lazy()?;
/// # let _ = pool; Ok(()) }
/// ```
pub fn io_fn<F, Fut, S, E>(connect: F) -> FromFn<F, S, Io<S>>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<S, E>> + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Error + Send + Sync + 'static,
{
    FromFn::wrapping(connect, Io::new)
}

/// Creates a manager of the sockets that `connect` opens, like [`io_fn`], but takes only sockets and
/// probes every type of them in the kernel.
///
/// Use it for Unix sockets, and for sockets that [`Io`] does not know. Do not use it for TLS: TLS
/// records on the wire are not always data for the application.
///
/// # Examples
///
/// ```
/// use connpool_smol::{builder, socket_fn};
/// use smol::net::unix::UnixStream;
///
/// # fn main() -> Result<(), connpool_smol::ConfigError> {
/// let pool = builder(socket_fn(|| UnixStream::connect("/run/app.sock"))).build_lazy()?;
/// # let _ = pool; Ok(()) }
/// ```
#[cfg(all(unix, not(connpool_portable)))]
pub fn socket_fn<F, Fut, S, E>(connect: F) -> FromFn<F, S, Io<S>>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<S, E>> + Send,
    S: std::os::fd::AsFd + AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Error + Send + Sync + 'static,
{
    use connpool_core::Liveness;
    use connpool_tcp::peek;
    use socket2::SockRef;

    io_fn(connect).with_liveness(|conn| match peek(SockRef::from(conn.get_ref())) {
        // The kernel does not know what the runtime does, such as that it has ended.
        Liveness::Alive => conn.liveness(),
        seen => seen,
    })
}
