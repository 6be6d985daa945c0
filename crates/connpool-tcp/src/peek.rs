//! The liveness probe of a socket.

use std::io::ErrorKind;
use std::mem::MaybeUninit;

use connpool_core::Liveness;
use socket2::SockRef;

/// Probes a non-blocking socket without consuming a byte from it.
///
/// Asks the kernel by `MSG_PEEK`, one system call of less than a microsecond. The runtime's
/// readiness state is not enough: it may be older than the end of the stream, and tokio's
/// cooperative budget may hide that end.
///
/// Returns [`Liveness::Closed`] at the end of the stream and on errors, [`Liveness::Unsolicited`]
/// if there are unread bytes, and [`Liveness::Alive`] otherwise. On Linux, an end of the stream is
/// also found behind unread bytes.
pub fn peek(socket: SockRef<'_>) -> Liveness {
    let mut byte = [MaybeUninit::uninit()];
    loop {
        return match socket.peek(&mut byte) {
            Ok(0) => Liveness::Closed,
            Ok(_) if has_ended(&socket) => Liveness::Closed,
            Ok(_) => Liveness::Unsolicited,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Liveness::Alive,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => Liveness::Closed,
        };
    }
}

/// Returns whether the peer has closed its side, although there are bytes to read. Asked only if
/// there are, which costs a second system call.
#[cfg(all(target_os = "linux", not(connpool_portable)))]
fn has_ended(socket: &SockRef<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut asked = [PollFd::new(&**socket, PollFlags::RDHUP)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // An interrupted call says nothing, and the bytes are reported.
    poll(&mut asked, Some(&at_once)).is_ok_and(|ready| ready > 0)
}

#[cfg(any(not(target_os = "linux"), connpool_portable))]
fn has_ended(_: &SockRef<'_>) -> bool {
    false
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

    /// Waits until `client` has received bytes or the end of the stream, then probes it.
    fn peek_when_readable(client: &TcpStream) -> Liveness {
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = client.peek(&mut [0]);
        client.set_nonblocking(true).unwrap();
        peek(SockRef::from(client))
    }

    #[test]
    fn quiet_connection_is_alive() {
        let (client, _server) = pair();
        client.set_nonblocking(true).unwrap();
        assert_eq!(peek(SockRef::from(&client)), Liveness::Alive);
    }

    #[test]
    fn connection_closed_by_its_peer_is_closed() {
        let (client, server) = pair();
        drop(server);
        assert_eq!(peek_when_readable(&client), Liveness::Closed);
    }

    #[test]
    fn reset_connection_is_closed_at_every_probe() {
        let (client, server) = pair();
        SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
        drop(server);
        assert_eq!(peek_when_readable(&client), Liveness::Closed);
        assert_eq!(peek(SockRef::from(&client)), Liveness::Closed);
    }

    #[test]
    fn unsolicited_bytes_are_reported_and_not_consumed() {
        let (mut client, mut server) = pair();
        server.write_all(b"late").unwrap();
        assert_eq!(peek_when_readable(&client), Liveness::Unsolicited);
        drop(server);
        let mut text = String::new();
        client.set_nonblocking(false).unwrap();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "late");
    }

    #[cfg(all(target_os = "linux", not(connpool_portable)))]
    #[test]
    fn end_behind_unread_bytes_is_found() {
        let (mut client, mut server) = pair();
        server.write_all(b"last words").unwrap();
        server.shutdown(std::net::Shutdown::Write).unwrap();
        // Once the end has arrived, so have the bytes before it.
        while peek_when_readable(&client) == Liveness::Unsolicited {
            std::thread::yield_now();
        }
        assert_eq!(peek(SockRef::from(&client)), Liveness::Closed);
        let mut text = String::new();
        client.set_nonblocking(false).unwrap();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "last words");
    }
}
