//! Clients of a server that misbehaves, for as long as one likes: a leak that takes an hour to be
//! felt, a count that drifts, a reply that reaches the wrong one.
//!
//! The server is a process of its own, so that descriptors and memory are those of the clients and
//! their pool alone.

#![forbid(unsafe_code)]

mod client_stats;
mod clients;
mod outcome;
mod pool;
mod process_stats;
mod protocol;
mod server;
mod verdict;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use connpool_core::{Connection, Manager, Pool, Runtime};

use client_stats::ClientStats;
use clients::{Clients, sleep};
use outcome::Outcome;
use pool::MAX_SIZE;
use process_stats::ProcessStats;
use protocol::Client;
use server::Server;
use verdict::Verdict;

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
    let before = ProcessStats::now()?;

    let counted = Arc::new(ClientStats::default());
    let pool = pool::build(Client::new(tcp, Arc::clone(&counted)), Arc::clone(&runtime))?;
    let clients = Clients::start(&pool, &counted, &runtime);
    let samples = watch(&pool, &counted, &*runtime, time).await?;
    let hang = clients.stop(&*runtime).await;
    let stats = pool.stats();
    let report = pool.close(Duration::from_secs(10)).await;

    let verdict = Verdict {
        hang,
        before,
        after: ProcessStats::now()?,
        samples,
        at_rest: stats,
        closed: pool.stats(),
        report,
    };
    Ok(verdict.print(&counted))
}

/// Lets the time pass: changes the pool now and then, tells how things stand, and takes samples.
async fn watch<M: Manager>(
    pool: &Pool<M>,
    counted: &ClientStats,
    runtime: &dyn Runtime,
    time: Duration,
) -> Outcome<Vec<ProcessStats>> {
    let every = (time / 4).min(Duration::from_secs(10));
    let (start, mut told, mut replies) = (Instant::now(), Instant::now(), 0);
    let mut samples = Vec::new();
    while start.elapsed() < time {
        sleep(runtime, SAMPLE).await;
        let process = ProcessStats::now()?;
        samples.push(process);
        match rand::random_range(0..40) {
            0 => pool.clear(),
            1 | 2 => pool.resize(rand::random_range(6..=MAX_SIZE))?,
            _ => {}
        }
        if told.elapsed() >= every {
            let now = counted.replies();
            println!(
                "{:>5.0} s {:>6.0} replies/s  {} wrong  {process}  {}",
                start.elapsed().as_secs_f64(),
                (now - replies) as f64 / told.elapsed().as_secs_f64(),
                counted.wrong(),
                pool.stats(),
            );
            (told, replies) = (Instant::now(), now);
        }
    }
    Ok(samples)
}
