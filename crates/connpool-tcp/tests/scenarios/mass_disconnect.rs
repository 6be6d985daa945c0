//! Very many connections dead at once: a restart of the server.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;

use crate::adapter::{
    CloseReason, Connection, GetError, Manager, Pool, TcpConn, TcpManager, builder, io_fn,
};
use crate::support::client::{Spy, echo, has_something, pool_of, until, until_closed};
use crate::support::server::{Echo, Port, Server};

/// These have many files open: one at a time, for systems where a process may have few.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn one_at_a_time() -> impl Drop {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens so many connections, and has the server end them while they are idle.
async fn killed_while_idle<M>(pool: &Pool<M>, server: &Server, count: usize) -> HashSet<u64>
where
    M: Manager<Connection = TcpConn>,
{
    let mut guards = Vec::new();
    for _ in 0..count {
        guards.push(pool.get().await.unwrap());
    }
    let ids = guards.iter().map(|conn| conn.id()).collect();
    let clients: Vec<_> = guards.iter().map(Spy::on).collect();
    let ends = server.accept_many(count);
    drop(guards);
    assert_eq!(pool.stats().available, count);
    drop(ends);
    clients.into_iter().for_each(Spy::sees_something);
    ids
}

/// Opens so many connections, and has the server end them just before they are idle; the runtime
/// has no chance to notice.
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
        has_something(&SockRef::from(conn.get_ref()));
    }
    drop(guards);
    assert_eq!(pool.stats().available, count);
}

pub(crate) async fn two_hundred_dead_connections_are_all_replaced() {
    let _alone = one_at_a_time();
    let server = Server::start();
    let pool = pool_of(server.address())
        .max_size(200)
        .evict_interval(None)
        .build()
        .await
        .unwrap();
    let dead = killed_while_idle(&pool, &server, 200).await;

    let mut guards = Vec::new();
    for _ in 0..200 {
        let conn = pool.get().await.expect("the server is there");
        assert!(!dead.contains(&conn.id()));
        guards.push(conn);
    }
    until_closed(&pool, CloseReason::Dead, 200).await;
    assert_eq!(pool.stats().created, 400);
}

pub(crate) async fn restarted_server_gets_only_new_connections() {
    let _alone = one_at_a_time();
    let server = Echo::start();
    let address = server.address();
    let pool = pool_of(address.clone())
        .max_size(200)
        .evict_interval(None)
        .build()
        .await
        .unwrap();
    let mut all = Vec::new();
    for _ in 0..200 {
        let mut conn = pool.get().await.unwrap();
        echo(&mut *conn, b"before").await.unwrap();
        all.push(conn);
    }
    let dead: HashSet<u64> = all.iter().map(|conn| conn.id()).collect();
    let clients: Vec<_> = all.iter().map(Spy::on).collect();
    drop(all);
    drop(server);
    clients.into_iter().for_each(Spy::sees_something);
    assert_eq!(pool.stats().available, 200);
    // Nobody is there: this one is told so, after three dead ones.
    let error = pool.get().await.unwrap_err();
    assert!(matches!(error, GetError::Connect(_)), "{error:?}");

    let _server = Port::again(&address).listen().echo();
    let mut all = Vec::new();
    for _ in 0..200 {
        let mut conn = pool.get().await.expect("the server is back");
        assert!(!dead.contains(&conn.id()));
        echo(&mut *conn, b"after").await.unwrap();
        all.push(conn);
    }
    until_closed(&pool, CloseReason::Dead, 200).await;
    assert_eq!((pool.stats().created, pool.stats().size), (400, 200));
}

pub(crate) async fn two_hundred_dead_connections_are_found_without_a_get() {
    let _alone = one_at_a_time();
    let server = Server::start();
    let pool = pool_of(server.address())
        .max_size(200)
        .evict_interval(Duration::from_millis(5))
        .build()
        .await
        .unwrap();
    // Not `killed_while_idle`: the driver is at work while they die.
    let mut guards = Vec::new();
    for _ in 0..200 {
        guards.push(pool.get().await.unwrap());
    }
    let ends = server.accept_many(200);
    drop(guards);
    let asked = pool.stats().request;
    drop(ends);
    until_closed(&pool, CloseReason::Dead, 200).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.request), (0, asked));
}

pub(crate) async fn cooperative_budget_hides_no_dead_connection_from_try_get() {
    let _alone = one_at_a_time();
    let server = Server::start();
    let pool = pool_of(server.address())
        .max_size(300)
        .evict_interval(None)
        .build()
        .await
        .unwrap();
    killed_unnoticed(&pool, &server, 300).await;
    let mine = pool.clone();
    crate::spawn(async move { nothing_is_lent(&mine) }).await;
    until_closed(&pool, CloseReason::Dead, 300).await;
}

pub(crate) async fn cooperative_budget_hides_no_dead_connection_from_get() {
    let _alone = one_at_a_time();
    let server = Server::start();
    let pool = pool_of(server.address())
        .max_size(300)
        .evict_interval(None)
        .build()
        .await
        .unwrap();
    killed_unnoticed(&pool, &server, 300).await;
    let mine = pool.clone();
    crate::spawn(async move {
        // No time at all: what is idle is lent or else nothing, and every get tries three.
        for _ in 0..100 {
            match mine.get_timeout(Duration::ZERO).await {
                Err(GetError::Timeout { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(mine.stats().available, 0);
    })
    .await;
    until(&pool, |stats| stats.closed.get(CloseReason::Dead) == 300).await;
}

pub(crate) async fn cooperative_budget_hides_no_ended_stream_from_the_generic_probe() {
    let _alone = one_at_a_time();
    let server = Server::start();
    let address = server.address();
    let manager = io_fn(move || {
        let tcp = TcpManager::new(address.clone());
        async move { tcp.connect().await }
    });
    let pool = builder(manager)
        .max_size(300)
        .evict_interval(None)
        .build()
        .await
        .unwrap();
    let mut guards = Vec::new();
    for _ in 0..300 {
        guards.push(pool.get().await.unwrap());
    }
    drop(server.accept_many(300));
    // A generic look sees what the runtime knows, so it is told first.
    for conn in &guards {
        conn.get_ref().get_ref().readable().await.unwrap();
    }
    drop(guards);
    assert_eq!(pool.stats().available, 300);
    let mine = pool.clone();
    crate::spawn(async move { nothing_is_lent(&mine) }).await;
    until_closed(&pool, CloseReason::Dead, 300).await;
}

/// Tries all that is idle without giving way to anybody.
fn nothing_is_lent<M: Manager<Connection: Connection>>(pool: &Pool<M>) {
    while pool.stats().available > 0 {
        match pool.try_get() {
            Err(GetError::Exhausted(_)) => {}
            Ok(conn) => panic!("{conn:?} is dead and was lent: {}", pool.stats()),
            Err(other) => panic!("{other}"),
        }
    }
}
