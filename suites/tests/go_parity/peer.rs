//! A server that answers pings, wrongly on request.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use socket2::SockRef;

use crate::adapter::{Builder, TcpConn, TcpManager, builder};
use suites::server::{LIMIT, Server, ServerHandle};

/// Reads four bytes at a time: answers and counts `PING`, echoes everything else.
pub(crate) struct Peer {
    server: ServerHandle,
    state: Arc<PeerState>,
}

#[derive(Default)]
struct PeerState {
    pings: AtomicUsize,
    failing: Mutex<HashSet<SocketAddr>>,
}

impl Peer {
    pub(crate) fn start() -> Peer {
        let state = Arc::<PeerState>::default();
        let server = Server::start().serve({
            let state = Arc::clone(&state);
            // Errors are checked at the client.
            move |stream| _ = state.handle(stream)
        });
        Peer { server, state }
    }

    /// Starts building a pool that pings before every checkout but the first of a connection.
    pub(crate) fn pool(&self) -> Builder<TcpManager> {
        builder(TcpManager::new(self.server.address()).ping(ping))
            .ping_after(Duration::ZERO)
            .ping_timeout(LIMIT)
    }

    pub(crate) fn address(&self) -> String {
        self.server.address()
    }

    pub(crate) fn pings(&self) -> usize {
        self.state.pings.load(Ordering::SeqCst)
    }

    /// From now on, pings of this connection get a wrong answer.
    pub(crate) fn fail_pings_of(&self, conn: &TcpConn) {
        let client = SockRef::from(conn.get_ref()).local_addr().unwrap();
        let client = client.as_socket().unwrap();
        self.state.failing.lock().unwrap().insert(client);
    }
}

impl PeerState {
    fn handle(&self, mut stream: &TcpStream) -> io::Result<()> {
        let client = stream.peer_addr()?;
        let mut text = [0; 4];
        loop {
            stream.read_exact(&mut text)?;
            if &text == b"PING" {
                self.pings.fetch_add(1, Ordering::SeqCst);
                let failing = self.failing.lock().unwrap().contains(&client);
                text = if failing { *b"NOPE" } else { *b"PONG" };
            }
            stream.write_all(&text)?;
        }
    }
}

/// Sends one ping and checks the reply.
pub(crate) async fn ping(conn: &mut TcpConn) -> io::Result<()> {
    conn.write_all(b"PING").await?;
    let mut reply = [0; 4];
    conn.read_exact(&mut reply).await?;
    match &reply {
        b"PONG" => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
