//! PostgreSQL with tokio-postgres. Left out without PostgreSQL.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use connpool_tokio::{Builder, CloseReason, GetError, Pool, TcpManager, builder};
use example_clients::postgres::{Postgres, judge};
use futures_lite::future::poll_once;
use postgres_suite::server::PostgresServer;
use postgres_suite::until::until as until_true;
use suites::requirement::Requirement;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::{LIMIT, until, until_closed};

/// Starts a server, or returns `None` if there is none on this machine.
async fn server() -> Option<PostgresServer> {
    if !Requirement::Postgres.is_met() {
        return None;
    }
    let mut server = PostgresServer::create();
    server.start().await;
    Some(server)
}

fn pool_of(server: &PostgresServer) -> Builder<Postgres> {
    let config = server.config();
    let tcp = TcpManager::new(format!("127.0.0.1:{}", config.get_ports()[0]));
    builder(Postgres::new(tcp, config)).get_timeout(LIMIT).reset_timeout(LIMIT)
}

/// Returns the only value of the only row.
async fn ask<T: for<'a> tokio_postgres::types::FromSql<'a>>(client: &Client, query: &str) -> T {
    let row = client.query_one(query, &[]).await;
    row.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0)
}

async fn until_reset(pool: &Pool<Postgres>) {
    until(pool, |stats| stats.available == 1 && stats.resetting == 0).await;
}

#[tokio::test]
async fn sequential_queries_destroy_no_connection() {
    let Some(server) = server().await else { return };
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    for number in 0..200 {
        let conn = pool.get().await.unwrap();
        assert_eq!(ask::<i32>(&conn, &format!("SELECT {number}")).await, number);
    }
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (1, 0), "{stats}");
    assert!(!server.log().contains("WARNING"), "{}", server.log());
}

/// The client prepares a statement that looks up types, and does not expect it to go.
#[tokio::test]
async fn client_knows_types_after_a_reset() {
    let Some(server) = server().await else { return };
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    for number in 0..3 {
        let conn = pool.get().await.unwrap();
        conn.batch_execute(&format!("CREATE TYPE mood{number} AS ENUM ('calm')")).await.unwrap();
        let row = conn.query_one(&format!("SELECT 'calm'::mood{number}"), &[]).await.unwrap();
        assert_eq!(row.columns()[0].type_().name(), format!("mood{number}"));
    }
    assert_eq!(pool.stats().created, 1);
}

#[tokio::test]
async fn reset_undoes_what_a_user_leaves_behind() {
    let Some(server) = server().await else { return };
    let watcher = server.client().await;
    watcher.batch_execute("CREATE TABLE orders (n int)").await.unwrap();
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    let no_lock = "SELECT count(*) = 0 FROM pg_locks WHERE relation = 'orders'::regclass";
    for (left, is_undone) in [
        ("BEGIN; LOCK TABLE orders", no_lock),
        ("BEGIN; LOCK TABLE orders; SELECT 1 / 0", no_lock),
        (
            "SELECT pg_advisory_lock(1)",
            "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'",
        ),
        ("SET application_name = 'mine'", "SELECT current_setting('application_name') = ''"),
        ("SET ROLE pg_monitor", "SELECT current_user = session_user"),
        ("CREATE TEMP TABLE mine (n int)", "SELECT to_regclass('mine') IS NULL"),
        ("LISTEN news", "SELECT count(*) = 0 FROM pg_listening_channels()"),
        (
            "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
            "SELECT count(*) = 0 FROM pg_cursors WHERE name <> ''",
        ),
    ] {
        let conn = pool.get().await.unwrap();
        let result = conn.batch_execute(left).await;
        assert_eq!(result.is_err(), left.ends_with('0'), "{left}: {result:?}");
        drop(conn);
        until_reset(&pool).await;
        // While the connection is idle.
        if is_undone.contains("pg_locks") {
            assert!(ask::<bool>(&watcher, is_undone).await, "{left}");
        }
        assert!(ask::<bool>(&pool.get().await.unwrap(), is_undone).await, "{left}");
    }
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (1, 0), "{stats}");
}

#[tokio::test]
async fn connection_whose_backend_was_terminated_is_not_lent() {
    let Some(server) = server().await else { return };
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    for _ in 0..10 {
        let backend: i32 = ask(&pool.get().await.unwrap(), "SELECT pg_backend_pid()").await;
        until_reset(&pool).await;
        // Blocks this thread: only the kernel knows then, as the driver does not run.
        thread::scope(|scope| scope.spawn(|| terminate(&server, backend)).join()).unwrap();
        let next: i32 = ask(&pool.get().await.unwrap(), "SELECT pg_backend_pid()").await;
        assert_ne!(next, backend);
    }
    until_closed(&pool, CloseReason::Dead, 10).await;
}

/// Terminates a backend and waits until its process has ended.
#[tokio::main(flavor = "current_thread")]
async fn terminate(server: &PostgresServer, backend: i32) {
    let terminate = format!("SELECT pg_terminate_backend({backend}, {})", LIMIT.as_millis());
    assert!(ask::<bool>(&server.client().await, &terminate).await);
}

#[tokio::test]
async fn result_of_a_query_that_was_given_up_reaches_no_other_user() {
    let Some(server) = server().await else { return };
    let pool = pool_of(&server).max_size(1).abandon_timeout(LIMIT).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let given_up =
        conn.exchange(async |client| client.query_one("SELECT 1, pg_sleep(60)", &[]).await);
    assert!(timeout(Duration::from_millis(50), given_up).await.is_err());
    drop(conn);
    assert_eq!(ask::<i32>(&pool.get().await.unwrap(), "SELECT 2").await, 2);
    until_closed(&pool, CloseReason::Unfinished, 1).await;
}

