//! TCP on each runtime, and the servers.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use connpool_benches::{BenchRuntime, Smol, Tokio, echo};
use connpool_core::Manager;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use tokio::io::AsyncWriteExt as _;

/// The runtimes of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Runtime {
    /// tokio.
    Tokio,
    /// smol.
    Smol,
}

impl Runtime {
    /// Returns the name used in the records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Runtime::Tokio => "tokio",
            Runtime::Smol => "smol",
        }
    }
}

/// TCP on a runtime, for the pools that leave it to their users.
pub(crate) trait Sockets: BenchRuntime + Send + Sync + 'static {
    /// The runtime.
    const RUNTIME: Runtime;
    /// The TCP stream.
    type Stream: AsFd + Send + Sync + Unpin + 'static;
    /// The connpool manager of such streams.
    type Manager: Manager;

    /// Starts the runtime with this many worker threads. With none, tasks run on the thread that
    /// waits for them.
    fn start(workers: usize) -> Self;

    /// Connects, with `TCP_NODELAY`.
    fn connect(address: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Reads one byte.
    fn read_byte(stream: &Self::Stream) -> impl Future<Output = io::Result<()>> + Send;

    /// Sends a byte and reads one.
    fn exchange(stream: &Self::Stream) -> impl Future<Output = io::Result<()>> + Send;

    /// Creates a connpool manager.
    fn manager(address: SocketAddr) -> Self::Manager;

    /// Runs `work` with a time limit.
    fn within<T: Send>(
        limit: Duration,
        work: impl Future<Output = T> + Send,
    ) -> impl Future<Output = Option<T>> + Send;
}

impl Sockets for Tokio {
    const RUNTIME: Runtime = Runtime::Tokio;
    type Stream = tokio::net::TcpStream;
    type Manager = connpool_tokio::TcpManager;

    fn start(workers: usize) -> Self {
        Tokio::new(workers)
    }

    async fn connect(address: SocketAddr) -> io::Result<Self::Stream> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn read_byte(stream: &Self::Stream) -> io::Result<()> {
        loop {
            stream.readable().await?;
            match stream.try_read(&mut [0]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn exchange(stream: &Self::Stream) -> io::Result<()> {
        // One byte always fits into an empty send buffer.
        stream.try_write(b"?")?;
        Self::read_byte(stream).await
    }

    fn manager(address: SocketAddr) -> Self::Manager {
        connpool_tokio::TcpManager::new(address).ping(echo::once)
    }

    async fn within<T: Send>(limit: Duration, work: impl Future<Output = T> + Send) -> Option<T> {
        tokio::time::timeout(limit, work).await.ok()
    }
}

impl Sockets for Smol {
    const RUNTIME: Runtime = Runtime::Smol;
    type Stream = smol::Async<TcpStream>;
    type Manager = connpool_smol::TcpManager;

    fn start(workers: usize) -> Self {
        Smol::new(workers)
    }

    async fn connect(address: SocketAddr) -> io::Result<Self::Stream> {
        let stream = smol::Async::<TcpStream>::connect(address).await?;
        stream.get_ref().set_nodelay(true)?;
        Ok(stream)
    }

    async fn read_byte(mut stream: &Self::Stream) -> io::Result<()> {
        stream.read_exact(&mut [0]).await
    }

    async fn exchange(mut stream: &Self::Stream) -> io::Result<()> {
        stream.write_all(b"?").await?;
        stream.read_exact(&mut [0]).await
    }

    fn manager(address: SocketAddr) -> Self::Manager {
        connpool_smol::TcpManager::new(address).ping(echo::once)
    }

    async fn within<T: Send>(limit: Duration, work: impl Future<Output = T> + Send) -> Option<T> {
        let late = async {
            smol::Timer::after(limit).await;
            None
        };
        futures_lite::future::or(async { Some(work.await) }, late).await
    }
}

/// Sends a byte and reads one.
pub(crate) fn exchange_blocking(mut stream: &TcpStream) -> io::Result<()> {
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0])
}

/// A server that accepts all connections until dropped.
pub(crate) struct Server {
    address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    /// Starts a server on a loopback port. With `greeting`, it sends a byte that long after each
    /// accept.
    pub(crate) fn start(greeting: Option<Duration>) -> io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let entered = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        // Longer than any burst of connects: if the backlog overflows, the kernel retries after a
        // second.
        let listener = socket.listen(4_096)?;
        let address = listener.local_addr()?;
        drop(entered);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, greeting));
            }
        });
        Ok(Server { address, runtime: Some(runtime) })
    }

    /// Returns the address of the server.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Sends the greeting, then waits until the client disconnects.
async fn serve(mut stream: tokio::net::TcpStream, greeting: Option<Duration>) -> io::Result<()> {
    if let Some(after) = greeting {
        tokio::time::sleep(after).await;
        stream.write_all(b"!").await?;
    }
    let mut sink = [0; 16];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut sink) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
