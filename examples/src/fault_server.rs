//! A server with injectable faults, and the manager of its clients.
//!
//! The protocol: the server sends `hello`, then echoes every line.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connpool_core::{Connection, Manager, StreamOf};
use event_listener::Event;
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use smol::Async;

use crate::server::Server;

/// The behavior of the server. A change takes effect at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Answers every request.
    Normal,
    /// Accepts connections, but sends nothing.
    Unresponsive,
    /// Closes every connection, including new ones.
    Disconnecting,
    /// Sends unsolicited data on every connection, and answers requests.
    Unsolicited,
}

/// A server whose [`Mode`] can be changed while it runs.
#[derive(Debug)]
pub struct FaultServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Option<Server>,
}

#[derive(Debug)]
struct Shared {
    mode: Mutex<Mode>,
    mode_changed: Event,
    accepted: AtomicU64,
}

impl FaultServer {
    /// Starts a server in [`Mode::Normal`] on a free loopback port.
    ///
    /// # Errors
    ///
    /// If no port is available.
    pub fn start() -> io::Result<FaultServer> {
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Normal),
            mode_changed: Event::new(),
            accepted: AtomicU64::new(0),
        });
        let server = Server::start(serving(&shared))?;
        Ok(FaultServer { address: server.address(), shared, server: Some(server) })
    }

    /// Returns the address on which the server listens, or listened before it was killed.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of connections accepted so far, across restarts.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(SeqCst)
    }

    /// Changes the mode, also for connections that are already open.
    pub fn set_mode(&self, mode: Mode) {
        *self.shared.mode.lock().expect("the lock is not poisoned") = mode;
        self.shared.mode_changed.notify(usize::MAX);
    }

    /// Stops the server: closes all connections and refuses new ones.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }

    /// Starts the server again at the same address, in [`Mode::Normal`].
    ///
    /// # Errors
    ///
    /// If another process has taken the port.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        self.set_mode(Mode::Normal);
        self.server = Some(Server::start_at(self.address, serving(&self.shared))?);
        Ok(())
    }
}

fn serving(
    shared: &Arc<Shared>,
) -> impl AsyncFn(Async<TcpStream>) -> io::Result<()> + Send + 'static {
    let shared = Arc::clone(shared);
    async move |stream| shared.serve(stream).await
}

impl Shared {
    fn mode(&self) -> Mode {
        *self.mode.lock().expect("the lock is not poisoned")
    }

    async fn serve(&self, mut stream: Async<TcpStream>) -> io::Result<()> {
        self.accepted.fetch_add(1, SeqCst);
        let mut buffer = [0; 1024];
        let mut greeted = false;
        loop {
            // Before the mode is read, so that a change in between is not missed.
            let changed = self.mode_changed.listen();
            let mode = self.mode();
            if mode == Mode::Disconnecting {
                return Ok(());
            }
            if mode == Mode::Unresponsive {
                changed.await;
                continue;
            }
            if !greeted {
                stream.write_all(HELLO).await?;
                greeted = true;
            } else if mode == Mode::Unsolicited {
                stream.write_all(b"by the way\n").await?;
            }
            let mut answer = async || loop {
                let read = stream.read(&mut buffer).await?;
                if read == 0 {
                    return Ok(true);
                }
                stream.write_all(buffer.get(..read).unwrap_or_default()).await?;
            };
            let mode_changes = async {
                changed.await;
                Ok::<_, io::Error>(false)
            };
            // A mode change cannot cut a reply short: the socket buffer takes so few bytes at once.
            if mode_changes.or(answer()).await? {
                return Ok(());
            }
        }
    }
}

const HELLO: &[u8] = b"hello\n";

/// The manager of the clients, over the TCP streams of either runtime.
#[derive(Debug)]
pub struct Client<T>(T);

impl<T> Client<T> {
    /// Creates a manager that connects through `tcp`.
    pub fn over(tcp: T) -> Client<T> {
        Client(tcp)
    }
}

impl<T> Manager for Client<T>
where
    T: Manager<Connection: Connection, Error = io::Error>,
{
    type Connection = T::Connection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<T::Connection> {
        self.greeted(None).await
    }

    fn stream(&self) -> Option<StreamOf<T::Connection>> {
        self.0.stream()
    }

    async fn connect_within(&self, limit: Option<Duration>) -> io::Result<T::Connection> {
        self.greeted(limit).await
    }

    async fn ping(&self, conn: &mut T::Connection) -> io::Result<()> {
        match ask(conn, 0).await? {
            0 => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn needs_reset(&self) -> bool {
        false
    }
}

impl<T> Client<T>
where
    T: Manager<Connection: Connection, Error = io::Error>,
{
    async fn greeted(&self, limit: Option<Duration>) -> io::Result<T::Connection> {
        let mut conn = self.0.connect_within(limit).await?;
        let mut hello = [0; HELLO.len()];
        conn.read_exact(&mut hello).await?;
        Ok(conn)
    }
}

/// Sends a request with this number and returns the number in the reply. The two are equal unless
/// the reply belongs to another request.
///
/// # Errors
///
/// `InvalidData` if the server sent unsolicited data while the request was in flight, which the
/// pool cannot detect in advance.
pub async fn ask(conn: &mut impl Connection, number: u64) -> io::Result<u64> {
    let request = format!("{number:019}\n");
    conn.write_all(request.as_bytes()).await?;
    let mut reply = [0; 20];
    conn.read_exact(&mut reply).await?;
    std::str::from_utf8(&reply)
        .ok()
        .and_then(|reply| reply.strip_suffix('\n')?.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a reply"))
}
