//! TCP on tokio.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use connpool_core::Liveness;
use connpool_tcp::{Net, Prepare, Tcp, peek};
use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::stream::Io;

/// Connects to `host:port` over TCP. [`Tcp`] documents the behaviour and the settings.
///
/// # Examples
///
/// ```
/// use connpool_tokio::{TcpManager, io::{AsyncReadExt, AsyncWriteExt}};
///
/// let manager = TcpManager::new("127.0.0.1:6379").ping(async |conn| {
///     conn.write_all(b"PING\r\n").await?;
///     let mut reply = [0; 7];
///     conn.read_exact(&mut reply).await?;
///     if &reply == b"+PONG\r\n" { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
/// });
/// # let _ = manager;
/// ```
pub type TcpManager = Tcp<TokioNet>;

/// A pooled tokio TCP stream.
pub type TcpConn = Io<TcpStream>;

impl TcpConn {
    /// Probes the connection in the kernel. Does not block and consumes no byte.
    ///
    /// Returns [`Liveness::Closed`] also if the runtime of the stream has ended.
    pub fn liveness(&mut self) -> Liveness {
        let liveness = peek(SockRef::from(self.get_ref()));
        if liveness != Liveness::Alive {
            return liveness;
        }
        // Only an error matters here: it means that the runtime of the socket has ended. Must be
        // called outside of tokio's cooperative budget, as the pool does: with a used-up budget,
        // readiness is pending.
        let mut cx = Context::from_waker(Waker::noop());
        match self.get_ref().poll_read_ready(&mut cx) {
            Poll::Ready(Err(_)) => Liveness::Closed,
            Poll::Ready(Ok(())) | Poll::Pending => Liveness::Alive,
        }
    }
}

/// The tokio implementation of [`Net`]. Named only as the parameter of [`TcpManager`].
#[derive(Debug)]
pub enum TokioNet {}

impl Net for TokioNet {
    type Conn = TcpConn;

    async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host(address).await?.collect())
    }

    async fn connect(address: SocketAddr) -> io::Result<TcpConn> {
        TcpStream::connect(address).await.map(Io::new)
    }

    async fn connect_prepared(address: SocketAddr, prepare: &Prepare) -> io::Result<TcpConn> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        prepare(SockRef::from(&socket), address)?;
        socket.connect(address).await.map(Io::new)
    }

    async fn within<T: Send>(limit: Duration, work: impl Future<Output = T> + Send) -> Option<T> {
        tokio::time::timeout(limit, work).await.ok()
    }

    fn socket(conn: &TcpConn) -> SockRef<'_> {
        SockRef::from(conn.get_ref())
    }

    async fn read_to_end(conn: &mut TcpConn) -> io::Result<()> {
        while conn.read(&mut [0; 1024]).await? > 0 {}
        Ok(())
    }

    fn liveness(conn: &mut TcpConn) -> Liveness {
        conn.liveness()
    }

    fn is_clean(conn: &TcpConn) -> bool {
        conn.is_clean()
    }
}
