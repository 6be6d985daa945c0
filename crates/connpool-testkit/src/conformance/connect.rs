//! Connects: who is told of one that fails, and how often a dead backend is dialled.

use std::error::Error;
use std::time::Duration;

use connpool_core::{Backoff, CloseReason, GetError, Phase};

use super::host::{Host, LONG, MILLI, SHORT, closed, waiting};
use crate::{Behavior, Call, ScriptedError};

/// P12: every dial fails. database/sql, `TestPendingConnsAfterErr`.
pub async fn when_every_dial_fails_each_who_waits_is_told(host: Host) {
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend
        .pool()
        .max_size(2)
        .backoff(pause(MILLI))
        .breaker(None)
        .build_lazy()
        .unwrap();
    let mut line = Vec::new();
    for _ in 0..6 {
        line.push(waiting(pool.get()).await);
    }
    for get in line {
        host.release(&backend, Call::Connect, Behavior::Fail).await;
        match get.await {
            Err(GetError::Connect(refused)) => assert!(refused.0 <= 6),
            other => panic!("{other:?}"),
        }
    }
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.connect_failed, stats.size), (6, 0));
    assert_eq!((backend.calls(Call::Connect), stats.created), (6, 0));
    backend.calm();
    host.lends_all(&pool, &backend).await;
}

/// Step 5 and "a failed connect": the head of the line is told, the next one waits on.
pub async fn a_failed_connect_answers_the_first_in_line_only(host: Host) {
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let first = waiting(pool.get()).await;
    let second = waiting(pool.get()).await;
    host.release(&backend, Call::Connect, Behavior::Fail).await;
    let error = first.await.unwrap_err();
    assert!(matches!(&error, GetError::Connect(refused) if **refused == ScriptedError(1)));
    assert!(
        error
            .source()
            .is_some_and(|source| source.is::<ScriptedError>())
    );
    // Its own connect begins when the pause is over, and nobody has to ask for it.
    host.release(&backend, Call::Connect, Behavior::Succeed)
        .await;
    assert_eq!(second.await.unwrap().id(), 1);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.connect_failed, stats.created), (1, 1));
}

/// "A failed connect", when whoever asked for it was served otherwise.
pub async fn with_nobody_in_line_a_failed_connect_answers_nobody(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    backend.next(Call::Connect, [Behavior::Hold]);
    let get = waiting(pool.get()).await;
    drop(held);
    assert_eq!(get.await.unwrap().id(), 1);
    host.release(&backend, Call::Connect, Behavior::Fail).await;
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.connect_failed, stats.success), (1, 2));
    host.lends_all(&pool, &backend).await;
}

/// "A failed connect", without `fail_fast`.
pub async fn without_fail_fast_all_wait_on_and_are_served(host: Host) {
    let backend = host.backend();
    backend.next(Call::Connect, [Behavior::Fail; 3]);
    let pool = backend
        .pool()
        .max_size(3)
        .fail_fast(false)
        .build_lazy()
        .unwrap();
    let results = host
        .run_tasks(3, |_| {
            let pool = pool.clone();
            async move { pool.get().await.is_ok() }
        })
        .await;
    assert_eq!(results, [true; 3]);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.success, stats.request), (3, 3));
    assert_eq!(stats.connect_failed, 3);
}

/// P19: a timeout carries its cause. HikariCP, `testLastErrorTimeout`.
pub async fn a_timeout_tells_why_the_last_connect_failed(host: Host) {
    host.draw_the_longest_pauses();
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Fail);
    let pool = backend
        .pool()
        .fail_fast(false)
        .backoff(pause(LONG))
        .build_lazy()
        .unwrap();
    let _first = waiting(pool.get()).await;
    host.until_stats(&pool, |stats| stats.connecting == 0).await;
    let error = pool.get_timeout(SHORT).await.unwrap_err();
    let GetError::Timeout { phase, diagnosis } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*phase, Phase::Connect, "that is what it waited for");
    assert!(diagnosis.last_error.is_some());
    let source = error.source().and_then(|source| source.downcast_ref());
    assert_eq!(source, Some(&ScriptedError(1)));
}

/// `connect_timeout`.
pub async fn a_connect_that_hangs_is_given_up_and_its_slot_is_free(host: Host) {
    let backend = host.backend();
    backend.next(Call::Connect, [Behavior::Hang]);
    let pool = backend
        .pool()
        .max_size(1)
        .connect_timeout(SHORT)
        .build_lazy()
        .unwrap();
    match pool.get().await {
        Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Connect),
        other => panic!("{other:?}"),
    }
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.connect_failed, stats.size), (1, 0));
    host.lends_all(&pool, &backend).await;
}

