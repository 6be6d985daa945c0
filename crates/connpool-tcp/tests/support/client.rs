//! This end: talking over a connection, and waiting for what happens to it.

use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use futures_lite::future::yield_now;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use socket2::{SockRef, Socket};

use super::server::LIMIT;
use crate::adapter::{
    Builder, CloseReason, Connection, Manager, Pool, PooledConnection, Stats, TcpConn, TcpManager,
    builder,
};

/// A pool of connections to `address` that opens one at a time, on demand. Checks are passive.
pub(crate) fn pool_of(address: String) -> Builder<TcpManager> {
    builder(TcpManager::new(address)).ping_after(None)
}

/// One request and its reply, the other end echoing.
pub(crate) async fn echo(conn: &mut impl Connection, text: &[u8]) -> io::Result<()> {
    conn.write_all(text).await?;
    let mut reply = vec![0; text.len()];
    conn.read_exact(&mut reply).await?;
    assert_eq!(reply, text);
    Ok(())
}

/// One request and its reply, both ends played by the test: proves that they belong together.
pub(crate) async fn talk(conn: &mut impl Connection, server: &mut TcpStream) {
    conn.write_all(b"ping").await.expect("the client writes");
    let mut text = [0; 4];
    server.read_exact(&mut text).expect("the server reads");
    assert_eq!(&text, b"ping");
    server.write_all(b"pong").expect("the server writes");
    conn.read_exact(&mut text).await.expect("the client reads");
    assert_eq!(&text, b"pong");
}

/// A second handle of a client's socket, to wait for what the pool will find. It keeps the socket
/// open, so it ends before the pool looks.
pub(crate) struct Spy(Socket);

impl Spy {
    pub(crate) fn on<M: Manager<Connection = TcpConn>>(conn: &PooledConnection<'_, M>) -> Spy {
        Spy(SockRef::from(conn.get_ref()).try_clone().unwrap())
    }

    /// Waits until bytes or the end of the stream have arrived.
    pub(crate) fn sees_something(self) {
        has_something(&SockRef::from(&self.0));
    }

    /// Waits until the connection is reset. Asks for what does not take the error away.
    pub(crate) fn sees_a_reset(self) {
        spin("a reset", || self.0.peer_addr().is_err());
    }
}

/// Waits until bytes or the end of the stream have arrived for a connection, which the runtime
/// does not get to know by it.
pub(crate) fn has_something(socket: &SockRef<'_>) {
    spin("something to read", || {
        let seen = socket.peek(&mut [MaybeUninit::uninit()]);
        !matches!(seen, Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
}

/// Waits for the kernel, on a thread that does nothing else.
fn spin(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "{what} did not come");
        thread::yield_now();
    }
}

/// Waits for what the background of a pool does.
pub(crate) async fn until<M: Manager>(pool: &Pool<M>, holds: impl Fn(&Stats) -> bool) {
    let start = Instant::now();
    while !holds(&pool.stats()) {
        assert!(start.elapsed() < LIMIT, "it stays at {}", pool.stats());
        yield_now().await;
    }
}

/// Waits until so many were closed for this reason and none for another, and checks the books.
pub(crate) async fn until_closed<M: Manager>(pool: &Pool<M>, reason: CloseReason, count: u64) {
    until(pool, |stats| {
        stats.closed.total() >= count && adds_up(stats)
    })
    .await;
    let stats = pool.stats();
    assert_eq!(stats.closed.get(reason), count, "{reason:?}: {stats}");
    assert_eq!(stats.closed.total(), count, "{stats}");
}

/// Whether every connection made is open, closed or detached.
pub(crate) fn adds_up(stats: &Stats) -> bool {
    stats.created == stats.size as u64 + stats.closed.total() + stats.detached
        && stats.size == stats.active + stats.available
}
