//! The manager of plain TCP connections, generic over the runtime.

use std::error::Error;
use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use connpool_core::{CloseReason, Manager, Probe, StreamOf};
use socket2::SockRef;

use crate::options::{TcpKeepalive, TcpOptions};
use crate::race::{self, AddressBook};

/// The TCP operations of a runtime.
pub trait Net: Send + Sync + 'static {
    /// The runtime's TCP stream. Its probe asks the kernel and reads no byte.
    type Conn: Probe + Send + 'static;

    /// Resolves `host:port` to socket addresses, in the order in which they are tried.
    fn resolve(address: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Connects to a single address.
    fn connect(address: SocketAddr) -> impl Future<Output = io::Result<Self::Conn>> + Send;

    /// Connects to a single address, after `prepare` has set up the socket.
    fn connect_prepared(
        address: SocketAddr,
        prepare: &Prepare,
    ) -> impl Future<Output = io::Result<Self::Conn>> + Send;

    /// Runs `work` for at most `limit`. Returns `None` if it has not finished by then.
    fn within<T: Send>(
        limit: Duration,
        work: impl Future<Output = T> + Send,
    ) -> impl Future<Output = Option<T>> + Send;

    /// Returns a reference to the socket of a connection.
    fn socket(conn: &Self::Conn) -> SockRef<'_>;

    /// Reads to the end of the stream.
    fn read_to_end(conn: &mut Self::Conn) -> impl Future<Output = io::Result<()>> + Send;

    /// Makes probes of this connection take unread bytes for a quiet stream.
    fn allow_unsolicited(conn: &mut Self::Conn);
}

/// Connects to `host:port` over TCP.
///
/// * The name is resolved for every connect. Of its addresses, the one that answered last is tried
///   first; another one joins after 250 ms or when an attempt has failed, the families alternating
///   (RFC 8305); the first connection wins. [`spread`](Tcp::spread) distributes connections over
///   the addresses instead.
/// * Sockets get `TCP_NODELAY`, keepalive and, on Linux, `TCP_USER_TIMEOUT`: with the defaults, a
///   write to a peer that has vanished fails after 30 s, and a read after about 90 s.
/// * An idle connection is probed in the kernel before it is checked out, see [`peek`](fn@crate::peek).
/// * A connection is not reused if a read or a write was abandoned halfway, or if it has returned
///   an error or the end of the stream.
/// * A TCP self-connection is refused. Linux creates one now and then on a connect to a local port
///   of the ephemeral range that has no listener.
pub struct Tcp<N: Net> {
    address: Arc<str>,
    options: TcpOptions,
    ping: Option<Ping<N::Conn>>,
    prepare: Option<Arc<Prepare>>,
    spread: bool,
    strict: bool,
    allow_unsolicited: bool,
    linger: Option<Duration>,
    book: Arc<AddressBook>,
}

/// A function that sets up a socket before it connects, see [`Tcp::before_connect`].
pub type Prepare = dyn Fn(SockRef<'_>, SocketAddr) -> io::Result<()> + Send + Sync;

type Ping<C> =
    Arc<dyn for<'a> Fn(&'a mut C) -> BoxFuture<'a, io::Result<()>> + Send + Sync + 'static>;
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An async function of a connection whose future is `Send`, as [`Tcp::ping`] takes.
///
/// Implemented for every `async |conn| ..` closure without captures, and for every matching
/// async function.
pub trait PingFn<'a, C: 'a> {
    /// The future returned by [`call`](PingFn::call).
    type Fut: Future<Output = io::Result<()>> + Send + 'a;

