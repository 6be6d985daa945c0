//! The advice for managers of sockets that hand out no stream.

use std::any::TypeId;

use async_io::Async;

use crate::stream::Io;

/// Returns what to write if a manager hands out no stream of connections that are sockets.
pub(crate) fn remedy_for_unprobed(connection: TypeId) -> Option<&'static str> {
    let found = remedy::<Async<std::net::TcpStream>>(connection)
        .or_else(|| remedy::<smol::net::TcpStream>(connection));
    #[cfg(unix)]
    let found = found
        .or_else(|| remedy::<Async<std::os::unix::net::UnixStream>>(connection))
        .or_else(|| remedy::<smol::net::unix::UnixStream>(connection));
    found
}

fn remedy<S: 'static>(connection: TypeId) -> Option<&'static str> {
    connpool_tcp::remedy_for_unprobed::<S, Io<S>>(connection)
}
