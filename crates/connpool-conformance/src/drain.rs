//! `drain`.

use futures_lite::future::poll_once;

use crate::env::{Env, LONG, MILLI, SHORT, waiting};

/// Ten requests wait for two connections when the pool begins to drain.
pub(crate) async fn accepted_callers_are_served_and_new_ones_refused(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let held = env.hold(&pool, 2).await;
    let mut accepted = Vec::new();
    for _ in 0..10 {
        let get = waiting(pool.get_owned()).await;
        let env_ = env.clone();
        accepted.push(env.spawn(async move {
            let got = get.await;
            env_.sleep(MILLI).await;
            got.is_ok()
        }));
    }
    let draining = pool.clone();
    let mut drain = Box::pin(async move { draining.drain(LONG).await });
    assert!(poll_once(&mut drain).await.is_none());
    assert!(pool.get().await.unwrap_err().is_closed());
    assert!(pool.try_get().unwrap_err().is_closed());
    assert!(!pool.is_closed());
    drop(held);
    for request in accepted {
        assert!(request.await);
    }
    let report = drain.await;
    assert_eq!((report.timed_out, report.still_out.len()), (false, 0));
    env.until_at_rest(&pool, &backend, 0).await;
}

/// The caller that still waits is refused.
pub(crate) async fn drain_at_its_limit_closes_the_pool(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let waiter = waiting(pool.get_owned()).await;
    let report = pool.drain(SHORT).await;
    assert_eq!((report.timed_out, report.still_out.len()), (true, 1));
    assert!(waiter.await.unwrap_err().is_closed());
    drop(held);
    env.until_at_rest(&pool, &backend, 0).await;
}

/// The maintenance task closes the pool.
pub(crate) async fn dropped_drain_goes_on(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    let waiter = env.spawn(waiting(pool.get_owned()).await);
    assert!(poll_once(Box::pin(pool.drain(LONG))).await.is_none());
    drop(held);
    assert!(waiter.await.is_ok());
    env.until(|| pool.is_closed()).await;
    env.until_at_rest(&pool, &backend, 0).await;
}
