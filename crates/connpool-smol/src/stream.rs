//! A wrapper around streams that tracks their use.

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use connpool_core::StreamState;
use futures_lite::{AsyncRead, AsyncWrite};

/// Wraps a stream and tracks whether it is fit for reuse, see [`is_clean`](Io::is_clean). Costs one
/// byte.
///
/// Use it in a [`Manager`](connpool_core::Manager) of Unix sockets or TLS streams: the connection
/// type is `Io<Async<UnixStream>>` or `Io<TlsStream<TcpConn>>`, `liveness` calls
/// [`Connection::liveness`](connpool_core::Connection::liveness), and `is_reusable` calls
/// [`Io::is_clean`].
///
/// # Examples
///
/// ```
/// use connpool_smol::{Connection, Io, Liveness, Manager};
/// use std::io;
/// use std::os::unix::net::UnixStream;
///
/// struct Sockets;
///
/// impl Manager for Sockets {
///     type Connection = Io<async_io::Async<UnixStream>>;
///     type Error = io::Error;
///
///     async fn connect(&self) -> io::Result<Self::Connection> {
///         async_io::Async::<UnixStream>::connect("/run/app.sock").await.map(Io::new)
///     }
///
///     fn liveness(&self, conn: &mut Self::Connection) -> Liveness {
///         conn.liveness()
///     }
///
///     fn is_reusable(&self, conn: &mut Self::Connection) -> bool {
///         conn.is_clean()
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Io<S> {
    stream: S,
    state: StreamState,
}

impl<S> Io<S> {
    /// Wraps a stream that has not been used yet.
    pub fn new(stream: S) -> Self {
        Io { stream, state: StreamState::new() }
    }

    /// Returns `true` if no read, write or flush is unfinished, and none has returned an error or
    /// the end of the stream, and the stream was not closed.
    pub fn is_clean(&self) -> bool {
        self.state.is_clean()
    }

    /// Returns a reference to the stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns a mutable reference to the stream. Operations on it bypass
    /// [`is_clean`](Io::is_clean).
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Returns the stream and discards the wrapper.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Io<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Io { stream, state } = self.get_mut();
        let result = Pin::new(stream).poll_read(cx, buf);
        state.read(cx, &result, buf.len());
        result
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let Io { stream, state } = self.get_mut();
        let result = Pin::new(stream).poll_read_vectored(cx, bufs);
        state.read(cx, &result, bufs.iter().map(|buf| buf.len()).sum());
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Io<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Io { stream, state } = self.get_mut();
        let result = Pin::new(stream).poll_write(cx, buf);
        state.write(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Io { stream, state } = self.get_mut();
        let result = Pin::new(stream).poll_write_vectored(cx, bufs);
        state.write(&result);
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Io { stream, state } = self.get_mut();
        let result = Pin::new(stream).poll_flush(cx);
        state.flush(&result);
        result
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Io { stream, state } = self.get_mut();
        state.shutdown();
        Pin::new(stream).poll_close(cx)
    }
}
