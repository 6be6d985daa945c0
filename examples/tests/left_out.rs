//! Managers that leave out any of their provided methods lend no connection whose last user gave up a
//! request, as far as that is documented.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use connpool_core::{Builder, Connection, Manager, Pool, Runtime, Tracked, object_fn, stream_fn};
use connpool_examples::redis::Redis;
use connpool_examples::server::Server;
use connpool_testkit::{FaultyManager, SimRuntime, pipe};
use smol::Async;
use suites::left_out::{Gate, Wire, Without, check, serve};

#[allow(dead_code, reason = "only its manager is used")]
#[path = "../custom_protocol.rs"]
mod custom_protocol;

use custom_protocol::KvManager;

/// Requests of a line.
const LINES: Wire = Wire {
    request: |number| vec![b'G', b'E', b'T', b' ', number, b'\n'],
    ending: b"\n",
    reply: |number| vec![number, b'\n'],
    control: |_| b"+\n".to_vec(),
};

const REDIS: Wire = Wire {
    request: |number| [b"*2\r\n$3\r\nGET\r\n$1\r\n", &[number][..], b"\r\n"].concat(),
    ending: b"\r\n",
    reply: |number| vec![b'+', number, b'\r', b'\n'],
    control: |request| match request.windows(4).any(|word| word == b"PING") {
        true => b"+PONG\r\n".to_vec(),
        false => b"+OK\r\n".to_vec(),
    },
};

/// Frames with a length.
const KV: Wire = Wire {
    request: |number| vec![0, 5, b'G', b'E', b'T', b' ', number],
    ending: b"",
    reply: |number| vec![0, 2, b'+', number],
    control: |_| b"\0\x05+done".to_vec(),
};

/// Checks a manager of connections to a server, on tokio and on smol.
macro_rules! check_on_both {
    ($wire:expr, resets: $resets:expr, strict: $strict:expr, |$tcp:ident| $manager:expr) => {{
        check_on_tokio($wire, $resets, $strict, |address| {
            let $tcp = connpool_tokio::TcpManager::new(address).strict($strict);
            $manager
        });
        check_on_smol($wire, $resets, $strict, |address| {
            let $tcp = connpool_smol::TcpManager::new(address).strict($strict);
            $manager
        });
    }};
}

fn check_on_tokio<M: Manager<Connection: Connection>>(
    wire: Wire,
    resets: bool,
    strict: bool,
    manager: impl Fn(SocketAddr) -> M,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(check(wire, resets, strict, || {
        with_server(wire, &manager, connpool_tokio::builder)
    }));
}

fn check_on_smol<M: Manager<Connection: Connection>>(
    wire: Wire,
    resets: bool,
    strict: bool,
    manager: impl Fn(SocketAddr) -> M,
) {
    smol::block_on(check(wire, resets, strict, || {
        with_server(wire, &manager, connpool_smol::builder)
    }));
}

fn with_server<M: Manager>(
    wire: Wire,
    manager: &impl Fn(SocketAddr) -> M,
    builder: fn(Without<M>) -> Builder<Without<M>>,
) -> (M, Gate, impl FnOnce(Without<M>) -> Builder<Without<M>>) {
    let gate = Gate::new();
    let at_the_server = gate.clone();
    let serve = async move |stream: Async<_>| {
        // The client closes some connections before their replies.
        let _ = serve(stream, wire, at_the_server.clone()).await;
        Ok(())
    };
    let server = Server::start(serve).unwrap();
    let manager = manager(server.address());
    // The server ends with the pool.
    let keep = move |_: &M::Connection| _ = &server;
    (manager, gate, move |manager| builder(manager.on_open(keep)))
}

#[test]
fn tcp_connections() {
    for strict in [false, true] {
        check_on_both!(LINES, resets: false, strict: strict, |tcp| tcp);
    }
}

#[test]
fn redis_connections() {
    for strict in [false, true] {
        check_on_both!(REDIS, resets: true, strict: strict, |tcp| Redis::new(tcp, None));
    }
}

#[test]
fn custom_protocol_connections() {
    for strict in [false, true] {
        check_on_both!(KV, resets: true, strict: strict, |tcp| KvManager {
            streams: tcp,
            token: "sesame"
        });
    }
}

#[test]
fn streams_of_closures_on_tokio() {
    use connpool_tokio::{io_fn, socket_fn};
    use tokio::net::TcpStream;

    for strict in [false, true] {
        check_on_tokio(LINES, false, strict, |address| {
            io_fn(move || TcpStream::connect(address)).strict(strict)
        });
        check_on_tokio(LINES, false, strict, |address| {
            socket_fn(move || TcpStream::connect(address)).strict(strict)
        });
    }
}

#[test]
fn streams_of_closures_on_smol() {
    use connpool_smol::{io_fn, socket_fn};
    use smol::net::TcpStream;

    for strict in [false, true] {
        check_on_smol(LINES, false, strict, |address| {
            io_fn(move || TcpStream::connect(address)).strict(strict)
        });
        check_on_smol(LINES, false, strict, |address| {
            socket_fn(move || TcpStream::connect(address)).strict(strict)
        });
        check_on_smol(LINES, false, strict, |address| {
            stream_fn(move || TcpStream::connect(address)).strict(strict)
        });
    }
}

#[test]
fn pipes() {
    let sim = SimRuntime::new(1);
    for strict in [false, true] {
        sim.block_on(check(LINES, false, strict, || {
            let gate = Gate::new();
            let (server, at_the_server) = (sim.clone(), gate.clone());
            let manager = stream_fn(move || {
                let (here, there) = pipe(64);
                let serve = serve(there, LINES, at_the_server.clone());
                server.spawn(Box::pin(async move { _ = serve.await }));
                async { Ok::<_, io::Error>(here) }
            });
            let runtime = sim.clone();
            (manager.strict(strict), gate, |manager| Pool::builder(manager, runtime))
        }));
    }
}

#[test]
fn faulty_manager_connections() {
    let sim = SimRuntime::new(1);
    sim.block_on(check(LINES, false, false, || {
        let gate = Gate::new();
        let (server, at_the_server) = (sim.clone(), gate.clone());
        let fake = FaultyManager::new(sim.clone());
        let peers = fake.clone();
        let runtime = sim.clone();
        let builder = |manager: Without<FaultyManager>| {
            let manager = manager.on_open(move |conn| {
                let there = peers.take_peer(conn.id()).unwrap();
                let serve = serve(there, LINES, at_the_server.clone());
                server.spawn(Box::pin(async move { _ = serve.await }));
            });
            Pool::builder(manager, runtime)
        };
        (fake, gate, builder)
    }));
}

/// An object is not checked, even if it contains a stream.
#[test]
fn objects_are_not_checked() {
    let sim = SimRuntime::new(1);
    let (here, there) = pipe(64);
    let once = Arc::new(std::sync::Mutex::new(Some(here)));
    let manager = object_fn(move || {
        let here = once.lock().unwrap().take().map(Tracked::new).ok_or(io::ErrorKind::NotConnected);
        async move { here.map_err(io::Error::from) }
    });
    let pool = Pool::builder(manager, sim.clone()).max_size(1).build_lazy().unwrap();
    drop(sim.block_on(pool.get()).unwrap());
    there.send(b"stale");
    assert!(pool.try_get().is_ok());
}
