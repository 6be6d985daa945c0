//! Foreign code that panics costs one connection, and nothing else.

use std::time::Duration;

use connpool_core::{CloseReason, GetError, Liveness};

use super::host::{Host, MILLI, closed, waiting};
use crate::{Behavior, Call, FaultyConn};

/// "A failed connect": one that panics.
pub async fn a_connect_that_panics_answers_the_first_in_line(host: Host) {
    let backend = host.backend();
    backend.next(Call::Connect, [Behavior::Panic]);
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let first = waiting(pool.get_owned()).await;
    let second = waiting(pool.get_owned()).await;
    match first.await {
        Err(GetError::Panicked { step, message }) => {
            assert_eq!((step, &*message), ("connect", "scripted panic in Connect"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(second.await.unwrap().id(), 1);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.connect_failed, stats.created), (1, 1));
}

/// Step 3: a check that panics.
pub async fn a_check_that_panics_destroys_its_connection(host: Host) {
    let look: fn(&mut FaultyConn) -> Liveness = |conn| match conn.id() {
        1 => scripted(),
        _ => Liveness::Alive,
    };
    for step in [None, Some(Call::Ping), Some(Call::Reset)] {
        let backend = host.backend();
        backend.with_resets();
        let pool = backend
            .pool()
            .max_size(1)
            .ping_after(Duration::ZERO)
            .build_lazy()
            .unwrap();
        host.fill(&pool, 1).await;
        match step {
            Some(op) => _ = backend.next(op, [Behavior::Panic]),
            None => backend.look(look),
        }
        assert_eq!(pool.get().await.unwrap().id(), 2, "{step:?}");
        host.rest(&pool, &backend, 0).await;
        assert_eq!(closed(&pool, CloseReason::Panicked), 1);
    }
}

/// Return: an `is_reusable` that panics.
pub async fn an_answer_that_panics_costs_its_connection_and_not_its_user(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let held = host.hold(&pool, 1).await;
    let get = waiting(pool.get()).await;
    backend.reusable(|_| scripted());
    drop(held);
    backend.calm();
    assert_eq!(get.await.unwrap().id(), 2);
    host.rest(&pool, &backend, 0).await;
    assert_eq!(closed(&pool, CloseReason::Panicked), 1);
}

/// Driver: it survives what it looks at, and whom it tells goodbye.
pub async fn the_background_outlives_every_panic(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(2)
        .evict_interval(MILLI)
        .build_lazy()
        .unwrap();
    host.fill(&pool, 2).await;
    backend.look(|_| scripted());
    host.until_stats(&pool, |stats| stats.size == 0).await;
    assert_eq!(closed(&pool, CloseReason::Panicked), 2);
    backend.calm();
    backend.always(Call::Close, Behavior::Panic);
    host.fill(&pool, 2).await;
    pool.resize(1).unwrap();
    host.until_stats(&pool, |stats| stats.size == 1).await;
    assert_eq!(backend.goodbyes().len(), 1);
    pool.resize(2).unwrap();
    backend.calm();
    drop(host.hold(&pool, 2).await);
    backend.hang_up_all();
    host.until(|| closed(&pool, CloseReason::Dead) == 2).await;
}

/// A connection's own drop, wherever it happens.
pub async fn a_connection_whose_drop_panics_frees_its_slot(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(2).build_lazy().unwrap();
    backend.at_drop(|_| scripted());
    let mut held = host.hold(&pool, 2).await;
    held.iter_mut().for_each(|guard| guard.mark_unusable());
    drop(held);
    host.fill(&pool, 2).await;
    pool.clear();
    host.fill(&pool, 2).await;
    pool.resize(1).unwrap();
    host.until_stats(&pool, |stats| stats.size == 1).await;
    backend.at_drop(|_| ());
    pool.resize(2).unwrap();
    host.lends_all(&pool, &backend).await;
    assert_eq!(pool.stats().created, 7);
}

fn scripted() -> ! {
    panic!("scripted panic")
}
