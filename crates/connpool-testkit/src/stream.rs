//! In-memory byte streams.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use connpool_core::{Connection, Liveness, Probe, StreamState};
use futures_lite::{AsyncRead, AsyncWrite};

/// Creates the two ends of an in-memory connection. Bytes written to one end are read from the other.
///
/// Each direction buffers at most `capacity` bytes; a write to a full buffer waits. Dropping or
/// closing an end ends the stream of the other (FIN). [`reset`](SimStream::reset) makes every read and
/// write of both ends fail (RST).
///
/// ```
/// use connpool_testkit::pipe;
/// use futures_lite::{AsyncReadExt, AsyncWriteExt};
///
/// # futures_lite::future::block_on(async {
/// let (mut here, mut there) = pipe(1024);
/// here.write_all(b"hello").await?;
/// here.close().await?;
/// let mut text = String::new();
/// there.read_to_string(&mut text).await?;
/// assert_eq!(text, "hello");
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
pub fn pipe(capacity: usize) -> (SimStream, SimStream) {
    let (there, back) = (Direction::new(capacity), Direction::new(capacity));
    let end = |incoming: &Arc<Direction>, outgoing: &Arc<Direction>| SimStream {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        state: StreamState::new(),
    };
    (end(&back, &there), end(&there, &back))
}

/// One end of an in-memory connection. Created by [`pipe`].
///
/// Tracks its use, so that a manager can hand it out as its [`stream`](connpool_core::Manager::stream).
#[derive(Debug)]
pub struct SimStream {
    incoming: Arc<Direction>,
    outgoing: Arc<Direction>,
    state: StreamState,
}

/// One direction of a connection.
#[derive(Debug)]
struct Direction {
    capacity: usize,
    flow: Mutex<Flow>,
}

#[derive(Debug, Default)]
struct Flow {
    bytes: VecDeque<u8>,
    /// The writer has closed or dropped its end.
    ended: bool,
    /// The reader has dropped its end.
    reader_dropped: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Direction {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Direction { capacity, flow: Mutex::default() })
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the flow, and wakes both sides after unlocking it.
    fn change(&self, change: impl FnOnce(&mut Flow)) {
        let wakers = {
            let mut flow = self.flow();
            change(&mut flow);
            [flow.reader.take(), flow.writer.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl SimStream {
    /// Resets the connection: later reads and writes of both ends fail.
    pub fn reset(&self) {
        for direction in [&self.incoming, &self.outgoing] {
            direction.change(|flow| {
                flow.reset = true;
                flow.bytes.clear();
            });
        }
    }

    /// Sends bytes without waiting. Bytes that exceed the capacity, or that come after either end was
    /// closed, are discarded.
    pub fn send(&self, bytes: &[u8]) {
        let room = self.outgoing.capacity;
        self.outgoing.change(|flow| {
            if !flow.ended && !flow.reader_dropped && !flow.reset {
                let room = room.saturating_sub(flow.bytes.len());
                flow.bytes.extend(bytes.iter().take(room));
            }
        });
    }

    /// Ends the outgoing direction, as `shutdown(SHUT_WR)` does.
    pub fn hang_up(&self) {
        self.outgoing.change(|flow| flow.ended = true);
    }
}

impl Direction {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut flow = self.flow();
        if flow.reset {
            return Poll::Ready(Err(reset()));
        }
        let count = buf.len().min(flow.bytes.len());
        if count == 0 && !buf.is_empty() && !flow.ended {
            flow.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        for (place, byte) in buf.iter_mut().zip(flow.bytes.drain(..count)) {
            *place = byte;
        }
        let writer = flow.writer.take();
        drop(flow);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }

    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut flow = self.flow();
        if flow.reset {
            return Poll::Ready(Err(reset()));
        }
        if flow.ended || flow.reader_dropped {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let room = self.capacity.saturating_sub(flow.bytes.len());
        let count = buf.len().min(room);
        if count == 0 && !buf.is_empty() {
            flow.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        flow.bytes.extend(buf.iter().take(count));
        let reader = flow.reader.take();
        drop(flow);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }
}

fn reset() -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, "the simulated connection was reset")
}

impl Probe for SimStream {
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

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let result = self.incoming.poll_read(cx, buf);
        self.state.read(cx, &result, buf.len());
        result
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = self.outgoing.poll_write(cx, buf);
        self.state.write(&result);
        result
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state.shutdown();
        self.hang_up();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.hang_up();
        self.incoming.change(|flow| flow.reader_dropped = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use futures_lite::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn write_to_a_full_buffer_waits_for_room() {
        block_on(async {
            let (mut here, mut there) = pipe(2);
            let mut write = Box::pin(here.write_all(b"abc"));
            assert!(poll_once(&mut write).await.is_none());
            let mut two = [0; 2];
            there.read_exact(&mut two).await.unwrap();
            assert!(poll_once(&mut write).await.is_some());
            assert_eq!(&two, b"ab");
        });
    }

    #[test]
    fn liveness_distinguishes_quiet_unsolicited_ended_and_reset() {
        let (mut here, there) = pipe(8);
        assert_eq!(here.liveness(), Liveness::Alive);
        there.send(b"!");
        assert_eq!(here.liveness(), Liveness::Unsolicited);
        let (mut here, there) = pipe(8);
        drop(there);
        assert_eq!(here.liveness(), Liveness::Closed);
        let (mut here, there) = pipe(8);
        there.reset();
        assert_eq!(here.liveness(), Liveness::Closed);
    }

    #[test]
    fn abandoned_read_leaves_the_stream_unclean() {
        block_on(async {
            let (mut here, _there) = pipe(8);
            assert_eq!(here.probe(), Liveness::Alive);
            assert!(here.is_clean());
            assert!(poll_once(here.read(&mut [0])).await.is_none());
            assert!(!here.is_clean());
        });
    }

    #[test]
    fn strict_stream_is_clean_after_its_answer() {
        block_on(async {
            let (mut here, there) = pipe(8);
            here.set_strict(true);
            here.write_all(b"?").await.unwrap();
            assert!(!here.is_clean());
            there.send(b"!");
            here.read_exact(&mut [0]).await.unwrap();
            assert!(here.is_clean());
        });
    }

    #[test]
    fn reset_wakes_reader_and_writer() {
        block_on(async {
            let (mut here, there) = pipe(1);
            here.write_all(b"a").await.unwrap();
            let mut write = Box::pin(here.write_all(b"b"));
            assert!(poll_once(&mut write).await.is_none());
            there.reset();
            assert_eq!(write.await.unwrap_err().kind(), ErrorKind::ConnectionReset);
            drop(there);
            let error = here.read(&mut [0]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        });
    }

    #[test]
    fn write_to_a_dropped_end_fails() {
        block_on(async {
            let (mut here, there) = pipe(8);
            drop(there);
            let error = here.write_all(b"a").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        });
    }
}
