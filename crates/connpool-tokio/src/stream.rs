//! A tokio stream with both families of I/O traits and a memory.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use connpool_core::StreamState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Gives any tokio stream the I/O traits of `futures-io` beside those of tokio, and notes in one
/// byte how it was used: see [`is_clean`](Io::is_clean).
///
/// For a manager of Unix sockets or TLS streams: its connections are `Io<UnixStream>`,
/// `Io<TlsStream<TcpConn>>`, its `liveness` is
/// [`Connection::liveness`](connpool_core::Connection::liveness), its `is_reusable` is
/// [`Io::is_clean`]. That look sees what tokio has noticed, and a thread that was busy has noticed
/// nothing meanwhile. Where there is a [`TcpConn`](crate::TcpConn) underneath, as in
/// `Io<TlsStream<TcpConn>>`, ask it first and believe its `Closed`: it asks the kernel.
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
    /// Wraps a stream that nobody has used yet.
    pub fn new(stream: S) -> Self {
        Io {
            stream,
            state: StreamState::new(),
        }
    }

    /// Whether no read, write or flush was left pending, and no error, end or shutdown was seen.
    pub fn is_clean(&self) -> bool {
        self.state.is_clean()
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream itself. What is read and written on it directly is not noted.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream alone.
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
        let (before, wanted) = (buf.filled().len(), buf.remaining());
        let result = Pin::new(stream).poll_read(cx, buf);
        let result = result.map_ok(|()| buf.filled().len().saturating_sub(before));
        state.read(cx, &result, wanted);
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
