//! TCP on tokio.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use connpool_tcp::{Net, Prepare, Tcp};
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

    fn allow_unsolicited(conn: &mut TcpConn) {
        conn.set_allow_unsolicited(true);
    }
}
