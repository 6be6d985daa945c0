//! Clients of a server that misbehaves, for as long as one likes: a leak that takes an hour to be
//! felt, a count that drifts, a reply that reaches the wrong one.
//!
//! The server is a process of its own, so that descriptors and memory are those of the clients and
//! their pool alone.

#![forbid(unsafe_code)]

mod clients;
mod protocol;
mod server;
mod tally;
mod verdict;
mod vitals;

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use connpool_core::{Backoff, Connection, Manager, Pool, Runtime};

use clients::{Clients, sleep};
use protocol::Client;
use server::Server;
use tally::Tally;
use verdict::Verdict;
use vitals::Vitals;

/// The most connections that the pool may have.
const MAX_SIZE: usize = 24;

/// How often descriptors and memory are looked at.
const SAMPLE: Duration = Duration::from_millis(100);

/// Clients of a server that misbehaves.
#[derive(Parser)]
struct Args {
    /// How long they go on
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// The runtime that the clients and the pool run on
    #[arg(long, value_enum, default_value = "tokio")]
    runtime: Which,
    /// Be the server
    #[arg(long, hide = true)]
    serve: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Tokio,
    Smol,
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Outcome<bool> {
    if args.serve {
        server::serve()?;
        return Ok(true);
    }
    let server = Server::start()?;
    let time = Duration::from_secs(args.seconds);
    match args.runtime {
        Which::Tokio => {
            use connpool_tokio::{TcpManager, TokioRuntime};
            println!("soak on tokio, {time:?}, server {}", server.address);
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?
                .block_on(async {
                    let tcp = TcpManager::new(&server.address);
                    soak(tcp, TokioRuntime::new(), time).await
                })
        }
        Which::Smol => {
            use connpool_smol::{SmolRuntime, TcpManager};
            println!("soak on smol, {time:?}, server {}", server.address);
            let tcp = TcpManager::new(&server.address);
            smol::block_on(soak(tcp, SmolRuntime::new(), time))
        }
    }
}

/// The same on every runtime. Says whether everything held.
async fn soak<T>(tcp: T, runtime: impl Runtime, time: Duration) -> Outcome<bool>
where
    T: Manager<Connection: Connection, Error = io::Error>,
{
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    // Once round, so that what a runtime opens for itself counts as there from the beginning.
    sleep(&*runtime, SAMPLE).await;
    let before = Vitals::now()?;

    let tally = Arc::new(Tally::default());
    let pool = pool_of(Client::new(tcp, Arc::clone(&tally)), Arc::clone(&runtime))?;
    let clients = Clients::start(&pool, &tally, &runtime);
    let samples = watch(&pool, &tally, &*runtime, time).await?;
    let hang = clients.stop(&*runtime).await;
    let stats = pool.stats();
    let report = pool.close(Duration::from_secs(10)).await;

    let verdict = Verdict {
        hang,
        before,
        after: Vitals::now()?,
        samples,
        at_rest: stats,
        closed: pool.stats(),
        report,
    };
    Ok(verdict.print(&tally))
}

/// A pool with everything that can be set to something short, and with something for all of it to
/// do.
fn pool_of<M: Manager>(manager: M, runtime: Arc<dyn Runtime>) -> Outcome<Pool<M>> {
    let millis = Duration::from_millis;
    let pool = Pool::builder(manager, runtime)
        .name("soak")
        .max_size(MAX_SIZE)
        .min_size(4)
        .increment(2)
        .idle_timeout(millis(100))
        .max_lifetime(millis(200))
        .evict_interval(millis(20))
        .get_timeout(millis(60))
        .connect_timeout(millis(500))
        .ping_timeout(millis(30))
        .reset_timeout(millis(30))
        .close_timeout(millis(200))
        .ping_after(millis(10))
        .max_waiters(40)
        .max_idle(8)
        .max_uses(40)
        .max_connecting(8)
        .backoff(Backoff::new(millis(5), millis(100), 2.0))
        .build_lazy()?;
    Ok(pool)
}

/// Lets the time pass: changes the pool now and then, tells how things stand, and takes samples.
async fn watch<M: Manager>(
    pool: &Pool<M>,
    tally: &Tally,
    runtime: &dyn Runtime,
    time: Duration,
) -> Outcome<Vec<Vitals>> {
    let every = (time / 4).min(Duration::from_secs(10));
    let (start, mut told, mut replies) = (Instant::now(), Instant::now(), 0);
    let mut samples = Vec::new();
    while start.elapsed() < time {
        sleep(runtime, SAMPLE).await;
        let vitals = Vitals::now()?;
        samples.push(vitals);
        match rand::random_range(0..40) {
            0 => pool.clear(),
            1 | 2 => pool.resize(rand::random_range(6..=MAX_SIZE))?,
            _ => {}
        }
        if told.elapsed() >= every {
            let now = tally.replies();
            println!(
                "{:>5.0} s {:>6.0} replies/s  {} wrong  {vitals}  {}",
                start.elapsed().as_secs_f64(),
                (now - replies) as f64 / told.elapsed().as_secs_f64(),
                tally.wrong(),
                pool.stats(),
            );
            (told, replies) = (Instant::now(), now);
        }
    }
    Ok(samples)
}
