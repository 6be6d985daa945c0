//! A wrapper around streams that tracks their use and probes sockets in the kernel.

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use connpool_core::{Connection, Liveness, Probe, Tracked};
use connpool_tcp::peek;
use futures_lite::{AsyncRead, AsyncWrite};

use crate::socket;

/// Wraps a stream and tracks whether it is fit for reuse, see [`is_clean`](Io::is_clean). Costs two
/// bytes.
///
/// Use it in a [`Manager`](connpool_core::Manager) of Unix sockets or TLS streams: the connection
/// type is `Io<Async<UnixStream>>` or `Io<TlsStream<TcpConn>>`, and
/// [`stream`](connpool_core::Manager::stream) returns `Some(|conn| conn)`.
///
/// The liveness probe peeks in the kernel if the stream is a `TcpStream` or `UnixStream` of smol or
/// async-io. Any other stream is probed by a read.
///
/// # Examples
///
/// ```
/// use connpool_smol::{Io, Manager, StreamOf};
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
///     fn stream(&self) -> Option<StreamOf<Self::Connection>> {
///         Some(|conn| conn)
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Io<S> {
    tracked: Tracked<S>,
    /// A probe takes unread bytes for a quiet stream. Only for sockets: a probe of any other stream
    /// consumes a byte.
    allow_unsolicited: bool,
}

impl<S> Io<S> {
    /// Wraps a stream that has not been used yet.
    pub fn new(stream: S) -> Self {
        Io { tracked: Tracked::new(stream), allow_unsolicited: false }
    }

    /// Sets whether the stream is clean only if something was read after the last write, see
    /// [`Probe::set_strict`]. Default: `false`.
    pub fn strict(self, strict: bool) -> Self {
        Io { tracked: self.tracked.strict(strict), ..self }
    }

    /// Returns `true` if no read, write or flush is unfinished, and none has returned an error or
    /// the end of the stream, and the stream was not closed. If it is [strict](Io::strict), something
    /// must also have been read after the last write.
    pub fn is_clean(&self) -> bool {
        self.tracked.is_clean()
    }

    /// Returns a reference to the stream.
    pub fn get_ref(&self) -> &S {
        self.tracked.get_ref()
    }

    /// Returns a mutable reference to the stream. Operations on it bypass
    /// [`is_clean`](Io::is_clean).
    pub fn get_mut(&mut self) -> &mut S {
        self.tracked.get_mut()
    }

    /// Returns the stream and discards the wrapper.
    pub fn into_inner(self) -> S {
        self.tracked.into_inner()
    }

    pub(crate) fn set_allow_unsolicited(&mut self, allow: bool) {
        self.allow_unsolicited = allow;
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io<S> {
    /// Probes the stream: in the kernel if it is a socket, else by a read. Does not block. Consumes no
    /// byte of a socket.
    pub fn liveness(&mut self) -> Liveness {
        let Some(socket) = socket::inside(self.tracked.get_ref()) else {
            return Connection::liveness(self);
        };
        match peek(socket) {
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
        self.tracked.is_clean()
    }

    fn set_strict(&mut self, strict: bool) {
        self.tracked.set_strict(strict);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tracked).poll_read(cx, buf)
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tracked).poll_read_vectored(cx, bufs)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Io<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tracked).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tracked).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tracked).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tracked).poll_close(cx)
    }
}
