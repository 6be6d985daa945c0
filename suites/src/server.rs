//! The server side: listeners on the loopback interface that the test controls or that serve by
//! themselves.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// The longest wait for an event.
pub const LIMIT: Duration = Duration::from_secs(10);

/// A bound port without a listener: connects are refused, and no other process can take it.
pub struct Port {
    socket: Socket,
    address: SocketAddr,
}

impl Port {
    /// Binds a free port.
    pub fn bind() -> Port {
        Port::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Binds the port of a server that has ended.
    pub fn reopen(address: &str) -> Port {
        Port::at(address.parse().unwrap())
    }

    fn at(address: SocketAddr) -> Port {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Old connections of the port may linger for a minute.
        #[cfg(unix)]
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Port { socket, address }
    }

    /// Returns the address as `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Starts listening.
    pub fn listen(self) -> Server {
        self.listen_for(1024)
    }

    fn listen_for(self, backlog: i32) -> Server {
        self.socket.listen(backlog).unwrap();
        // Limits the wait of an accept.
        self.socket.set_read_timeout(Some(LIMIT)).unwrap();
        Server { listener: self.socket.into(), address: self.address }
    }
}

/// A listener whose connections the test accepts. The kernel completes connects before the accept.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens on a free port.
    pub fn start() -> Server {
        Port::bind().listen()
    }

    /// Returns the address as `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Accepts the next connection.
    pub fn accept(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().expect("no connection");
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Accepts the next `count` connections.
    pub fn accept_many(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| self.accept()).collect()
    }

    /// Returns `true` if a connection waits to be accepted.
    pub fn has_pending_connection(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        let accepted = self.listener.accept();
        self.listener.set_nonblocking(false).unwrap();
        accepted.is_ok()
    }

    /// Accepts and echoes from now on.
    pub fn echo(self) -> Echo {
        let echo = |stream: &TcpStream| {
            let (mut from, mut to) = (stream, stream);
            // Errors are checked at the client.
            let _ = io::copy(&mut from, &mut to);
        };
        Echo(self.serve(echo))
    }

    /// Accepts from now on and runs `handle` for each connection on its own thread. The connection
    /// closes when `handle` returns.
    pub fn serve(self, handle: impl Fn(&TcpStream) + Send + Sync + 'static) -> ServerHandle {
        ServerHandle::run(self, Arc::new(handle))
    }
}

/// A server with a full backlog: further connects hang.
pub struct FullServer {
    server: Server,
    parked: Vec<Socket>,
}

impl FullServer {
    /// Listens on a free port and fills the backlog.
    pub fn start() -> FullServer {
        let server = Port::bind().listen_for(0);
        // With a full backlog, the kernel drops the packets that open a connection.
        let parked = (0..4).map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&server.address.into());
            socket
        });
        FullServer { parked: parked.collect(), server }
    }

    /// Returns the address as `host:port`.
    pub fn address(&self) -> String {
        self.server.address()
    }

    /// Accepts and echoes from now on.
    pub fn recover(self) -> Echo {
        drop(self.parked);
        SockRef::from(&self.server.listener).listen(1024).unwrap();
        self.server.echo()
    }
}

/// An echo server.
pub struct Echo(ServerHandle);

impl Echo {
    /// Listens on a free port and echoes.
    pub fn start() -> Echo {
        Server::start().echo()
    }

    /// Returns the address as `host:port`.
    pub fn address(&self) -> String {
        self.0.address()
    }

    /// Returns the number of connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.0.accepted()
    }
}

/// A running server. Its threads end when it is dropped.
pub struct ServerHandle {
    address: SocketAddr,
    inside: Arc<Inside>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Inside {
    stopped: AtomicBool,
    accepted: Mutex<Vec<(Weak<TcpStream>, JoinHandle<()>)>>,
}

type Handler = dyn Fn(&TcpStream) + Send + Sync;

impl ServerHandle {
    /// Returns the address as `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Returns the number of connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.inside.accepted.lock().unwrap().len()
    }

    fn run(server: Server, handle: Arc<Handler>) -> ServerHandle {
        let inside = Arc::new(Inside::default());
        let address = server.address;
        // The acceptor may wait longer than any limit.
        SockRef::from(&server.listener).set_read_timeout(None).unwrap();
        let acceptor = thread::spawn({
            let inside = Arc::clone(&inside);
            move || inside.accept(&server.listener, &handle)
        });
        ServerHandle { address, inside, acceptor: Some(acceptor) }
    }
}

impl Inside {
    fn accept(&self, listener: &TcpListener, handle: &Arc<Handler>) {
        while let Ok((stream, _)) = listener.accept() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let _ = stream.set_nodelay(true);
            let stream = Arc::new(stream);
            let end = Arc::downgrade(&stream);
            let handle = Arc::clone(handle);
            let thread = thread::spawn(move || handle(&stream));
            self.accepted.lock().unwrap().push((end, thread));
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.inside.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for (end, thread) in self.inside.accepted.lock().unwrap().drain(..) {
            if let Some(end) = end.upgrade() {
                let _ = end.shutdown(Shutdown::Both);
            }
            let _ = thread.join();
        }
    }
}

/// Closes a connection with RST instead of FIN, like a crash.
pub fn reset(stream: TcpStream) {
    reset_on_close(&stream);
}

/// Makes the later close of a connection send RST.
pub fn reset_on_close(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}
