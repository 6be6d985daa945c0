//! What a user does to a connection, and whether the next one gets it.

use std::io::ErrorKind;
use std::net::TcpStream;

use futures_lite::future::poll_once;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::adapter::{CloseReason, Pool, PooledConnection, TcpManager};
use crate::support::client::{Spy, echo, pool_of, talk, until_closed};
use crate::support::server::{self, Echo, Server};

type Guard = PooledConnection<'static, TcpManager>;

/// A pool of one, its connection on loan, and the server's end of it.
async fn one() -> (Server, Pool<TcpManager>, Guard, TcpStream) {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let conn = pool.get_owned().await.unwrap();
    let end = server.accept();
    (server, pool, conn, end)
}

/// Brings back a connection that nobody must get again; it is closed on the spot.
async fn not_lent_again(server: &Server, pool: &Pool<TcpManager>, conn: Guard, why: CloseReason) {
    let id = conn.id();
    drop(conn);
    let stats = pool.stats();
    assert_eq!((stats.size, stats.closed.get(why)), (0, 1), "{stats}");
    let mut next = pool.get().await.unwrap();
    assert_ne!(next.id(), id);
    talk(&mut *next, &mut server.accept()).await;
    drop(next);
    until_closed(pool, why, 1).await;
}

pub(crate) async fn connection_closed_while_borrowed_and_unused_is_not_lent_again() {
    harmed_while_lent_and_not_used(|end, client| {
        drop(end);
        client.sees_something();
    })
    .await;
}

pub(crate) async fn connection_reset_while_borrowed_and_unused_is_not_lent_again() {
    harmed_while_lent_and_not_used(|end, client| {
        server::reset(end);
        client.sees_a_reset();
    })
    .await;
}

async fn harmed_while_lent_and_not_used(harm: impl FnOnce(TcpStream, Spy)) {
    let (server, pool, conn, end) = one().await;
    let id = conn.id();
    let client = Spy::on(&conn);
    harm(end, client);
    drop(conn);
    let mut next = pool.get().await.unwrap();
    assert_ne!(next.id(), id);
    talk(&mut *next, &mut server.accept()).await;
    until_closed(&pool, CloseReason::Dead, 1).await;
}

pub(crate) async fn connection_with_a_pending_read_is_not_lent_again() {
    let (server, pool, mut conn, _end) = one().await;
    let mut buffer = [0; 8];
    assert!(poll_once(conn.read(&mut buffer)).await.is_none());
    not_lent_again(&server, &pool, conn, CloseReason::NotReusable).await;
}

pub(crate) async fn connection_with_a_pending_write_is_not_lent_again() {
    let (server, pool, mut conn, _end) = one().await;
    let much = vec![0; 64 << 20];
    assert!(poll_once(conn.write_all(&much)).await.is_none());
    not_lent_again(&server, &pool, conn, CloseReason::NotReusable).await;
}

pub(crate) async fn connection_whose_end_was_read_is_not_lent_again() {
    let (server, pool, mut conn, end) = one().await;
    drop(end);
    assert_eq!(conn.read(&mut [0; 8]).await.unwrap(), 0);
    not_lent_again(&server, &pool, conn, CloseReason::NotReusable).await;
}

pub(crate) async fn connection_with_a_failed_write_is_not_lent_again() {
    let (server, pool, mut conn, end) = one().await;
    let client = Spy::on(&conn);
    server::reset(end);
    client.sees_a_reset();
    let error = conn.write_all(b"hello").await.unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{error}"
    );
    not_lent_again(&server, &pool, conn, CloseReason::NotReusable).await;
}

pub(crate) async fn connection_that_was_shut_down_is_not_lent_again() {
    let (server, pool, mut conn, _end) = one().await;
    conn.close().await.unwrap();
    not_lent_again(&server, &pool, conn, CloseReason::NotReusable).await;
}

pub(crate) async fn connection_is_reused_after_complete_exchanges() {
    let server = Echo::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let id = pool.get().await.unwrap().id();
    for round in 0..50 {
        let mut conn = pool.get().await.unwrap();
        assert_eq!(conn.id(), id);
        match round % 2 {
            0 => echo(&mut *conn, b"hello\n").await.unwrap(),
            _ => conn
                .exchange(async |conn| echo(conn, b"hello\n").await)
                .await
                .unwrap(),
        }
    }
    assert_eq!(pool.stats().created, 1);
}

pub(crate) async fn unread_reply_does_not_reach_the_next_user() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let client = Spy::on(&conn);
    conn.write_all(b"mine").await.unwrap();
    drop(conn);
    client.sees_something();
    let mut next = pool.get().await.unwrap();
    echo(&mut *next, b"ours").await.unwrap();
    drop(next);
    until_closed(&pool, CloseReason::Unsolicited, 1).await;
}

pub(crate) async fn cancelled_exchange_makes_the_connection_unusable() {
    let (server, pool, mut conn, _end) = one().await;
    // The request is written and no read has begun: only the exchange knows.
    let exchange = conn.exchange(async |conn| {
        conn.write_all(b"a request").await?;
        std::future::pending::<std::io::Result<()>>().await
    });
    assert!(poll_once(exchange).await.is_none());
    assert!(conn.is_clean());
    not_lent_again(&server, &pool, conn, CloseReason::Unfinished).await;
}

pub(crate) async fn marked_connection_is_not_lent_again() {
    let (server, pool, mut conn, mut end) = one().await;
    talk(&mut *conn, &mut end).await;
    conn.mark_unusable();
    not_lent_again(&server, &pool, conn, CloseReason::Marked).await;
}