    /// Starts one ping of `conn`.
    fn call(&self, conn: &'a mut C) -> Self::Fut;
}

impl<'a, C: 'a, F, Fut> PingFn<'a, C> for F
where
    F: Fn(&'a mut C) -> Fut,
    Fut: Future<Output = io::Result<()>> + Send + 'a,
{
    type Fut = Fut;

    fn call(&self, conn: &'a mut C) -> Fut {
        self(conn)
    }
}

impl<N: Net> Tcp<N> {
    /// Creates a manager that connects to `address`, which is a `host:port` string or a
    /// `SocketAddr`.
    pub fn new(address: impl ToString) -> Self {
        Tcp {
            address: address.to_string().into(),
            options: TcpOptions::default(),
            ping: None,
            prepare: None,
            spread: false,
            strict: false,
            allow_unsolicited: false,
            linger: None,
            book: Arc::default(),
        }
    }

    /// Sets the ping, the active check of an idle connection before it is checked out: one request and its
    /// reply. Default: no ping.
    ///
    /// Takes an async closure without captures or an async function. For a ping that needs state,
    /// implement [`Manager`]. The ping must read the reply completely: leftover bytes count as
    /// [`Liveness::Unsolicited`](connpool_core::Liveness::Unsolicited), and the pool closes the connection.
    pub fn ping<F>(mut self, ping: F) -> Self
    where
        F: AsyncFn(&mut N::Conn) -> io::Result<()>
            + for<'a> PingFn<'a, N::Conn>
            + Send
            + Sync
            + 'static,
    {
        self.ping = Some(Arc::new(move |conn| Box::pin(PingFn::call(&ping, conn))));
        self
    }

    /// Sets `TCP_NODELAY`: small writes are sent immediately, without Nagle's algorithm. Default:
    /// `true`.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.options.nodelay = nodelay;
        self
    }

    /// Sets the kernel's keepalive probes of a silent peer. Default: the first after 60 s of
    /// silence, then one every 10 s, dead after 3. `None` leaves keepalive to the system, where it
    /// is usually off.
    pub fn keepalive(mut self, keepalive: impl Into<Option<TcpKeepalive>>) -> Self {
        self.options.keepalive = keepalive.into();
        self
    }

    /// Sets how long sent data may stay unacknowledged before the kernel drops the connection
    /// (`TCP_USER_TIMEOUT`). Linux only. Default: 30 s. `None` leaves it to the system: about 15
    /// minutes.
    pub fn user_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.options.user_timeout = limit.into();
        self
    }

    /// Sets whether each connect starts with the next address of the name, so that the connections
    /// of a pool are spread over all of them. Default: `false`, the address that answered last
    /// comes first.
    pub fn spread(mut self, spread: bool) -> Self {
        self.spread = spread;
        self
    }

    /// Sets whether a connection is reused only if something was read after the last write, for protocols
    /// in which every request is answered. Default: `false`.
    ///
    /// With `true`, a connection that is returned before the reply to its last request was read is closed.
    /// With `false`, it is closed only if the reply arrives before the next checkout; a reply that arrives
    /// later is read by the next user, unless the request was made in an
    /// [`exchange`](connpool_core::PooledConnection::exchange). Neither detects a reply of which only a part
    /// was read before the rest arrived.
    ///
    /// The setting belongs to the connection, so it also holds in a manager that connects through this one.
    /// A stream around the connection, such as TLS, needs its own: `Io::new(stream).strict(true)`.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }

    /// Sets whether the server may send bytes while a connection is idle, such as notices and
    /// heartbeats. Default: `false`, a connection with such bytes is
    /// [`Liveness::Unsolicited`](connpool_core::Liveness::Unsolicited) and closed.
    ///
    /// With `true` the bytes stay in the stream, for the next user to read. On Linux, a connection
    /// that its server has closed after such bytes is closed all the same. The setting belongs to the
    /// connection, so it also holds in a manager that connects through this one.
    pub fn allow_unsolicited(mut self, allow: bool) -> Self {
        self.allow_unsolicited = allow;
        self
    }

    /// Sets how long the close of a healthy connection waits for its peer: the writing side is shut down,
    /// and the slot is free when the peer has closed its side. Default: `None`, the socket is closed at
    /// once.
    ///
    /// For servers that limit their clients: a connection counts there until the server has closed it. The
    /// pool's [`close_timeout`](connpool_core::PoolConfig::close_timeout) applies as well, and a caller that
    /// waits for the slot ends it.
    pub fn linger(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.linger = limit.into();
        self
    }

    /// Sets a function that is called with each socket before it connects to the given address, for
    /// example to bind a source address or to set a buffer size. Its error fails the attempt.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::net::{Ipv4Addr, SocketAddr};
    /// # fn with_source<N: connpool_tcp::Net>(tcp: connpool_tcp::Tcp<N>) -> connpool_tcp::Tcp<N> {
    /// tcp.before_connect(|socket, _address| {
    ///     socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
    /// })
    /// # }
    /// ```
    pub fn before_connect<F>(mut self, prepare: F) -> Self
    where
        F: Fn(SockRef<'_>, SocketAddr) -> io::Result<()> + Send + Sync + 'static,
    {
        self.prepare = Some(Arc::new(prepare));
        self
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<N::Conn> {
        let mut conn = match &self.prepare {
            Some(prepare) => N::connect_prepared(address, &**prepare).await?,
            None => N::connect(address).await?,
        };
        let socket = N::socket(&conn);
        if socket.local_addr()? == socket.peer_addr()? {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "connected to itself: no server listens on this port",
            ));
        }
        self.options.apply(socket)?;
        conn.set_strict(self.strict);
        if self.allow_unsolicited {
            N::allow_unsolicited(&mut conn);
        }
        Ok(conn)
    }
}

