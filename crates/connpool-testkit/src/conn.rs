//! The connections of a faulty manager.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use connpool_core::StreamState;
use futures_lite::{AsyncRead, AsyncWrite};

use crate::SimStream;
use crate::faulty::World;

/// A connection of a [`FaultyManager`](crate::FaultyManager): a byte stream whose other end the
/// manager holds. Its drop is noted by the manager.
pub struct FaultyConn {
    id: u64,
    connect: usize,
    user: Option<u32>,
    /// How many pings and resets were begun on it and did not end well.
    unanswered: u32,
    stream: SimStream,
    state: StreamState,
    world: Arc<World>,
}

impl FaultyConn {
    pub(crate) fn new(id: u64, connect: usize, stream: SimStream, world: Arc<World>) -> Self {
        FaultyConn {
            id,
            connect,
            user: None,
            unanswered: 0,
            stream,
            state: StreamState::new(),
            world,
        }
    }

    /// Its number among all that were opened; the first has 1.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The number of the connect that made it, among all that began.
    pub fn connect(&self) -> usize {
        self.connect
    }

    /// Leaves the trace of a user, which only a reset takes away.
    ///
    /// # Panics
    ///
    /// If there is one already: the connection was lent to a second user without a reset.
    pub fn used_by(&mut self, user: u32) {
        assert_eq!(
            self.user, None,
            "connection {} was lent with another user's state on it",
            self.id
        );
        self.user = Some(user);
    }

    /// Whether a ping or a reset was begun on it and did not end well: its answer is still to come,
    /// whatever was asked since, and whoever is lent it now would read that.
    pub fn is_under_check(&self) -> bool {
        self.unanswered > 0
    }

    pub(crate) fn asked(&mut self) {
        self.unanswered += 1;
    }

    pub(crate) fn answered(&mut self) {
        self.unanswered -= 1;
    }

    pub(crate) fn wash(&mut self) {
        self.user = None;
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.state.is_clean()
    }
}

impl Drop for FaultyConn {
    fn drop(&mut self) {
        self.world.dropped(self.id);
    }
}

impl fmt::Debug for FaultyConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyConn")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl AsyncRead for FaultyConn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let FaultyConn { stream, state, .. } = self.get_mut();
        let result = Pin::new(stream).poll_read(cx, buf);
        state.read(cx, &result, buf.len());
        result
    }
}

impl AsyncWrite for FaultyConn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let FaultyConn { stream, state, .. } = self.get_mut();
        let result = Pin::new(stream).poll_write(cx, buf);
        state.write(&result);
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let FaultyConn { stream, state, .. } = self.get_mut();
        let result = Pin::new(stream).poll_flush(cx);
        state.flush(&result);
        result
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let FaultyConn { stream, state, .. } = self.get_mut();
        state.shutdown();
        Pin::new(stream).poll_close(cx)
    }
}
