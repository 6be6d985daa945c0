//! The liveness probe of a socket that is out of reach.

use std::io;

use connpool_core::Liveness;
use socket2::{SockRef, Socket};

use crate::peek::peek;

/// A second handle of a socket, to probe a client whose driver task owns the first one.
///
/// Create it in [`connect`](connpool_core::Manager::connect), before the stream is passed to the client, keep
/// it beside the client, and ask it in [`liveness`](connpool_core::Manager::liveness). The client itself
/// learns that its peer is gone only when its task runs, so it may accept one more request, which then
/// fails.
///
/// Costs a file descriptor for each connection. The socket stays open until both handles are dropped.
///
/// # Examples
///
/// ```
/// use connpool_core::Liveness;
/// use connpool_tcp::SocketProbe; // re-exported by the adapter crates
/// use std::net::{TcpListener, TcpStream};
///
/// let server = TcpListener::bind("127.0.0.1:0")?;
/// let stream = TcpStream::connect(server.local_addr()?)?;
/// stream.set_nonblocking(true)?;
/// let probe = SocketProbe::new(&stream)?;
/// assert_eq!(probe.liveness(), Liveness::Alive);
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SocketProbe(Socket);

impl SocketProbe {
    /// Creates a second handle of a socket. For a `TcpConn`, pass `conn.get_ref()`.
    ///
    /// # Errors
    ///
    /// If the process has no file descriptor left.
    pub fn new<'a>(socket: impl Into<SockRef<'a>>) -> io::Result<Self> {
        socket.into().try_clone().map(SocketProbe)
    }

    /// Probes the socket in the kernel, like the stream of a pooled connection: without waiting, and without
    /// consuming a byte.
    ///
    /// Bytes that the task has not read yet are [`Unsolicited`](Liveness::Unsolicited). They are no fault of
    /// an idle connection if the server may send something that no caller waits for: count it as
    /// [`Alive`](Liveness::Alive) then.
    pub fn liveness(&self) -> Liveness {
        peek(SockRef::from(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn wait_until(probe: &SocketProbe, seen: Liveness) {
        while probe.liveness() != seen {
            std::thread::yield_now();
        }
    }

    #[test]
    fn second_handle_sees_what_the_first_one_would() {
        let (mut client, mut server) = pair();
        let probe = SocketProbe::new(&client).unwrap();
        assert_eq!(probe.liveness(), Liveness::Alive);
        server.write_all(b"reply").unwrap();
        wait_until(&probe, Liveness::Unsolicited);
        let mut reply = [0; 5];
        client.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"reply");
        assert_eq!(probe.liveness(), Liveness::Alive);
        drop(server);
        wait_until(&probe, Liveness::Closed);
        assert_eq!(client.read(&mut reply).unwrap(), 0);
        assert_eq!(probe.liveness(), Liveness::Closed, "also after the owner has read the end");
    }

    #[test]
    fn second_handle_sees_the_end_after_the_first_one_is_dropped() {
        let (client, server) = pair();
        let probe = SocketProbe::new(&client).unwrap();
        drop(client);
        assert_eq!(probe.liveness(), Liveness::Alive);
        drop(server);
        wait_until(&probe, Liveness::Closed);
    }
}
