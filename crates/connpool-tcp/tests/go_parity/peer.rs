//! A server that answers pings, and says no when it is told to.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use socket2::SockRef;

use crate::adapter::{Builder, TcpConn, TcpManager, builder};
use crate::support::server::{LIMIT, Served, Server};

/// Takes four bytes at a time: `PING` is answered and counted, all else comes back as it is.
pub(crate) struct Peer {
    served: Served,
    book: Arc<Book>,
}

#[derive(Default)]
struct Book {
    pings: AtomicUsize,
    sick: Mutex<HashSet<SocketAddr>>,
}

impl Peer {
    pub(crate) fn start() -> Peer {
        let book = Arc::<Book>::default();
        let served = Server::start().serve({
            let book = Arc::clone(&book);
            // Whether it ends in an error is for the client to judge.
            move |stream| _ = book.attend(stream)
        });
        Peer { served, book }
    }

    /// A pool that pings before every lending but the first of a connection.
    pub(crate) fn pool(&self) -> Builder<TcpManager> {
        builder(TcpManager::new(self.served.address()).ping(ping))
            .ping_after(Duration::ZERO)
            .ping_timeout(LIMIT)
    }

    pub(crate) fn address(&self) -> String {
        self.served.address()
    }

    pub(crate) fn pings(&self) -> usize {
        self.book.pings.load(Ordering::SeqCst)
    }

    /// From now on pings of this connection get the wrong answer.
    pub(crate) fn sicken(&self, conn: &TcpConn) {
        let client = SockRef::from(conn.get_ref()).local_addr().unwrap();
        let client = client.as_socket().unwrap();
        self.book.sick.lock().unwrap().insert(client);
    }
}

impl Book {
    fn attend(&self, mut stream: &TcpStream) -> io::Result<()> {
        let client = stream.peer_addr()?;
        let mut text = [0; 4];
        loop {
            stream.read_exact(&mut text)?;
            if &text == b"PING" {
                self.pings.fetch_add(1, Ordering::SeqCst);
                let sick = self.sick.lock().unwrap().contains(&client);
                text = if sick { *b"NOPE" } else { *b"PONG" };
            }
            stream.write_all(&text)?;
        }
    }
}

/// One question, one answer.
pub(crate) async fn ping(conn: &mut TcpConn) -> io::Result<()> {
    conn.write_all(b"PING").await?;
    let mut reply = [0; 4];
    conn.read_exact(&mut reply).await?;
    match &reply {
        b"PONG" => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
