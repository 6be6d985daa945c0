//! The two runtimes, and helpers of the scenarios.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use connpool_core::{
    Builder, CloseReason, Connection, Manager, Pool, PooledConnection, ResetWhen, Runtime,
};
use connpool_examples::redis::Redis;
use connpool_examples::redis_server::RedisServer;
use connpool_examples::resp;
use futures_lite::future::{or, yield_now};

/// Time limit of one expected event.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Time limit of a scenario.
const TOO_LONG: Duration = Duration::from_secs(60);

/// A runtime and its adapter crate.
pub(crate) trait Adapter: Send + Sync + 'static {
    type Conn: Connection;
    type Tcp: Manager<Connection = Self::Conn, Error = io::Error>;

    fn run(scenario: impl Future<Output = ()>);

    /// Spawns a task and returns its result. Panics if the task panicked.
    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T>;

    fn runtime() -> impl Runtime;

    fn tcp(address: String) -> Self::Tcp;

    /// Duplicates the socket of a connection.
    fn socket(conn: &Self::Conn) -> TcpStream;
}

pub(crate) enum Tokio {}

impl Adapter for Tokio {
    type Conn = connpool_tokio::TcpConn;
    type Tcp = connpool_tokio::TcpManager;

    fn run(scenario: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let in_time = runtime.block_on(async { tokio::time::timeout(TOO_LONG, scenario).await });
        in_time.expect("the scenario did not finish in time");
    }

    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        let task = tokio::spawn(task);
        async { task.await.expect("the task does not panic") }
    }

    fn runtime() -> impl Runtime {
        connpool_tokio::TokioRuntime::new()
    }

    fn tcp(address: String) -> Self::Tcp {
        Self::Tcp::new(address)
    }

    fn socket(conn: &Self::Conn) -> TcpStream {
        duplicate(conn.get_ref())
    }
}

pub(crate) enum Smol {}

impl Adapter for Smol {
    type Conn = connpool_smol::TcpConn;
    type Tcp = connpool_smol::TcpManager;

    fn run(scenario: impl Future<Output = ()>) {
        let too_late = async {
            smol::Timer::after(TOO_LONG).await;
            panic!("the scenario did not finish in time");
        };
        smol::block_on(or(scenario, too_late));
    }

    fn spawn<T: Send + 'static>(
        task: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> {
        smol::spawn(task)
    }

    fn runtime() -> impl Runtime {
        connpool_smol::SmolRuntime::new()
    }

    fn tcp(address: String) -> Self::Tcp {
        Self::Tcp::new(address)
    }

    fn socket(conn: &Self::Conn) -> TcpStream {
        duplicate(conn.get_ref())
    }
}

fn duplicate(socket: &impl AsFd) -> TcpStream {
    socket.as_fd().try_clone_to_owned().unwrap().into()
}

pub(crate) fn start_redis() -> RedisServer {
    RedisServer::start().unwrap_or_else(|error| panic!("{error}"))
}

/// Starts to build a pool of connections to this server.
pub(crate) fn pool_of<A: Adapter>(server: &RedisServer) -> Builder<Redis<A::Tcp>> {
    // Counts are compared right after a return.
    Pool::builder(Redis::new(A::tcp(server.address()), None), A::runtime())
        .reset_when(ResetWhen::OnGet)
}

/// Borrows `count` connections at once.
pub(crate) async fn borrow<M: Manager>(
    pool: &Pool<M>,
    count: usize,
) -> Vec<PooledConnection<'static, M>> {
    let mut borrowed = Vec::new();
    for _ in 0..count {
        let conn = pool.get_owned().await;
        borrowed.push(conn.unwrap_or_else(|error| panic!("{error}")));
    }
    borrowed
}

/// Sends one command and returns its reply as text.
pub(crate) async fn ask(conn: &mut impl Connection, words: &[&str]) -> io::Result<String> {
    let reply = resp::exchange(conn, &resp::request(words)).await?;
    Ok(resp::text(&reply))
}

/// Returns the id of a connection in Redis. Ids only grow.
pub(crate) async fn client_id(conn: &mut impl Connection) -> u64 {
    let id = ask(conn, &["CLIENT", "ID"]).await.unwrap();
    id.parse().unwrap()
}

/// Returns Redis' client list, a line per connection, without the one that asks.
pub(crate) fn clients(server: &mut RedisServer) -> Vec<String> {
    let list = server.command(&["CLIENT", "LIST"]).unwrap();
    let others = list.lines().filter(|line| !line.contains(" cmd=client"));
    others.map(str::to_owned).collect()
}

/// Returns the value of a field in a line of [`clients`].
pub(crate) fn field<'a>(client: &'a str, name: &str) -> &'a str {
    let mut fields = client.split(' ').filter_map(|field| field.split_once('='));
    fields.find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

/// Yields until the condition holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LIMIT, "{what} did not come");
        yield_now().await;
    }
}

/// A second handle of a socket, to wait for events that the pool is to find. It keeps the socket
/// open, so it is dropped before the pool probes it.
pub(crate) struct Spy(TcpStream);

impl Spy {
    pub(crate) fn on<A: Adapter>(conn: &A::Conn) -> Spy {
        Spy(A::socket(conn))
    }

    /// Waits until bytes or the end of the stream have arrived.
    pub(crate) fn sees_something(self) {
        let start = Instant::now();
        while matches!(self.0.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock) {
            assert!(start.elapsed() < LIMIT, "nothing arrived");
            thread::yield_now();
        }
    }
}

/// Checks the number of closed connections per reason, and that there are no others.
pub(crate) fn assert_closed<M: Manager>(pool: &Pool<M>, expected: &[(CloseReason, u64)]) {
    let stats = pool.stats();
    let total: u64 = expected.iter().map(|(_, count)| count).sum();
    for (reason, count) in expected {
        assert_eq!(stats.closed.get(*reason), *count, "{reason:?}: {stats}");
    }
    assert_eq!(stats.closed.total(), total, "{stats}");
}
