//! Goodbyes: to whom they are said, and for whom they are cut short.

use connpool_core::CloseReason;

use super::host::{Host, LONG, SHORT, closed, waiting};
use crate::{Behavior, Call};

/// Only to connections believed clean.
pub async fn only_clean_connections_get_a_goodbye(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(6).build_lazy().unwrap();
    let mut held = host.hold(&pool, 6).await;
    held[0].mark_unusable();
    drop(held);
    host.rest(&pool, &backend, 0).await;
    assert_eq!(backend.goodbyes(), [0; 0]);
    pool.resize(4).unwrap();
    host.until_stats(&pool, |stats| stats.size == 4).await;
    assert_eq!(backend.goodbyes(), [2]);
    backend.hang_up(6);
    assert_eq!(pool.get().await.unwrap().id(), 5);
    pool.clear();
    host.until_stats(&pool, |stats| stats.size == 0).await;
    assert_eq!(backend.goodbyes(), [2]);
    host.fill(&pool, 2).await;
    pool.close(LONG).await;
    assert_eq!(backend.goodbyes(), [2, 8, 7]);
    let reasons = [
        (CloseReason::Marked, 1),
        (CloseReason::Shrunk, 1),
        (CloseReason::Dead, 1),
        (CloseReason::Cleared, 3),
        (CloseReason::PoolClosed, 2),
    ];
    for (reason, count) in reasons {
        assert_eq!(closed(&pool, reason), count, "{reason:?}");
    }
}

/// For at most `close_timeout`.
pub async fn a_goodbye_ends_at_close_timeout(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_uses(1)
        .close_timeout(SHORT)
        .build_lazy()
        .unwrap();
    backend.next(Call::Close, [Behavior::Hang]);
    drop(pool.get().await.unwrap());
    host.until_stats(&pool, |stats| stats.size == 0).await;
    assert_eq!((backend.goodbyes(), backend.alive()), (vec![1], 0));
    assert_eq!(closed(&pool, CloseReason::MaxUses), 1);
}

/// The slot is held until it is over.
pub async fn a_goodbye_that_takes_its_time_counts_as_an_open_connection(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_uses(1).build_lazy().unwrap();
    backend.next(Call::Close, [Behavior::Hold]);
    drop(pool.get().await.unwrap());
    host.until(|| backend.held(Call::Close) == 1).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.active, stats.available), (1, 1, 0));
    assert_eq!((stats.closed.total(), backend.alive()), (0, 1));
    host.release(&backend, Call::Close, Behavior::Succeed).await;
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((stats.size, closed(&pool, CloseReason::MaxUses)), (0, 1));
}

/// P18: a hung close. HikariCP, `TestConnectionCloseBlocking`.
pub async fn a_goodbye_that_hangs_makes_way_for_who_waits(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(1)
        .max_uses(1)
        .close_timeout(None)
        .build_lazy()
        .unwrap();
    backend.always(Call::Close, Behavior::Hang);
    drop(pool.get().await.unwrap());
    host.until(|| backend.goodbyes() == [1]).await;
    let guard = pool.get().await.unwrap();
    assert_eq!((guard.id(), backend.dropped()), (2, vec![1]));
    // And is not begun at all while somebody waits.
    let get = waiting(pool.get()).await;
    drop(guard);
    let guard = get.await.unwrap();
    assert_eq!((guard.id(), backend.goodbyes()), (3, vec![1]));
    backend.calm();
    drop(guard);
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!((closed(&pool, CloseReason::MaxUses), stats.size), (3, 0));
}

/// No more of them than there are people in line.
pub async fn as_many_goodbyes_are_cut_short_as_people_wait(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(3)
        .max_uses(1)
        .close_timeout(None)
        .build_lazy()
        .unwrap();
    backend.always(Call::Close, Behavior::Hold);
    drop(host.hold(&pool, 3).await);
    host.until(|| backend.held(Call::Close) == 3).await;
    let held = host.hold(&pool, 1).await;
    assert_eq!((backend.dropped().len(), backend.held(Call::Close)), (1, 2));
    backend.calm();
    for _ in 0..2 {
        host.release(&backend, Call::Close, Behavior::Succeed).await;
    }
    host.rest(&pool, &backend, 1).await;
    assert_eq!(backend.peak(), 3);
    drop(held);
}

/// None is cut short while there is room.
pub async fn a_goodbye_is_left_in_peace_while_there_is_room(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().max_size(2).max_uses(1).build_lazy().unwrap();
    backend.next(Call::Close, [Behavior::Hold]);
    drop(pool.get().await.unwrap());
    host.until(|| backend.held(Call::Close) == 1).await;
    let guard = pool.get_owned().await.unwrap();
    assert_eq!((backend.goodbyes(), backend.dropped()), (vec![1], vec![]));
    host.release(&backend, Call::Close, Behavior::Succeed).await;
    host.rest(&pool, &backend, 1).await;
    drop(guard);
}

/// They do not wait for each other.
pub async fn a_goodbye_that_hangs_keeps_no_other_from_being_said(host: Host) {
    let backend = host.backend();
    let pool = backend.pool().build_lazy().unwrap();
    host.fill(&pool, 5).await;
    backend.next(Call::Close, [Behavior::Hold]);
    pool.resize(1).unwrap();
    host.until(|| (backend.goodbyes().len(), backend.alive()) == (4, 2))
        .await;
    host.release(&backend, Call::Close, Behavior::Succeed).await;
    host.until_stats(&pool, |stats| stats.size == 1).await;
    assert_eq!(closed(&pool, CloseReason::Shrunk), 4);
}
