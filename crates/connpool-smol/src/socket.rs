//! The sockets of smol and async-io, found inside any type of stream.

use std::any::Any;

use async_io::Async;
use socket2::SockRef;

/// Returns the socket if `stream` is one. Decided when it is compiled for a type of stream.
pub(crate) fn inside<S: 'static>(stream: &S) -> Option<SockRef<'_>> {
    let stream: &dyn Any = stream;
    if let Some(tcp) = stream.downcast_ref::<Async<std::net::TcpStream>>() {
        return Some(SockRef::from(tcp.get_ref()));
    }
    #[cfg(unix)]
    {
        if let Some(unix) = stream.downcast_ref::<Async<std::os::unix::net::UnixStream>>() {
            return Some(SockRef::from(unix.get_ref()));
        }
        if let Some(tcp) = stream.downcast_ref::<smol::net::TcpStream>() {
            return Some(SockRef::from(tcp));
        }
        if let Some(unix) = stream.downcast_ref::<smol::net::unix::UnixStream>() {
            return Some(SockRef::from(unix));
        }
    }
    None
}
