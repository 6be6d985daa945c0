//! `get_many`, and `Pool::exchange`.

use std::io;
use std::time::Duration;

use connpool_core::GetError;
use futures_lite::future::poll_once;

use crate::env::{Env, LONG, MILLI, NOT_TOLD_AFTER, waiting};
use connpool_testkit::{Behavior, Call, ScriptedError};

/// Combines idle and new connections; a timeout returns those already gathered.
pub(crate) async fn get_many_returns_all_or_none(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(3).build_lazy().unwrap();
    env.fill(&pool, 1).await;
    let all = pool.get_many(3).await.unwrap();
    assert_eq!((all.len(), pool.stats().active), (3, 3));
    drop(all);
    assert_eq!(pool.get_many(0).await.unwrap().len(), 0);
    assert!(matches!(pool.get_many(4).await, Err(GetError::TooMany { .. })));
    let held = env.hold(&pool, 1).await;
    assert!(pool.get_many_timeout(3, MILLI).await.unwrap_err().is_timeout());
    assert_eq!(pool.stats().available, 2);
    drop(held);
    env.assert_full_capacity(&pool, &backend).await;
}

/// Runs calls that together ask for more than `max_size`: they take turns.
pub(crate) async fn concurrent_get_many_calls_do_not_deadlock(env: Env) {
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Take(MILLI));
    let pool = backend.pool().max_size(4).get_timeout(LONG).build_lazy().unwrap();
    let counts = env
        .run_tasks(12, |nth| {
            let (env, pool) = (env.clone(), pool.clone());
            async move {
                let all = pool.get_many(2 + nth % 3).await.unwrap();
                env.sleep(MILLI).await;
                all.len()
            }
        })
        .await;
    assert_eq!(counts.iter().sum::<usize>(), 36);
    env.assert_full_capacity(&pool, &backend).await;
}

/// Drops the first two callers: the third one proceeds.
pub(crate) async fn cancelled_get_many_lets_the_next_one_proceed(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).get_timeout(LONG).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let first = waiting(pool.get_many(2)).await;
    let second = waiting(pool.get_many(2)).await;
    let mut third = waiting(pool.get_many(1)).await;
    drop(second);
    assert!(poll_once(&mut third).await.is_none(), "the first call still waits");
    drop(first);
    drop(third.await.unwrap());
    drop(held);
    env.assert_full_capacity(&pool, &backend).await;
}

#[derive(Debug)]
struct Failed;

impl From<GetError<ScriptedError>> for Failed {
    fn from(_: GetError<ScriptedError>) -> Self {
        Failed
    }
}

impl From<io::Error> for Failed {
    fn from(_: io::Error) -> Self {
        Failed
    }
}

/// Returns the connection after a successful exchange, and closes it after any other.
pub(crate) async fn pool_exchange_returns_or_closes_its_connection(env: Env) {
    let backend = env.backend();
    let pool =
        backend.pool().max_size(1).fail_fast_after(Some(Duration::ZERO)).build_lazy().unwrap();
    let id = pool.exchange(async |conn| Ok::<_, Failed>(conn.id())).await;
    assert_eq!(id.unwrap(), 1);
    let failed = pool.exchange(async |_| Err::<(), _>(Failed)).await;
    assert!(failed.is_err());
    backend.next(Call::Connect, [Behavior::Fail]);
    let refused = pool.exchange(async |_| Ok::<_, Failed>(())).await;
    assert!(refused.is_err(), "{}, {} connects", pool.stats(), backend.calls(Call::Connect));
    env.sleep(NOT_TOLD_AFTER).await;
    let pending = waiting(pool.exchange(async |_| {
        std::future::pending::<()>().await;
        Ok::<_, Failed>(())
    }));
    drop(pending.await);
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!(stats.connect_failed, 1);
    env.assert_full_capacity(&pool, &backend).await;
}
