//! A proxy in front of Redis: many clients over few pooled connections, each of them checked before
//! it is lent. Clients hang up in the middle of a request, Redis crashes and comes back, and nobody
//! gets a reply that is not his.
//!
//! $ cargo run --release --example redis_proxy
//! $ cargo run --release --example redis_proxy -- --runtime smol
//!
//! It starts a `redis-server` of its own. With `--url redis://host:port` it uses one that is there
//! already, and leaves out the crash.

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

use crate::clients::{Clients, Trouble};

const CLIENTS: usize = 16;
const PART: Duration = Duration::from_millis(700);
const DOWN_FOR: Duration = Duration::from_millis(300);

/// What is forwarded. A connection is lent for one request, so nothing belongs here that changes the
/// connection: SELECT, SUBSCRIBE, MULTI.
const FORWARDED: [&str; 5] = ["PING", "GET", "SET", "INCR", "DEL"];

/// A proxy in front of Redis, pooled.
#[derive(Parser)]
struct Args {
    /// The runtime that everything runs on.
    #[arg(long, value_enum, default_value = "tokio")]
    runtime: Which,
    /// A server that is there already: redis://host:port or redis://:password@host:port.
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

/// The same on every runtime.
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
        // While Redis is away, requests wait for the next attempt instead of failing.
        .fail_fast(false)
        .build()
        .await?;
    let proxy = tcp(&listener.address()?.to_string());
    let clients = Clients::new(CLIENTS, proxy, Arc::clone(&runtime));
    let proxy = serve(listener, pool.clone(), Arc::clone(&runtime));
    runtime.spawn(Box::pin(proxy));

    let connections = pool.config().max_size;
    println!("{CLIENTS} clients over {connections} connections:");
    clients
        .ask_during(pause(&*runtime, PART), Trouble::None)
        .await?;

    println!("they give up every tenth request and hang up:");
    clients
        .ask_during(pause(&*runtime, PART), Trouble::HangUps)
        .await?;

    if let Some(server) = own.take() {
        println!("Redis crashes and is back after {DOWN_FOR:?}:");
        let crash = smol::unblock(move || crash(server));
        own = Some(clients.ask_during(crash, Trouble::Crash).await??);
    }

    clients.tidy_up().await?;
    println!("{}", pool.stats());
    let report = pool.close(Duration::from_secs(5)).await;
    println!(
        "closed: {} connections, {} still out",
        report.closed,
        report.still_out.len()
    );
    drop(own);
    Ok(())
}

/// Blocks as long as it takes.
fn crash(mut server: RedisServer) -> io::Result<RedisServer> {
    thread::sleep(PART / 3);
    server.kill();
    thread::sleep(DOWN_FOR);
    server.restart()?;
    thread::sleep(PART / 3);
    Ok(server)
}

/// The proxy: a task for each client.
async fn serve<M>(listener: impl Listen, pool: Pool<M>, runtime: Arc<dyn Runtime>)
where
    M: Manager<Connection: Connection>,
{
    while let Ok(mut client) = listener.next().await {
        let pool = pool.clone();
        runtime.spawn(Box::pin(async move {
            // An error is about this client alone: it is gone, or what it sent is no RESP.
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
        let nobody = async {
            hangs_up(client, &mut buffer).await;
            None
        };
        match or(answer, nobody).await {
            Some(reply) => client.write_all(&reply).await?,
            None => break,
        }
    }
    Ok(())
}

/// What Redis replies, or why it does not.
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

/// One request and its whole reply. If its client hangs up, this is dropped half way, and `exchange`
/// sees to it that nobody gets the connection on which the reply is still to come.
async fn forward<M>(request: &[u8], pool: &Pool<M>) -> Outcome<Vec<u8>>
where
    M: Manager<Connection: Connection>,
{
    let mut conn = pool.get().await?;
    let reply = conn.exchange(async |redis| resp::exchange(redis, request).await);
    Ok(reply.await?)
}

/// Ends when the client is gone. What it says meanwhile is its next request.
async fn hangs_up(client: &mut impl Connection, buffer: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    if let Ok(read @ 1..) = client.read(&mut chunk).await {
        buffer.extend_from_slice(&chunk[..read]);
        // It is there, and hears of this request first.
        pending::<()>().await;
    }
}

/// Where clients come in, on either runtime.
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
