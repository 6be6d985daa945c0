//! A manager of streams, made of one closure.

use std::error::Error;
use std::future::Future;
#[cfg(unix)]
use std::os::fd::AsFd;

use connpool_core::Manager;
#[cfg(unix)]
use connpool_core::{Connection, Liveness};
#[cfg(unix)]
use connpool_tcp::peek;
#[cfg(unix)]
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Io;

/// Pools the byte streams that `connect` makes, each in an [`Io`]: one that was closed, or that holds
/// bytes nobody asked for, is replaced before it is lent, and one whose user gave up in the middle
/// of a read or a write is not used again. (`connpool_core::stream_fn` takes any stream of
/// `futures-io` as it is, without that memory.)
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

/// Pools the sockets that `connect` makes, like [`io_fn`], but looks at them in the kernel: what
/// the runtime has not noticed yet is seen all the same. For Unix sockets; never for TLS, whose
/// bytes on the wire are not all for the user.
///
/// ```
/// use connpool_tokio::{builder, socket_fn};
/// use tokio::net::UnixStream;
///
/// # fn main() -> Result<(), connpool_tokio::ConfigError> {
/// let pool = builder(socket_fn(|| UnixStream::connect("/run/app.sock"))).build_lazy()?;
/// # let _ = pool; Ok(()) }
/// ```
#[cfg(unix)]
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
    let look = |conn: &mut Io<S>| match peek(SockRef::from(conn.get_ref())) {
        // A stream whose runtime has ended tells so when it is read.
        Liveness::Alive => conn.liveness(),
        seen => seen,
    };
    connpool_core::stream_fn(connect)
        .with_liveness(look)
        .with_is_reusable(Io::is_clean)
}
