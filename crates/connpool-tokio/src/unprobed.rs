//! The advice for managers of sockets that hand out no stream.

use std::any::TypeId;

use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::stream::Io;

/// Returns what to write if a manager hands out no stream of connections that are sockets.
pub(crate) fn remedy_for_unprobed(connection: TypeId) -> Option<&'static str> {
    let found = remedy::<TcpStream>(connection);
    #[cfg(unix)]
    let found = found.or_else(|| remedy::<UnixStream>(connection));
    found
}

fn remedy<S: 'static>(connection: TypeId) -> Option<&'static str> {
    connpool_tcp::remedy_for_unprobed::<S, Io<S>>(connection)
}
