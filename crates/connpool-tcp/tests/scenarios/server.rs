//! The other end: listeners on the loopback interface that a test plays by hand, or that echo.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
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
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
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

    /// Accepts and echoes from now on.
    pub(crate) fn echo(self) -> Echo {
        Echo::run(self)
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

/// A server that echoes, on threads of its own that end with it.
pub(crate) struct Echo {
    address: SocketAddr,
    inside: Arc<Inside>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Inside {
    stopped: AtomicBool,
    open: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
}

impl Echo {
    pub(crate) fn start() -> Echo {
        Server::start().echo()
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    fn run(server: Server) -> Echo {
        let inside = Arc::new(Inside::default());
        let address = server.address;
        // It may have nothing to do for longer than any limit.
        SockRef::from(&server.listener)
            .set_read_timeout(None)
            .unwrap();
        let acceptor = thread::spawn({
            let inside = Arc::clone(&inside);
            move || inside.accept(&server.listener)
        });
        Echo {
            address,
            inside,
            acceptor: Some(acceptor),
        }
    }
}

impl Inside {
    fn accept(&self, listener: &TcpListener) {
        while let Ok((stream, _)) = listener.accept() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let _ = stream.set_nodelay(true);
            let Ok(end) = stream.try_clone() else {
                continue;
            };
            let thread = thread::spawn(move || {
                // Whether it ends in an error is for the client to judge.
                let _ = io::copy(&mut &stream, &mut &stream);
                let _ = stream.shutdown(Shutdown::Both);
            });
            self.open.lock().unwrap().push((end, thread));
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.inside.stopped.store(true, Ordering::SeqCst);
        // One more connection, for the acceptor to look up.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for (end, thread) in self.inside.open.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

/// Ends a connection as a crash does: with RST, not FIN.
pub(crate) fn reset(stream: TcpStream) {
    let socket = SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}
