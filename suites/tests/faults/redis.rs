//! The client side of a real Redis server that the test kills and restarts.

use std::net::SocketAddr;

use connpool_examples::redis_server::RedisServer;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::adapter::{Connection, TcpManager};

pub(crate) fn start() -> RedisServer {
    RedisServer::start().unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn port(redis: &RedisServer) -> u16 {
    redis.address().parse::<SocketAddr>().unwrap().port()
}

/// Returns a TCP manager for this server, with a Redis ping.
pub(crate) fn manager(redis: &RedisServer) -> TcpManager {
    TcpManager::new(redis.address()).ping(async |conn| ping(conn).await)
}

/// Sends one ping and checks the reply.
pub(crate) async fn ping(conn: &mut impl Connection) -> std::io::Result<()> {
    conn.write_all(b"PING\r\n").await?;
    let mut reply = [0; 7];
    conn.read_exact(&mut reply).await?;
    assert_eq!(&reply, b"+PONG\r\n");
    Ok(())
}
