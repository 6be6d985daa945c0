//! Many connections die at once, as in a restart of the server.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_lite::future::poll_once;
use socket2::SockRef;

use crate::adapter::{
    CloseReason, Connection, GetError, Manager, Pool, TcpConn, TcpManager, builder, io_fn,
};
use crate::client::{SocketWatch, echo, pool_of, wait_readable, wait_until, wait_until_closed};
use suites::server::{Echo, Port, Server};

/// These tests open many files; they run one at a time for systems with a low limit.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn lock() -> impl Drop {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens `count` connections, returns them, and closes them at the server. Returns their ids.
async fn killed_while_idle<M>(pool: &Pool<M>, server: &Server, count: usize) -> HashSet<u64>
where
    M: Manager<Connection = TcpConn>,
{
    let mut guards = Vec::new();
    for _ in 0..count {
        guards.push(pool.get().await.unwrap());
    }
    let ids = guards.iter().map(|conn| conn.id()).collect();
    let clients: Vec<_> = guards.iter().map(SocketWatch::on).collect();
    let ends = server.accept_many(count);
    drop(guards);
    assert_eq!(pool.stats().available, count);
    drop(ends);
    clients.into_iter().for_each(SocketWatch::wait_readable);
    ids
}

/// Opens `count` connections, closes them at the server and returns them to the pool, before the
/// runtime can notice.
async fn killed_unnoticed<M>(pool: &Pool<M>, server: &Server, count: usize)
where
    M: Manager<Connection = TcpConn>,
{
    let mut guards = Vec::new();
    for _ in 0..count {
        guards.push(pool.get().await.unwrap());
    }
    drop(server.accept_many(count));
    for conn in &guards {
        wait_readable(&SockRef::from(conn.get_ref()));
    }
    drop(guards);
    assert_eq!(pool.stats().available, count);
}

pub(crate) async fn two_hundred_dead_connections_are_all_replaced() {
    let _lock = lock();
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(200).evict_interval(None).build().await.unwrap();
    let dead = killed_while_idle(&pool, &server, 200).await;

    let mut guards = Vec::new();
    for _ in 0..200 {
        let conn = pool.get().await.expect("get failed");
        assert!(!dead.contains(&conn.id()));
        guards.push(conn);
    }
    wait_until_closed(&pool, CloseReason::Dead, 200).await;
    assert_eq!(pool.stats().created, 400);
}

pub(crate) async fn restarted_server_gets_only_new_connections() {
    let _lock = lock();
    let server = Echo::start();
    let address = server.address();
    let pool = pool_of(address.clone()).max_size(200).evict_interval(None).build().await.unwrap();
    let mut guards = Vec::new();
    for _ in 0..200 {
        let mut conn = pool.get().await.unwrap();
        echo(&mut *conn, b"before").await.unwrap();
        guards.push(conn);
    }
    let dead: HashSet<u64> = guards.iter().map(|conn| conn.id()).collect();
    let clients: Vec<_> = guards.iter().map(SocketWatch::on).collect();
    drop(guards);
    drop(server);
    clients.into_iter().for_each(SocketWatch::wait_readable);
    assert_eq!(pool.stats().available, 200);
    // The server is down: this get discards three dead connections, and waits.
    let mut waiting = Box::pin(pool.get());
    assert!(poll_once(&mut waiting).await.is_none());
    wait_until(&pool, |stats| stats.connect_failed > 0).await;

    let _server = Port::reopen(&address).listen().echo();
    let mut guards = vec![waiting.await.expect("the waiter failed after the restart")];
    for _ in 1..200 {
        let mut conn = pool.get().await.expect("get failed after the restart");
        assert!(!dead.contains(&conn.id()));
        echo(&mut *conn, b"after").await.unwrap();
        guards.push(conn);
    }
    wait_until_closed(&pool, CloseReason::Dead, 200).await;
    assert_eq!((pool.stats().created, pool.stats().size), (400, 200));
}

pub(crate) async fn two_hundred_dead_connections_are_found_without_a_get() {
    let _lock = lock();
    let server = Server::start();
    let pool = pool_of(server.address())
        .max_size(200)
        .evict_interval(Duration::from_millis(5))
        .build()
        .await
        .unwrap();
    // Not `killed_while_idle`: the maintenance task runs while they die.
    let mut guards = Vec::new();
    for _ in 0..200 {
        guards.push(pool.get().await.unwrap());
    }
    let ends = server.accept_many(200);
    drop(guards);
    let requests = pool.stats().request;
    drop(ends);
    wait_until_closed(&pool, CloseReason::Dead, 200).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.request), (0, requests));
}

pub(crate) async fn cooperative_budget_hides_no_dead_connection_from_try_get() {
    let _lock = lock();
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(300).evict_interval(None).build().await.unwrap();
    killed_unnoticed(&pool, &server, 300).await;
    let pool_ref = pool.clone();
    crate::spawn(async move { assert_all_dead(&pool_ref) }).await;
    wait_until_closed(&pool, CloseReason::Dead, 300).await;
}

pub(crate) async fn cooperative_budget_hides_no_dead_connection_from_get() {
    let _lock = lock();
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(300).evict_interval(None).build().await.unwrap();
    killed_unnoticed(&pool, &server, 300).await;
    let pool_ref = pool.clone();
    crate::spawn(async move {
        // With a zero timeout, each get tries up to three idle connections and fails.
        for _ in 0..100 {
            match pool_ref.get_timeout(Duration::ZERO).await {
                Err(GetError::Timeout { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pool_ref.stats().available, 0);
    })
    .await;
    wait_until(&pool, |stats| stats.closed.get(CloseReason::Dead) == 300).await;
}

pub(crate) async fn cooperative_budget_hides_no_ended_stream_from_the_generic_probe() {
    let _lock = lock();
    let server = Server::start();
    let address = server.address();
    let manager = io_fn(move || {
        let tcp = TcpManager::new(address.clone());
        async move { tcp.connect().await }
    });
    let pool = builder(manager).max_size(300).evict_interval(None).build().await.unwrap();
    let mut guards = Vec::new();
    for _ in 0..300 {
        guards.push(pool.get().await.unwrap());
    }
    drop(server.accept_many(300));
    drop(guards);
    assert_eq!(pool.stats().available, 300);
    let pool_ref = pool.clone();
    crate::spawn(async move { assert_all_dead(&pool_ref) }).await;
    wait_until_closed(&pool, CloseReason::Dead, 300).await;
}

/// Tries all idle connections without yielding to the runtime.
fn assert_all_dead<M: Manager<Connection: Connection>>(pool: &Pool<M>) {
    while pool.stats().available > 0 {
        match pool.try_get() {
            Err(GetError::Exhausted(_)) => {}
            Ok(conn) => panic!("got the dead connection {conn:?}: {}", pool.stats()),
            Err(other) => panic!("{other}"),
        }
    }
}
