//! Byte streams, and what can be told about one without waiting.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};

use futures_lite::{AsyncRead, AsyncWrite};

/// The result of a liveness probe, which never waits and consumes no byte of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Liveness {
    /// The connection is quiet, as an idle one should be.
    Alive,
    /// The stream has ended or failed: the peer is gone.
    Closed,
    /// Bytes wait that were not requested: a late reply, or garbage. The connection is out of step with its
    /// peer and must not be used again.
    Unsolicited,
    /// This kind of connection cannot be probed. It counts as alive, and only a ping can find it dead.
    Unknown,
}

/// A byte stream. Implemented for every `AsyncRead + AsyncWrite` in the sense of `futures-io`.
///
/// # Examples
///
/// ```
/// use connpool_core::{Connection, Liveness};
/// use futures_lite::io::Cursor;
///
/// let mut ended = Cursor::new(Vec::new());
/// assert_eq!(Connection::liveness(&mut ended), Liveness::Closed);
/// ```
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Probes whether the stream is quiet, with one `poll_read` of one byte that wakes no task.
    ///
    /// A byte that is there is read, and the stream cannot be used again: the result is
    /// [`Liveness::Unsolicited`]. Works through TLS, where records without data are processed and the
    /// stream stays usable.
    fn liveness(&mut self) -> Liveness {
        let mut byte = [0];
        let mut context = Context::from_waker(&PROBE);
        match Pin::new(self).poll_read(&mut context, &mut byte) {
            Poll::Pending => Liveness::Alive,
            Poll::Ready(Ok(0) | Err(_)) => Liveness::Closed,
            Poll::Ready(Ok(_)) => Liveness::Unsolicited,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection for S {}

/// Waker passed to liveness probes. [`StreamState::read`] recognizes a probe by this address: a probe that
/// finds nothing leaves no read pending. Not `Waker::noop`: user code may pass that too.
static PROBE: LazyLock<Waker> = LazyLock::new(|| Waker::from(Arc::new(NoTask)));

struct NoTask;

impl Wake for NoTask {
    fn wake(self: Arc<Self>) {}
}

/// Tracks in one byte whether a stream can be used again.
///
/// A stream type keeps one and passes it every result of its poll functions. It detects a future that was
/// dropped in the middle of a read, a write or a flush, and a stream that is returned after an error or
/// its end. It cannot detect a request that was written completely and whose reply was not read yet: that
/// is what [`exchange`](crate::PooledConnection::exchange) is for.
///
/// # Examples
///
/// ```
/// use connpool_core::StreamState;
/// use std::task::{Context, Poll, Waker};
///
/// let cx = Context::from_waker(Waker::noop());
/// let mut state = StreamState::new();
/// state.read(&cx, &Poll::Pending, 10);
/// assert!(!state.is_clean());
/// state.read(&cx, &Poll::Ready(Ok(4)), 10);
/// assert!(state.is_clean());
/// state.read(&cx, &Poll::Ready(Ok(0)), 10);
/// assert!(!state.is_clean());
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamState(u8);

impl StreamState {
    const READING: u8 = 1;
    const WRITING: u8 = 2;
    const FLUSHING: u8 = 4;
    const OVER: u8 = 8;

    /// Creates the state of an unused stream.
    pub const fn new() -> Self {
        StreamState(0)
    }

    /// Returns whether no operation is pending and the stream has not ended.
    pub const fn is_clean(self) -> bool {
        self.0 == 0
    }

    /// Records the result of a read of up to `wanted` bytes that was polled with `cx`. A pending probe of
    /// [`Connection::liveness`] is not recorded.
    pub fn read(&mut self, cx: &Context<'_>, result: &Poll<io::Result<usize>>, wanted: usize) {
        // Compares addresses: the probe passes this very waker, and any other caller a different one.
        if result.is_pending() && std::ptr::eq(cx.waker(), &*PROBE) {
            return;
        }
        self.note(Self::READING, result);
        if matches!(result, Poll::Ready(Ok(0))) && wanted > 0 {
            self.0 |= Self::OVER;
        }
    }

    /// Records the result of a write.
    pub fn write(&mut self, result: &Poll<io::Result<usize>>) {
        self.note(Self::WRITING, result);
    }

    /// Records the result of a flush.
    pub fn flush(&mut self, result: &Poll<io::Result<()>>) {
        self.note(Self::FLUSHING, result);
    }

    /// Records that the writing side is shut down.
    pub fn shutdown(&mut self) {
        self.0 |= Self::OVER;
    }

    fn note<T>(&mut self, operation: u8, result: &Poll<io::Result<T>>) {
        match result {
            Poll::Pending => self.0 |= operation,
            Poll::Ready(Ok(_)) => self.0 &= !operation,
            Poll::Ready(Err(_)) => self.0 |= Self::OVER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    fn cx() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn pending_operation_is_tracked_until_it_ends() {
        let mut state = StreamState::new();
        state.write(&Poll::Pending);
        state.read(&cx(), &Poll::Ready(Ok(3)), 3);
        assert!(!state.is_clean(), "the write is still pending");
        state.write(&Poll::Ready(Ok(1)));
        assert!(state.is_clean());
        state.flush(&Poll::Pending);
        assert!(!state.is_clean());
        state.flush(&Poll::Ready(Ok(())));
        assert!(state.is_clean());
    }

    #[test]
    fn end_of_stream_is_never_forgotten() {
        let end: [fn(&mut StreamState); 4] = [
            |s| s.read(&cx(), &Poll::Ready(Ok(0)), 1),
            |s| s.read(&cx(), &Poll::Ready(Err(Error::from(ErrorKind::ConnectionReset))), 1),
            |s| s.write(&Poll::Ready(Err(Error::from(ErrorKind::BrokenPipe)))),
            StreamState::shutdown,
        ];
        for end in end {
            let mut state = StreamState::new();
            end(&mut state);
            state.read(&cx(), &Poll::Ready(Ok(5)), 5);
            state.write(&Poll::Ready(Ok(5)));
            assert!(!state.is_clean());
        }
    }

    #[test]
    fn pending_probe_is_not_recorded() {
        let mut state = StreamState::new();
        let probe = Context::from_waker(&PROBE);
        state.read(&probe, &Poll::Pending, 1);
        assert!(state.is_clean());
        state.read(&probe, &Poll::Ready(Ok(0)), 1);
        assert!(!state.is_clean(), "but an end is an end");
    }

    #[test]
    fn an_empty_read_is_no_end() {
        let mut state = StreamState::new();
        state.read(&cx(), &Poll::Ready(Ok(0)), 0);
        assert!(state.is_clean());
    }
}
