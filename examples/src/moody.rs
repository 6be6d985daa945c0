//! A server whose mood can be changed while it runs, and the manager of its clients: for examples of
//! what can go wrong.
//!
//! The protocol: the server says `hello`, and from then on sends every line back.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connpool_core::{Connection, Liveness, Manager};
use event_listener::Event;
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use smol::Async;

use crate::server::Server;

/// What the server is like to its clients, from the next moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It answers.
    Good,
    /// It accepts, and says and answers nothing.
    Silent,
    /// It hangs up on everybody, whoever comes included.
    Curt,
    /// It tells everybody something that nobody asked for, and answers.
    Chatty,
}

/// The server.
#[derive(Debug)]
pub struct Moody {
    address: SocketAddr,
    inside: Arc<Inside>,
    server: Option<Server>,
}

#[derive(Debug)]
struct Inside {
    mood: Mutex<Mood>,
    changed: Event,
    accepted: AtomicU64,
}

impl Moody {
    /// Starts one in a good mood, on a free port of the loopback.
    ///
    /// # Errors
    ///
    /// If there is no port to be had.
    pub fn start() -> io::Result<Moody> {
        let inside = Arc::new(Inside {
            mood: Mutex::new(Mood::Good),
            changed: Event::new(),
            accepted: AtomicU64::new(0),
        });
        let server = Server::start(serving(&inside))?;
        Ok(Moody {
            address: server.address(),
            inside,
            server: Some(server),
        })
    }

    /// Where it listens, or did.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted, in all its lives.
    pub fn accepted(&self) -> u64 {
        self.inside.accepted.load(SeqCst)
    }

    /// Changes its mood, also towards those who are connected.
    pub fn becomes(&self, mood: Mood) {
        *self.inside.mood.lock().expect("no mood panics") = mood;
        self.inside.changed.notify(usize::MAX);
    }

    /// Ends it: all connections are closed, further ones refused.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }

    /// Starts it again at its old address, in a good mood.
    ///
    /// # Errors
    ///
    /// If somebody else has taken the port.
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill();
        self.becomes(Mood::Good);
        self.server = Some(Server::start_at(self.address, serving(&self.inside))?);
        Ok(())
    }
}

fn serving(
    inside: &Arc<Inside>,
) -> impl AsyncFn(Async<TcpStream>) -> io::Result<()> + Send + 'static {
    let inside = Arc::clone(inside);
    async move |stream| inside.serve(stream).await
}

impl Inside {
    fn mood(&self) -> Mood {
        *self.mood.lock().expect("no mood panics")
    }

    async fn serve(&self, mut stream: Async<TcpStream>) -> io::Result<()> {
        self.accepted.fetch_add(1, SeqCst);
        let mut buffer = [0; 1024];
        let mut greeted = false;
        loop {
            let changed = self.changed.listen();
            let mood = self.mood();
            if mood == Mood::Curt {
                return Ok(());
            }
            if mood == Mood::Silent {
                changed.await;
                continue;
            }
            if !greeted {
                stream.write_all(HELLO).await?;
                greeted = true;
            } else if mood == Mood::Chatty {
                stream.write_all(b"by the way\n").await?;
            }
            let mut answer = async || loop {
                let read = stream.read(&mut buffer).await?;
                if read == 0 {
                    return Ok(true);
                }
                stream
                    .write_all(buffer.get(..read).unwrap_or_default())
                    .await?;
            };
            let mood_changes = async {
                changed.await;
                Ok::<_, io::Error>(false)
            };
            // A reply that is cut short by the change was addressed to nobody: a loopback socket
            // takes so few bytes at once.
            if mood_changes.or(answer()).await? {
                return Ok(());
            }
        }
    }
}

const HELLO: &[u8] = b"hello\n";

/// Its clients, over the TCP of either runtime.
#[derive(Debug)]
pub struct Client<T>(T);

impl<T> Client<T> {
    /// Over what `tcp` connects.
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

    fn liveness(&self, conn: &mut T::Connection) -> Liveness {
        self.0.liveness(conn)
    }

    fn is_reusable(&self, conn: &mut T::Connection) -> bool {
        self.0.is_reusable(conn)
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

/// One request, and the number in its reply: the caller's own, unless a connection was shared.
///
/// # Errors
///
/// `InvalidData` if what came is no reply: the server spoke out of turn while the request was under
/// way, when no pool can know it yet.
pub async fn ask(conn: &mut impl Connection, number: u64) -> io::Result<u64> {
    let request = format!("{number:019}\n");
    conn.write_all(request.as_bytes()).await?;
    let mut reply = [0; 20];
    conn.read_exact(&mut reply).await?;
    std::str::from_utf8(&reply)
        .ok()
        .and_then(|reply| reply.strip_suffix('\n')?.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is no reply"))
}
