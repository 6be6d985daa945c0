//! The other end: listeners on the loopback interface that a test plays by hand, or that serve by
//! themselves.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// How long a test waits for what must come.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// A bound port where nobody listens: connects are refused, and nobody else can take it.
pub(crate) struct Port {
    socket: Socket,
    address: SocketAddr,
}

impl Port {
    pub(crate) fn new() -> Port {
        Port::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// The port of a server that is gone.
    pub(crate) fn again(address: &str) -> Port {
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

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// From now on somebody listens.
    pub(crate) fn listen(self) -> Server {
        self.listen_for(1024)
    }

    fn listen_for(self, backlog: i32) -> Server {
        self.socket.listen(backlog).unwrap();
        // An accept that waits in vain fails.
        self.socket.set_read_timeout(Some(LIMIT)).unwrap();
        Server {
            listener: self.socket.into(),
            address: self.address,
        }
    }
}

/// A listener whose connections are accepted by hand. The kernel answers for it: a connect ends
/// without an accept.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    pub(crate) fn start() -> Server {
        Port::new().listen()
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The server's end of the next connection.
    pub(crate) fn accept(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().expect("a connection");
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }

    pub(crate) fn accept_many(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| self.accept()).collect()
    }

    /// Whether a connection waits to be accepted.
    pub(crate) fn has_a_caller(&self) -> bool {
        self.listener.set_nonblocking(true).unwrap();
        let caller = self.listener.accept();
        self.listener.set_nonblocking(false).unwrap();
        caller.is_ok()
    }

    /// Accepts and echoes from now on.
    pub(crate) fn echo(self) -> Echo {
        let echo = |stream: &TcpStream| {
            let (mut from, mut to) = (stream, stream);
            // Whether it ends in an error is for the client to judge.
            let _ = io::copy(&mut from, &mut to);
        };
        Echo(self.serve(echo))
    }

    /// Accepts from now on, and has each connection attended to on a thread of its own, at whose
    /// end it is closed: the thread alone keeps it open.
    pub(crate) fn serve(self, attend: impl Fn(&TcpStream) + Send + Sync + 'static) -> Served {
        Served::run(self, Arc::new(attend))
    }
}

/// A server that has as many connections as it takes: further connects hang.
pub(crate) struct FullServer {
    server: Server,
    parked: Vec<Socket>,
}

impl FullServer {
    pub(crate) fn start() -> FullServer {
        let server = Port::new().listen_for(0);
        // Without room in the backlog the kernel drops what would begin a connection.
        let parked = (0..4).map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&server.address.into());
            socket
        });
        FullServer {
            parked: parked.collect(),
            server,
        }
    }

    pub(crate) fn address(&self) -> String {
        self.server.address()
    }

    /// Accepts whoever comes from now on.
    pub(crate) fn recover(self) -> Echo {
        drop(self.parked);
        SockRef::from(&self.server.listener).listen(1024).unwrap();
        self.server.echo()
    }
}

/// A server that echoes.
pub(crate) struct Echo(Served);

impl Echo {
    pub(crate) fn start() -> Echo {
        Server::start().echo()
    }

    pub(crate) fn address(&self) -> String {
        self.0.address()
    }

    pub(crate) fn accepted(&self) -> usize {
        self.0.accepted()
    }
}

/// A server that runs by itself, on threads that end with it.
pub(crate) struct Served {
    address: SocketAddr,
    inside: Arc<Inside>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Inside {
    stopped: AtomicBool,
    accepted: Mutex<Vec<(Weak<TcpStream>, JoinHandle<()>)>>,
}

type Attend = dyn Fn(&TcpStream) + Send + Sync;

impl Served {
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many connections it has accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.inside.accepted.lock().unwrap().len()
    }

    fn run(server: Server, attend: Arc<Attend>) -> Served {
        let inside = Arc::new(Inside::default());
        let address = server.address;
        // It may have nothing to do for longer than any limit.
        SockRef::from(&server.listener)
            .set_read_timeout(None)
            .unwrap();
        let acceptor = thread::spawn({
            let inside = Arc::clone(&inside);
            move || inside.accept(&server.listener, &attend)
        });
        Served {
            address,
            inside,
            acceptor: Some(acceptor),
        }
    }
}

impl Inside {
    fn accept(&self, listener: &TcpListener, attend: &Arc<Attend>) {
        while let Ok((stream, _)) = listener.accept() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let _ = stream.set_nodelay(true);
            let stream = Arc::new(stream);
            let end = Arc::downgrade(&stream);
            let attend = Arc::clone(attend);
            let thread = thread::spawn(move || attend(&stream));
            self.accepted.lock().unwrap().push((end, thread));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.inside.stopped.store(true, Ordering::SeqCst);
        // One more connection, for the acceptor to look up.
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

/// Ends a connection as a crash does: with RST, not FIN.
pub(crate) fn reset(stream: TcpStream) {
    will_reset(&stream);
}

/// Has a connection end so when it is closed.
pub(crate) fn will_reset(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}
