//! Distributes requests round robin over three servers, each with its own pool. One server dies and
//! comes back, and no request fails.
//!
//! $ cargo run --release --example load_balancer
//! $ cargo run --release --example load_balancer -- --runtime smol

use std::error::Error;
use std::io;
use std::iter;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use clap::Parser;
use connpool_core::{Backoff, Connection, Manager, Pool, Runtime};
use connpool_examples::args::{Args, Which};
use connpool_examples::server::Server;
use futures_lite::io::BufReader;
use futures_lite::{AsyncBufReadExt, AsyncWriteExt, StreamExt};
use smol::Async;
use smol::channel::{Receiver, Sender, bounded};

const NAMES: [&str; 3] = ["ash", "birch", "cedar"];
const BIRCH: usize = 1;
const CLIENTS: usize = 8;
const REQUESTS_A_PHASE: usize = 16_000;
const PHASES: usize = 3;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let servers: Vec<Server> =
        NAMES.into_iter().map(|name| start_server(name, anywhere)).collect::<io::Result<_>>()?;
    let addresses = servers.iter().map(Server::address);
    match Args::parse().runtime {
        Which::Tokio => {
            use connpool_tokio::{TcpManager, TokioRuntime};
            let managers = addresses.map(TcpManager::new).collect();
            let demo = demo(managers, TokioRuntime::new(), servers);
            tokio::runtime::Runtime::new()?.block_on(demo)
        }
        Which::Smol => {
            use connpool_smol::{SmolRuntime, TcpManager};
            let managers = addresses.map(TcpManager::new).collect();
            smol::block_on(demo(managers, SmolRuntime::new(), servers))
        }
    }
}

/// Distributes requests over the backends.
struct Balancer<M: Manager> {
    pools: Vec<Pool<M>>,
    turn: AtomicUsize,
    moved_on: AtomicUsize,
}

impl<M: Manager<Connection: Connection>> Balancer<M> {
    async fn new(managers: Vec<M>, runtime: Arc<dyn Runtime>) -> Outcome<Self> {
        let mut pools = Vec::new();
        for (name, manager) in NAMES.into_iter().zip(managers) {
            let pool = Pool::builder(manager, Arc::clone(&runtime))
                .name(name)
                .min_size(2)
                .max_size(CLIENTS)
                // Fail at once if this backend is down: others can serve the request.
                .max_waiters(0)
                // Bounds the delay until a recovered backend is noticed.
                .backoff(Backoff::new(Duration::from_millis(50), Duration::from_millis(100), 2.0))
                .build()
                .await?;
            pools.push(pool);
        }
        Ok(Balancer { pools, turn: AtomicUsize::new(0), moved_on: AtomicUsize::new(0) })
    }

    /// Asks the next backend in turn, then the others until one answers.
    ///
    /// A backend that dies before it answers may have executed the request. Do not send requests
    /// this way that must not be executed twice.
    async fn ask(&self, request: &str) -> Outcome<String> {
        let turn = self.turn.fetch_add(1, Relaxed);
        let mut last = Err("there is no backend".into());
        for index in self.order(turn) {
            last = ask(&self.pools[index], request).await;
            if last.is_ok() {
                break;
            }
            self.moved_on.fetch_add(1, Relaxed);
        }
        last
    }

    /// Returns every backend once. The order after the first varies, so that the load of a dead
    /// backend is spread over the others.
    fn order(&self, turn: usize) -> impl Iterator<Item = usize> + use<M> {
        let count = self.pools.len();
        let others = (1..count).map(move |place| 1 + (turn / count + place) % (count - 1));
        iter::once(0).chain(others).map(move |step| (turn + step) % count)
    }
}

async fn ask<M>(pool: &Pool<M>, request: &str) -> Outcome<String>
where
    M: Manager<Connection: Connection>,
{
    let mut conn = pool.get().await?;
    let exchange = conn.exchange(async |conn| {
        conn.write_all(request.as_bytes()).await?;
        let mut reply = String::new();
        BufReader::new(conn).read_line(&mut reply).await?;
        // `read_line` also returns an incomplete line at the end of the stream.
        match reply.strip_suffix('\n') {
            Some(reply) => Ok(reply.to_owned()),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    });
    Ok(exchange.await?)
}

/// Runs the demo, the same on every runtime.
async fn demo<M>(managers: Vec<M>, runtime: impl Runtime, mut servers: Vec<Server>) -> Outcome<()>
where
    M: Manager<Connection: Connection>,
{
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    let balancer = Arc::new(Balancer::new(managers, Arc::clone(&runtime)).await?);
    let (tell, replies) = bounded(CLIENTS);
    for _ in 0..CLIENTS {
        runtime.spawn(Box::pin(client(Arc::clone(&balancer), tell.clone())));
    }

    println!("answered by             ash    birch    cedar    moved on to the next");
    phase("all three are up", &balancer, &replies).await?;

    let birch = servers.swap_remove(BIRCH);
    let address = birch.address();
    birch.stop();
    phase("birch is dead", &balancer, &replies).await?;

    let _birch = start_server(NAMES[BIRCH], address)?;
    phase("birch is back", &balancer, &replies).await?;

    println!("\n{} requests, none failed\n", PHASES * REQUESTS_A_PHASE);
    for pool in &balancer.pools {
        println!("{:5} {}", pool.name(), pool.stats());
    }
    Ok(())
}

/// Makes requests one after the other.
async fn client<M>(balancer: Arc<Balancer<M>>, tell: Sender<Outcome<String>>)
where
    M: Manager<Connection: Connection>,
{
    for _ in 0..PHASES * REQUESTS_A_PHASE / CLIENTS {
        let reply = balancer.ask("who is there?\n").await;
        if tell.send(reply).await.is_err() {
            break;
        }
    }
}

/// Counts the requests that each server answered in a phase, or returns the first error.
async fn phase<M: Manager>(
    name: &str,
    balancer: &Balancer<M>,
    replies: &Receiver<Outcome<String>>,
) -> Outcome<()> {
    let mut answers = [0; NAMES.len()];
    for _ in 0..REQUESTS_A_PHASE {
        let reply = replies.recv().await??;
        let from = NAMES.iter().position(|name| reply == *name);
        answers[from.ok_or(reply)?] += 1;
    }
    let [ash, birch, cedar] = answers;
    let moved_on = balancer.moved_on.swap(0, Relaxed);
    println!("  {name:<17} {ash:>8} {birch:>8} {cedar:>8} {moved_on:>11}");
    Ok(())
}

fn start_server(name: &'static str, address: SocketAddr) -> io::Result<Server> {
    Server::start_at(address, async move |stream| answer(name, stream).await)
}

/// Answers every line with the server's name.
async fn answer(name: &str, stream: Async<TcpStream>) -> io::Result<()> {
    let mut requests = BufReader::new(&stream).lines();
    while let Some(request) = requests.next().await {
        request?;
        (&stream).write_all(format!("{name}\n").as_bytes()).await?;
    }
    Ok(())
}
