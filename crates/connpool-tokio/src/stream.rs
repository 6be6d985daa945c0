//! A wrapper around tokio streams that implements both families of I/O traits and tracks their use.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use connpool_core::StreamState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Wraps a tokio stream: implements the I/O traits of `futures-io` besides those of tokio, and
/// tracks whether the stream is fit for reuse, see [`is_clean`](Io::is_clean). Costs one byte.
///
/// Use it in a [`Manager`](connpool_core::Manager) of Unix sockets or TLS streams: the connection
/// type is `Io<UnixStream>` or `Io<TlsStream<TcpConn>>`, `liveness` calls
/// [`Connection::liveness`](connpool_core::Connection::liveness), and `is_reusable` calls
/// [`Io::is_clean`].
///
/// This liveness probe sees only what tokio's reactor has noticed, so it may miss what happened
/// while the thread was busy. If there is a [`TcpConn`](crate::TcpConn) underneath, as in
/// `Io<TlsStream<TcpConn>>`, probe it first, and return its result if that is `Closed`: it asks the
/// kernel.
///
/// # Examples
///
/// ```
/// use connpool_tokio::{Connection, Io, Liveness, Manager};
/// use std::io;
/// use tokio::io::DuplexStream;
///
/// struct Pipes;
///
/// impl Manager for Pipes {
///     type Connection = Io<DuplexStream>;
///     type Error = io::Error;
///
///     async fn connect(&self) -> io::Result<Self::Connection> {
///         let (here, _there) = tokio::io::duplex(1024);
///         Ok(Io::new(here))
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
    /// the end of the stream, and the stream was not shut down.
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
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Io { stream, state } = self.get_mut();
        let (before, capacity) = (buf.filled().len(), buf.remaining());
        let result = Pin::new(stream).poll_read(cx, buf);
        let result = result.map_ok(|()| buf.filled().len().saturating_sub(before));
        state.read(cx, &result, capacity);
        result.map_ok(|_| ())
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

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Io { stream, state } = self.get_mut();
        let result = Pin::new(stream).poll_flush(cx);
        state.flush(&result);
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Io { stream, state } = self.get_mut();
        state.shutdown();
        Pin::new(stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> futures_lite::AsyncRead for Io<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(AsyncRead::poll_read(self, cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl<S: AsyncWrite + Unpin> futures_lite::AsyncWrite for Io<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(self, cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write_vectored(self, cx, bufs)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(self, cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(self, cx)
    }
}
