//! A wrapper around tokio streams that implements both families of I/O traits and tracks their use.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use connpool_core::{Connection, Liveness, Probe, StreamState};
use connpool_tcp::peek;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::socket::Socket;

/// Wraps a tokio stream: implements the I/O traits of `futures-io` besides those of tokio, and
/// tracks whether the stream is fit for reuse, see [`is_clean`](Io::is_clean). Costs two bytes.
///
/// Use it in a [`Manager`](connpool_core::Manager) of Unix sockets or TLS streams: the connection
/// type is `Io<UnixStream>` or `Io<TlsStream<TcpConn>>`, and [`stream`](connpool_core::Manager::stream)
/// returns `Some(|conn| conn)`.
///
/// The liveness probe asks the kernel if the stream is tokio's `TcpStream` or `UnixStream`. Any other
/// stream is probed by a read. If it reads from a [`TcpConn`](crate::TcpConn), or another `Io` of a
/// socket, as a TLS stream does, that read asks the kernel too. Otherwise it sees only what tokio's
/// reactor has noticed, and may miss what happened while the thread was busy. So put TLS over a
/// `TcpConn`, not over a `TcpStream`.
///
/// # Examples
///
/// ```
/// use connpool_tokio::{Io, Manager, StreamOf};
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
///     fn stream(&self) -> Option<StreamOf<Self::Connection>> {
///         Some(|conn| conn)
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Io<S> {
    stream: S,
    state: StreamState,
    /// A probe takes unread bytes for a quiet stream. Only for sockets: a probe of any other stream
    /// consumes a byte.
    allow_unsolicited: bool,
}

impl<S> Io<S> {
    /// Wraps a stream that has not been used yet.
    pub fn new(stream: S) -> Self {
        Io { stream, state: StreamState::new(), allow_unsolicited: false }
    }

    /// Sets whether the stream is clean only if something was read after the last write, see
    /// [`Probe::set_strict`]. Default: `false`.
    pub fn strict(mut self, strict: bool) -> Self {
        self.state.set_strict(strict);
        self
    }

    /// Returns `true` if no read, write or flush is unfinished, and none has returned an error or
    /// the end of the stream, and the stream was not shut down. If it is [strict](Io::strict),
    /// something must also have been read after the last write.
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

    pub(crate) fn set_allow_unsolicited(&mut self, allow: bool) {
        self.allow_unsolicited = allow;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io<S> {
    /// Probes the stream: in the kernel if it is a socket, else by a read. Does not block. Consumes no
    /// byte of a socket.
    ///
    /// Returns [`Liveness::Closed`] also if the runtime of a socket has ended.
    pub fn liveness(&mut self) -> Liveness {
        let Some(socket) = Socket::inside(&self.stream) else {
            return Connection::liveness(self);
        };
        match peek(socket.as_ref()) {
            Liveness::Alive if !socket.has_runtime() => Liveness::Closed,
            Liveness::Unsolicited if self.allow_unsolicited => Liveness::Alive,
            seen => seen,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Probe for Io<S> {
    fn probe(&mut self) -> Liveness {
        self.liveness()
    }

    fn is_clean(&self) -> bool {
        self.state.is_clean()
    }

    fn set_strict(&mut self, strict: bool) {
        self.state.set_strict(strict);
    }
}

impl<S: AsyncRead + Unpin + 'static> AsyncRead for Io<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Io { stream, state, .. } = self.get_mut();
        let (before, capacity) = (buf.filled().len(), buf.remaining());
        let mut result = Pin::new(&mut *stream).poll_read(cx, buf);
        if result.is_pending() && StreamState::is_probe(cx) {
            // Tokio may not have noticed yet what the kernel has.
            if let Some(socket) = Socket::inside(stream) {
                result = socket.read(buf);
            }
        }
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
        let Io { stream, state, .. } = self.get_mut();
        let result = Pin::new(stream).poll_write(cx, buf);
        state.write(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Io { stream, state, .. } = self.get_mut();
        let result = Pin::new(stream).poll_write_vectored(cx, bufs);
        state.write(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Io { stream, state, .. } = self.get_mut();
        let result = Pin::new(stream).poll_flush(cx);
        state.flush(&result);
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Io { stream, state, .. } = self.get_mut();
        state.shutdown();
        Pin::new(stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin + 'static> futures_lite::AsyncRead for Io<S> {
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
