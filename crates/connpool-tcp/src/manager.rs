//! A manager of plain TCP connections, on any runtime.

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

use crate::{TcpKeepalive, TcpOptions};

/// TCP as a runtime does it.
pub trait Net: Send + Sync + 'static {
    /// The runtime's TCP stream.
    type Conn: Send + 'static;

    /// Looks up `host:port`.
    fn resolve(address: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;

    /// Connects to one address.
    fn connect(address: SocketAddr) -> impl Future<Output = io::Result<Self::Conn>> + Send;

    /// Gives `work` so much time; `None` if it was not enough.
    fn within<T: Send>(
        limit: Duration,
        work: impl Future<Output = T> + Send,
    ) -> impl Future<Output = Option<T>> + Send;

    /// The socket of a connection.
    fn socket(conn: &Self::Conn) -> SockRef<'_>;

    /// Looks at an idle connection.
    fn liveness(conn: &mut Self::Conn) -> Liveness;

    /// Whether nothing was left half done on a connection and nothing ended.
    fn is_clean(conn: &Self::Conn) -> bool;
}

/// Connects to `host:port` over TCP.
///
/// * The name is resolved for every connect, and every address it has is tried in turn, each with
///   an equal share of what is left of the pool's `connect_timeout`.
/// * Sockets have `TCP_NODELAY`, keepalive and, on Linux, `TCP_USER_TIMEOUT`: a write to a peer
///   that has vanished fails after half a minute, a read from it after little more than one.
/// * An idle connection is looked at in the kernel before it is lent.
/// * A connection whose user gave up in the middle of a read or a write, or saw an error or the
///   end of the stream, is not used again.
/// * A connection to itself, which Linux makes now and then when nobody listens on a port of the
///   ephemeral range, is refused.
pub struct Tcp<N: Net> {
    address: Arc<str>,
    options: TcpOptions,
    ping: Option<Ping<N::Conn>>,
}

type Ping<C> =
    Arc<dyn for<'a> Fn(&'a mut C) -> BoxFuture<'a, io::Result<()>> + Send + Sync + 'static>;
type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An async function of a connection whose future is `Send`: what [`Tcp::ping`] takes. Implemented
/// for every `async |conn| ..` that captures nothing, and for every matching `async fn`.
pub trait PingFn<'a, C: 'a> {
    /// The future that it returns.
    type Fut: Future<Output = io::Result<()>> + Send + 'a;

    /// Calls it.
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
    /// Connects to `address`: a `host:port`, or a `SocketAddr`.
    pub fn new(address: impl ToString) -> Self {
        Tcp {
            address: address.to_string().into(),
            options: TcpOptions::default(),
            ping: None,
        }
    }

    /// The active check before a connection is lent: one question, one answer. Default: none.
    ///
    /// An async closure without captures, or an async function; a ping that needs more is a
    /// [`Manager`] of its own. Read all of the answer: what is left over is taken for a fault.
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

    /// Whether small writes are sent at once. Default: true.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.options.nodelay = nodelay;
        self
    }

    /// The kernel's probes of a silent peer. Default: after 60 s, every 10 s, 3 times. `None`
    /// leaves them to the system, which as a rule has none.
    pub fn keepalive(mut self, keepalive: impl Into<Option<TcpKeepalive>>) -> Self {
        self.options.keepalive = keepalive.into();
        self
    }

    /// How long data may stay unacknowledged before the kernel gives up the connection; Linux
    /// only. Default: 30 s. `None` leaves it to the system: about 15 minutes.
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
                "connected to itself: nobody listens there",
            ));
        }
        self.options.apply(socket)?;
        Ok(conn)
    }
}

impl<N: Net> Manager for Tcp<N> {
    type Connection = N::Conn;
    type Error = io::Error;

    /// As the pool connects, but with the addresses sharing 5 s, the pool's default: for a manager
    /// that wraps this one. The last address has what is left of the pool's own limit.
    async fn connect(&self) -> io::Result<N::Conn> {
        self.connect_within(Some(SHARED_WITHOUT_A_LIMIT)).await
    }

    async fn connect_within(&self, limit: Option<Duration>) -> io::Result<N::Conn> {
        let start = Instant::now();
        let addresses = match N::resolve(&self.address).await {
            Ok(addresses) => addresses,
            Err(error) => return Err(about(&self.address, error)),
        };
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "it has no address");
        let mut place = self.address.to_string();
        for (index, address) in addresses.iter().enumerate() {
            let tries_left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let attempt = self.connect_to(*address);
            // The last one has all that is left, which is for the pool to limit.
            let result = match limit.filter(|_| tries_left > 1) {
                Some(limit) => {
                    let share = limit.saturating_sub(start.elapsed()) / tries_left;
                    let late = || Err(timed_out(share));
                    N::within(share, attempt).await.unwrap_or_else(late)
                }
                None => attempt.await,
            };
            match result {
                Ok(conn) => return Ok(conn),
                Err(error) => (failure, place) = (error, address.to_string()),
            }
        }
        Err(about(&place, failure))
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
const SHARED_WITHOUT_A_LIMIT: Duration = Duration::from_secs(5);

fn timed_out(share: Duration) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("no answer within its share of {share:.1?}"),
    )
}

/// An error that says which address it is about. Its kind stays, its cause is the source.
fn about(place: &str, error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        AddressError {
            place: place.to_owned(),
            error,
        },
    )
}

#[derive(Debug)]
struct AddressError {
    place: String,
    error: io::Error,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.error)
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
