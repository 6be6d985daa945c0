//! Managers of byte streams, made from a closure.

use std::error::Error;
use std::future::Future;
#[cfg(all(unix, not(connpool_portable)))]
use std::os::fd::AsFd;

use connpool_core::Manager;
#[cfg(all(unix, not(connpool_portable)))]
use connpool_core::{Connection, Liveness};
#[cfg(all(unix, not(connpool_portable)))]
use connpool_tcp::peek;
#[cfg(all(unix, not(connpool_portable)))]
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::stream::Io;

/// Creates a manager of the byte streams that `connect` opens, each wrapped in an [`Io`].
///
/// A stream that has ended or holds unread bytes is closed and not checked out. A stream on which
/// a read or a write was abandoned halfway is not reused. (`connpool_core::stream_fn` takes any
/// `futures-io` stream as it is and does not track abandoned operations.)
///
/// # Examples
///
/// ```
/// use connpool_tokio::{builder, io_fn};
/// use tokio::net::UnixStream;
///
/// # fn main() -> Result<(), connpool_tokio::ConfigError> {
/// let pool = builder(io_fn(|| UnixStream::connect("/run/app.sock"))).build_lazy()?;
/// # let _ = pool; Ok(()) }
/// ```
pub fn io_fn<F, Fut, S, E>(connect: F) -> impl Manager<Connection = Io<S>, Error = E>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<S, E>> + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Error + Send + Sync + 'static,
{
    let connect = move || {
        let connecting = connect();
        async move { connecting.await.map(Io::new) }
    };
    connpool_core::stream_fn(connect).with_is_reusable(Io::is_clean)
}

/// Creates a manager of the sockets that `connect` opens, like [`io_fn`], but probes them in the
/// kernel.
///
/// The probe also sees what the runtime has not noticed yet. Use it for Unix sockets. Do not use it
/// for TLS: TLS records on the wire are not always data for the application.
///
/// # Examples
///
/// ```
/// use connpool_tokio::{builder, socket_fn};
/// use tokio::net::UnixStream;
///
/// # fn main() -> Result<(), connpool_tokio::ConfigError> {
/// let pool = builder(socket_fn(|| UnixStream::connect("/run/app.sock"))).build_lazy()?;
/// # let _ = pool; Ok(()) }
/// ```
#[cfg(all(unix, not(connpool_portable)))]
pub fn socket_fn<F, Fut, S, E>(connect: F) -> impl Manager<Connection = Io<S>, Error = E>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<S, E>> + Send,
    S: AsFd + AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Error + Send + Sync + 'static,
{
    let connect = move || {
        let connecting = connect();
        async move { connecting.await.map(Io::new) }
    };
    let probe = |conn: &mut Io<S>| match peek(SockRef::from(conn.get_ref())) {
        // The kernel does not know that the runtime of the stream has ended; a read does.
        Liveness::Alive => conn.liveness(),
        other => other,
    };
    connpool_core::stream_fn(connect).with_liveness(probe).with_is_reusable(Io::is_clean)
}
