//! Whatever is given up, at whatever point: nothing is lost.

use std::time::Duration;

use connpool_core::{Backoff, BoxFuture, Builder, Pool};
use futures_lite::future::{poll_once, zip};

use super::host::{Guard, Host, LONG, MILLI};
use crate::{Behavior, Call, FaultyManager};

/// Step 4, cancelled.
pub async fn a_get_can_be_dropped_at_every_poll_of_a_connect(host: Host) {
    for act in [
        Behavior::Succeed,
        Behavior::Pend(2),
        Behavior::Take(3 * MILLI),
        Behavior::PendThenFail(1),
        Behavior::Panic,
    ] {
        at_every_poll(&host, |host| async move {
            let case = Case::new(&host, 0, |pool| pool.increment(2)).await;
            case.backend.next(Call::Connect, [act]);
            let get = case.get();
            (case, get)
        })
        .await;
    }
}

/// Step 3, cancelled.
pub async fn a_get_can_be_dropped_at_every_poll_of_a_check(host: Host) {
    at_every_poll(&host, |host| async move {
        let case = Case::new(&host, 2, |pool| pool).await;
        case.backend
            .next(Call::Ping, [Behavior::PendThenFail(1), Behavior::Pend(2)]);
        let get = case.get();
        (case, get)
    })
    .await;
    at_every_poll(&host, |host| async move {
        let case = Case::new(&host, 2, |pool| pool).await;
        case.backend
            .next(Call::Ping, [Behavior::Panic, Behavior::Hang]);
        case.backend.next(Call::Connect, [Behavior::Pend(1)]);
        let get = case.get();
        (case, get)
    })
    .await;
}

/// Step 5, cancelled.
pub async fn a_get_can_be_dropped_at_every_poll_of_a_wait(host: Host) {
    for ping in [Behavior::Succeed, Behavior::Pend(1), Behavior::Fail] {
        at_every_poll(&host, |host| async move {
            let mut case = Case::new(&host, 0, |pool| pool.max_size(1)).await;
            case.held = host.hold(&case.pool, 1).await;
            case.backend.next(Call::Ping, [ping]);
            let get = case.get();
            (case, get)
        })
        .await;
    }
}

/// `pause`, cancelled.
pub async fn a_get_in_a_paused_pool_can_be_dropped_at_every_poll(host: Host) {
    at_every_poll(&host, |host| async move {
        let case = Case::new(&host, 1, |pool| pool.max_size(1)).await;
        case.pool.pause();
        let (pool, host_) = (case.pool.clone(), host.clone());
        let resumes = async move {
            host_.sleep(2 * MILLI).await;
            pool.resume();
        };
        drop(host.spawn(resumes));
        let get = case.get();
        (case, get)
    })
    .await;
}

/// "A failed connect", cancelled.
pub async fn a_get_that_waits_on_after_failures_can_be_dropped_at_every_poll(host: Host) {
    at_every_poll(&host, |host| async move {
        let case = Case::new(&host, 0, |pool| pool.fail_fast(false)).await;
        let acts = [
            Behavior::Fail,
            Behavior::HangUp,
            Behavior::Panic,
            Behavior::Pend(1),
        ];
        case.backend.next(Call::Connect, acts);
        let get = case.get();
        (case, get)
    })
    .await;
}

/// `get_many`, cancelled: two of them, one of which gathers while the other waits for its turn.
pub async fn a_gatherer_can_be_dropped_at_every_poll(host: Host) {
    at_every_poll(&host, |host| async move {
        let mut case = Case::new(&host, 1, |pool| pool).await;
        case.held = host.hold(&case.pool, 1).await;
        case.backend.next(Call::Ping, [Behavior::Pend(1)]);
        let gather = || {
            let pool = case.pool.clone();
            async move { drop(pool.get_many(2).await) }
        };
        let both = zip(gather(), gather());
        let both: BoxFuture = Box::pin(async move { _ = both.await });
        (case, both)
    })
    .await;
}

/// Fine print: `close`, cancelled.
pub async fn a_close_can_be_dropped_at_every_poll(host: Host) {
    at_every_poll(&host, |host| async move {
        let mut case = Case::new(&host, 1, |pool| pool).await;
        case.held = host.hold(&case.pool, 2).await;
        case.held.pop();
        case.backend.always(Call::Close, Behavior::Pend(2));
        let pool = case.pool.clone();
        let close: BoxFuture = Box::pin(async move { _ = pool.close(LONG).await });
        (case, close)
    })
    .await;
}

