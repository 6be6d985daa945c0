//! TCP on each runtime, and the servers at the other end of it.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use connpool_benches::{BenchRuntime, Smol, Tokio, echo};
use connpool_core::Manager;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use tokio::io::AsyncWriteExt as _;

/// The runtimes that the pools are compared on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Runtime {
    /// tokio.
    Tokio,
    /// smol.
    Smol,
}

impl Runtime {
    /// As in the records.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Runtime::Tokio => "tokio",
            Runtime::Smol => "smol",
        }
    }
}

/// TCP as a runtime does it, for those pools that leave it to their users.
pub(crate) trait Sockets: BenchRuntime + Send + Sync + 'static {
    /// Which runtime it is.
    const RUNTIME: Runtime;
    /// Its TCP stream.
    type Stream: AsFd + Send + Sync + Unpin + 'static;
    /// connpool's manager of such streams.
    type Manager: Manager;

    /// Starts so many workers; with none, tasks run on the thread that waits for them.
    fn start(workers: usize) -> Self;

    /// Connects, without the delay of small packets.
    fn connect(address: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Waits for a byte.
    fn read_byte(stream: &Self::Stream) -> impl Future<Output = io::Result<()>> + Send;

    /// One byte there and back.
    fn exchange(stream: &Self::Stream) -> impl Future<Output = io::Result<()>> + Send;

    /// connpool's own way to such connections.
    fn manager(address: SocketAddr) -> Self::Manager;

    /// Gives `work` so much time.
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
        // One byte always fits into an empty buffer of the kernel.
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

/// One byte there and back.
pub(crate) fn exchange_blocking(mut stream: &TcpStream) -> io::Result<()> {
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0])
}

/// A server that takes whoever comes, and ends when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    /// Starts one on a loopback port. It greets so long after each connect, or says nothing.
    pub(crate) fn start(greeting: Option<Duration>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        // More than will ever knock before this thread has its turn: the kernel would have the
        // others try again after a second.
        let listener = socket.listen(4_096)?;
        let address = listener.local_addr()?;
        drop(entered);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, greeting));
            }
        });
        Ok(Server {
            address,
            runtime: Some(runtime),
        })
    }

    /// Where it is.
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

/// Greets, and keeps the connection until the client hangs up.
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
