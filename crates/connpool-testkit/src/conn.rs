//! The connections of a `FaultyManager`.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use connpool_core::{Liveness, Probe};
use futures_lite::{AsyncRead, AsyncWrite};

use crate::stream::SimStream;

/// Records the drop of each connection.
pub(crate) trait DropListener: Send + Sync {
    fn connection_dropped(&self, id: u64);
}

/// A connection of a [`FaultyManager`](crate::FaultyManager): a byte stream whose other end the
/// manager holds. The manager records its drop.
pub struct FaultyConn {
    id: u64,
    connect: usize,
    user: Option<u32>,
    /// The number of pings and resets that were started and did not succeed.
    unfinished_checks: u32,
    stream: SimStream,
    drop_listener: Arc<dyn DropListener>,
}

impl FaultyConn {
    pub(crate) fn new(
        id: u64,
        connect: usize,
        stream: SimStream,
        drop_listener: Arc<dyn DropListener>,
    ) -> Self {
        FaultyConn { id, connect, user: None, unfinished_checks: 0, stream, drop_listener }
    }

    /// Returns the number of the connection among all that were opened, from 1.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the number of the connect that opened the connection, among all that were started.
    pub fn connect(&self) -> usize {
        self.connect
    }

    /// Leaves the state of a user on the connection, which only a reset clears.
    ///
    /// # Panics
    ///
    /// Panics if there is state of a user already: the connection was reused without a reset.
    pub fn used_by(&mut self, user: u32) {
        assert_eq!(
            self.user, None,
            "connection {} was reused with the state of another user",
            self.id
        );
        self.user = Some(user);
    }

    /// Returns whether there is state of a user on the connection.
    pub fn has_user(&self) -> bool {
        self.user.is_some()
    }

    /// Returns true if a ping or reset was started and did not succeed. Its reply may still arrive, and
    /// the next user would read it.
    pub fn is_under_check(&self) -> bool {
        self.unfinished_checks > 0
    }

    pub(crate) fn check_started(&mut self) {
        self.unfinished_checks += 1;
    }

    pub(crate) fn check_done(&mut self) {
        self.unfinished_checks -= 1;
    }

    /// Removes what the last user left behind, as a reset does.
    pub fn clear_user_state(&mut self) {
        self.user = None;
    }
}

impl Probe for FaultyConn {
    fn probe(&mut self) -> Liveness {
        self.stream.probe()
    }

    fn is_clean(&self) -> bool {
        self.stream.is_clean()
    }

    fn set_strict(&mut self, strict: bool) {
        self.stream.set_strict(strict);
    }
}

impl Drop for FaultyConn {
    fn drop(&mut self) {
        self.drop_listener.connection_dropped(self.id);
    }
}

impl fmt::Debug for FaultyConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyConn").field("id", &self.id).finish_non_exhaustive()
    }
}

impl AsyncRead for FaultyConn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for FaultyConn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
