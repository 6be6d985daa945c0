//! The sockets of tokio, found inside any type of stream.

use std::any::Any;
use std::io::{ErrorKind, Read, Result};
use std::task::{Context, Poll, Waker};

use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// A socket that the kernel can be asked about.
pub(crate) enum Socket<'a> {
    Tcp(&'a TcpStream),
    #[cfg(unix)]
    Unix(&'a UnixStream),
}

impl<'a> Socket<'a> {
    /// Returns the socket if `stream` is one. Decided when it is compiled for a type of stream.
    pub(crate) fn inside<S: 'static>(stream: &'a S) -> Option<Self> {
        let stream: &dyn Any = stream;
        if let Some(tcp) = stream.downcast_ref() {
            return Some(Socket::Tcp(tcp));
        }
        #[cfg(unix)]
        if let Some(unix) = stream.downcast_ref() {
            return Some(Socket::Unix(unix));
        }
        None
    }

    pub(crate) fn as_ref(&self) -> SockRef<'a> {
        match self {
            Socket::Tcp(tcp) => SockRef::from(*tcp),
            #[cfg(unix)]
            Socket::Unix(unix) => SockRef::from(*unix),
        }
    }

    /// Returns false if the runtime of the socket has ended.
    pub(crate) fn has_runtime(&self) -> bool {
        // Must be called outside of tokio's cooperative budget, as the pool does: with a used-up
        // budget, readiness is pending.
        let mut cx = Context::from_waker(Waker::noop());
        let ready = match self {
            Socket::Tcp(tcp) => tcp.poll_read_ready(&mut cx),
            #[cfg(unix)]
            Socket::Unix(unix) => unix.poll_read_ready(&mut cx),
        };
        !matches!(ready, Poll::Ready(Err(_)))
    }

    /// Reads from the kernel, whatever tokio knows. Pending if there is nothing; wakes no task.
    pub(crate) fn read(&self, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let socket = self.as_ref();
        loop {
            match (&*socket).read(buf.initialize_unfilled()) {
                Ok(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}
