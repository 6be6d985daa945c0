//! A protocol with a handshake: the server speaks first, when it likes to.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use futures_lite::AsyncReadExt;

use super::kernel::eventually;
use super::server::Server;
use crate::adapter::{Liveness, Manager, TcpConn, TcpManager};

pub(crate) const HELLO: &[u8; 5] = b"hello";

/// The server, played by hand.
pub(crate) struct Greeter {
    server: Arc<Server>,
}

impl Greeter {
    pub(crate) fn start() -> Greeter {
        Greeter {
            server: Arc::new(Server::start()),
        }
    }

    /// Connects to it, and has a connection when it was greeted.
    pub(crate) fn manager(&self) -> Greeted {
        Greeted::by(self.server.address())
    }

    /// The server's end of the next connection, which has not been greeted yet. It need not have
    /// been begun: others run until it is there.
    pub(crate) async fn meet(&self) -> TcpStream {
        let server = Arc::clone(&self.server);
        let accepting = thread::spawn(move || server.accept());
        eventually("a connection", || accepting.is_finished()).await;
        accepting.join().unwrap()
    }
}

/// Says what a client waits for.
pub(crate) fn greet(end: &mut TcpStream) {
    end.write_all(HELLO).unwrap();
}

/// The client.
pub(crate) struct Greeted(TcpManager);

impl Greeted {
    /// Of a server that greets.
    pub(crate) fn by(address: String) -> Greeted {
        Greeted(TcpManager::new(address))
    }
}

impl Manager for Greeted {
    type Connection = TcpConn;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpConn> {
        let mut conn = self.0.connect().await?;
        let mut hello = [0; HELLO.len()];
        conn.read_exact(&mut hello).await?;
        assert_eq!(&hello, HELLO);
        Ok(conn)
    }

    fn needs_reset(&self) -> bool {
        false
    }

    fn liveness(&self, conn: &mut TcpConn) -> Liveness {
        conn.liveness()
    }

    fn is_reusable(&self, conn: &mut TcpConn) -> bool {
        conn.is_clean()
    }
}
