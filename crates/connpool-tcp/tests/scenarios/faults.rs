//! Peers that answer, but badly: they hang up at once, or refuse, or take their time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::adapter::{
    CloseReason, GetError, Manager, Phase, Pool, TcpConn, TcpManager, builder, io_fn,
};
use crate::support::client::{adds_up, echo, pool_of, until, until_closed};
use crate::support::server::{self, LIMIT, Port, Server};

/// Far more attempts than the pauses between them leave time for in half a second, which are 50 ms
/// at most, 100 ms, 200 ms and so on; far fewer than without any.
const FEW: u64 = 25;

pub(crate) async fn peer_that_accepts_and_closes_is_dialled_with_backoff() {
    not_dialled_without_rest(|_| ()).await;
}

pub(crate) async fn peer_that_accepts_and_resets_is_dialled_with_backoff() {
    not_dialled_without_rest(server::will_reset).await;
}

async fn not_dialled_without_rest(attend: impl Fn(&TcpStream) + Send + Sync + 'static) {
    let accepted = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&accepted);
    let server = Server::start().serve(move |stream| {
        count.fetch_add(1, Ordering::SeqCst);
        attend(stream);
    });
    let tcp = Arc::new(TcpManager::new(server.address()));
    let manager = io_fn(move || {
        let tcp = Arc::clone(&tcp);
        async move {
            let conn = tcp.connect().await?;
            // What is lent before the peer has hung up, nobody can know.
            conn.get_ref().readable().await?;
            Ok::<_, io::Error>(conn)
        }
    });
    // A reset may come soon enough to fail the connect.
    let pool = builder(manager).fail_fast(false).build().await.unwrap();
    nothing_is_lent_for_half_a_second(&pool).await;
    until(&pool, |stats| stats.connecting == 0 && adds_up(stats)).await;
    drop(server);
    let stats = pool.stats();
    let accepted = accepted.load(Ordering::SeqCst) as u64;
    assert!((1..FEW).contains(&accepted), "{accepted}: {stats}");
    assert_eq!(stats.closed.get(CloseReason::Dead), stats.closed.total());
}

pub(crate) async fn peer_that_refuses_is_dialled_with_backoff() {
    let nobody = Port::new();
    let pool = pool_of(nobody.address()).fail_fast(false);
    let pool = pool.build().await.unwrap();
    nothing_is_lent_for_half_a_second(&pool).await;
    let stats = pool.stats();
    assert!((1..FEW).contains(&stats.connect_failed), "{stats}");
    // Once somebody listens, the next one is served.
    let _server = nobody.listen().echo();
    let mut conn = pool.get().await.unwrap();
    echo(&mut *conn, b"hello").await.unwrap();
}

async fn nothing_is_lent_for_half_a_second<M: Manager>(pool: &Pool<M>) {
    match pool.get_timeout(Duration::from_millis(500)).await {
        Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Connect),
        Err(other) => panic!("{other}"),
        Ok(conn) => panic!("{conn:?} was lent: {}", pool.stats()),
    }
}

/// Each read of the ping is answered soon. The limit is on all of it.
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
    until_closed(&pool, CloseReason::PingTimeout, 1).await;
    assert_eq!(pool.stats().ping_failed, 1);
}

/// Answers the first byte with one byte after the other, for as long as anybody listens.
fn drip(mut stream: &TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0; 1])?;
    // Which end it is that stops is seen by the read, which else only takes its time.
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
    let all = (pool.get().await, pool.get().await, pool.get().await);
    drop(all);
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.uses(), 1);
    echo(&mut *conn, b"text").await.unwrap();
    until(&pool, |stats| adds_up(stats) && stats.closed.total() == 3).await;
    assert_eq!(pool.stats().closed.get(CloseReason::PingFailed), 3);
}
