//! A real server is killed with many open connections and restarted on its port.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use connpool_examples::redis_server::RedisServer;
use suites::server::LIMIT;

use super::client::{counts_add_up, get_once_not_told, wait_until, wait_until_closed};
use super::counting::{Count, CountingManager};
use super::kernel::{established_to, eventually, open_sockets, wait_until_open_sockets_are};
use super::redis::{self, ping};
use crate::adapter::{
    Builder, CloseReason, ConnectError, GetError, Manager, Pool, TcpConn, TcpManager, builder,
};

const MANY: usize = 1000;

fn pool_of(redis: &RedisServer) -> (Builder<CountingManager<TcpManager>>, Arc<Count>) {
    let manager = CountingManager::new(redis::manager(redis));
    let count = Arc::clone(&manager.count);
    let pool = builder(manager).max_size(MANY).get_timeout(LIMIT).connect_timeout(LIMIT);
    (pool, count)
}

/// Opens `count` connections, uses and returns them. Returns their ids.
async fn fill<M: Manager<Connection = TcpConn>>(pool: &Pool<M>, count: usize) -> HashSet<u64> {
    let mut guards = Vec::new();
    for _ in 0..count {
        let mut conn = pool.get().await.unwrap();
        ping(&mut *conn).await.unwrap();
        guards.push(conn);
    }
    guards.iter().map(|conn| conn.id()).collect()
}

/// Kills the server and waits until the kernel knows that all connections have ended.
async fn kill(redis: &mut RedisServer) {
    redis.kill();
    let port = redis::port(redis);
    eventually("the end of all connections", || established_to(port) == 0).await;
}

pub(crate) async fn first_get_after_a_restart_is_served() {
    let mut redis = redis::start();
    let (pool, _) = pool_of(&redis);
    let pool = pool.evict_interval(None).build().await.unwrap();
    let dead = fill(&pool, MANY).await;
    kill(&mut redis).await;
    redis.restart().unwrap();
    let mut conn = pool.get().await.unwrap();
    assert!(!dead.contains(&conn.id()));
    ping(&mut *conn).await.unwrap();
    wait_until_closed(&pool, CloseReason::Dead, 3).await;

    // Later gets are served, too.
    let mut guards = vec![conn];
    for _ in 1..MANY {
        let mut conn = pool.get().await.unwrap();
        assert!(!dead.contains(&conn.id()));
        ping(&mut *conn).await.unwrap();
        guards.push(conn);
    }
    wait_until_closed(&pool, CloseReason::Dead, MANY as u64).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.connect_failed), (MANY, 0), "{stats}");
}

pub(crate) async fn one_sweep_finds_a_thousand_dead_connections() {
    let mut redis = redis::start();
    let (pool, count) = pool_of(&redis);
    let pool = pool.evict_interval(Duration::from_millis(100)).build().await.unwrap();
    drop(pool.get().await.unwrap());
    let sockets = open_sockets() - 1;
    fill(&pool, MANY).await;
    assert_eq!(open_sockets(), sockets + MANY);
    kill(&mut redis).await;
    count.expect_dead();
    wait_until_closed(&pool, CloseReason::Dead, MANY as u64).await;
    assert_eq!(count.missed(), 0);
    wait_until(&pool, |stats| stats.size == 0).await;
    // One socket was the connection that controls the server.
    wait_until_open_sockets_are(sockets - 1).await;

    redis.restart().unwrap();
    ping(&mut *pool.get().await.unwrap()).await.unwrap();
}

pub(crate) async fn min_size_is_restored_after_a_restart_within_max_connecting() {
    let mut redis = redis::start();
    let manager = CountingManager::new(redis::manager(&redis));
    let count = manager.count.clone();
    let pool = builder(manager)
        .max_size(MANY)
        .min_size(20)
        .max_connecting(4)
        .get_timeout(LIMIT)
        .connect_timeout(LIMIT)
        .evict_interval(Duration::from_millis(20))
        .build()
        .await
        .unwrap();
    let sockets = open_sockets() - 20;
    fill(&pool, MANY).await;
    kill(&mut redis).await;
    // The connects fail for a while.
    wait_until(&pool, |stats| stats.connect_failed > 0).await;
    redis.restart().unwrap();
    wait_until(&pool, |stats| stats.available == 20 && stats.size == 20).await;
    wait_until_closed(&pool, CloseReason::Dead, MANY as u64).await;
    wait_until_open_sockets_are(sockets + 20).await;
    let max = count.max_connecting_seen();
    assert!((1..=4).contains(&max), "{max} connects at once");
    for _ in 0..20 {
        ping(&mut *pool.get().await.unwrap()).await.unwrap();
    }
}

pub(crate) async fn thousand_waiters_are_served_after_a_restart() {
    let mut redis = redis::start();
    let (pool, _) = pool_of(&redis);
    let pool = pool.max_size(10).build().await.unwrap();
    let results = wait_out_a_restart(&mut redis, &pool).await;
    for result in results {
        result.unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.request, stats.success), (1010, 1010), "{stats}");
    assert_eq!(stats.closed.get(CloseReason::Dead), 10, "{stats}");
    assert!(stats.created <= 20, "{stats}");
    wait_until(&pool, counts_add_up).await;
}

pub(crate) async fn thousand_waiters_with_fail_fast_are_served_or_refused_during_a_restart() {
    let mut redis = redis::start();
    let (pool, _) = pool_of(&redis);
    let pool = pool.max_size(10).fail_fast_after(Duration::ZERO).build().await.unwrap();
    let results = wait_out_a_restart(&mut redis, &pool).await;
    let refused = results
        .iter()
        .filter(|result| match result {
            Ok(()) => false,
            Err(GetError::Connect(ConnectError::Failed(error))) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
                true
            }
            Err(other) => panic!("{other}"),
        })
        .count() as u64;
    let stats = pool.stats();
    assert_eq!(stats.success, 1010 - refused, "{stats}");
    assert!(refused > 0, "{stats}");
    wait_until(&pool, counts_add_up).await;
    // The pool still works.
    ping(&mut *get_once_not_told(&pool).await).await.unwrap();
}

/// Kills the server with ten connections borrowed and a thousand waiters, lets a connect fail and
/// restarts the server. Returns the results of the waiters.
async fn wait_out_a_restart<M>(
    redis: &mut RedisServer,
    pool: &Pool<M>,
) -> Vec<Result<(), GetError<M::Error>>>
where
    M: Manager<Connection = TcpConn>,
{
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(pool.get().await.unwrap());
    }
    let tasks: Vec<_> = (0..MANY)
        .map(|_| {
            let pool = pool.clone();
            crate::spawn(async move {
                let mut conn = pool.get().await?;
                ping(&mut *conn).await.unwrap();
                Ok(())
            })
        })
        .collect();
    wait_until(pool, |stats| stats.waiting == MANY).await;
    kill(redis).await;
    drop(held);
    wait_until(pool, |stats| stats.connect_failed > 0).await;
    redis.restart().unwrap();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await);
    }
    results
}
