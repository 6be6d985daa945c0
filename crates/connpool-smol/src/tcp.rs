//! TCP on smol.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use async_io::{Async, Timer};
use connpool_tcp::{Net, Prepare, Tcp};
use futures_lite::AsyncReadExt;
use futures_lite::future::or;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::stream::Io;

/// Connects to `host:port` over TCP. [`Tcp`] documents the behaviour and the settings.
///
/// # Examples
///
/// ```
/// use connpool_smol::{TcpManager, io::{AsyncReadExt, AsyncWriteExt}};
///
/// let manager = TcpManager::new("127.0.0.1:6379").ping(async |conn| {
///     conn.write_all(b"PING\r\n").await?;
///     let mut reply = [0; 7];
///     conn.read_exact(&mut reply).await?;
///     if &reply == b"+PONG\r\n" { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
/// });
/// # let _ = manager;
/// ```
pub type TcpManager = Tcp<SmolNet>;

/// A pooled TCP stream on async-io's reactor.
pub type TcpConn = Io<Async<TcpStream>>;

/// The smol implementation of [`Net`]. Named only as the parameter of [`TcpManager`].
#[derive(Debug)]
pub enum SmolNet {}

impl Net for SmolNet {
    type Conn = TcpConn;

    async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
        smol::net::resolve(address).await
    }

    async fn connect(address: SocketAddr) -> io::Result<TcpConn> {
        Async::<TcpStream>::connect(address).await.map(Io::new)
    }

    async fn connect_prepared(address: SocketAddr, prepare: &Prepare) -> io::Result<TcpConn> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        prepare(SockRef::from(&socket), address)?;
        match socket.connect(&address.into()) {
            Err(error) if !is_under_way(&error) => return Err(error),
            _ => {}
        }
        let stream = Async::new(TcpStream::from(socket))?;
        stream.writable().await?;
        match stream.get_ref().take_error()? {
            Some(error) => Err(error),
            None => Ok(Io::new(stream)),
        }
    }

    async fn within<T: Send>(limit: Duration, work: impl Future<Output = T> + Send) -> Option<T> {
        or(async { Some(work.await) }, async {
            Timer::after(limit).await;
            None
        })
        .await
    }

    fn socket(conn: &TcpConn) -> SockRef<'_> {
        SockRef::from(conn.get_ref().get_ref())
    }

    async fn read_to_end(conn: &mut TcpConn) -> io::Result<()> {
        while conn.read(&mut [0; 1024]).await? > 0 {}
        Ok(())
    }

    fn allow_unsolicited(conn: &mut TcpConn) {
        conn.set_allow_unsolicited(true);
    }
}

/// Returns whether a connect of a non-blocking socket goes on in the background.
fn is_under_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) {
        return true;
    }
    error.kind() == io::ErrorKind::WouldBlock
}
