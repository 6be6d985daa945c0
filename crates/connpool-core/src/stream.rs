//! Byte streams as the pool sees them, and what can be told about one without waiting.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};

use futures_lite::{AsyncRead, AsyncWrite};

/// What a look at an idle connection found. A look never waits and consumes no byte that
/// belongs to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Liveness {
    /// Quiet, as an idle connection should be.
    Alive,
    /// End of stream, or an error: the peer is gone.
    Closed,
    /// Bytes that nobody asked for: a late reply, or garbage. The connection is out of step with
    /// its peer and must not be lent.
    Unsolicited,
    /// This kind of connection cannot be looked at. Counts as alive; only a ping can find it dead.
    Unknown,
}

/// A byte stream: anything that is `AsyncRead + AsyncWrite` in the sense of `futures-io`.
///
/// Implemented for all of them, so there is nothing to do to have it.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Looks whether the stream is quiet, with one `poll_read` of one byte and nobody to wake.
    ///
    /// If a byte is there it is read, and the stream is of no further use:
    /// [`Liveness::Unsolicited`] condemns it. Works through TLS too, where records that carry no
    /// data are processed and the stream stays usable.
    fn liveness(&mut self) -> Liveness {
        let mut byte = [0];
        let mut context = Context::from_waker(&PROBE);
        match Pin::new(self).poll_read(&mut context, &mut byte) {
            Poll::Pending => Liveness::Alive,
            Poll::Ready(Ok(0)) => Liveness::Closed,
            Poll::Ready(Ok(_)) => Liveness::Unsolicited,
            Poll::Ready(Err(_)) => Liveness::Closed,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection for S {}

/// The waker of a look. A stream that remembers its operations knows the look by it: a look that
/// finds nothing leaves no read half done.
///
/// Made here, since `Waker::noop` is the same one for everybody.
static PROBE: LazyLock<Waker> = LazyLock::new(|| Waker::from(Arc::new(Nobody)));

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

/// What a stream remembers of how it was used: one byte that tells whether it can be lent again.
///
/// A stream type keeps one and shows it every result of its poll functions. It catches the user
/// who drops a future in the middle of a read, a write or a flush, and the one who hands back a
/// stream after an error or the end of the stream. It cannot see a request that was written whole
/// and whose reply was not read yet; that is what
/// [`exchange`](crate::PooledConnection::exchange) is for.
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

    /// The state of a stream that was not used yet.
    pub const fn new() -> Self {
        StreamState(0)
    }

    /// Whether nothing was left half done and nothing ended.
    pub const fn is_clean(self) -> bool {
        self.0 == 0
    }

    /// Notes what a read of up to `wanted` bytes came to, that was polled with `cx`. A look by
    /// [`Connection::liveness`] that found nothing is not noted.
    pub fn read(&mut self, cx: &Context<'_>, result: &Poll<io::Result<usize>>, wanted: usize) {
        if result.is_pending() && std::ptr::eq(cx.waker(), &*PROBE) {
            return;
        }
        self.note(Self::READING, result);
        if matches!(result, Poll::Ready(Ok(0))) && wanted > 0 {
            self.0 |= Self::OVER;
        }
    }

    /// Notes what a write came to.
    pub fn write(&mut self, result: &Poll<io::Result<usize>>) {
        self.note(Self::WRITING, result);
    }

    /// Notes what a flush came to.
    pub fn flush(&mut self, result: &Poll<io::Result<()>>) {
        self.note(Self::FLUSHING, result);
    }

    /// Notes that the writing side was, or is being, shut down.
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
    fn an_operation_left_pending_is_remembered_until_it_ends() {
        let mut state = StreamState::new();
        state.write(&Poll::Pending);
        state.read(&cx(), &Poll::Ready(Ok(3)), 3);
        assert!(!state.is_clean(), "the write is still under way");
        state.write(&Poll::Ready(Ok(1)));
        assert!(state.is_clean());
        state.flush(&Poll::Pending);
        assert!(!state.is_clean());
        state.flush(&Poll::Ready(Ok(())));
        assert!(state.is_clean());
    }

    #[test]
    fn an_end_is_never_forgotten() {
        let end: [fn(&mut StreamState); 4] = [
            |s| s.read(&cx(), &Poll::Ready(Ok(0)), 1),
            |s| {
                s.read(
                    &cx(),
                    &Poll::Ready(Err(Error::from(ErrorKind::ConnectionReset))),
                    1,
                )
            },
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
    fn a_look_that_finds_nothing_leaves_nothing_half_done() {
        let mut state = StreamState::new();
        let look = Context::from_waker(&PROBE);
        state.read(&look, &Poll::Pending, 1);
        assert!(state.is_clean());
        state.read(&look, &Poll::Ready(Ok(0)), 1);
        assert!(!state.is_clean(), "but an end is an end");
    }

    #[test]
    fn an_empty_read_is_no_end() {
        let mut state = StreamState::new();
        state.read(&cx(), &Poll::Ready(Ok(0)), 0);
        assert!(state.is_clean());
    }
}
