//! Byte streams without a network.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_lite::{AsyncRead, AsyncWrite};

use std::sync::{Mutex, MutexGuard};

/// Two ends of one connection: what is written to one is read from the other. Each direction holds
/// at most `capacity` bytes; a write to a full one waits.
///
/// Dropping an end, or closing it, is the end of the stream for the other (FIN);
/// [`reset`](SimStream::reset) is an error for both (RST), after which nothing is read any more.
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
    let (there, back) = (Way::new(capacity), Way::new(capacity));
    let end = |incoming: &Arc<Way>, outgoing: &Arc<Way>| SimStream {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
    };
    (end(&back, &there), end(&there, &back))
}

/// One end of a simulated connection. Made by [`pipe`].
#[derive(Debug)]
pub struct SimStream {
    incoming: Arc<Way>,
    outgoing: Arc<Way>,
}

/// One direction.
#[derive(Debug)]
struct Way {
    capacity: usize,
    flow: Mutex<Flow>,
}

#[derive(Debug, Default)]
struct Flow {
    bytes: VecDeque<u8>,
    /// No more bytes will come.
    ended: bool,
    /// Nobody will read.
    deaf: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Way {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Way {
            capacity,
            flow: Mutex::default(),
        })
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the flow, and wakes both sides outside of the lock.
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
    /// Breaks the connection, as a crash or a firewall does.
    pub fn reset(&self) {
        for way in [&self.incoming, &self.outgoing] {
            way.change(|flow| {
                flow.reset = true;
                flow.bytes.clear();
            });
        }
    }

    /// Sends bytes without waiting. What does not fit, or finds nobody to read it, is lost.
    pub fn say(&self, bytes: &[u8]) {
        let room = self.outgoing.capacity;
        self.outgoing.change(|flow| {
            if !flow.ended && !flow.deaf && !flow.reset {
                let room = room.saturating_sub(flow.bytes.len());
                flow.bytes.extend(bytes.iter().take(room));
            }
        });
    }

    /// Says that no more bytes will come.
    pub fn hang_up(&self) {
        self.outgoing.change(|flow| flow.ended = true);
    }
}

fn reset() -> io::Error {
    io::Error::new(
        ErrorKind::ConnectionReset,
        "the simulated connection was reset",
    )
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut flow = self.incoming.flow();
        if flow.reset {
            return Poll::Ready(Err(reset()));
        }
        let some = buf.len().min(flow.bytes.len());
        if some == 0 && !buf.is_empty() && !flow.ended {
            flow.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        for (place, byte) in buf.iter_mut().zip(flow.bytes.drain(..some)) {
            *place = byte;
        }
        let writer = flow.writer.take();
        drop(flow);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(some))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut flow = self.outgoing.flow();
        if flow.reset {
            return Poll::Ready(Err(reset()));
        }
        if flow.ended || flow.deaf {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let room = self.outgoing.capacity.saturating_sub(flow.bytes.len());
        let some = buf.len().min(room);
        if some == 0 && !buf.is_empty() {
            flow.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        flow.bytes.extend(buf.iter().take(some));
        let reader = flow.reader.take();
        drop(flow);
        reader.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(some))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.hang_up();
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.hang_up();
        self.incoming.change(|flow| flow.deaf = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connpool_core::{Connection, Liveness};
    use futures_lite::future::{block_on, poll_once};
    use futures_lite::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn a_full_direction_holds_its_writer_until_there_is_room() {
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
    fn a_look_tells_quiet_from_talking_ended_and_reset() {
        let (mut here, there) = pipe(8);
        assert_eq!(here.liveness(), Liveness::Alive);
        there.say(b"!");
        assert_eq!(here.liveness(), Liveness::Unsolicited);
        let (mut here, there) = pipe(8);
        drop(there);
        assert_eq!(here.liveness(), Liveness::Closed);
        let (mut here, there) = pipe(8);
        there.reset();
        assert_eq!(here.liveness(), Liveness::Closed);
    }

    #[test]
    fn a_reset_wakes_who_reads_and_who_writes() {
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
    fn nobody_can_be_written_to_who_is_gone() {
        block_on(async {
            let (mut here, there) = pipe(8);
            drop(there);
            let error = here.write_all(b"a").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        });
    }
}
