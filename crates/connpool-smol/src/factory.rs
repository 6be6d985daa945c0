//! A manager of streams, made of one closure.

use std::error::Error;
use std::fmt;
use std::future::Future;

use connpool_core::{Connection, Liveness, Manager};
use futures_lite::{AsyncRead, AsyncWrite};

use crate::Io;

/// A manager that connects byte streams. See [`stream_fn`].
pub struct StreamFn<F>(F);

/// Pools the byte streams that `connect` makes, each in an [`Io`]: one that was closed, or that holds
/// bytes nobody asked for, is replaced before it is lent, and one whose user gave up in the middle
/// of a read or a write is not used again. (`connpool_core::stream_fn` takes any stream of
/// `futures-io` as it is, without that memory.)
///
/// ```
/// use connpool_smol::{builder, stream_fn};
/// use smol::net::unix::UnixStream;
///
/// # fn main() -> Result<(), connpool_smol::ConfigError> {
/// let pool = builder(stream_fn(|| UnixStream::connect("/run/app.sock"))).build_lazy()?;
/// # let _ = pool; Ok(()) }
/// ```
pub fn stream_fn<F, Fut, S, E>(connect: F) -> StreamFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<S, E>> + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Error + Send + Sync + 'static,
{
    StreamFn(connect)
}

impl<F, Fut, S, E> Manager for StreamFn<F>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<S, E>> + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Error + Send + Sync + 'static,
{
    type Connection = Io<S>;
    type Error = E;

    async fn connect(&self) -> Result<Io<S>, E> {
        (self.0)().await.map(Io::new)
    }

    fn resets(&self) -> bool {
        false
    }

    fn liveness(&self, conn: &mut Io<S>) -> Liveness {
        Connection::liveness(conn)
    }

    fn is_reusable(&self, conn: &mut Io<S>) -> bool {
        conn.is_clean()
    }
}

impl<F> fmt::Debug for StreamFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamFn")
    }
}
