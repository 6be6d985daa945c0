//! A real Redis server that the test kills and restarts.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use socket2::{Domain, Socket, Type};

use super::isolation::Tool;
use super::server::LIMIT;
use crate::adapter::{Connection, TcpManager};

const REDIS: Tool = Tool { program: "redis-server", package: "redis-server" };

/// A Redis server without data. Its port stays reserved while it is down.
pub(crate) struct Redis {
    address: SocketAddr,
    /// Bound to the port without listening: Redis can bind the port as well, other processes
    /// cannot.
    _reserved: Socket,
    server: Option<Child>,
}

impl Redis {
    pub(crate) fn start() -> Redis {
        let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        reserved.set_reuse_address(true).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        reserved.bind(&any.into()).unwrap();
        let mut redis = Redis {
            address: reserved.local_addr().unwrap().as_socket().unwrap(),
            _reserved: reserved,
            server: None,
        };
        redis.start_again();
        redis
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Starts the server and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        if let Some(why) = REDIS.is_missing() {
            panic!("{why}");
        }
        let port = self.port().to_string();
        let server = Command::new(REDIS.program)
            .args(["--bind", "127.0.0.1", "--port", &port])
            .args(["--save", "", "--appendonly", "no"])
            // Its output is shown if the test fails.
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let server = self.server.insert(server);
        let start = Instant::now();
        while !answers(self.address) {
            let ended = server.try_wait().unwrap();
            assert_eq!(ended, None, "redis-server has ended");
            assert!(start.elapsed() < LIMIT, "redis-server does not reply");
            thread::yield_now();
        }
    }

    /// Kills the server like a crash: the kernel closes its sockets.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Returns a TCP manager for this server, with a Redis ping.
    pub(crate) fn manager(&self) -> TcpManager {
        TcpManager::new(self.address).ping(async |conn| ping(conn).await)
    }
}

fn answers(address: SocketAddr) -> bool {
    let ping = || {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"PING\r\n")?;
        stream.read_exact(&mut [0; 7])
    };
    ping().is_ok()
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends one ping and checks the reply.
pub(crate) async fn ping(conn: &mut impl Connection) -> std::io::Result<()> {
    conn.write_all(b"PING\r\n").await?;
    let mut reply = [0; 7];
    conn.read_exact(&mut reply).await?;
    assert_eq!(&reply, b"+PONG\r\n");
    Ok(())
}
