//! `pause` and `resume`.

use connpool_core::{GetError, Phase};

use crate::env::{Env, LONG, MILLI, SHORT, all_waiting, waiting};
use connpool_testkit::Call;

/// No connection is handed out while paused; `resume` serves the waiters.
pub(crate) async fn paused_pool_keeps_callers_waiting(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let held = env.hold(&pool, 1).await;
    pool.pause();
    let waiters = all_waiting(2, || pool.get_owned()).await;
    drop(held);
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    let stats = pool.stats();
    assert!(stats.paused && pool.is_paused());
    assert_eq!((stats.available, stats.waiting, stats.connecting), (1, 2, 0));
    pool.resume();
    let mut ids = Vec::new();
    for get in waiters {
        ids.push(get.await.unwrap().id());
    }
    assert_eq!(ids[0], 1, "the first waiter gets the idle connection");
    assert!(backend.calls(Call::Connect) <= 2);
    env.assert_full_capacity(&pool, &backend).await;
}

/// A waiter of a paused pool times out as usual.
pub(crate) async fn waiter_of_a_paused_pool_keeps_its_deadline(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    env.fill(&pool, 1).await;
    pool.pause();
    match pool.get_timeout(SHORT).await {
        Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Wait),
        other => panic!("{other:?}"),
    }
    pool.resume();
    env.assert_full_capacity(&pool, &backend).await;
}

/// `close` ends the pause and fails the waiters.
pub(crate) async fn paused_pool_can_be_closed(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().build_lazy().unwrap();
    env.fill(&pool, 2).await;
    pool.pause();
    let get = waiting(pool.get()).await;
    let report = pool.close(LONG).await;
    assert_eq!((report.closed, report.timed_out), (2, false));
    assert!(get.await.unwrap_err().is_closed());
    assert!(!pool.is_paused());
}

/// Pauses and resumes a pool under load.
pub(crate) async fn pauses_under_load_lose_no_waiter(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(3).build_lazy().unwrap();
    let (paused, env_) = (pool.clone(), env.clone());
    let pauses = env.spawn(async move {
        for _ in 0..20 {
            paused.pause();
            env_.sleep(MILLI).await;
            paused.resume();
            env_.sleep(MILLI).await;
        }
    });
    env.run_tasks(8, |_| {
        let pool = pool.clone();
        async move {
            for _ in 0..100 {
                drop(pool.get().await.unwrap());
            }
        }
    })
    .await;
    pauses.await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success), (800, 800));
    env.assert_full_capacity(&pool, &backend).await;
}
