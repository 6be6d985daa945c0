//! The connections to pool, the same for all pools.

use std::future::{Future, ready};
use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connpool_core::{Manager, StreamOf};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{RecvFlags, recv};

use crate::sockets::{Sockets, exchange_blocking};

/// A kind of connection: how to open it and how to check it.
pub(crate) trait Transport: Clone + Send + Sync + 'static {
    /// The connection.
    type Conn: Send + Sync + Unpin + 'static;
    /// The connection for a blocking pool.
    type Blocking: Send + 'static;
    /// The connpool manager.
    type Manager: Manager;

    /// Opens a connection.
    fn connect(&self) -> impl Future<Output = io::Result<Self::Conn>> + Send;

    /// Checks a connection before checkout.
    fn check(&self, conn: &Self::Conn) -> impl Future<Output = io::Result<()>> + Send;

    /// The blocking variant of [`connect`](Transport::connect).
    fn connect_blocking(&self) -> io::Result<Self::Blocking>;

    /// The blocking variant of [`check`](Transport::check).
    fn check_blocking(&self, conn: &Self::Blocking) -> io::Result<()>;

    /// Creates the connpool manager.
    fn manager(&self) -> Self::Manager;
}

/// The check of a connection before checkout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Check {
    /// No check.
    Nothing,
    /// A probe in the kernel for the end of the stream or unsolicited bytes.
    Look,
    /// A round trip.
    Ping,
}

/// Eight bytes without I/O, so that only the pool is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plain;

impl Transport for Plain {
    type Conn = u64;
    type Blocking = u64;
    type Manager = Managed<Plain>;

    fn connect(&self) -> impl Future<Output = io::Result<u64>> + Send {
        ready(Ok(7))
    }

    fn check(&self, _conn: &u64) -> impl Future<Output = io::Result<()>> + Send {
        ready(Ok(()))
    }

    fn connect_blocking(&self) -> io::Result<u64> {
        Ok(7)
    }

    fn check_blocking(&self, _conn: &u64) -> io::Result<()> {
        Ok(())
    }

    fn manager(&self) -> Managed<Plain> {
        Managed(self.clone())
    }
}

/// TCP with a check. connpool uses its own manager, with the same system call and the same ping.
#[derive(Debug)]
pub(crate) struct Tcp<S> {
    address: SocketAddr,
    check: Check,
    sockets: PhantomData<fn() -> S>,
}

impl<S: Sockets> Tcp<S> {
    /// Creates a transport to this server.
    pub(crate) fn new(address: SocketAddr, check: Check) -> Self {
        Tcp { address, check, sockets: PhantomData }
    }
}

impl<S> Clone for Tcp<S> {
    fn clone(&self) -> Self {
        Tcp { ..*self }
    }
}

impl<S: Sockets> Transport for Tcp<S> {
    type Conn = S::Stream;
    type Blocking = TcpStream;
    type Manager = S::Manager;

    fn connect(&self) -> impl Future<Output = io::Result<S::Stream>> + Send {
        S::connect(self.address)
    }

    async fn check(&self, conn: &S::Stream) -> io::Result<()> {
        match self.check {
            Check::Nothing => Ok(()),
            Check::Look => look(conn),
            Check::Ping => S::exchange(conn).await,
        }
    }

    fn connect_blocking(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn check_blocking(&self, conn: &TcpStream) -> io::Result<()> {
        match self.check {
            Check::Nothing => Ok(()),
            Check::Look => look(conn),
            Check::Ping => exchange_blocking(conn),
        }
    }

    fn manager(&self) -> S::Manager {
        S::manager(self.address)
    }
}

/// TCP without a check, to a server that may greet. Counts connects.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    tcp: Tcp<S>,
    greeted: bool,
    opened: Arc<AtomicUsize>,
}

impl<S: Sockets> Counted<S> {
    /// Creates a transport to this server, which sends a greeting if `greeted`.
    pub(crate) fn new(address: SocketAddr, greeted: bool) -> Self {
        Counted { tcp: Tcp::new(address, Check::Nothing), greeted, opened: Arc::default() }
    }

    /// Returns the number of connections opened so far.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

impl<S> Clone for Counted<S> {
    fn clone(&self) -> Self {
        Counted { tcp: self.tcp.clone(), greeted: self.greeted, opened: Arc::clone(&self.opened) }
    }
}

impl<S: Sockets> Transport for Counted<S> {
    type Conn = S::Stream;
    type Blocking = TcpStream;
    type Manager = Managed<Counted<S>>;

    async fn connect(&self) -> io::Result<S::Stream> {
        let conn = self.tcp.connect().await?;
        leave_no_trace(&conn)?;
        if self.greeted {
            S::read_byte(&conn).await?;
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(conn)
    }

    fn check(&self, _conn: &S::Stream) -> impl Future<Output = io::Result<()>> + Send {
        ready(Ok(()))
    }

    fn connect_blocking(&self) -> io::Result<TcpStream> {
        let conn = self.tcp.connect_blocking()?;
        leave_no_trace(&conn)?;
        if self.greeted {
            io::Read::read_exact(&mut &conn, &mut [0])?;
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(conn)
    }

    fn check_blocking(&self, _conn: &TcpStream) -> io::Result<()> {
        Ok(())
    }

    fn manager(&self) -> Managed<Counted<S>> {
        Managed(self.clone())
    }
}

/// Makes the close immediate (a reset). Otherwise each of thousands of ports would stay in
/// TIME_WAIT for a minute.
fn leave_no_trace(socket: impl AsFd) -> io::Result<()> {
    Ok(set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// Adapts a transport to connpool's `Manager`.
#[derive(Debug)]
pub(crate) struct Managed<K>(K);

/// A connection that is never probed, as in the other pools. The runtimes would refuse a bare socket.
pub(crate) struct Unprobed<C>(C);

impl<K: Transport> Manager for Managed<K> {
    type Connection = Unprobed<K::Conn>;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<Self::Connection> {
        self.0.connect().await.map(Unprobed)
    }

    fn stream(&self) -> Option<StreamOf<Self::Connection>> {
        None
    }

    fn needs_reset(&self) -> bool {
        false
    }

    // There is no `liveness` to call.
    fn has_liveness(&self) -> bool {
        false
    }
}

/// Probes a socket with one system call.
pub(crate) fn look(socket: impl AsFd) -> io::Result<()> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match recv(socket, &mut [0; 1], flags) {
        Err(rustix::io::Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
        Ok((_, 0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}
