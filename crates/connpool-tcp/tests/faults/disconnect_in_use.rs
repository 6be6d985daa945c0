//! A connection that dies in the hands of its user, while somebody else waits for it.

use std::net::TcpStream;

use futures_lite::AsyncWriteExt;
use futures_lite::future::poll_once;

use super::client::{Spy, pool_of, talk, until_closed};
use super::server::{self, LIMIT, Server};
use crate::adapter::{CloseReason, PooledConnection, TcpManager};

pub(crate) async fn waiter_for_a_connection_closed_in_use_gets_a_new_one() {
    dies(CloseReason::Dead, async |end, conn| {
        let client = Spy::on(conn);
        drop(end);
        client.sees_something();
    })
    .await;
}

pub(crate) async fn waiter_for_a_connection_reset_in_use_gets_a_new_one() {
    dies(CloseReason::Dead, async |end, conn| {
        let client = Spy::on(conn);
        server::reset(end);
        client.sees_a_reset();
    })
    .await;
}

pub(crate) async fn waiter_for_a_connection_that_failed_in_use_gets_a_new_one() {
    dies(CloseReason::NotReusable, async |end, conn| {
        let client = Spy::on(conn);
        server::reset(end);
        client.sees_a_reset();
        conn.write_all(b"hello").await.unwrap_err();
    })
    .await;
}

pub(crate) async fn waiter_for_a_marked_connection_gets_a_new_one() {
    let mut open = Vec::new();
    dies(CloseReason::Marked, async |end, conn| {
        conn.mark_unusable();
        open.push(end);
    })
    .await;
}

/// The only connection of a pool dies while it is lent, and its user brings it back.
async fn dies(
    reason: CloseReason,
    kill: impl AsyncFnOnce(TcpStream, &mut PooledConnection<'_, TcpManager>),
) {
    let server = Server::start();
    let pool = pool_of(server.address())
        .max_size(1)
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    let mut conn = pool.get().await.unwrap();
    let mut end = server.accept();
    talk(&mut *conn, &mut end).await;
    let mut waiting = Box::pin(pool.get());
    assert!(poll_once(&mut waiting).await.is_none());
    kill(end, &mut conn).await;
    // Until it comes back it is its user's.
    assert_eq!(pool.stats().closed.total(), 0);
    drop(conn);
    let mut conn = waiting.await.unwrap();
    talk(&mut *conn, &mut server.accept()).await;
    until_closed(&pool, reason, 1).await;
    assert_eq!(pool.stats().created, 2);
}
