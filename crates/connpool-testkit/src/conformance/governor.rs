//! How a backend in trouble is dialled: slow start, the breaker, and whom the fate of some
//! connections makes suspect.

use connpool_core::{Backoff, Breaker, BreakerState, CloseReason, GetError};

use super::host::{Host, LONG, MILLI, closed, waiting};
use crate::{Behavior, Call};

/// The window: one after a failure, and one more for each connect that succeeds.
pub async fn after_a_failure_connects_begin_slowly(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(8)
        .backoff(SHORTEST)
        .breaker(None)
        .build_lazy()
        .unwrap();
    backend.next(Call::Connect, [Behavior::Fail]);
    assert!(pool.get().await.is_err());
    backend.always(Call::Connect, Behavior::Hold);
    let mut line = Vec::new();
    for _ in 0..8 {
        line.push(waiting(pool.get()).await);
    }
    for at_once in [1, 2, 4, 1] {
        // Those that were let go are over when the pool has counted them, too.
        host.until(|| backend.held(Call::Connect) == at_once && pool.stats().connecting == at_once)
            .await;
        for _ in 0..at_once {
            host.release(&backend, Call::Connect, Behavior::Succeed)
                .await;
        }
    }
    for get in line {
        assert!(get.await.is_ok());
    }
    backend.calm();
    host.lends_all(&pool, &backend).await;
}

/// Standing back: what had not dialled yet when another one failed has not failed.
pub async fn many_at_a_closed_port_count_as_many_failures_as_attempts(host: Host) {
    host.draw_the_longest_pauses();
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Fail);
    let pause = Backoff::new(LONG, LONG, 1.0);
    let pool = backend
        .pool()
        .max_size(50)
        .fail_fast(false)
        .backoff(pause)
        .build_lazy()
        .unwrap();
    let mut line = Vec::new();
    for _ in 0..50 {
        line.push(waiting(pool.get()).await);
    }
    host.until_stats(&pool, |stats| stats.connecting == 0).await;
    assert_eq!(pool.stats().waiting, 50);
    drop(line);
    let stats = host.rest(&pool, &backend, 0).await;
    let attempts = backend.calls(Call::Connect);
    assert_eq!(stats.connect_failed, attempts as u64);
    assert!((1..=50).contains(&attempts), "{attempts} attempts");
}

/// The breaker, open: everybody hears the last error, and nobody dials.
pub async fn an_open_breaker_answers_everybody_at_once(host: Host) {
    let backend = host.backend();
    backend.always(Call::Connect, Behavior::Hold);
    let pool = backend
        .pool()
        .max_size(1)
        .breaker(probe_every(LONG))
        .build_lazy()
        .unwrap();
    let mut line = Vec::new();
    for _ in 0..3 {
        line.push(waiting(pool.get()).await);
    }
    host.release(&backend, Call::Connect, Behavior::Fail).await;
    for get in line {
        assert!(matches!(get.await, Err(GetError::Connect(refused)) if refused.0 == 1));
    }
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!(stats.breaker, BreakerState::Open);
    assert!(matches!(pool.get().await, Err(GetError::Connect(refused)) if refused.0 == 1));
    assert_eq!(backend.calls(Call::Connect), 1);
}

/// The breaker, with connections open: they may come back.
pub async fn an_open_breaker_leaves_those_in_line_who_may_be_served(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(2)
        .breaker(probe_every(LONG))
        .build_lazy()
        .unwrap();
    let held = host.hold(&pool, 1).await;
    backend.always(Call::Connect, Behavior::Hold);
    let first = waiting(pool.get()).await;
    let second = waiting(pool.get()).await;
    host.release(&backend, Call::Connect, Behavior::Fail).await;
    assert!(matches!(first.await, Err(GetError::Connect(_))));
    assert_eq!(pool.stats().breaker, BreakerState::Open);
    drop(held);
    assert_eq!(second.await.unwrap().id(), 1);
}

/// The breaker, half open and closed again.
pub async fn a_probe_that_succeeds_closes_the_breaker(host: Host) {
    let backend = host.backend();
    backend.next(
        Call::Connect,
        [
            Behavior::Fail,
            Behavior::Fail,
            Behavior::Fail,
            Behavior::Hold,
        ],
    );
    let pool = backend
        .pool()
        .max_size(4)
        .fail_fast(false)
        .breaker(probe_every(MILLI))
        .build_lazy()
        .unwrap();
    let get = waiting(pool.get()).await;
    host.until(|| backend.held(Call::Connect) == 1).await;
    let stats = pool.stats();
    assert_eq!(
        (stats.breaker, stats.connecting),
        (BreakerState::HalfOpen, 1)
    );
    host.release(&backend, Call::Connect, Behavior::Succeed)
        .await;
    drop(get.await.unwrap());
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!(
        (stats.breaker, stats.connect_failed),
        (BreakerState::Closed, 3)
    );
    host.lends_all(&pool, &backend).await;
}

/// Suspicion: what may have died with others is pinged, whatever `ping_after` says.
pub async fn three_broken_connections_have_the_others_pinged(host: Host) {
    let backend = host.backend();
    let pool = backend
        .pool()
        .max_size(6)
        .ping_after(None)
        .build_lazy()
        .unwrap();
    host.fill(&pool, 6).await;
    for id in [4, 5, 6] {
        backend.hang_up(id);
    }
    let first = host.hold(&pool, 1).await;
    assert_eq!((first[0].id(), backend.calls(Call::Ping)), (7, 0));
    let others = host.hold(&pool, 3).await;
    assert_eq!(backend.calls(Call::Ping), 3);
    drop((first, others));
    host.rest(&pool, &backend, 0).await;
    assert_eq!(closed(&pool, CloseReason::Dead), 3);
    drop(host.hold(&pool, 4).await);
    assert_eq!(backend.calls(Call::Ping), 3, "each once");
}

/// The shortest pauses there are.
const SHORTEST: Backoff = Backoff::new(MILLI, MILLI, 1.0);

/// A breaker that the first failure opens.
fn probe_every(probe_every: std::time::Duration) -> Breaker {
    Breaker::new(1, probe_every)
}
