//! `pause` and `resume`: a failover that holds everybody in line.

use connpool_core::{GetError, Phase};

use super::host::{Host, LONG, MILLI, SHORT, waiting};
use crate::Call;

/// Nothing is lent, and those in line are served when it is over.
pub async fn a_paused_pool_holds_everybody_in_line(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    pool.pause();
    let mut line = Vec::new();
    for _ in 0..2 {
        line.push(waiting(pool.get_owned()).await);
    }
    drop(held);
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    let stats = pool.stats();
    assert!(stats.paused && pool.is_paused());
    assert_eq!(
        (stats.available, stats.waiting, stats.connecting),
        (1, 2, 0)
    );
    pool.resume();
    let mut ids = Vec::new();
    for get in line {
        ids.push(get.await.unwrap().id());
    }
    assert_eq!(ids[0], 1, "the idle one is for the first in line");
    assert!(backend.calls(Call::Connect) <= 2);
    host.lends_all(&pool, &backend).await;
}

/// Each has his own deadline.
pub async fn who_waits_in_a_paused_pool_has_his_own_deadline(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().build_lazy().unwrap();
    host.fill(&pool, 1).await;
    pool.pause();
    match pool.get_timeout(SHORT).await {
        Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Wait),
        other => panic!("{other:?}"),
    }
    pool.resume();
    host.lends_all(&pool, &backend).await;
}

/// A close ends it.
pub async fn a_paused_pool_can_be_closed(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().build_lazy().unwrap();
    host.fill(&pool, 2).await;
    pool.pause();
    let get = waiting(pool.get()).await;
    let report = pool.close(LONG).await;
    assert_eq!((report.closed, report.timed_out), (2, false));
    assert!(get.await.unwrap_err().is_closed());
    assert!(!pool.is_paused());
}

/// Whatever it meets, nobody is lost.
pub async fn pauses_while_everybody_comes_and_goes_lose_nobody(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(3).build_lazy().unwrap();
    let (paused, host_) = (pool.clone(), host.clone());
    let pauses = host.spawn(async move {
        for _ in 0..20 {
            paused.pause();
            host_.sleep(MILLI).await;
            paused.resume();
            host_.sleep(MILLI).await;
        }
    });
    host.run_tasks(8, |_| {
        let pool = pool.clone();
        async move {
            for _ in 0..100 {
                drop(pool.get().await.unwrap());
            }
        }
    })
    .await;
    pauses.await;
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success), (800, 800));
    host.lends_all(&pool, &backend).await;
}