impl<N: Net> Manager for Tcp<N> {
    type Connection = N::Conn;
    type Error = io::Error;

    /// Connects without a time limit of its own: the pool's `connect_timeout` applies.
    ///
    /// # Errors
    ///
    /// The errors of all addresses tried, or of the lookup.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops all attempts.
    async fn connect(&self) -> io::Result<N::Conn> {
        self.connect_within(None).await
    }

    fn stream(&self) -> Option<StreamOf<N::Conn>> {
        Some(|conn| conn)
    }

    async fn connect_within(&self, limit: Option<Duration>) -> io::Result<N::Conn> {
        let addresses = match N::resolve(&self.address).await {
            Ok(addresses) => self.book.order(addresses, self.spread),
            Err(error) => return Err(AddressErrors::of_the_name(&self.address, error)),
        };
        let delay = race::delay(limit, addresses.len());
        let sleep = || async move { _ = N::within(delay, pending::<()>()).await };
        match race::connect(&addresses, |address| self.connect_to(address), sleep).await {
            Ok((address, conn)) => {
                self.book.won(address);
                Ok(conn)
            }
            Err(failures) => {
                self.book.lost();
                Err(AddressErrors::of_all(&self.address, failures))
            }
        }
    }

    async fn ping(&self, conn: &mut N::Conn) -> io::Result<()> {
        match &self.ping {
            Some(ping) => ping(conn).await,
            None => Ok(()),
        }
    }

    fn needs_reset(&self) -> bool {
        false
    }

    async fn close(&self, mut conn: N::Conn, reason: CloseReason) {
        let Some(limit) = self.linger.filter(|_| reason.is_healthy()) else { return };
        let end = async {
            N::socket(&conn).shutdown(Shutdown::Write)?;
            N::read_to_end(&mut conn).await
        };
        // A peer that has reset the connection has closed it as well.
        let _ = N::within(limit, end).await;
    }

    fn has_close(&self) -> bool {
        self.linger.is_some()
    }
}

/// The errors of a failed connect: one for each address tried, or that of the lookup. It is inside of
/// the [`io::Error`], for `io::Error::get_ref`.
#[derive(Debug)]
pub struct AddressErrors(Vec<(String, io::Error)>);

impl AddressErrors {
    /// Returns each address, or the name if the lookup failed, with its error.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &io::Error)> {
        self.0.iter().map(|(target, error)| (target.as_str(), error))
    }

    fn of_the_name(name: &str, error: io::Error) -> io::Error {
        let kind = error.kind();
        io::Error::new(kind, AddressErrors(vec![(name.to_owned(), error)]))
    }

    /// Returns an error of the kind of the last failure.
    fn of_all(name: &str, failures: race::Failures) -> io::Error {
        let Some(kind) = failures.last().map(|(_, error)| error.kind()) else {
            let none = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            return AddressErrors::of_the_name(name, none);
        };
        let named = failures.into_iter().map(|(address, error)| (address.to_string(), error));
        io::Error::new(kind, AddressErrors(named.collect()))
    }
}

impl fmt::Display for AddressErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, (target, error)) in self.0.iter().enumerate() {
            let separator = if nth > 0 { "; " } else { "" };
            write!(f, "{separator}{target}: {error}")?;
        }
        Ok(())
    }
}

impl Error for AddressErrors {
    /// Returns the cause of the last error, which is in the text already.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.last().and_then(|(_, error)| error.source())
    }
}

impl<N: Net> Clone for Tcp<N> {
    fn clone(&self) -> Self {
        Tcp {
            address: Arc::clone(&self.address),
            options: self.options.clone(),
            ping: self.ping.clone(),
            prepare: self.prepare.clone(),
            spread: self.spread,
            strict: self.strict,
            allow_unsolicited: self.allow_unsolicited,
            linger: self.linger,
            book: Arc::clone(&self.book),
        }
    }
}

impl<N: Net> fmt::Debug for Tcp<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpManager")
            .field("address", &self.address)
            .field("options", &self.options)
            .field("ping", &self.ping.is_some())
            .field("before_connect", &self.prepare.is_some())
            .field("spread", &self.spread)
            .field("strict", &self.strict)
            .field("allow_unsolicited", &self.allow_unsolicited)
            .field("linger", &self.linger)
            .finish()
    }
}
