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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a byte stream that a pool can track",
    label = "not a `futures-io` stream that is `Unpin`, `Send` and `'static`",
    note = "for a stream of a runtime, use `io_fn` of the adapter crate, or wrap it in its `Io`",
    note = "for a client object that is no stream, use `object_fn`"
)]
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

#[diagnostic::do_not_recommend]
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection for S {}

/// A byte stream that the pool checks by itself: before each checkout whether it is quiet, and after each
/// return whether it was left in the middle of an operation.
///
/// [`Manager::stream`](crate::Manager::stream) borrows it from a connection. `TcpConn` and `Io` of the
/// adapter crates implement it, and so does [`Tracked`](crate::Tracked), which wraps any `futures-io`
/// stream.
///
/// # Examples
///
/// A stream that implements it with a [`StreamState`]:
///
/// ```
/// use connpool_core::{Liveness, Probe, StreamState};
///
/// struct Wire {
///     is_open: bool,
///     state: StreamState,
/// }
///
/// impl Probe for Wire {
///     fn probe(&mut self) -> Liveness {
///         if self.is_open { Liveness::Alive } else { Liveness::Closed }
///     }
///
///     fn is_clean(&self) -> bool {
///         self.state.is_clean()
///     }
///
///     fn set_strict(&mut self, strict: bool) {
///         self.state.set_strict(strict);
///     }
/// }
/// # assert_eq!(Wire { is_open: true, state: StreamState::new() }.probe(), Liveness::Alive);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stream that a pool can probe",
    label = "does not implement `Probe`",
    note = "wrap the stream in `Io` of the adapter crate, or in `Tracked`, where it is connected",
    note = "if the stream is a field of the connection, return `Some(|conn| &mut conn.field)`",
    note = "if the socket is out of reach, return `None`"
)]
pub trait Probe {
    /// Probes the stream passively: without waiting, and without consuming a byte of a reply. A stream on
    /// which bytes wait may be left unusable.
    fn probe(&mut self) -> Liveness;

    /// Returns whether no operation is pending and the stream has not ended or failed. If it is
    /// [strict](Probe::set_strict), also whether something was read after the last write.
    fn is_clean(&self) -> bool;

    /// Sets whether a stream is clean only if something was read after the last write. Default: `false`.
    ///
    /// With `true`, a connection that is returned after a request was written and before its reply was
    /// read is closed, even if its user did not wait for the reply. For protocols in which a client writes
    /// without an answer, leave it off.
    fn set_strict(&mut self, strict: bool);
}

/// Borrows the byte stream inside a connection. See [`Manager::stream`](crate::Manager::stream).
pub type StreamOf<C> = fn(&mut C) -> &mut dyn Probe;

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
/// its end. A request that was written completely and whose reply was not read yet is detected only if the
/// state is [strict](StreamState::set_strict); [`exchange`](crate::PooledConnection::exchange) detects it
/// always.
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
    /// A write was the last operation that moved bytes. Set only if the state is strict.
    const UNANSWERED: u8 = 16;
    /// A setting, no condition of the stream.
    const STRICT: u8 = 32;

    /// Creates the state of an unused stream.
    pub const fn new() -> Self {
        StreamState(0)
    }

    /// Returns whether no operation is pending and the stream has not ended. If the state is
    /// [strict](StreamState::set_strict), also whether something was read after the last write.
    pub const fn is_clean(self) -> bool {
        self.0 & !Self::STRICT == 0
    }

    /// Sets whether a stream is clean only if something was read after the last write. Writes before this
    /// call do not count. Default: `false`.
    pub fn set_strict(&mut self, strict: bool) {
        self.0 &= !(Self::STRICT | Self::UNANSWERED);
        if strict {
            self.0 |= Self::STRICT;
        }
    }

    /// Returns whether `cx` belongs to a liveness probe by [`Connection::liveness`], so that a stream can
    /// ask its source more thoroughly than it does for a task that it can wake later.
    pub fn is_probe(cx: &Context<'_>) -> bool {
        // Compares addresses: the probe passes this very waker, and any other caller a different one.
        std::ptr::eq(cx.waker(), &*PROBE)
    }

    /// Records the result of a read of up to `wanted` bytes that was polled with `cx`. A pending probe of
    /// [`Connection::liveness`] is not recorded.
    pub fn read(&mut self, cx: &Context<'_>, result: &Poll<io::Result<usize>>, wanted: usize) {
        if result.is_pending() && Self::is_probe(cx) {
            return;
        }
        self.note(Self::READING, result);
        match result {
            Poll::Ready(Ok(0)) if wanted > 0 => self.0 |= Self::OVER,
            Poll::Ready(Ok(1..)) => self.0 &= !Self::UNANSWERED,
            _ => {}
        }
    }

    /// Records the result of a write.
    pub fn write(&mut self, result: &Poll<io::Result<usize>>) {
        self.note(Self::WRITING, result);
        if self.0 & Self::STRICT != 0 && matches!(result, Poll::Ready(Ok(1..))) {
            self.0 |= Self::UNANSWERED;
        }
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
    fn strict_state_is_clean_only_after_an_answer() {
        let written = Poll::Ready(Ok(5));
        let mut state = StreamState::new();
        state.write(&written);
        assert!(state.is_clean(), "not strict");
        state.set_strict(true);
        assert!(state.is_clean(), "earlier writes do not count");
        state.write(&Poll::Ready(Ok(0)));
        assert!(state.is_clean(), "nothing was written");
        state.write(&written);
        state.flush(&Poll::Ready(Ok(())));
        assert!(!state.is_clean());
        state.read(&cx(), &Poll::Ready(Ok(0)), 0);
        assert!(!state.is_clean(), "nothing was read");
        state.read(&cx(), &Poll::Ready(Ok(1)), 5);
        assert!(state.is_clean());
        state.write(&written);
        state.set_strict(false);
        assert!(state.is_clean());
        state.write(&written);
        assert!(state.is_clean());
    }

    #[test]
    fn strict_state_still_tracks_pending_operations() {
        let mut state = StreamState::new();
        state.set_strict(true);
        state.read(&cx(), &Poll::Pending, 1);
        assert!(!state.is_clean());
    }

    #[test]
    fn an_empty_read_is_no_end() {
        let mut state = StreamState::new();
        state.read(&cx(), &Poll::Ready(Ok(0)), 0);
        assert!(state.is_clean());
    }
}
