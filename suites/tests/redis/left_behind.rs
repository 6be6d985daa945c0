//! State that a user leaves behind on a connection must not reach the next user.

use std::io;

use connpool_core::{CloseReason, Connection, Manager, Pool, PooledConnection};
use connpool_examples::redis_server::RedisServer;
use futures_lite::future::or;

use crate::support::{Adapter, Spy, ask, assert_closed, client_id, pool_of, start_redis, until};

pub(crate) async fn a_connection_with_an_abandoned_blocking_command_is_not_reused<A: Adapter>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let id = client_id(&mut *conn).await;
    abandon(&mut server, ask(&mut *conn, &["BLPOP", "list", "0"])).await;
    drop(conn);
    assert_closed(&pool, &[(CloseReason::NotReusable, 1)]);
    assert_list_untouched(&mut server, &pool, id).await;
}

pub(crate) async fn an_exchange_abandoned_in_a_blocking_command_destroys_its_connection<
    A: Adapter,
>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let id = client_id(&mut *conn).await;
    let exchange = conn.exchange(async |redis| ask(redis, &["BLPOP", "list", "0"]).await);
    abandon(&mut server, exchange).await;
    drop(conn);
    assert_closed(&pool, &[(CloseReason::Unfinished, 1)]);
    assert_list_untouched(&mut server, &pool, id).await;
}

/// Drops a blocking request once Redis has received it.
async fn abandon(server: &mut RedisServer, request: impl Future<Output = io::Result<String>>) {
    let answered = async {
        let reply = request.await;
        panic!("nothing to wait for: {reply:?}");
    };
    or(answered, until_blocked(server, 1)).await;
}

/// Checks that the element is still in the list: no abandoned request took it.
async fn assert_list_untouched<M>(server: &mut RedisServer, pool: &Pool<M>, id: u64)
where
    M: Manager<Connection: Connection>,
{
    until_blocked(server, 0).await;
    server.command(&["RPUSH", "list", "element"]).unwrap();
    let mut next = pool.get().await.unwrap();
    assert_ne!(client_id(&mut *next).await, id);
    assert_eq!(ask(&mut *next, &["LLEN", "list"]).await.unwrap(), "1");
}

async fn until_blocked(server: &mut RedisServer, count: usize) {
    let blocked = format!("blocked_clients:{count}\r\n");
    until(&blocked, || {
        let clients = server.command(&["INFO", "clients"]).unwrap();
        clients.contains(&blocked)
    })
    .await;
}

pub(crate) async fn a_subscribed_connection_is_not_reused<A: Adapter>() {
    let server = start_redis();
    let pool = pool_of::<A>(&server).max_size(1).build().await.unwrap();
    let (conn, id) = subscribed(&pool).await;
    drop(conn);
    assert_closed(&pool, &[]);
    let mut next = pool.get().await.unwrap();
    assert_ne!(client_id(&mut *next).await, id);
    assert_closed(&pool, &[(CloseReason::ResetFailed, 1)]);
}

pub(crate) async fn an_unsolicited_message_is_detected<A: Adapter>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server).max_size(1).build().await.unwrap();
    let (conn, id) = subscribed(&pool).await;
    let spy = Spy::on::<A>(&conn);
    drop(conn);
    let publish = ["PUBLISH", "channel", "message"];
    assert_eq!(server.command(&publish).unwrap(), "1");
    spy.sees_something();
    let mut next = pool.get().await.unwrap();
    assert_ne!(client_id(&mut *next).await, id);
    assert_closed(&pool, &[(CloseReason::Unsolicited, 1)]);
}

/// Borrows a connection and subscribes it to `channel`.
async fn subscribed<M>(pool: &Pool<M>) -> (PooledConnection<'_, M>, u64)
where
    M: Manager<Connection: Connection>,
{
    let mut conn = pool.get().await.unwrap();
    let id = client_id(&mut *conn).await;
    let reply = ask(&mut *conn, &["SUBSCRIBE", "channel"]).await.unwrap();
    assert!(reply.contains("subscribe"), "{reply}");
    (conn, id)
}

pub(crate) async fn a_connection_in_a_transaction_is_not_reused<A: Adapter>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    for (command, reply) in [("MULTI", "OK"), ("INCR number", "QUEUED")] {
        let words: Vec<_> = command.split(' ').collect();
        assert_eq!(ask(&mut *conn, &words).await.unwrap(), reply);
    }
    drop(conn);
    let mut next = pool.get().await.unwrap();
    assert_eq!(ask(&mut *next, &["PING"]).await.unwrap(), "PONG");
    assert_eq!(server.command(&["EXISTS", "number"]).unwrap(), "0");
    assert_closed(&pool, &[(CloseReason::ResetFailed, 1)]);
}
