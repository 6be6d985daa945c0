//! An unreachable peer: packets are dropped on the way.

use std::io::ErrorKind;
use std::time::Duration;

use futures_lite::future::poll_once;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use socket2::SockRef;

use super::client::{
    assert_connect_timed_out, echo, get_despite_timeouts, pool_of, talk, wait_until,
    wait_until_closed,
};
use super::kernel::{open_sockets, wait_until_open_sockets_are};
use super::network::PacketLoss;
use crate::adapter::{
    Builder, CloseReason, Manager, Pool, PooledConnection, TcpConn, TcpKeepalive, TcpManager,
    builder,
};
use suites::server::{Echo, LIMIT, Server};

/// Starts building a pool that pings before every checkout but the first of a connection.
fn pinging(address: String) -> Builder<TcpManager> {
    let manager = TcpManager::new(address).ping(async |conn| echo(conn, b"ping").await);
    builder(manager).ping_after(Duration::ZERO).get_timeout(LIMIT)
}

fn port_of(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}

/// Returns an nftables expression that matches the packets of these connections only.
fn packets_of<M: Manager<Connection = TcpConn>>(conns: &[PooledConnection<'_, M>]) -> String {
    let ports = conns.iter().map(|conn| {
        let address = SockRef::from(conn.get_ref()).local_addr().unwrap();
        address.as_socket().unwrap().port().to_string()
    });
    let ports = ports.collect::<Vec<_>>().join(", ");
    format!("tcp sport {{ {ports} }}")
}

async fn take<M: Manager>(pool: &Pool<M>, count: usize) -> Vec<PooledConnection<'_, M>> {
    let mut guards = Vec::new();
    for _ in 0..count {
        guards.push(pool.get().await.unwrap());
    }
    guards
}

pub(crate) async fn get_opens_a_new_connection_after_three_unreachable_ones() {
    let server = Echo::start();
    let pool = pinging(server.address())
        .max_size(10)
        .ping_timeout(Duration::from_millis(100))
        .build()
        .await
        .unwrap();
    let guards = take(&pool, 9).await;
    let loss = PacketLoss::matching(&packets_of(&guards));
    drop(guards);
    // A liveness probe finds nothing: the kernel does not know yet.
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.uses(), 1, "{}", pool.stats());
    echo(&mut *conn, b"hello").await.unwrap();
    wait_until_closed(&pool, CloseReason::PingTimeout, 1).await;
    assert_eq!(pool.stats().available, 8);
    loss.stop();
}

pub(crate) async fn get_ends_at_its_deadline_during_packet_loss_and_works_after_it() {
    let server = Echo::start();
    let pool = pinging(server.address()).max_size(4).ping_timeout(LIMIT).build().await.unwrap();
    drop(take(&pool, 2).await);
    let loss = PacketLoss::matching(&format!("tcp dport {}", port_of(&server.address())));
    let time = Duration::from_millis(30);
    // However far each of them comes on a busy machine, a ping that is not answered ends a connection.
    while pool.stats().available > 0 {
        let error = pool.get_timeout(time).await.map(|conn| conn.id()).unwrap_err();
        assert!(error.is_timeout(), "{error}");
    }
    loss.stop();
    for conn in &mut take(&pool, 4).await {
        echo(&mut **conn, b"hello").await.unwrap();
    }
    wait_until_closed(&pool, CloseReason::Cancelled, 2).await;
}

pub(crate) async fn unreachable_connection_is_found_by_tcp_keepalive() {
    let server = Server::start();
    let second = Duration::from_secs(1);
    let probing = TcpKeepalive::new(second, second, 1);
    let manager = TcpManager::new(server.address()).keepalive(probing).user_timeout(None);
    let pool = builder(manager).evict_interval(Duration::from_millis(10)).build().await.unwrap();
    let guards = take(&pool, 3).await;
    let mut ends = server.accept_many(3);
    let loss = PacketLoss::matching(&packets_of(&guards[..2]));
    drop(guards);
    // Without a get.
    wait_until_closed(&pool, CloseReason::Dead, 2).await;
    loss.stop();
    let mut conn = pool.get().await.unwrap();
    talk(&mut *conn, &mut ends[2]).await;
}

pub(crate) async fn lost_request_fails_after_user_timeout() {
    let server = Echo::start();
    let manager = TcpManager::new(server.address()).user_timeout(Duration::from_millis(200));
    let pool = builder(manager).max_size(1).build().await.unwrap();
    let mut guards = take(&pool, 1).await;
    let loss = PacketLoss::matching(&packets_of(&guards));
    let mut conn = guards.pop().unwrap();
    let error = echo(&mut *conn, b"hello").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    drop(conn);
    let mut conn = pool.get().await.unwrap();
    echo(&mut *conn, b"hello").await.unwrap();
    wait_until_closed(&pool, CloseReason::NotReusable, 1).await;
    loss.stop();
}

pub(crate) async fn guard_of_an_unreachable_connection_frees_slot_and_socket_on_drop() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let mut guards = take(&pool, 1).await;
    let _end = server.accept();
    let loss = PacketLoss::matching(&packets_of(&guards));
    let mut conn = guards.pop().unwrap();
    conn.write_all(b"a request").await.unwrap();
    assert!(poll_once(conn.read(&mut [0; 8])).await.is_none());
    let sockets = open_sockets();
    drop(conn);
    // The drop does not wait for the reply, nor for the request to arrive.
    let stats = pool.stats();
    assert_eq!((stats.size, stats.closed.total()), (0, 1), "{stats}");
    assert_eq!(open_sockets(), sockets - 1);
    let mut conn = pool.get().await.unwrap();
    talk(&mut *conn, &mut server.accept()).await;
    loss.stop();
}

pub(crate) async fn lost_connects_time_out_and_the_pool_recovers() {
    let server = Echo::start();
    let pool = pool_of(server.address())
        .max_size(2)
        .connect_timeout(Duration::from_millis(50))
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    let mut open = pool.get().await.unwrap();
    echo(&mut *open, b"hello").await.unwrap();
    let sockets = open_sockets();
    let address = server.address();
    let loss = PacketLoss::matching(&format!("tcp dport {} tcp flags syn", port_of(&address)));
    // The timeout applies although the get was dropped.
    assert!(poll_once(pool.get()).await.is_none());
    wait_until(&pool, |stats| stats.connect_failed == 1 && stats.connecting == 0).await;
    assert_connect_timed_out(pool.get().await);
    wait_until(&pool, |stats| stats.connecting == 0).await;
    wait_until_open_sockets_are(sockets).await;
    echo(&mut *open, b"hello").await.unwrap();

    loss.stop();
    let mut conn = get_despite_timeouts(&pool).await;
    echo(&mut *conn, b"hello").await.unwrap();
    assert_eq!(pool.stats().size, 2);
}