/// Steps 4 and 6: the connect outlives the deadline of who asked for it.
pub async fn a_get_times_out_while_its_connect_goes_on(host: Host) {
    let backend = host.backend();
    backend.next(Call::Connect, [Behavior::Hold]);
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    match pool.get_timeout(SHORT).await {
        Err(GetError::Timeout { phase, diagnosis }) => {
            assert_eq!((phase, diagnosis.connecting), (Phase::Connect, 1));
        }
        other => panic!("{other:?}"),
    }
    host.release(&backend, Call::Connect, Behavior::Succeed)
        .await;
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, stats.available), (1, 1));
    assert_eq!((stats.connect_failed, stats.success), (0, 0));
}

/// Driver: backoff, while it lasts.
pub async fn nobody_dials_during_the_pause_after_a_failure(host: Host) {
    host.draw_the_longest_pauses();
    let backend = host.backend();
    backend.next(Call::Connect, [Behavior::Fail]);
    let pool = backend.pool().backoff(pause(LONG)).build_lazy().unwrap();
    assert!(matches!(pool.get().await, Err(GetError::Connect(_))));
    for _ in 0..3 {
        let error = pool.get_timeout(MILLI).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
    }
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((backend.calls(Call::Connect), stats.connect_failed), (1, 1));
}

/// Driver: backoff, when it is over.
pub async fn the_pause_ends_without_anybody_asking(host: Host) {
    host.draw_the_longest_pauses();
    let backend = host.backend();
    backend.next(Call::Connect, [Behavior::Fail, Behavior::Fail]);
    let pool = backend
        .pool()
        .fail_fast(false)
        .backoff(pause(SHORT))
        .build_lazy()
        .unwrap();
    let _guard = pool.get().await.unwrap();
    assert_eq!(backend.calls(Call::Connect), 3);
}

/// Driver: a backend that accepts and hangs up is a backend in trouble.
pub async fn a_backend_that_accepts_and_hangs_up_is_not_dialled_without_rest(host: Host) {
    host.draw_the_longest_pauses();
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::HangUp);
    let pool = backend.pool().backoff(pause(LONG)).build_lazy().unwrap();
    let first = host.spawn(waiting(pool.get_owned()).await);
    host.until(|| closed(&pool, CloseReason::Dead) == 1).await;
    host.until_stats(&pool, |stats| stats.waiting == 1).await;
    let error = pool.get_timeout(SHORT).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let source = error.source().map(ToString::to_string);
    assert!(source.is_some_and(|text| text.contains("before it was lent")));
    pool.close(LONG).await;
    assert!(first.await.unwrap_err().is_closed());
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.created, closed(&pool, CloseReason::Dead)), (1, 1));
    assert_eq!((backend.calls(Call::Connect), stats.size), (1, 0));
}

/// Fine print: `max_connecting`, shared by all who connect.
pub async fn no_more_connects_are_under_way_than_allowed(host: Host) {
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Take(MILLI));
    let pool = backend
        .pool()
        .max_size(8)
        .min_size(4)
        .increment(3)
        .max_connecting(2)
        .build()
        .await
        .unwrap();
    host.lends_all(&pool, &backend).await;
    assert_eq!(pool.stats().created, 8);
    let most = backend.truth().most_connecting;
    assert!(most <= 2, "{most} at once");
}

/// P21: no connect begins for a load that is over. HikariCP, `ConnectionPoolSizeVsThreadsTest`.
pub async fn a_load_that_is_over_leaves_no_connects_behind(host: Host) {
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Take(SHORT));
    let pool = backend.pool().max_size(100).build_lazy().unwrap();
    host.run_tasks(50, |_| {
        let pool = pool.clone();
        async move {
            for _ in 0..20 {
                drop(pool.get().await.unwrap());
            }
        }
    })
    .await;
    let over = pool.stats();
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!(stats.success, 1_000);
    let most = over.created + over.connecting as u64;
    assert!(stats.created <= most.min(50), "{over}, and then {stats}");
}

/// Step 5: a connect that was begun is not cancelled by a return that comes first, and none is
/// begun in its place.
pub async fn one_connect_serves_one_after_the_other(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    backend.always(Call::Connect, Behavior::Hold);
    let get = waiting(pool.get()).await;
    drop(held);
    let guard = get.await.unwrap();
    for _ in 0..3 {
        drop(waiting(pool.get()).await);
    }
    let last = waiting(pool.get()).await;
    host.release(&backend, Call::Connect, Behavior::Succeed)
        .await;
    assert_eq!(last.await.unwrap().id(), 2);
    drop(guard);
    assert_eq!(host.rest(&pool, &backend, 0).await.created, 2);
    assert_eq!(backend.calls(Call::Connect), 2);
}

/// A pause of always the same length, if the longest is drawn.
fn pause(time: Duration) -> Backoff {
    Backoff::new(time, time, 1.0)
}
