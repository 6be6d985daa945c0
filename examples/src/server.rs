//! A TCP server for the examples.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};

use futures_lite::FutureExt;
use smol::channel::{Receiver, Sender, bounded};
use smol::{Async, LocalExecutor};

/// A TCP server on its own thread.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Serves every connection with `serve`, on a free loopback port.
    ///
    /// # Errors
    ///
    /// If no port is available.
    pub fn start<S>(serve: S) -> io::Result<Server>
    where
        S: AsyncFn(Async<TcpStream>) -> io::Result<()> + Send + 'static,
    {
        Server::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), serve)
    }

    /// Serves at a given address, such as that of a stopped server.
    ///
    /// # Errors
    ///
    /// If the address is not available.
    pub fn start_at<S>(address: SocketAddr, serve: S) -> io::Result<Server>
    where
        S: AsyncFn(Async<TcpStream>) -> io::Result<()> + Send + 'static,
    {
        let listener = Async::<TcpListener>::bind(address)?;
        let address = listener.get_ref().local_addr()?;
        let (stop, stopped) = bounded(1);
        let thread = thread::spawn(move || run(listener, serve, stopped));
        Ok(Server { address, stop, thread })
    }

    /// Returns the address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and every connection.
    ///
    /// # Panics
    ///
    /// If `serve` panicked.
    pub fn stop(self) {
        self.stop.close();
        self.thread.join().expect("the server does not panic");
    }
}

fn run<S>(listener: Async<TcpListener>, serve: S, stopped: Receiver<()>)
where
    S: AsyncFn(Async<TcpStream>) -> io::Result<()>,
{
    let executor = LocalExecutor::new();
    let accept = async {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.get_ref().set_nodelay(true);
            executor.spawn(serve(stream)).detach();
        }
    };
    let until_stopped = async {
        let _ = stopped.recv().await;
    };
    smol::block_on(executor.run(accept.or(until_stopped)));
}
