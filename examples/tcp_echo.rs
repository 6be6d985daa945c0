//! Compares pooled connections with connecting for every request, then restarts the server without
//! a failed request.
//!
//! $ cargo run --release --example tcp_echo
//! $ cargo run --release --example tcp_echo -- --runtime smol

use std::error::Error;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use connpool_core::{Connection, Manager, Pool, Runtime};
use connpool_examples::args::{Args, Which};
use connpool_examples::server::Server;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use smol::Async;
use smol::channel::bounded;

const CLIENTS: usize = 16;
const POOLED_REQUESTS: usize = 40_000;
const UNPOOLED_REQUESTS: usize = 4_000;
const DOWN_FOR: Duration = Duration::from_millis(300);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let server = Server::start(echo_all)?;
    let address = server.address();
    match Args::parse().runtime {
        Which::Tokio => {
            use connpool_tokio::{TcpManager, TokioRuntime};
            println!("tokio clients of an echo server on {address}\n");
            tokio::runtime::Runtime::new()?.block_on(async {
                demo(TcpManager::new(address), TokioRuntime::new(), server).await
            })
        }
        Which::Smol => {
            use connpool_smol::{SmolRuntime, TcpManager};
            println!("smol clients of an echo server on {address}\n");
            smol::block_on(demo(TcpManager::new(address), SmolRuntime::new(), server))
        }
    }
}

/// Runs the demo, the same on every runtime.
async fn demo<M>(manager: M, runtime: impl Runtime, server: Server) -> Outcome<()>
where
    M: Manager<Connection: Connection>,
{
    let (manager, runtime) = (Arc::new(manager), Arc::new(runtime));
    let pool = Pool::builder(Arc::clone(&manager), Arc::clone(&runtime))
        .name("echo")
        .min_size(4)
        .max_size(8)
        .increment(2)
        .idle_timeout(Duration::from_secs(30))
        .max_lifetime(Duration::from_secs(300))
        .build()
        .await?;

    println!("{CLIENTS} clients over {} connections:", pool.config().max_size);
    let pooled = {
        let pool = pool.clone();
        measure(&*runtime, POOLED_REQUESTS, move || {
            let pool = pool.clone();
            async move { Ok(echo(&mut *pool.get().await?).await?) }
        })
        .await?
    };
    println!("  pooled             {pooled:>9.0} requests/s");
    let unpooled = measure(&*runtime, UNPOOLED_REQUESTS, move || {
        let manager = Arc::clone(&manager);
        async move { Ok(echo(&mut manager.connect().await?).await?) }
    })
    .await?;
    println!("  new connection each {unpooled:>9.0} requests/s");
    println!("  ratio              {:>9.1}\n", pooled / unpooled);

    let address = server.address();
    server.stop();
    println!("the server is down, all {} connections are closed;", pool.stats().size);
    println!("the clients keep sending requests, the server is back after {DOWN_FOR:?}:");
    let back = thread::spawn(move || {
        thread::sleep(DOWN_FOR);
        Server::start_at(address, echo_all)
    });
    let start = Instant::now();
    let clients = pool.clone();
    measure(&*runtime, POOLED_REQUESTS, move || {
        let pool = clients.clone();
        async move { Ok(echo(&mut *pool.get().await?).await?) }
    })
    .await?;
    let server = back.join().expect("starting a server does not panic")?;
    println!("  {POOLED_REQUESTS} requests in {:.1?}, none failed\n", start.elapsed());

    println!("{}", pool.stats());
    let report = pool.close(Duration::from_secs(5)).await;
    println!("closed: {} connections, {} still in use", report.closed, report.still_out.len());
    server.stop();
    Ok(())
}

/// Sends one request and reads its reply.
async fn echo(conn: &mut impl Connection) -> io::Result<()> {
    let request = *b"hello, connection pool\n";
    let mut reply = [0; 23];
    conn.write_all(&request).await?;
    conn.read_exact(&mut reply).await?;
    if reply == request { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Distributes the requests over the clients, and returns requests per second or the first error.
async fn measure<F, Fut>(runtime: &dyn Runtime, requests: usize, request: F) -> Outcome<f64>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Outcome<()>> + Send,
{
    let (done, results) = bounded(CLIENTS);
    let start = Instant::now();
    for _ in 0..CLIENTS {
        let (done, request) = (done.clone(), request.clone());
        runtime.spawn(Box::pin(async move {
            let mut result = Ok(());
            for _ in 0..requests / CLIENTS {
                result = request().await;
                if result.is_err() {
                    break;
                }
            }
            // Fails only if the measurement was aborted.
            let _ = done.send(result).await;
        }));
    }
    for _ in 0..CLIENTS {
        results.recv().await??;
    }
    Ok(requests as f64 / start.elapsed().as_secs_f64())
}

/// Echoes everything.
async fn echo_all(stream: Async<TcpStream>) -> io::Result<()> {
    smol::io::copy(&stream, &mut &stream).await.map(drop)
}
