//! Pools TLS connections: reuses them, tells session tickets from data, and detects a connection
//! that the server closed. Uses tokio-rustls on tokio and futures-rustls on smol.
//!
//! $ cargo run --release -p example-tls
//! $ cargo run --release -p example-tls -- --runtime smol

use std::error::Error;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use connpool_core::{CloseReason, Connection, IdleOrder, Liveness, Manager, Pool, Runtime};
use connpool_examples::args::{Args, Which};
use connpool_examples::server::Server;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use futures_rustls::TlsAcceptor;
use futures_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use futures_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig, crypto};
use smol::Async;
use smol::channel::{Receiver, Sender, unbounded};

const HOST: &str = "localhost";
const REQUESTS: usize = 1_000;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The TLS manager for tokio.
mod on_tokio {
    use std::io;

    use connpool_tokio::io::AsyncWriteExt;
    use connpool_tokio::{CloseReason, Io, Liveness, Manager, StreamOf, TcpConn, TcpManager};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;
    use tokio_rustls::rustls::pki_types::ServerName;

    pub(crate) struct TlsManager {
        pub(crate) tcp: TcpManager,
        pub(crate) tls: TlsConnector,
        pub(crate) host: ServerName<'static>,
    }

    pub(crate) type TlsConn = Io<TlsStream<TcpConn>>;

    impl Manager for TlsManager {
        type Connection = TlsConn;
        type Error = io::Error;

        async fn connect(&self) -> io::Result<TlsConn> {
            let tcp = self.tcp.connect().await?;
            self.tls.connect(self.host.clone(), tcp).await.map(Io::new)
        }

        // The probe reads through TLS, which tells a session ticket from unsolicited data. Underneath, the
        // `TcpConn` asks the kernel.
        fn stream(&self) -> Option<StreamOf<TlsConn>> {
            Some(|conn| conn)
        }

        async fn close(&self, mut conn: TlsConn, _reason: CloseReason) {
            let _ = conn.shutdown().await;
        }
    }

    impl super::Inspect for TlsConn {
        async fn first_bytes(&mut self) -> io::Result<Liveness> {
            let tcp = self.get_mut().get_mut().0;
            tcp.get_ref().readable().await?;
            Ok(tcp.liveness())
        }

        fn tickets(&self) -> u32 {
            self.get_ref().get_ref().1.tls13_tickets_received()
        }
    }
}

/// The TLS manager for smol. It differs from that of tokio in names only.
mod on_smol {
    use std::io;

    use connpool_smol::io::AsyncWriteExt;
    use connpool_smol::{CloseReason, Io, Liveness, Manager, StreamOf, TcpConn, TcpManager};
    use futures_rustls::TlsConnector;
    use futures_rustls::client::TlsStream;
    use futures_rustls::rustls::pki_types::ServerName;

    pub(crate) struct TlsManager {
        pub(crate) tcp: TcpManager,
        pub(crate) tls: TlsConnector,
        pub(crate) host: ServerName<'static>,
    }

    pub(crate) type TlsConn = Io<TlsStream<TcpConn>>;

    impl Manager for TlsManager {
        type Connection = TlsConn;
        type Error = io::Error;

        async fn connect(&self) -> io::Result<TlsConn> {
            let tcp = self.tcp.connect().await?;
            self.tls.connect(self.host.clone(), tcp).await.map(Io::new)
        }

        // The probe reads through TLS, which tells a session ticket from unsolicited data.
        fn stream(&self) -> Option<StreamOf<TlsConn>> {
            Some(|conn| conn)
        }

        async fn close(&self, mut conn: TlsConn, _reason: CloseReason) {
            let _ = conn.close().await;
        }
    }

    impl super::Inspect for TlsConn {
        async fn first_bytes(&mut self) -> io::Result<Liveness> {
            let tcp = self.get_mut().get_mut().0;
            tcp.get_ref().readable().await?;
            Ok(tcp.liveness())
        }

        fn tickets(&self) -> u32 {
            self.get_ref().get_ref().1.tls13_tickets_received()
        }
    }
}

/// Details of a connection that the demo prints.
trait Inspect: Connection {
    /// Waits for the first bytes and returns the liveness according to the kernel.
    async fn first_bytes(&mut self) -> io::Result<Liveness>;

    /// Returns the number of session tickets received.
    fn tickets(&self) -> u32;
}

fn main() -> Outcome<()> {
    let (server, client, handshakes) = start_server()?;
    let (address, tls) = (server.address(), Arc::new(client));
    let host = ServerName::try_from(HOST)?;
    match Args::parse().runtime {
        Which::Tokio => {
            println!("tokio-rustls clients of {address}\n");
            let manager = on_tokio::TlsManager {
                tcp: connpool_tokio::TcpManager::new(address),
                tls: tls.into(),
                host,
            };
            let demo = demo(manager, connpool_tokio::TokioRuntime::new(), handshakes);
            tokio::runtime::Runtime::new()?.block_on(demo)
        }
        Which::Smol => {
            println!("futures-rustls clients of {address}\n");
            let manager = on_smol::TlsManager {
                tcp: connpool_smol::TcpManager::new(address),
                tls: tls.into(),
                host,
            };
            let runtime = connpool_smol::SmolRuntime::new();
            smol::block_on(demo(manager, runtime, handshakes))
        }
    }
}

