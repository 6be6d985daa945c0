//! A protocol with a handshake: the server speaks first.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use futures_lite::AsyncReadExt;

use super::kernel::eventually;
use crate::adapter::{Manager, StreamOf, TcpConn, TcpManager};
use suites::server::Server;

pub(crate) const HELLO: &[u8; 5] = b"hello";

/// The server; the test controls it.
pub(crate) struct HandshakeServer {
    server: Arc<Server>,
}

impl HandshakeServer {
    pub(crate) fn start() -> HandshakeServer {
        HandshakeServer { server: Arc::new(Server::start()) }
    }

    /// Returns a manager whose connects complete after the greeting.
    pub(crate) fn manager(&self) -> HandshakeManager {
        HandshakeManager::new(self.server.address())
    }

    /// Waits for the next connection and returns the server's socket, before the greeting. The
    /// connect need not have started yet.
    pub(crate) async fn accept(&self) -> TcpStream {
        let server = Arc::clone(&self.server);
        let accepting = thread::spawn(move || server.accept());
        eventually("a connection", || accepting.is_finished()).await;
        accepting.join().unwrap()
    }
}

/// Sends the greeting.
pub(crate) fn send_hello(end: &mut TcpStream) {
    end.write_all(HELLO).unwrap();
}

/// The manager of the client side.
pub(crate) struct HandshakeManager(TcpManager);

impl HandshakeManager {
    /// Creates a manager for a server that greets.
    pub(crate) fn new(address: String) -> HandshakeManager {
        HandshakeManager(TcpManager::new(address))
    }
}

impl Manager for HandshakeManager {
    type Connection = TcpConn;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpConn> {
        let mut conn = self.0.connect().await?;
        let mut hello = [0; HELLO.len()];
        conn.read_exact(&mut hello).await?;
        assert_eq!(&hello, HELLO);
        Ok(conn)
    }

    fn stream(&self) -> Option<StreamOf<TcpConn>> {
        Some(|conn| conn)
    }

    fn needs_reset(&self) -> bool {
        false
    }
}
