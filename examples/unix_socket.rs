//! Pools Unix sockets with `socket_fn`, which accepts any socket. `io_fn` accepts any other byte
//! stream.
//!
//! $ cargo run --release --example unix_socket
//! $ cargo run --release --example unix_socket -- --runtime smol

use std::error::Error;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::Parser;
use connpool_core::{Connection, Manager, Pool, Runtime};
use connpool_examples::args::{Args, Which};
use futures_lite::future::poll_once;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use smol::channel::{Receiver, unbounded};

const REQUESTS: usize = 10_000;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    // The directory and its socket are removed on drop.
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("example.sock");
    let closed = start_server(&path)?;
    match Args::parse().runtime {
        Which::Tokio => {
            use connpool_tokio::{TokioRuntime, socket_fn};
            println!("tokio clients of {}\n", path.display());
            // Each future needs its own path, since it outlives the closure call.
            let manager = socket_fn(move || tokio::net::UnixStream::connect(path.clone()));
            let demo = demo(manager, TokioRuntime::new(), closed);
            tokio::runtime::Runtime::new()?.block_on(demo)
        }
        Which::Smol => {
            use connpool_smol::{SmolRuntime, socket_fn};
            println!("smol clients of {}\n", path.display());
            let manager = socket_fn(move || smol::net::unix::UnixStream::connect(path.clone()));
            smol::block_on(demo(manager, SmolRuntime::new(), closed))
        }
    }
}

/// Runs the demo, the same on every runtime.
async fn demo<M>(manager: M, runtime: impl Runtime, closed: Receiver<()>) -> Outcome<()>
where
    M: Manager<Connection: Connection>,
{
    let pool = Pool::builder(manager, runtime).name("unix").build().await?;

    for _ in 0..REQUESTS {
        ask(&pool, *b"hello").await?;
    }
    println!("{REQUESTS} requests, sequential:\n  {}", pool.stats());

    let mut conn = pool.get().await?;
    let reply = poll_once(conn.read(&mut [0])).await;
    assert!(reply.is_none(), "nothing was asked");
    drop(conn);
    println!("a read was abandoned:\n  {}", pool.stats());

    ask(&pool, *b"leave").await?;
    closed.recv().await?;
    ask(&pool, *b"hello").await?;
    println!("the server closed an idle connection:\n  {}", pool.stats());

    pool.close(Duration::from_secs(1)).await;
    Ok(())
}

/// Sends a request that the server echoes.
async fn ask<M>(pool: &Pool<M>, request: [u8; 5]) -> Outcome<()>
where
    M: Manager<Connection: Connection>,
{
    let mut conn = pool.get().await?;
    let mut reply = [0; 5];
    conn.write_all(&request).await?;
    conn.read_exact(&mut reply).await?;
    if reply == request { Ok(()) } else { Err(io::Error::from(io::ErrorKind::InvalidData).into()) }
}

/// Starts a server with a thread per connection. The channel reports each connection that the
/// server closed.
fn start_server(path: &Path) -> io::Result<Receiver<()>> {
    let listener = UnixListener::bind(path)?;
    let (tell, closed) = unbounded();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tell = tell.clone();
            thread::spawn(move || {
                if echo_all(stream).is_ok() {
                    let _ = tell.send_blocking(());
                }
            });
        }
    });
    Ok(closed)
}

/// Echoes everything, and closes the connection after a `leave` request.
fn echo_all(mut stream: UnixStream) -> io::Result<()> {
    let mut request = [0; 5];
    while request != *b"leave" {
        stream.read_exact(&mut request)?;
        stream.write_all(&request)?;
    }
    Ok(())
}