/// Runs the demo, the same on every runtime.
async fn demo<M>(
    manager: M,
    runtime: impl Runtime,
    handshakes: Receiver<HandshakeKind>,
) -> Outcome<()>
where
    M: Manager<Connection: Inspect>,
{
    let manager = Arc::new(manager);
    let mut conn = manager.connect().await?;
    println!("a new, unused connection:");
    println!("  {:?} according to the kernel", conn.first_bytes().await?);
    println!("  {:?} according to TLS", manager.liveness(&mut conn));
    println!("  {} session tickets received", conn.tickets());
    println!("  {:?} handshake\n", handshakes.recv().await?);
    // Later handshakes are `Resumed`, which is shorter, as long as a ticket is left.
    manager.close(conn, CloseReason::Evicted).await;

    let pool = Pool::builder(manager, runtime)
        .name("tls")
        .min_size(2)
        .idle_order(IdleOrder::RoundRobin)
        // Short, so that the demo does not wait long for the sweep that finds a closed connection.
        .evict_interval(Duration::from_millis(10))
        .build()
        .await?;
    for _ in 0..REQUESTS {
        ask(&pool, *b"hello").await?;
    }
    let open = pool.stats().size;
    println!("{REQUESTS} requests over {open} connections:");
    while let Ok(kind) = handshakes.try_recv() {
        println!("  {kind:?} handshake");
    }

    ask(&pool, *b"leave").await?;
    println!("the server closes one, the pool opens another:");
    let kind = handshakes.recv().await?;
    println!("  {kind:?} handshake\n");
    ask(&pool, *b"hello").await?;

    println!("{}", pool.stats());
    pool.close(Duration::from_secs(1)).await;
    Ok(())
}

/// Sends a request that the server echoes.
async fn ask<M>(pool: &Pool<M>, request: [u8; 5]) -> Outcome<()>
where
    M: Manager<Connection: Connection>,
{
    let mut conn = pool.get().await?;
    let exchange = conn.exchange(async |conn| {
        conn.write_all(&request).await?;
        // TLS buffers writes until they are flushed.
        conn.flush().await?;
        let mut reply = [0; 5];
        conn.read_exact(&mut reply).await?;
        if reply == request { Ok(()) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) }
    });
    Ok(exchange.await?)
}

/// Starts a server with a generated certificate. Returns the client configuration that trusts it
/// and a channel of the handshakes that the server sees.
fn start_server() -> Outcome<(Server, ClientConfig, Receiver<HandshakeKind>)> {
    let (acceptor, client) = credentials()?;
    let (tell, handshakes) = unbounded();
    let serve = async move |stream| serve(&acceptor, &tell, stream).await;
    Ok((Server::start(serve)?, client, handshakes))
}

/// Creates a certificate for the server, and the settings of clients that trust it.
fn credentials() -> Outcome<(TlsAcceptor, ClientConfig)> {
    let own = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    let certificate = own.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    // Explicit: rustls panics if it has to choose between the providers of a program.
    let provider = Arc::new(crypto::ring::default_provider());

    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    // Shared by all connections: it stores the tickets that shorten later handshakes.
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();

    Ok((TlsAcceptor::from(Arc::new(server)), client))
}

/// Echoes everything, and closes the connection after a `leave` request.
async fn serve(
    acceptor: &TlsAcceptor,
    tell: &Sender<HandshakeKind>,
    stream: Async<TcpStream>,
) -> io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    if let Some(kind) = stream.get_ref().1.handshake_kind() {
        tell.send(kind).await.map_err(io::Error::other)?;
    }
    let mut request = [0; 5];
    while request != *b"leave" {
        stream.read_exact(&mut request).await?;
        stream.write_all(&request).await?;
        stream.flush().await?;
    }
    stream.close().await
}

/// Managers that leave out any of their provided methods lend no connection whose last user gave up a
/// request, as far as that is documented.
#[cfg(test)]
mod tests {
    use super::*;
    use connpool_core::Builder;
    use futures_rustls::rustls;
    use std::net::SocketAddr;
    use suites::left_out::{self, Gate, Wire, Without};

    const LINES: Wire = Wire {
        request: |number| vec![b'G', b'E', b'T', b' ', number, b'\n'],
        ending: b"\n",
        reply: |number| vec![number, b'\n'],
        control: |_| b"+\n".to_vec(),
    };

    fn with_server<M: Manager>(
        manager: impl Fn(SocketAddr, Arc<rustls::ClientConfig>, ServerName<'static>) -> M,
        builder: fn(Without<M>) -> Builder<Without<M>>,
    ) -> (M, Gate, impl FnOnce(Without<M>) -> Builder<Without<M>>) {
        let (acceptor, client) = credentials().unwrap();
        let gate = Gate::new();
        let at_the_server = gate.clone();
        let serve = async move |stream: Async<TcpStream>| {
            let stream = acceptor.accept(stream).await?;
            // The client closes some connections before their replies.
            let _ = left_out::serve(stream, LINES, at_the_server.clone()).await;
            Ok(())
        };
        let server = Server::start(serve).unwrap();
        let host = ServerName::try_from(HOST).unwrap();
        let manager = manager(server.address(), Arc::new(client), host);
        // The server ends with the pool.
        let keep = move |_: &M::Connection| _ = &server;
        (manager, gate, move |manager| builder(manager.on_open(keep)))
    }

    #[test]
    fn tls_connections_on_tokio() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let manager =
            |address: SocketAddr, tls: Arc<rustls::ClientConfig>, host| on_tokio::TlsManager {
                tcp: connpool_tokio::TcpManager::new(address),
                tls: tls.into(),
                host,
            };
        runtime.block_on(left_out::check(LINES, false, false, || {
            with_server(manager, connpool_tokio::builder)
        }));
    }

    #[test]
    fn tls_connections_on_smol() {
        let manager =
            |address: SocketAddr, tls: Arc<rustls::ClientConfig>, host| on_smol::TlsManager {
                tcp: connpool_smol::TcpManager::new(address),
                tls: tls.into(),
                host,
            };
        smol::block_on(left_out::check(LINES, false, false, || {
            with_server(manager, connpool_smol::builder)
        }));
    }
}
