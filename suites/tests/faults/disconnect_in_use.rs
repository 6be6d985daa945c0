//! A borrowed connection fails while another get waits for it.

use std::net::TcpStream;

use futures_lite::AsyncWriteExt;
use futures_lite::future::poll_once;

use super::client::{SocketWatch, pool_of, talk, wait_until_closed};
use crate::adapter::{CloseReason, PooledConnection, TcpManager};
use suites::server::{self, LIMIT, Server};

pub(crate) async fn waiter_for_a_connection_closed_in_use_gets_a_new_one() {
    run(CloseReason::Dead, async |end, conn| {
        let client = SocketWatch::on(conn);
        drop(end);
        client.wait_readable();
    })
    .await;
}

pub(crate) async fn waiter_for_a_connection_reset_in_use_gets_a_new_one() {
    run(CloseReason::Dead, async |end, conn| {
        let client = SocketWatch::on(conn);
        server::reset(end);
        client.wait_reset();
    })
    .await;
}

pub(crate) async fn waiter_for_a_connection_that_failed_in_use_gets_a_new_one() {
    run(CloseReason::NotReusable, async |end, conn| {
        let client = SocketWatch::on(conn);
        server::reset(end);
        client.wait_reset();
        conn.write_all(b"hello").await.unwrap_err();
    })
    .await;
}

pub(crate) async fn waiter_for_a_marked_connection_gets_a_new_one() {
    let mut open = Vec::new();
    run(CloseReason::Marked, async |end, conn| {
        conn.mark_unusable();
        open.push(end);
    })
    .await;
}

/// Breaks the only connection of a pool while it is borrowed, and returns it to the pool with a get
/// waiting.
async fn run(
    reason: CloseReason,
    disconnect: impl AsyncFnOnce(TcpStream, &mut PooledConnection<'_, TcpManager>),
) {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(1).get_timeout(LIMIT).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let mut end = server.accept();
    talk(&mut *conn, &mut end).await;
    let mut waiting = Box::pin(pool.get());
    assert!(poll_once(&mut waiting).await.is_none());
    disconnect(end, &mut conn).await;
    // The pool does not close a borrowed connection.
    assert_eq!(pool.stats().closed.total(), 0);
    drop(conn);
    let mut conn = waiting.await.unwrap();
    talk(&mut *conn, &mut server.accept()).await;
    wait_until_closed(&pool, reason, 1).await;
    assert_eq!(pool.stats().created, 2);
}
