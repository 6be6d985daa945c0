//! Several connections at once, and the exchange in one line.

use std::io;

use connpool_core::GetError;
use futures_lite::future::poll_once;

use super::host::{Host, LONG, MILLI, waiting};
use crate::{Behavior, Call, ScriptedError};

/// Idle ones and new ones, all or none.
pub async fn several_are_lent_at_once_or_none(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(3).build_lazy().unwrap();
    host.fill(&pool, 1).await;
    let all = pool.get_many(3).await.unwrap();
    assert_eq!((all.len(), pool.stats().active), (3, 3));
    drop(all);
    assert_eq!(pool.get_many(0).await.unwrap().len(), 0);
    assert!(matches!(
        pool.get_many(4).await,
        Err(GetError::TooMany { .. })
    ));
    let held = host.hold(&pool, 1).await;
    assert!(
        pool.get_many_timeout(3, MILLI)
            .await
            .unwrap_err()
            .is_timeout()
    );
    assert_eq!(pool.stats().available, 2);
    drop(held);
    host.lends_all(&pool, &backend).await;
}

/// Each wants all there is: one after the other has it.
pub async fn two_that_gather_do_not_wait_for_each_other(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(4)
        .get_timeout(LONG)
        .build_lazy()
        .unwrap();
    let gathered = host
        .run_tasks(12, |nth| {
            let (host, pool) = (host.clone(), pool.clone());
            async move {
                let all = pool.get_many(2 + nth % 3).await.unwrap();
                host.sleep(MILLI).await;
                all.len()
            }
        })
        .await;
    assert_eq!(gathered.iter().sum::<usize>(), 36);
    host.lends_all(&pool, &backend).await;
}

/// Who gathers and gives up leaves everything to the next.
pub async fn a_gatherer_that_gives_up_lets_the_next_one_gather(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(2)
        .get_timeout(LONG)
        .build_lazy()
        .unwrap();
    let held = host.hold(&pool, 1).await;
    let gathers = waiting(pool.get_many(2)).await;
    let gives_up = waiting(pool.get_many(2)).await;
    let mut waits = waiting(pool.get_many(1)).await;
    drop(gives_up);
    assert!(poll_once(&mut waits).await.is_none(), "it is not its turn");
    drop(gathers);
    drop(waits.await.unwrap());
    drop(held);
    host.lends_all(&pool, &backend).await;
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

/// A connection, an exchange, and back; destroyed if it does not end well.
pub async fn an_exchange_of_the_pool_returns_or_destroys(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let id = pool.exchange(async |conn| Ok::<_, Failed>(conn.id())).await;
    assert_eq!(id.unwrap(), 1);
    let no = pool.exchange(async |_| Err::<(), _>(Failed)).await;
    assert!(no.is_err());
    backend.next(Call::Connect, [Behavior::Fail]);
    let refused = pool.exchange(async |_| Ok::<_, Failed>(())).await;
    assert!(refused.is_err());
    let pending = waiting(pool.exchange(async |_| {
        std::future::pending::<()>().await;
        Ok::<_, Failed>(())
    }));
    drop(pending.await);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!(stats.connect_failed, 1);
    host.lends_all(&pool, &backend).await;
}
