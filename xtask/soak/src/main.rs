//! Runs clients against a faulty server for a long time, to find slow leaks, counters that drift,
//! and replies that reach the wrong request.
//!
//! The server is a separate process, so that descriptors and memory are those of the clients and
//! the pool.

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

/// The interval between samples of descriptors and memory.
const SAMPLE: Duration = Duration::from_millis(100);

/// Runs clients against a faulty server
#[derive(Parser)]
struct Args {
    /// The duration in seconds
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// The runtime that the clients and the pool run on
    #[arg(long, value_enum, default_value = "tokio")]
    runtime: RuntimeName,
    /// Run as the server
    #[arg(long, hide = true)]
    serve: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum RuntimeName {
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
        RuntimeName::Tokio => {
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
        RuntimeName::Smol => {
            use connpool_smol::{SmolRuntime, TcpManager};
            println!("soak on smol, {time:?}, server {}", server.address);
            let tcp = TcpManager::new(&server.address);
            smol::block_on(soak(tcp, SmolRuntime::new(), time))
        }
    }
}

/// Runs the soak, the same on every runtime. Returns whether all checks passed.
async fn soak<T>(tcp: T, runtime: impl Runtime, time: Duration) -> Outcome<bool>
where
    T: Manager<Connection: Connection, Error = io::Error>,
{
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    // Sleep once, so that descriptors that the runtime opens lazily count as open at the start.
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

/// Runs until `time` has passed: changes the pool now and then, prints progress and takes samples.
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
