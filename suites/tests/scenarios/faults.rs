//! Misbehaving peers: they close at once, refuse, or reply slowly.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::adapter::{
    CloseReason, GetError, Manager, Phase, Pool, TcpConn, TcpManager, builder, io_fn,
};
use crate::client::{counts_add_up, echo, pool_of, wait_until, wait_until_closed};
use suites::server::{self, LIMIT, Port, Server};

/// More attempts than the backoff allows in half a second, with pauses of up to 50 ms, 100 ms, 200
/// ms and so on; far fewer than without backoff.
const MAX_ATTEMPTS: u64 = 25;

pub(crate) async fn peer_that_accepts_and_closes_is_dialled_with_backoff() {
    assert_dialled_with_backoff(|_| ()).await;
}

pub(crate) async fn peer_that_accepts_and_resets_is_dialled_with_backoff() {
    assert_dialled_with_backoff(server::reset_on_close).await;
}

async fn assert_dialled_with_backoff(handle: impl Fn(&TcpStream) + Send + Sync + 'static) {
    let accepted = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&accepted);
    let server = Server::start().serve(move |stream| {
        count.fetch_add(1, Ordering::SeqCst);
        handle(stream);
    });
    let tcp = Arc::new(TcpManager::new(server.address()));
    let manager = io_fn(move || {
        let tcp = Arc::clone(&tcp);
        async move {
            let conn = tcp.connect().await?;
            // A connection that the peer has not closed yet cannot be known to be dead.
            conn.get_ref().readable().await?;
            Ok::<_, io::Error>(conn)
        }
    });
    // The reset may arrive early enough to fail the connect.
    let pool = builder(manager).fail_fast_after(None).build().await.unwrap();
    assert_times_out_in_half_a_second(&pool).await;
    wait_until(&pool, |stats| stats.connecting == 0 && counts_add_up(stats)).await;
    drop(server);
    let stats = pool.stats();
    let accepted = accepted.load(Ordering::SeqCst) as u64;
    assert!((1..MAX_ATTEMPTS).contains(&accepted), "{accepted}: {stats}");
    assert_eq!(stats.closed.get(CloseReason::Dead), stats.closed.total());
}

pub(crate) async fn peer_that_refuses_is_dialled_with_backoff() {
    let closed_port = Port::bind();
    let pool = pool_of(closed_port.address()).fail_fast_after(None);
    let pool = pool.build().await.unwrap();
    assert_times_out_in_half_a_second(&pool).await;
    let stats = pool.stats();
    assert!((1..MAX_ATTEMPTS).contains(&stats.connect_failed), "{stats}");
    // Once the port is open, the next get is served.
    let _server = closed_port.listen().echo();
    let mut conn = pool.get().await.unwrap();
    echo(&mut *conn, b"hello").await.unwrap();
}

async fn assert_times_out_in_half_a_second<M: Manager>(pool: &Pool<M>) {
    match pool.get_timeout(Duration::from_millis(500)).await {
        Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Connect),
        Err(other) => panic!("{other}"),
        Ok(conn) => panic!("got {conn:?}: {}", pool.stats()),
    }
}

/// Each read completes quickly. The timeout applies to the whole ping.
pub(crate) async fn ping_answered_byte_by_byte_times_out() {
    async fn ping(conn: &mut TcpConn) -> io::Result<()> {
        conn.write_all(b"?").await?;
        conn.read_exact(&mut [0; 10_000]).await
    }
    let server = Server::start().serve(|stream| _ = drip(stream));
    let pool = builder(TcpManager::new(server.address()).ping(ping))
        .max_size(1)
        .ping_after(Duration::ZERO)
        .ping_timeout(Duration::from_millis(50))
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    let id = pool.get().await.unwrap().id();
    let mut conn = pool.get().await.unwrap();
    assert_ne!(conn.id(), id);
    conn.write_all(b"?").await.unwrap();
    conn.read_exact(&mut [0; 3]).await.unwrap();
    wait_until_closed(&pool, CloseReason::PingTimeout, 1).await;
    assert_eq!(pool.stats().ping_failed, 1);
}

/// Answers the first byte with single bytes until the client closes.
fn drip(mut stream: &TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0; 1])?;
    // The read detects the close of the client, and otherwise only delays.
    stream.set_read_timeout(Some(Duration::from_millis(5)))?;
    loop {
        stream.write_all(b".")?;
        match stream.read(&mut [0; 1]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

pub(crate) async fn connection_whose_peer_closes_on_ping_is_replaced() {
    async fn ping(conn: &mut TcpConn) -> io::Result<()> {
        conn.write_all(b"PING").await?;
        conn.read_exact(&mut [0; 4]).await
    }
    let server = Server::start().serve(|mut stream| {
        let mut text = [0; 4];
        while stream.read_exact(&mut text).is_ok() && &text != b"PING" {
            let _ = stream.write_all(&text);
        }
    });
    let pool = builder(TcpManager::new(server.address()).ping(ping))
        .max_size(3)
        .ping_after(Duration::ZERO)
        .ping_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    let guards = (pool.get().await, pool.get().await, pool.get().await);
    drop(guards);
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.uses(), 1);
    echo(&mut *conn, b"text").await.unwrap();
    wait_until(&pool, |stats| counts_add_up(stats) && stats.closed.total() == 3).await;
    assert_eq!(pool.stats().closed.get(CloseReason::PingFailed), 3);
}
