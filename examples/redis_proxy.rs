//! Runs a proxy in front of Redis: many clients share a few pooled connections, each checked before
//! it is handed out. Clients disconnect in the middle of a request, Redis crashes and restarts, and
//! no client gets the reply to another request.
//!
//! $ cargo run --release --example redis_proxy
//! $ cargo run --release --example redis_proxy -- --runtime smol
//!
//! Starts a `redis-server` of its own. With `--url redis://host:port` it uses an existing server
//! and skips the crash.

#[path = "redis_proxy/clients.rs"]
mod clients;

use std::error::Error;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use connpool_core::{Connection, Manager, Pool, Runtime};
use connpool_examples::pause;
use connpool_examples::redis::{Redis, RedisUrl};
use connpool_examples::redis_server::RedisServer;
use connpool_examples::resp;
use futures_lite::future::or;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::clients::{Clients, Fault};

const CLIENTS: usize = 16;
const PART: Duration = Duration::from_millis(700);
const DOWN_FOR: Duration = Duration::from_millis(300);

/// The forwarded commands. Each request may run on a different connection, so commands that change
/// the connection state (SELECT, SUBSCRIBE, MULTI) are not allowed.
const FORWARDED: [&str; 5] = ["PING", "GET", "SET", "INCR", "DEL"];