/// Fine print: `build`, cancelled.
pub async fn a_build_can_be_dropped_at_every_poll(host: Host) {
    let mut ended = false;
    for polls in 0..40 {
        let backend = host.backend();
        backend.next(
            Call::Connect,
            [Behavior::Pend(1), Behavior::Take(MILLI), Behavior::Pend(2)],
        );
        let mut build = Box::pin(backend.pool().min_size(3).build());
        let mut built = None;
        for _ in 0..polls {
            built = poll_once(&mut build).await;
            if built.is_some() {
                break;
            }
            host.sleep(MILLI).await;
        }
        drop(build);
        if let Some(pool) = built {
            assert_eq!(pool.unwrap().stats().size, 3);
            ended = true;
        }
        host.until(|| backend.alive() == 0).await;
        if ended {
            break;
        }
    }
    assert!(ended, "it never ended by itself");
}

/// P24: every combination of outcomes. deadpool, `test_cancellations`.
pub async fn whatever_the_backend_does_all_capacity_is_left(host: Host) {
    let acts = [
        Behavior::Succeed,
        Behavior::Fail,
        Behavior::Pend(2),
        Behavior::Hang,
    ];
    let jobs = acts.map(|connect| {
        let host = host.clone();
        host.clone().spawn(async move {
            for ping in acts {
                for reset in acts {
                    for close in acts {
                        let script = [connect, ping, reset, close];
                        all_capacity_is_left_by(&host, script).await;
                    }
                }
            }
        })
    });
    for job in jobs {
        job.await;
    }
}

/// The shortest pauses there are.
const SHORTEST: Backoff = Backoff::new(MILLI, MILLI, 1.0);

/// A pool in the state in which something is to be given up.
struct Case {
    backend: FaultyManager,
    pool: Pool<FaultyManager>,
    /// Given back after the second poll.
    held: Vec<Guard>,
}

impl Case {
    /// A pool that pings before each lending, with `filled` idle connections.
    async fn new(
        host: &Host,
        filled: usize,
        settings: impl FnOnce(Builder<FaultyManager>) -> Builder<FaultyManager>,
    ) -> Self {
        let backend = host.backend();
        let builder = backend
            .pool()
            .max_size(2)
            .ping_after(Duration::ZERO)
            .ping_timeout(2 * MILLI)
            .reset_timeout(2 * MILLI)
            .connect_timeout(2 * MILLI)
            .close_timeout(2 * MILLI)
            .backoff(SHORTEST)
            .breaker(None);
        let pool = settings(builder).build_lazy().unwrap();
        host.fill(&pool, filled).await;
        let held = Vec::new();
        Case {
            backend,
            pool,
            held,
        }
    }

    fn get(&self) -> BoxFuture {
        let get = self.pool.get_owned();
        Box::pin(async move { drop(get.await) })
    }
}

/// Drops what `make` makes after every number of polls, a millisecond apart, until it ends by
/// itself. Then the pool must still lend all that it may; or, if it was closed, have nothing left.
async fn at_every_poll<F>(host: &Host, make: impl Fn(Host) -> F)
where
    F: Future<Output = (Case, BoxFuture)>,
{
    for polls in 0..40 {
        let (mut case, mut task) = make(host.clone()).await;
        let mut ended = false;
        for poll in 0..polls {
            ended = poll_once(&mut task).await.is_some();
            if ended {
                break;
            }
            host.sleep(MILLI).await;
            if poll == 1 {
                case.held.clear();
            }
        }
        drop(task);
        case.held.clear();
        case.backend.calm();
        // What is under way may still fail.
        host.rest(&case.pool, &case.backend, 0).await;
        if case.pool.is_closed() {
            assert_eq!(case.backend.alive(), 0);
        } else {
            host.lends_all(&case.pool, &case.backend).await;
        }
        if ended {
            return;
        }
    }
    panic!("it never ended by itself");
}

async fn all_capacity_is_left_by(host: &Host, script: [Behavior; 4]) {
    let backend = host.backend();
    backend.with_resets();
    let pool = backend
        .pool()
        .max_size(2)
        .max_uses(2)
        .ping_after(Duration::ZERO)
        .ping_timeout(MILLI)
        .reset_timeout(MILLI)
        .connect_timeout(MILLI)
        .close_timeout(MILLI)
        .backoff(SHORTEST)
        .breaker(None)
        .build_lazy()
        .unwrap();
    host.fill(&pool, 1).await;
    for (op, act) in Call::ALL.into_iter().zip(script) {
        backend.always(op, act);
    }
    let limits = [Duration::ZERO, Duration::from_micros(1), MILLI, 3 * MILLI];
    host.run_tasks(limits.len(), |nth| {
        let pool = pool.clone();
        async move { drop(pool.get_timeout(limits[nth]).await) }
    })
    .await;
    backend.calm();
    host.rest(&pool, &backend, 0).await;
    host.lends_all(&pool, &backend).await;
    let most = backend.peak();
    assert!(most <= 2, "{most} at once: {script:?}");
}