/// Outside of an exchange the pool does not know that there is a query.
#[tokio::test]
async fn reset_waits_for_a_query_that_was_given_up_outside_of_an_exchange() {
    let Some(server) = server().await else { return };
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    assert!(poll_once(conn.simple_query("SELECT 1, pg_sleep(0.1)")).await.is_none());
    drop(conn);
    assert_eq!(ask::<i32>(&pool.get().await.unwrap(), "SELECT 2").await, 2);
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (1, 0), "{stats}");

    // And not longer than `reset_timeout`.
    let mut config = pool.config();
    config.reset_timeout = Some(Duration::from_millis(100));
    pool.reconfigure(config).unwrap();
    let conn = pool.get().await.unwrap();
    assert!(poll_once(conn.simple_query("SELECT 1, pg_sleep(60)")).await.is_none());
    drop(conn);
    assert_eq!(ask::<i32>(&pool.get().await.unwrap(), "SELECT 2").await, 2);
    until_closed(&pool, CloseReason::ResetTimeout, 1).await;
}

#[tokio::test]
async fn error_of_a_query_costs_what_it_says_about_the_connection() {
    let Some(server) = server().await else { return };
    let pool = pool_of(&server).max_size(2).build().await.unwrap();
    let conns = pool.get_many(2).await.unwrap();
    drop(conns);
    let fail = async |query: &str| {
        let mut conn = pool.get().await.unwrap();
        let result =
            conn.exchange_with(judge, async |client| client.simple_query(query).await).await;
        result.map(drop).unwrap_err()
    };
    for query in ["SELECT 1 / 0", "SELEC 1"] {
        fail(query).await;
    }
    assert_eq!(pool.stats().closed.total(), 0);
    fail("SELECT pg_terminate_backend(pg_backend_pid())").await;
    until_closed(&pool, CloseReason::Unfinished, 1).await;
    drop(pool.get_many(2).await.unwrap());
    fail("SET TRANSACTION READ ONLY; CREATE TABLE orders (n int)").await;
    until(&pool, |stats| stats.closed.get(CloseReason::Cleared) == 2).await;
}

#[tokio::test]
async fn user_that_the_server_does_not_know_is_told_at_once() {
    let Some(server) = server().await else { return };
    let mut config = server.config();
    config.user("stranger");
    let tcp = TcpManager::new(format!("127.0.0.1:{}", config.get_ports()[0]));
    // Callers are told of no other errors.
    let pool = builder(Postgres::new(tcp, config)).fail_fast_after(None).get_timeout(LIMIT);
    let error = pool.build_lazy().unwrap().get().await.unwrap_err();
    assert!(matches!(error, GetError::Connect(_)), "{error}");
    let cause = error.source().map(ToString::to_string);
    assert!(cause.as_deref().is_some_and(|cause| cause.contains("stranger")), "{cause:?}");
}

#[tokio::test]
async fn driver_ends_with_its_connection() {
    let Some(server) = server().await else { return };
    let watcher = server.client().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    // A close of zero duration: the query goes on at the server, but its driver does not.
    let builder = pool_of(&server).abandon_timeout(Duration::ZERO);
    // For each runtime, the adapter has one task that stays.
    let before = tasks();
    let pool = builder.build().await.unwrap();
    let mut conns = pool.get_many(3).await.unwrap();
    let query = conns[0].exchange(async |client| client.simple_query("SELECT pg_sleep(60)").await);
    assert!(timeout(Duration::from_millis(50), query).await.is_err());
    drop(conns);
    assert!(!pool.close(LIMIT).await.timed_out);
    drop(pool);
    until_true("the drivers have ended", async || tasks() <= before).await;
    let others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
        AND pid <> pg_backend_pid() AND query NOT LIKE '%pg_sleep%'";
    until_true("the backends have ended", async || ask::<i64>(&watcher, others).await == 0).await;
}

const WORK: &str = "SELECT pg_sleep(2)";

/// Ten clients whose patience is shorter than the work of their queries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_that_were_given_up_never_exceed_max_size_at_the_server() {
    let Some(server) = server().await else { return };
    let pool = pool_of(&server).max_size(5).abandon_timeout(LIMIT).build().await.unwrap();
    let at_work = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '{WORK}'"
    );

    let is_over = Arc::new(AtomicBool::new(false));
    let watch = tokio::spawn({
        let (watcher, is_over, at_work) =
            (server.client().await, Arc::clone(&is_over), at_work.clone());
        async move {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(ask::<i64>(&watcher, &at_work).await);
            }
            most
        }
    });
    let mut clients = JoinSet::new();
    for _ in 0..10 {
        let pool = pool.clone();
        clients.spawn(async move {
            for _ in 0..10 {
                let mut conn = pool.get().await.unwrap();
                let query = conn.exchange(async |client| client.simple_query(WORK).await);
                assert!(timeout(Duration::from_millis(50), query).await.is_err());
            }
        });
    }
    clients.join_all().await;
    until_closed(&pool, CloseReason::Unfinished, 100).await;
    let watcher = server.client().await;
    until_true("no query is left", async || ask::<i64>(&watcher, &at_work).await == 0).await;
    is_over.store(true, Ordering::Relaxed);
    let most = watch.await.unwrap();
    assert!((1..=5).contains(&most), "{most} queries at once");
}