/// Runs a pooled proxy in front of Redis.
#[derive(Parser)]
struct Args {
    /// The runtime of the proxy, the clients and the pool
    #[arg(long, value_enum, default_value = "tokio")]
    runtime: Which,
    /// An existing server: redis://host:port or redis://:password@host:port
    #[arg(long)]
    url: Option<RedisUrl>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Tokio,
    Smol,
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Outcome<()> {
    let (url, own) = match args.url {
        Some(url) => (url, None),
        None => {
            let own = RedisServer::start()?;
            (own.url(), Some(own))
        }
    };
    let any_port = (Ipv4Addr::LOCALHOST, 0);
    match args.runtime {
        Which::Tokio => tokio::runtime::Runtime::new()?.block_on(async {
            use connpool_tokio::{TcpManager, TokioRuntime};
            println!("tokio proxy of the Redis on {}\n", url.address);
            let listener = tokio::net::TcpListener::bind(any_port).await?;
            let tcp = |address: &str| TcpManager::new(address);
            demo(listener, tcp, TokioRuntime::new(), &url, own).await
        }),
        Which::Smol => smol::block_on(async {
            use connpool_smol::{SmolRuntime, TcpManager};
            println!("smol proxy of the Redis on {}\n", url.address);
            let listener = smol::Async::<std::net::TcpListener>::bind(any_port)?;
            let tcp = |address: &str| TcpManager::new(address);
            demo(listener, tcp, SmolRuntime::new(), &url, own).await
        }),
    }
}

/// Runs the demo, the same on every runtime.
async fn demo<T>(
    listener: impl Listen,
    tcp: impl Fn(&str) -> T,
    runtime: impl Runtime,
    url: &RedisUrl,
    mut own: Option<RedisServer>,
) -> Outcome<()>
where
    T: Manager<Connection: Connection, Error = io::Error>,
{
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    let redis = Redis::new(tcp(&url.address), url.password.as_deref());
    let pool = Pool::builder(redis, Arc::clone(&runtime))
        .name("redis")
        .min_size(2)
        .max_size(8)
        .increment(2)
        .idle_timeout(Duration::from_secs(30))
        .max_lifetime(Duration::from_secs(300))
        .ping_after(Duration::from_millis(100))
        // While Redis is down, requests wait for the next connect attempt instead of failing.
        .fail_fast_after(None)
        .build()
        .await?;
    let proxy = tcp(&listener.address()?.to_string());
    let clients = Clients::new(CLIENTS, proxy, Arc::clone(&runtime));
    let proxy = serve(listener, pool.clone(), Arc::clone(&runtime));
    runtime.spawn(Box::pin(proxy));

    let connections = pool.config().max_size;
    println!("{CLIENTS} clients over {connections} connections:");
    clients.ask_during(pause(&*runtime, PART), Fault::None).await?;

    println!("clients abandon every tenth request and disconnect:");
    clients.ask_during(pause(&*runtime, PART), Fault::Disconnects).await?;

    if let Some(server) = own.take() {
        println!("Redis crashes and restarts after {DOWN_FOR:?}:");
        let crash = smol::unblock(move || crash(server));
        own = Some(clients.ask_during(crash, Fault::Crash).await??);
    }

    clients.tidy_up().await?;
    println!("{}", pool.stats());
    let report = pool.close(Duration::from_secs(5)).await;
    println!("closed: {} connections, {} still in use", report.closed, report.still_out.len());
    drop(own);
    Ok(())
}

/// Kills the server and restarts it. Blocks for the whole time.
fn crash(mut server: RedisServer) -> io::Result<RedisServer> {
    thread::sleep(PART / 3);
    server.kill();
    thread::sleep(DOWN_FOR);
    server.restart()?;
    thread::sleep(PART / 3);
    Ok(server)
}

/// Runs the proxy, with a task for each client.
async fn serve<M>(listener: impl Listen, pool: Pool<M>, runtime: Arc<dyn Runtime>)
where
    M: Manager<Connection: Connection>,
{
    while let Ok(mut client) = listener.next().await {
        let pool = pool.clone();
        runtime.spawn(Box::pin(async move {
            // An error concerns only this client: it disconnected, or it sent invalid RESP.
            let _ = serve_client(&mut client, &pool).await;
        }));
    }
}

async fn serve_client<M>(client: &mut impl Connection, pool: &Pool<M>) -> io::Result<()>
where
    M: Manager<Connection: Connection>,
{
    let mut buffer = Vec::new();
    while let Some(request) = resp::read_value(client, &mut buffer).await? {
        let answer = async { Some(answer(&request, pool).await) };
        let disconnected = async {
            until_disconnected(client, &mut buffer).await;
            None
        };
        match or(answer, disconnected).await {
            Some(reply) => client.write_all(&reply).await?,
            None => break,
        }
    }
    Ok(())
}

/// Returns the reply of Redis, or an error reply.
async fn answer<M>(request: &[u8], pool: &Pool<M>) -> Vec<u8>
where
    M: Manager<Connection: Connection>,
{
    let command = resp::command(request);
    let reply = match &*command {
        known if FORWARDED.contains(&known) => forward(request, pool).await,
        _ => Err(format!("only {} are forwarded", FORWARDED.join(", ")).into()),
    };
    reply.unwrap_or_else(|error| format!("-ERR proxy: {error}\r\n").into_bytes())
}

/// Sends a request and reads its whole reply. If the client disconnects, this future is dropped,
/// and `exchange` destroys the connection on which the reply is still due.
async fn forward<M>(request: &[u8], pool: &Pool<M>) -> Outcome<Vec<u8>>
where
    M: Manager<Connection: Connection>,
{
    let mut conn = pool.get().await?;
    let reply = conn.exchange(async |redis| resp::exchange(redis, request).await);
    Ok(reply.await?)
}

/// Completes when the client disconnects. Bytes received meanwhile belong to its next request.
async fn until_disconnected(client: &mut impl Connection, buffer: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    if let Ok(read @ 1..) = client.read(&mut chunk).await {
        buffer.extend_from_slice(&chunk[..read]);
        // Still connected. Its next request is read after this one is answered.
        pending::<()>().await;
    }
}

/// Accepts clients on either runtime.
trait Listen: Send + Sync + 'static {
    type Client: Connection;

    fn address(&self) -> io::Result<SocketAddr>;

    fn next(&self) -> impl Future<Output = io::Result<Self::Client>> + Send;
}

impl Listen for tokio::net::TcpListener {
    type Client = connpool_tokio::TcpConn;

    fn address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    async fn next(&self) -> io::Result<Self::Client> {
        let (client, _) = self.accept().await?;
        client.set_nodelay(true)?;
        Ok(connpool_tokio::Io::new(client))
    }
}

impl Listen for smol::Async<std::net::TcpListener> {
    type Client = connpool_smol::TcpConn;

    fn address(&self) -> io::Result<SocketAddr> {
        self.get_ref().local_addr()
    }

    async fn next(&self) -> io::Result<Self::Client> {
        let (client, _) = self.accept().await?;
        client.get_ref().set_nodelay(true)?;
        Ok(connpool_smol::Io::new(client))
    }
}
