//! Operations on a borrowed connection, and whether it is reused.

use std::io::ErrorKind;
use std::net::TcpStream;

use futures_lite::future::poll_once;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::adapter::{CloseReason, Pool, PooledConnection, TcpManager};
use crate::client::{SocketWatch, echo, pool_of, talk, wait_until_closed};
use suites::server::{self, Echo, Server};

type Guard = PooledConnection<'static, TcpManager>;

/// Returns a pool of one connection, its guard, and the server's socket.
async fn borrow_one() -> (Server, Pool<TcpManager>, Guard, TcpStream) {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let conn = pool.get_owned().await.unwrap();
    let socket = server.accept();
    (server, pool, conn, socket)
}

/// Returns a connection that must not be reused; the pool closes it immediately.
async fn assert_not_reused(
    server: &Server,
    pool: &Pool<TcpManager>,
    conn: Guard,
    why: CloseReason,
) {
    let id = conn.id();
    drop(conn);
    let stats = pool.stats();
    assert_eq!((stats.size, stats.closed.get(why)), (0, 1), "{stats}");
    let mut next = pool.get().await.unwrap();
    assert_ne!(next.id(), id);
    talk(&mut *next, &mut server.accept()).await;
    drop(next);
    wait_until_closed(pool, why, 1).await;
}

pub(crate) async fn connection_closed_while_borrowed_and_unused_is_not_lent_again() {
    assert_unused_replaced(|socket, client| {
        drop(socket);
        client.wait_readable();
    })
    .await;
}

pub(crate) async fn connection_reset_while_borrowed_and_unused_is_not_lent_again() {
    assert_unused_replaced(|socket, client| {
        server::reset(socket);
        client.wait_reset();
    })
    .await;
}

async fn assert_unused_replaced(break_it: impl FnOnce(TcpStream, SocketWatch)) {
    let (server, pool, conn, socket) = borrow_one().await;
    let id = conn.id();
    let client = SocketWatch::on(&conn);
    break_it(socket, client);
    drop(conn);
    let mut next = pool.get().await.unwrap();
    assert_ne!(next.id(), id);
    talk(&mut *next, &mut server.accept()).await;
    wait_until_closed(&pool, CloseReason::Dead, 1).await;
}

pub(crate) async fn connection_with_a_pending_read_is_not_lent_again() {
    let (server, pool, mut conn, _socket) = borrow_one().await;
    let mut buffer = [0; 8];
    assert!(poll_once(conn.read(&mut buffer)).await.is_none());
    assert_not_reused(&server, &pool, conn, CloseReason::NotReusable).await;
}

pub(crate) async fn connection_with_a_pending_write_is_not_lent_again() {
    let (server, pool, mut conn, _socket) = borrow_one().await;
    let much = vec![0; 64 << 20];
    assert!(poll_once(conn.write_all(&much)).await.is_none());
    assert_not_reused(&server, &pool, conn, CloseReason::NotReusable).await;
}

pub(crate) async fn connection_whose_end_was_read_is_not_lent_again() {
    let (server, pool, mut conn, socket) = borrow_one().await;
    drop(socket);
    assert_eq!(conn.read(&mut [0; 8]).await.unwrap(), 0);
    assert_not_reused(&server, &pool, conn, CloseReason::NotReusable).await;
}

pub(crate) async fn connection_with_a_failed_write_is_not_lent_again() {
    let (server, pool, mut conn, socket) = borrow_one().await;
    let client = SocketWatch::on(&conn);
    server::reset(socket);
    client.wait_reset();
    let error = conn.write_all(b"hello").await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    assert_not_reused(&server, &pool, conn, CloseReason::NotReusable).await;
}

pub(crate) async fn connection_that_was_shut_down_is_not_lent_again() {
    let (server, pool, mut conn, _socket) = borrow_one().await;
    conn.close().await.unwrap();
    assert_not_reused(&server, &pool, conn, CloseReason::NotReusable).await;
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
            _ => conn.exchange(async |conn| echo(conn, b"hello\n").await).await.unwrap(),
        }
    }
    assert_eq!(pool.stats().created, 1);
}

pub(crate) async fn unread_reply_does_not_reach_the_next_user() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let client = SocketWatch::on(&conn);
    conn.write_all(b"mine").await.unwrap();
    drop(conn);
    client.wait_readable();
    let mut next = pool.get().await.unwrap();
    echo(&mut *next, b"ours").await.unwrap();
    drop(next);
    wait_until_closed(&pool, CloseReason::Unsolicited, 1).await;
}

pub(crate) async fn cancelled_exchange_makes_the_connection_unusable() {
    let (server, pool, mut conn, _socket) = borrow_one().await;
    // The request is written and no read was started: only `exchange` knows.
    let exchange = conn.exchange(async |conn| {
        conn.write_all(b"a request").await?;
        std::future::pending::<std::io::Result<()>>().await
    });
    assert!(poll_once(exchange).await.is_none());
    assert!(conn.is_clean());
    assert_not_reused(&server, &pool, conn, CloseReason::Unfinished).await;
}

pub(crate) async fn marked_connection_is_not_lent_again() {
    let (server, pool, mut conn, mut socket) = borrow_one().await;
    talk(&mut *conn, &mut socket).await;
    conn.mark_unusable();
    assert_not_reused(&server, &pool, conn, CloseReason::Marked).await;
}
