//! A wrapper that makes any `futures-io` stream checkable by the pool.

use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};

use crate::stream::{Connection, Liveness, Probe, StreamState};

/// Wraps a `futures-io` stream and tracks its use, so that the pool finds out by itself whether it has ended,
/// holds bytes that were not requested, or was left in the middle of an operation.
///
/// Costs one byte. Probes by reading, see [`Connection::liveness`]. `Io` of the adapter crates does the same
/// for the streams of a runtime, and asks the kernel if the stream is a socket.
///
/// # Examples
///
/// ```
/// use connpool_core::{Manager, StreamOf, Tracked};
/// use futures_lite::io::{Cursor, Error};
///
/// struct Buffers;
///
/// impl Manager for Buffers {
///     type Connection = Tracked<Cursor<Vec<u8>>>;
///     type Error = Error;
///
///     async fn connect(&self) -> Result<Self::Connection, Error> {
///         Ok(Tracked::new(Cursor::new(Vec::new())))
///     }
///
///     fn stream(&self) -> Option<StreamOf<Self::Connection>> {
///         Some(|conn| conn)
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Tracked<S> {
    stream: S,
    state: StreamState,
}

impl<S> Tracked<S> {
    /// Wraps a stream that has not been used yet.
    pub fn new(stream: S) -> Self {
        Tracked { stream, state: StreamState::new() }
    }

    /// Sets whether the stream is clean only if something was read after the last write, see
    /// [`Probe::set_strict`]. Default: `false`.
    pub fn strict(mut self, strict: bool) -> Self {
        self.state.set_strict(strict);
        self
    }

    /// Returns `true` if no read, write or flush is unfinished, and none has returned an error or the end of
    /// the stream, and the stream was not closed. If it is [strict](Tracked::strict), something must also
    /// have been read after the last write.
    pub fn is_clean(&self) -> bool {
        self.state.is_clean()
    }

    /// Returns a reference to the stream.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns a mutable reference to the stream. Operations on it bypass [`is_clean`](Tracked::is_clean).
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Returns the stream and discards the wrapper.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: Connection> Probe for Tracked<S> {
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

impl<S: AsyncRead + Unpin> AsyncRead for Tracked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Tracked { stream, state } = self.get_mut();
        let result = Pin::new(stream).poll_read(cx, buf);
        state.read(cx, &result, buf.len());
        result
    }

    fn poll_read_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let Tracked { stream, state } = self.get_mut();
        let result = Pin::new(stream).poll_read_vectored(cx, bufs);
        state.read(cx, &result, bufs.iter().map(|buf| buf.len()).sum());
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tracked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Tracked { stream, state } = self.get_mut();
        let result = Pin::new(stream).poll_write(cx, buf);
        state.write(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Tracked { stream, state } = self.get_mut();
        let result = Pin::new(stream).poll_write_vectored(cx, bufs);
        state.write(&result);
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Tracked { stream, state } = self.get_mut();
        let result = Pin::new(stream).poll_flush(cx);
        state.flush(&result);
        result
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Tracked { stream, state } = self.get_mut();
        state.shutdown();
        Pin::new(stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use futures_lite::io::Cursor;
    use futures_lite::{AsyncReadExt, AsyncWriteExt};

    /// A stream whose reads and writes are pending until bytes are put into it.
    #[derive(Default)]
    struct Stalled(Option<u8>);

    impl AsyncRead for Stalled {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            match (self.0.take(), buf.first_mut()) {
                (Some(byte), Some(place)) => {
                    *place = byte;
                    Poll::Ready(Ok(1))
                }
                _ => Poll::Pending,
            }
        }
    }

    impl AsyncWrite for Stalled {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn probe_tells_quiet_from_unsolicited_and_ended() {
        let mut quiet = Tracked::new(Stalled::default());
        assert_eq!(quiet.probe(), Liveness::Alive);
        assert!(quiet.is_clean(), "a probe is no operation");
        quiet.get_mut().0 = Some(7);
        assert_eq!(quiet.probe(), Liveness::Unsolicited);
        let mut ended = Tracked::new(Cursor::new(Vec::new()));
        assert_eq!(ended.probe(), Liveness::Closed);
        assert!(!ended.is_clean());
    }

    #[test]
    fn abandoned_operation_leaves_the_stream_unclean() {
        block_on(async {
            let mut stream = Tracked::new(Stalled::default());
            assert!(poll_once(stream.read(&mut [0])).await.is_none());
            assert!(!stream.is_clean());
            let mut stream = Tracked::new(Stalled::default());
            assert!(poll_once(stream.flush()).await.is_none());
            assert!(!stream.is_clean());
            let mut stream = Tracked::new(Stalled::default());
            stream.close().await.unwrap();
            assert!(!stream.is_clean());
        });
    }

    #[test]
    fn strict_stream_is_clean_after_its_answer() {
        block_on(async {
            let mut stream = Tracked::new(Stalled::default()).strict(true);
            stream.write_all(b"?").await.unwrap();
            assert!(!stream.is_clean());
            stream.get_mut().0 = Some(7);
            stream.read_exact(&mut [0]).await.unwrap();
            assert!(stream.is_clean());
        });
    }
}
