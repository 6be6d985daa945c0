//! What the pools are given to pool: the same for all of them.

use std::future::{Future, ready};
use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connpool_core::Manager;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{RecvFlags, recv};

use crate::sockets::{Sockets, exchange_blocking};

/// A kind of connection: how to open one and how to see whether it is still good.
pub(crate) trait Transport: Clone + Send + Sync + 'static {
    /// The connection.
    type Conn: Send + Sync + Unpin + 'static;
    /// The connection of a pool that blocks.
    type Blocking: Send + 'static;
    /// What connpool is given.
    type Manager: Manager;

    /// Opens one.
    fn connect(&self) -> impl Future<Output = io::Result<Self::Conn>> + Send;

    /// Checks one before it is lent.
    fn check(&self, conn: &Self::Conn) -> impl Future<Output = io::Result<()>> + Send;

    /// [`connect`](Transport::connect), by blocking.
    fn connect_blocking(&self) -> io::Result<Self::Blocking>;

    /// [`check`](Transport::check), by blocking.
    fn check_blocking(&self, conn: &Self::Blocking) -> io::Result<()>;

    /// What connpool is given.
    fn manager(&self) -> Self::Manager;
}

/// What a pool has to find out about a connection before it lends it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Check {
    /// It lends what it has.
    Nothing,
    /// Whether the kernel has seen the end of it, or bytes that nobody asked for.
    Look,
    /// Whether the other side answers.
    Ping,
}

/// Eight bytes that are just there: what is measured with them is the pool's own.
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

/// TCP, checked in this way. connpool has its own manager for it, which looks by the same system
/// call and pings by the same byte.
#[derive(Debug)]
pub(crate) struct Tcp<S> {
    address: SocketAddr,
    check: Check,
    sockets: PhantomData<fn() -> S>,
}

impl<S: Sockets> Tcp<S> {
    /// Connections to this server.
    pub(crate) fn new(address: SocketAddr, check: Check) -> Self {
        Tcp {
            address,
            check,
            sockets: PhantomData,
        }
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

/// TCP without a check, to a server that may speak first. Counts how many were opened.
#[derive(Debug)]
pub(crate) struct Counted<S> {
    tcp: Tcp<S>,
    greeted: bool,
    opened: Arc<AtomicUsize>,
}

impl<S: Sockets> Counted<S> {
    /// Connections to this server, which greets or not.
    pub(crate) fn new(address: SocketAddr, greeted: bool) -> Self {
        Counted {
            tcp: Tcp::new(address, Check::Nothing),
            greeted,
            opened: Arc::default(),
        }
    }

    /// How many were opened so far.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

impl<S> Clone for Counted<S> {
    fn clone(&self) -> Self {
        Counted {
            tcp: self.tcp.clone(),
            greeted: self.greeted,
            opened: Arc::clone(&self.opened),
        }
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

/// Has the end of a connection forgotten at once. There are thousands of them, and the kernel would
/// keep each one's port for a minute, until none is left.
fn leave_no_trace(socket: impl AsFd) -> io::Result<()> {
    Ok(set_socket_linger(socket, Some(Duration::ZERO))?)
}

/// A transport as connpool takes it where it has no manager of its own for it.
#[derive(Debug)]
pub(crate) struct Managed<K>(K);

impl<K: Transport> Manager for Managed<K> {
    type Connection = K::Conn;
    type Error = io::Error;

    fn connect(&self) -> impl Future<Output = io::Result<K::Conn>> + Send {
        self.0.connect()
    }

    fn needs_reset(&self) -> bool {
        false
    }

    // It has no `liveness`, which is what this is for.
    fn has_liveness(&self) -> bool {
        false
    }
}

/// Looks into the kernel, which is one system call.
pub(crate) fn look(socket: impl AsFd) -> io::Result<()> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match recv(socket, &mut [0; 1], flags) {
        Err(rustix::io::Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
        Ok((_, 0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}
