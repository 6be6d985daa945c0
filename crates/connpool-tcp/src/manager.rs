//! The manager of plain TCP connections, generic over the runtime.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connpool_core::{Liveness, Manager};
use socket2::SockRef;

use crate::options::{TcpKeepalive, TcpOptions};

/// The TCP operations of a runtime.
pub trait Net: Send + Sync + 'static {
    /// The runtime's TCP stream.
    type Conn: Send + 'static;

    /// Resolves `host:port` to socket addresses, in the order in which they are tried.
    fn resolve(address: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Connects to a single address.
    fn connect(address: SocketAddr) -> impl Future<Output = io::Result<Self::Conn>> + Send;

    /// Runs `work` for at most `limit`. Returns `None` if it has not finished by then.
    fn within<T: Send>(
        limit: Duration,
        work: impl Future<Output = T> + Send,
    ) -> impl Future<Output = Option<T>> + Send;

    /// Returns a reference to the socket of a connection.
    fn socket(conn: &Self::Conn) -> SockRef<'_>;

    /// Probes an idle connection. Does not block and reads no byte.
    fn liveness(conn: &mut Self::Conn) -> Liveness;

    /// Returns `true` if no operation on the connection is unfinished, and none has failed or seen
    /// the end of the stream.
    fn is_clean(conn: &Self::Conn) -> bool;
}

/// Connects to `host:port` over TCP.
///
/// * The name is resolved for every connect. The addresses are tried in turn; each gets an equal
///   share of the time left of the pool's `connect_timeout`.
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
}

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
        Tcp { address: address.to_string().into(), options: TcpOptions::default(), ping: None }
    }

    /// Sets the ping, the active check of an idle connection before it is checked out: one request and its
    /// reply. Default: no ping.
    ///
    /// Takes an async closure without captures or an async function. For a ping that needs state,
    /// implement [`Manager`]. The ping must read the reply completely: leftover bytes count as
    /// [`Liveness::Unsolicited`], and the pool closes the connection.
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

    async fn connect_to(&self, address: SocketAddr) -> io::Result<N::Conn> {
        let conn = N::connect(address).await?;
        let socket = N::socket(&conn);
        if socket.local_addr()? == socket.peer_addr()? {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "connected to itself: no server listens on this port",
            ));
        }
        self.options.apply(socket)?;
        Ok(conn)
    }
}

impl<N: Net> Manager for Tcp<N> {
    type Connection = N::Conn;
    type Error = io::Error;

    /// Connects like [`connect_within`](Manager::connect_within), with the addresses sharing 5 s,
    /// the default `connect_timeout` of a pool. For managers that wrap this one. The last address
    /// is not limited here, only by the pool's own `connect_timeout`.
    ///
    /// # Errors
    ///
    /// An error of the last address tried, prefixed with that address, or of the lookup, prefixed
    /// with the name.
    async fn connect(&self) -> io::Result<N::Conn> {
        self.connect_within(Some(DEFAULT_CONNECT_TIMEOUT)).await
    }

    async fn connect_within(&self, limit: Option<Duration>) -> io::Result<N::Conn> {
        let start = Instant::now();
        let addresses = match N::resolve(&self.address).await {
            Ok(addresses) => addresses,
            Err(error) => return Err(with_address(&self.address, error)),
        };
        let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let mut target = self.address.to_string();
        for (index, address) in addresses.iter().enumerate() {
            let addresses_left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let attempt = self.connect_to(*address);
            // The last address is not limited here: the pool enforces the overall limit.
            let result = match limit.filter(|_| addresses_left > 1) {
                Some(limit) => {
                    let share = limit.saturating_sub(start.elapsed()) / addresses_left;
                    let elapsed = || Err(timed_out(share));
                    N::within(share, attempt).await.unwrap_or_else(elapsed)
                }
                None => attempt.await,
            };
            match result {
                Ok(conn) => return Ok(conn),
                Err(error) => (last_error, target) = (error, address.to_string()),
            }
        }
        Err(with_address(&target, last_error))
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

    fn liveness(&self, conn: &mut N::Conn) -> Liveness {
        N::liveness(conn)
    }

    fn is_reusable(&self, conn: &mut N::Conn) -> bool {
        N::is_clean(conn)
    }
}

/// The default `connect_timeout` of a pool.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

fn timed_out(share: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no answer within {share:.1?}, the share of connect_timeout for this address"),
    )
}

/// Prefixes an error with the address it belongs to. Keeps the kind; the original error becomes the
/// source.
fn with_address(target: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), AddressError { target: target.to_owned(), error })
}

#[derive(Debug)]
struct AddressError {
    target: String,
    error: io::Error,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.error)
    }
}

impl Error for AddressError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl<N: Net> Clone for Tcp<N> {
    fn clone(&self) -> Self {
        Tcp {
            address: Arc::clone(&self.address),
            options: self.options.clone(),
            ping: self.ping.clone(),
        }
    }
}

impl<N: Net> fmt::Debug for Tcp<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpManager")
            .field("address", &self.address)
            .field("options", &self.options)
            .field("ping", &self.ping.is_some())
            .finish()
    }
}
