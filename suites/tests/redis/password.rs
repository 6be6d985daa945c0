//! The password changes while the pool runs.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use connpool_core::{CloseReason, GetError, Manager, Pool, ResetWhen, StreamOf};
use connpool_examples::redis::Redis;
use connpool_examples::redis_server::RedisServer;
use futures_lite::future::{poll_once, zip};
use smol::lock::RwLock;

use crate::support::{Adapter, ask, borrow, client_id, clients, field, start_redis, until};

pub(crate) async fn after_a_password_change_no_connection_with_the_old_one_is_reused<A: Adapter>() {
    let (mut server, manager, pool) = secured::<A>(6);
    // Two connections are borrowed, two authenticated but not open yet, two idle.
    let mut borrowed = borrow(&pool, 4).await;
    let gate = manager.gate.write().await;
    let abandoned = poll_once(zip(pool.get(), pool.get())).await;
    assert!(abandoned.is_none());
    until_logged_in(&mut server, 6).await;
    borrowed.truncate(2);
    let stats = pool.stats();
    let gauges = (stats.active, stats.available, stats.connecting);
    assert_eq!(gauges, (2, 2, 2), "{stats}");

    let newest = rotate(&mut server, &manager, &pool);
    drop(gate);
    // Redis keeps connections that used the old password. The pool must not.
    for conn in &mut borrowed {
        assert!(client_id(&mut **conn).await <= newest);
    }
    drop(borrowed);
    for mut conn in borrow(&pool, 6).await {
        assert!(client_id(&mut *conn).await > newest);
    }
    // Those that were not open yet may have been abandoned.
    assert_cleared(&pool, 4..=6);
}

pub(crate) async fn waiters_during_a_password_change_get_connections_with_the_new_one<
    A: Adapter,
>() {
    let (mut server, manager, pool) = secured::<A>(2);
    let gate = manager.gate.write().await;
    let mut waiting = Box::pin(zip(pool.get(), pool.get()));
    assert!(poll_once(&mut waiting).await.is_none());
    until_logged_in(&mut server, 2).await;

    let newest = rotate(&mut server, &manager, &pool);
    drop(gate);
    let (one, other) = waiting.await;
    for conn in [one, other] {
        assert!(client_id(&mut *conn.unwrap()).await > newest);
    }
    assert_cleared(&pool, 0..=2);
}

pub(crate) async fn a_wrong_password_is_an_error_that_says_so<A: Adapter>() {
    let (_server, manager, pool) = secured::<A>(1);
    manager.redis.set_password("wrong");
    let error = pool.get().await.unwrap_err();
    assert!(matches!(error, GetError::Connect(_)), "{error}");
    assert!(error.to_string().contains("WRONGPASS"), "{error}");

    manager.redis.set_password(OLD);
    // Otherwise the next caller would be told of the failure.
    pool.clear();
    let mut conn = pool.get().await.unwrap();
    assert_eq!(ask(&mut *conn, &["PING"]).await.unwrap(), "PONG");
}

const OLD: &str = "first";
const NEW: &str = "second";

type GatedPool<A> = Pool<Arc<Gated<<A as Adapter>::Tcp>>>;

/// Starts a Redis with a password, and a pool that knows it.
fn secured<A: Adapter>(max_size: usize) -> (RedisServer, Arc<Gated<A::Tcp>>, GatedPool<A>) {
    let mut server = start_redis();
    require(&mut server, OLD);
    let redis = Redis::new(A::tcp(server.address()), Some(OLD));
    let gate = RwLock::new(());
    let manager = Arc::new(Gated { redis, gate });
    let pool = Pool::builder(Arc::clone(&manager), A::runtime())
        .max_size(max_size)
        .reset_when(ResetWhen::OnGet);
    (server, manager, pool.build_lazy().unwrap())
}

/// Waits until `count` connections have sent AUTH as their last command.
async fn until_logged_in(server: &mut RedisServer, count: usize) {
    until("a login", || {
        let clients = clients(server);
        clients.iter().filter(|it| field(it, "cmd") == "auth").count() == count
    })
    .await;
}

/// Changes the password on both sides. Returns the id of the last connection that used the old one.
fn assert_cleared<M: Manager>(pool: &Pool<M>, count: RangeInclusive<u64>) {
    let stats = pool.stats();
    assert!(count.contains(&stats.closed.get(CloseReason::Cleared)), "{stats}");
    assert_eq!(stats.closed.total(), stats.closed.get(CloseReason::Cleared), "{stats}");
    assert_eq!(stats.connect_failed, 0, "{stats}");
}

fn rotate<T>(server: &mut RedisServer, manager: &Gated<T>, pool: &Pool<Arc<Gated<T>>>) -> u64
where
    Arc<Gated<T>>: Manager,
{
    require(server, NEW);
    let old = clients(server);
    manager.redis.set_password(NEW);
    pool.clear();
    let ids = old.iter().map(|it| field(it, "id").parse().unwrap());
    ids.max().unwrap()
}

fn require(server: &mut RedisServer, password: &str) {
    let require = ["CONFIG", "SET", "requirepass", password];
    server.command(&require).unwrap();
}

/// A manager whose connects wait at a gate.
struct Gated<T> {
    redis: Redis<T>,
    gate: RwLock<()>,
}

impl<T> Manager for Gated<T>
where
    T: Send + Sync + 'static,
    Redis<T>: Manager<Error = io::Error>,
{
    type Connection = <Redis<T> as Manager>::Connection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<Self::Connection> {
        let conn = self.redis.connect().await?;
        let _open = self.gate.read().await;
        Ok(conn)
    }

    fn stream(&self) -> Option<StreamOf<Self::Connection>> {
        self.redis.stream()
    }

    fn has_close(&self) -> bool {
        false
    }

    async fn reset(&self, conn: &mut Self::Connection) -> io::Result<()> {
        self.redis.reset(conn).await
    }
}
