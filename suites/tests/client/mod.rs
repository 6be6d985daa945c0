//! The client side: exchanges on connections, and waiting for changes.

use std::fmt::{Debug, Display};
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use futures_lite::future::yield_now;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use socket2::{SockRef, Socket};
use suites::server::LIMIT;

use crate::adapter::{
    Builder, CloseReason, ConnectError, Connection, GetError, Liveness, Manager, Pool,
    PooledConnection, Stats, TcpConn, TcpManager, builder,
};

/// Starts building a pool of connections to `address` without pings.
pub(crate) fn pool_of(address: String) -> Builder<TcpManager> {
    builder(TcpManager::new(address)).ping_after(None)
}

/// Sends a request to an echo server and checks the reply.
pub(crate) async fn echo(conn: &mut impl Connection, text: &[u8]) -> io::Result<()> {
    conn.write_all(text).await?;
    let mut reply = vec![0; text.len()];
    conn.read_exact(&mut reply).await?;
    assert_eq!(reply, text);
    Ok(())
}

/// Exchanges a request and a reply with `server`, which proves that the two sockets are connected.
pub(crate) async fn talk(conn: &mut impl Connection, server: &mut TcpStream) {
    conn.write_all(b"ping").await.expect("client write failed");
    let mut text = [0; 4];
    server.read_exact(&mut text).expect("server read failed");
    assert_eq!(&text, b"ping");
    server.write_all(b"pong").expect("server write failed");
    conn.read_exact(&mut text).await.expect("client read failed");
    assert_eq!(&text, b"pong");
}

/// A second handle of a client's socket, to wait for what the pool will find. Keeps the socket
/// open, so it must be dropped before the pool probes.
pub(crate) struct SocketWatch(Socket);

impl SocketWatch {
    pub(crate) fn on<M: Manager<Connection = TcpConn>>(
        conn: &PooledConnection<'_, M>,
    ) -> SocketWatch {
        SocketWatch(SockRef::from(conn.get_ref()).try_clone().unwrap())
    }

    /// Waits until bytes or the end of the stream have arrived.
    pub(crate) fn wait_readable(self) {
        wait_readable(&SockRef::from(&self.0));
    }

    /// Waits until bytes and the end of the stream behind them have arrived. Returns how the pool
    /// sees such a connection: only Linux tells of an end behind unread bytes.
    pub(crate) fn wait_ended(self) -> CloseReason {
        if cfg!(any(not(target_os = "linux"), connpool_portable)) {
            self.wait_readable();
            return CloseReason::Unsolicited;
        }
        spin("the end", || connpool_tcp::peek(SockRef::from(&self.0)) == Liveness::Closed);
        CloseReason::Dead
    }

    /// Waits until the connection is reset. Does not clear the socket error.
    pub(crate) fn wait_reset(self) {
        spin("a reset", || self.0.peer_addr().is_err());
    }
}

/// Waits until bytes or the end of the stream have arrived at a socket. The runtime does not
/// notice.
pub(crate) fn wait_readable(socket: &SockRef<'_>) {
    spin("something to read", || {
        let seen = socket.peek(&mut [MaybeUninit::uninit()]);
        !matches!(seen, Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
}

/// Spins until the kernel reports a condition.
fn spin(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "timed out waiting for {what}");
        thread::yield_now();
    }
}

/// Asserts that a get failed because its connect took longer than `connect_timeout`.
#[track_caller]
pub(crate) fn assert_connect_timed_out<T: Debug, E: Display>(got: Result<T, GetError<E>>) {
    assert!(matches!(got, Err(GetError::Connect(ConnectError::TimedOut))), "{got:?}");
}

/// Gets a connection from a pool whose `connect_timeout` is so short that a healthy connect may time
/// out as well: the get is repeated then.
pub(crate) async fn get_despite_timeouts<M: Manager>(pool: &Pool<M>) -> PooledConnection<'_, M> {
    loop {
        match pool.get().await {
            Ok(conn) => return conn,
            Err(GetError::Connect(ConnectError::TimedOut)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// Gets a connection to a server that is back. Callers are told of a failed connect for a while.
pub(crate) async fn get_once_not_told<M: Manager>(pool: &Pool<M>) -> PooledConnection<'_, M> {
    let start = Instant::now();
    loop {
        match pool.get().await {
            Ok(conn) => return conn,
            Err(error) => assert!(start.elapsed() < LIMIT && !error.is_timeout(), "{error}"),
        }
        yield_now().await;
    }
}

/// Waits until the statistics satisfy a condition.
pub(crate) async fn wait_until<M: Manager>(pool: &Pool<M>, holds: impl Fn(&Stats) -> bool) {
    let start = Instant::now();
    while !holds(&pool.stats()) {
        assert!(start.elapsed() < LIMIT, "condition not met: {}", pool.stats());
        yield_now().await;
    }
}

/// Waits until `count` connections were closed, and asserts that all of them had this reason and
/// that the counters add up.
pub(crate) async fn wait_until_closed<M: Manager>(pool: &Pool<M>, reason: CloseReason, count: u64) {
    wait_until(pool, |stats| stats.closed.total() >= count && counts_add_up(stats)).await;
    let stats = pool.stats();
    assert_eq!(stats.closed.get(reason), count, "{reason:?}: {stats}");
    assert_eq!(stats.closed.total(), count, "{stats}");
}

/// Returns `true` if every connection created is open, closed or detached. A connection that opens or
/// closes in the background is counted a moment before or after the size changes.
pub(crate) fn counts_add_up(stats: &Stats) -> bool {
    stats.created == stats.size as u64 + stats.closed.total() + stats.detached
        && stats.size == stats.active + stats.available
}

/// Defines a test for each name in a list. Each calls `$run` with the async function of that name
/// in `$crate::$list::$module`.
macro_rules! tests {
    ($run:path; $list:ident; $($(#[$attribute:meta])* $module:ident { $($name:ident)* })*) => {
        $($(#[$attribute])* mod $module {
            $(#[test]
            fn $name() {
                $run($crate::$list::$module::$name);
            })*
        })*
    };
}

pub(crate) use tests;
