//! What the kernel knows of a connection.

use std::io::ErrorKind;
use std::mem::MaybeUninit;

use connpool_core::Liveness;
use socket2::SockRef;

/// Looks at a non-blocking socket, without taking a byte from it.
///
/// The kernel, not the runtime: what a runtime remembers of a socket may be older than the end of
/// the stream, and its cooperative budget may hide it. One system call, less than a microsecond.
pub fn peek(socket: SockRef<'_>) -> Liveness {
    let mut byte = [MaybeUninit::uninit()];
    loop {
        return match socket.peek(&mut byte) {
            Ok(0) => Liveness::Closed,
            Ok(_) => Liveness::Unsolicited,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Liveness::Alive,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => Liveness::Closed,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Waits until something has arrived at `client`, then looks.
    fn look(client: &TcpStream) -> Liveness {
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let _ = client.peek(&mut [0]);
        client.set_nonblocking(true).unwrap();
        peek(SockRef::from(client))
    }

    #[test]
    fn a_quiet_connection_is_alive() {
        let (client, _server) = pair();
        client.set_nonblocking(true).unwrap();
        assert_eq!(peek(SockRef::from(&client)), Liveness::Alive);
    }

    #[test]
    fn a_closed_one_is_closed() {
        let (client, server) = pair();
        drop(server);
        assert_eq!(look(&client), Liveness::Closed);
    }

    #[test]
    fn a_reset_one_is_closed_however_often_it_is_looked_at() {
        let (client, server) = pair();
        SockRef::from(&server)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(server);
        assert_eq!(look(&client), Liveness::Closed);
        assert_eq!(peek(SockRef::from(&client)), Liveness::Closed);
    }

    #[test]
    fn bytes_nobody_asked_for_are_seen_and_left_where_they_are() {
        let (mut client, mut server) = pair();
        server.write_all(b"late").unwrap();
        drop(server);
        assert_eq!(look(&client), Liveness::Unsolicited);
        let mut text = String::new();
        client.set_nonblocking(false).unwrap();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "late");
    }
}
