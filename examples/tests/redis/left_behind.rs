//! What users leave behind in a connection, so that the next one must not get it.

use std::io;

use connpool_core::{CloseReason, Connection, Manager, Pool, PooledConnection};
use connpool_examples::redis_server::RedisServer;
use futures_lite::future::or;

use crate::support::{Adapter, Spy, ask, assert_closed, client_id, pool_of, start_redis, until};

pub(crate) async fn a_blocking_command_given_up_is_never_lent_again<A: Adapter>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let id = client_id(&mut *conn).await;
    give_up(&mut server, ask(&mut *conn, &["BLPOP", "list", "0"])).await;
    drop(conn);
    assert_closed(&pool, &[(CloseReason::NotReusable, 1)]);
    nobody_takes_from_the_list(&mut server, &pool, id).await;
}

pub(crate) async fn a_blocking_command_given_up_in_an_exchange_is_never_lent_again<A: Adapter>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let id = client_id(&mut *conn).await;
    let exchange = conn.exchange(async |redis| ask(redis, &["BLPOP", "list", "0"]).await);
    give_up(&mut server, exchange).await;
    drop(conn);
    assert_closed(&pool, &[(CloseReason::Unfinished, 1)]);
    nobody_takes_from_the_list(&mut server, &pool, id).await;
}

/// Drops a blocking request when Redis has taken it up.
async fn give_up(server: &mut RedisServer, request: impl Future<Output = io::Result<String>>) {
    let answered = async {
        let reply = request.await;
        panic!("nothing to wait for: {reply:?}");
    };
    or(answered, until_blocked(server, 1)).await;
}

/// The element that the request would have taken is there, and its reply is nobody's.
async fn nobody_takes_from_the_list<M>(server: &mut RedisServer, pool: &Pool<M>, id: u64)
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

pub(crate) async fn a_connection_left_subscribed_is_not_lent_again<A: Adapter>() {
    let server = start_redis();
    let pool = pool_of::<A>(&server).max_size(1).build().await.unwrap();
    let (conn, id) = subscribed(&pool).await;
    drop(conn);
    assert_closed(&pool, &[]);
    let mut next = pool.get().await.unwrap();
    assert_ne!(client_id(&mut *next).await, id);
    assert_closed(&pool, &[(CloseReason::ResetFailed, 1)]);
}

pub(crate) async fn a_message_that_nobody_asked_for_is_found<A: Adapter>() {
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

/// A connection on loan that has subscribed to `channel`.
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

pub(crate) async fn a_connection_left_in_a_transaction_is_not_lent_again<A: Adapter>() {
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
