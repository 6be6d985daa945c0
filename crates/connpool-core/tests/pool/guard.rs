//! Guards, and managers behind `BoxManager` and `Arc`.

use std::io::IoSlice;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, MILLI, SECOND, ScriptedError, assert_at_rest, assert_full_capacity,
    closed, fill, graceful_closes, hold, new, poll_once, spawn_get,
};
use connpool_core::{BoxManager, CloseReason, GetError, Liveness, Manager, Pool, StreamOf};
use connpool_testkit::SimRuntime;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

// ---- guards

#[test]
fn marked_connection_is_destroyed_and_the_waiter_gets_a_new_one() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let mut guard = hold(&sim, &pool, 1).remove(0);
    let waiter = spawn_get(&sim, &pool);
    guard.mark_unusable();
    drop(guard);
    sim.settle();
    assert_eq!(waiter.take().unwrap().unwrap().id(), 2);
    assert_eq!(closed(&pool, CloseReason::Marked), 1);
    assert_eq!(graceful_closes(&fake), [0; 0]);
}

/// The backend never sees more than `max_size` connections, not even for an instant.
#[test]
fn slot_is_held_until_its_connection_is_dropped() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).close_timeout(SECOND).build_lazy().unwrap();
    let weak = pool.downgrade();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen_ = Arc::clone(&seen);
    fake.at_drop(move |_| {
        let pool = weak.upgrade().unwrap();
        seen_.lock().unwrap().push(pool.stats().size);
    });
    let mut marked = hold(&sim, &pool, 1);
    marked[0].mark_unusable();
    drop(marked);
    for close in [None, Some(Behavior::Succeed), Some(Behavior::Yield(1)), Some(Behavior::Hang)] {
        let held = hold(&sim, &pool, 1);
        match close {
            None => pool.clear(),
            Some(act) => {
                fake.always(Call::Close, act);
                sim.advance(SECOND);
            }
        }
        drop(held);
        pool.resize(2).unwrap();
        if close.is_some() {
            // One connection too many, so that one is closed gracefully.
            drop(hold(&sim, &pool, 2));
        }
        pool.resize(1).unwrap();
        sim.advance(2 * SECOND);
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 5);
    assert!(seen.iter().all(|size| *size >= 1), "{seen:?}");
    assert_eq!(seen[0], 1);
}

#[test]
fn return_does_not_wait_for_the_peer() {
    let (sim, fake) = new(1);
    let pool = fake.require_reset().pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let reset_later = (0, 1);
    for op in [Call::Ping, Call::Reset, Call::Close] {
        fake.always(op, Behavior::Hang);
    }
    drop(held);
    sim.settle();
    let stats = pool.stats();
    assert_eq!((stats.available, stats.resetting), reset_later, "{stats}");
}

#[test]
fn connection_that_is_not_reusable_is_destroyed_on_return() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fake.set_is_reusable_with(|conn| conn.id() != 1);
    drop(hold(&sim, &pool, 2));
    sim.settle();
    assert_eq!((fake.dropped(), pool.stats().available), (vec![1], 1));
    assert_eq!(closed(&pool, CloseReason::NotReusable), 1);
}

#[test]
fn exchange_that_fails_or_is_dropped_makes_its_connection_unusable() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Outcome {
        Ok,
        ApplicationError,
        Failed,
        Dropped,
        FailedThenOk,
    }
    for outcome in [
        Outcome::Ok,
        Outcome::ApplicationError,
        Outcome::Failed,
        Outcome::Dropped,
        Outcome::FailedThenOk,
    ] {
        let (sim, fake) = new(1);
        let pool = fake.pool().max_size(1).build_lazy().unwrap();
        let mut guard = hold(&sim, &pool, 1).remove(0);
        match outcome {
            Outcome::Ok => {
                let done =
                    sim.block_on(guard.exchange(async |conn| Ok::<_, ScriptedError>(conn.id())));
                assert_eq!(done, Ok(1));
            }
            Outcome::ApplicationError => {
                let answer = async |_: &mut _| Ok::<Result<(), &str>, ScriptedError>(Err("no"));
                assert_eq!(sim.block_on(guard.exchange(answer)), Ok(Err("no")));
            }
            Outcome::Failed | Outcome::FailedThenOk => {
                let failed = async |_: &mut _| Err::<(), _>(ScriptedError(7));
                assert_eq!(sim.block_on(guard.exchange(failed)), Err(ScriptedError(7)));
                if outcome == Outcome::FailedThenOk {
                    let succeed = async |_: &mut _| Ok::<_, ScriptedError>(());
                    assert_eq!(sim.block_on(guard.exchange(succeed)), Ok(()));
                }
            }
            Outcome::Dropped => {
                let mut exchange = pin!(guard.exchange(async |_| -> Result<(), ScriptedError> {
                    std::future::pending().await
                }));
                assert!(poll_once(exchange.as_mut()).is_pending());
            }
        }
        drop(guard);
        let kept = usize::from(matches!(outcome, Outcome::Ok | Outcome::ApplicationError));
        sim.settle();
        assert_eq!(fake.alive(), kept, "{outcome:?}");
        assert_eq!(closed(&pool, CloseReason::Unfinished), 1 - kept as u64);
        assert_full_capacity(&sim, &fake, &pool);
    }
}

#[test]
fn guard_reports_id_age_and_uses() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(None).name("p").build_lazy().unwrap();
    for use_ in 1..=3 {
        let guard = sim.block_on(pool.get()).unwrap();
        assert_eq!((guard.id(), guard.uses()), (1, use_));
        assert_eq!(guard.age(), (use_ as u32 - 1) * SECOND);
        sim.advance(SECOND);
    }
    let mut guard = hold(&sim, &pool, 1).remove(0);
    let text = format!("{guard:?} {pool:?}");
    assert!(text.contains("id: 1") && text.contains("\"p\""), "{text}");
    guard.mark_unusable();
    drop(guard);
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
}

#[test]
fn borrowed_connection_is_not_closed_by_age_or_idle_limits() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .idle_timeout(SECOND)
        .max_lifetime(SECOND)
        .evict_interval(MILLI)
        .build_lazy()
        .unwrap();
    let held = hold(&sim, &pool, 1);
    sim.advance(10 * SECOND);
    assert_eq!(fake.alive(), 1);
    drop(held);
}

#[test]
fn stats_display_lists_all_counters() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 3);
    held.remove(0).mark_unusable();
    held.pop();
    sim.settle();
    let text = pool.stats().to_string();
    assert!(text.starts_with("size=2 active=1 available=1 connecting=0 waiting=0 request=3"));
    assert!(text.ends_with("created=3 connect_failed=0 closed=1 (marked=1)"), "{text}");
}

// ---- wrapped managers

/// Has the pool call every method of its manager.
fn call_every_method<M>(sim: &SimRuntime, fake: &Fake, pool: &Pool<M>)
where
    M: Manager<Connection = crate::support::Conn, Error = ScriptedError>,
{
    sim.block_on(async {
        drop(pool.get().await.unwrap());
        let mut guard = pool.get().await.unwrap();
        assert_eq!(guard.id(), 1);
        guard.used_by(1);
    });
    assert_eq!((fake.calls(Call::Ping), fake.calls(Call::Reset)), (1, 1));
    assert!(pool.try_get().is_err(), "needs_reset was not forwarded");
    fake.set_is_reusable_with(|_| false);
    drop(sim.block_on(pool.get()).unwrap());
    sim.settle();
    assert_eq!(fake.dropped(), [1]);
    fake.clear_script();
    drop(sim.block_on(pool.get()).unwrap());
    fake.set_liveness_with(|conn| match conn.id() {
        2 => Liveness::Closed,
        _ => Liveness::Alive,
    });
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 3);
    fake.next(Call::Connect, [Behavior::Fail]);
    pool.clear();
    sim.settle();
    let error = sim.block_on(pool.get()).unwrap_err();
    assert!(matches!(error, GetError::Connect(_)));
    sim.advance(SECOND);
    drop(sim.block_on(pool.get()).unwrap());
    sim.block_on(pool.close(SECOND));
    let closes = [
        (1, CloseReason::NotReusable),
        (2, CloseReason::Dead),
        (3, CloseReason::Cleared),
        (4, CloseReason::PoolClosed),
    ];
    assert_eq!((fake.closes(), fake.alive()), (closes.to_vec(), 0));
}

#[test]
fn boxed_manager_forwards_every_method() {
    let (sim, fake) = new(1);
    fake.require_reset();
    let pool = Pool::builder(BoxManager::new(fake.clone()), sim.clone())
        .ping_after(Duration::ZERO)
        .fail_fast_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    call_every_method(&sim, &fake, &pool);
}

#[test]
fn guard_forwards_vectored_writes() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let mut guard = sim.block_on(pool.get()).unwrap();
    let mut peer = fake.take_peer(guard.id()).unwrap();
    let pieces = [IoSlice::new(b"hello"), IoSlice::new(b" there")];
    let written = sim.block_on(guard.write_vectored(&pieces)).unwrap();
    let mut text = vec![0; written];
    sim.block_on(peer.read_exact(&mut text)).unwrap();
    assert_eq!(text, b"hello");
}

#[test]
fn boxed_manager_forwards_needs_reset() {
    let (_, fake) = new(1);
    assert!(!BoxManager::new(fake.clone()).needs_reset());
    fake.require_reset();
    assert!(BoxManager::new(fake).needs_reset());
}

#[test]
fn builder_debug_output_names_settings_but_not_the_manager() {
    let (_, fake) = new(1);
    assert_eq!(format!("{:?}", BoxManager::new(fake.clone())), "BoxManager");
    let builder = format!("{:?}", fake.pool().max_size(7));
    assert!(builder.starts_with("Builder { config: PoolConfig {"), "{builder}");
    assert!(builder.contains("max_size: 7"), "{builder}");
}

#[test]
fn arc_manager_forwards_every_method() {
    let (sim, fake) = new(1);
    fake.require_reset();
    let pool = Pool::builder(Arc::new(fake.clone()), sim.clone())
        .ping_after(Duration::ZERO)
        .fail_fast_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    call_every_method(&sim, &fake, &pool);
}

#[test]
fn manager_receives_connect_timeout_as_the_limit() {
    struct LimitRecorder(Arc<std::sync::Mutex<Vec<Option<Duration>>>>);
    impl Manager for LimitRecorder {
        type Connection = ();
        type Error = ScriptedError;

        async fn connect(&self) -> Result<(), ScriptedError> {
            Err(ScriptedError(0))
        }

        fn stream(&self) -> Option<StreamOf<()>> {
            None
        }

        async fn connect_within(&self, limit: Option<Duration>) -> Result<(), ScriptedError> {
            self.0.lock().unwrap().push(limit);
            Ok(())
        }
    }
    for limit in [None, Some(3 * SECOND)] {
        let limits = Arc::default();
        let (sim, _) = new(1);
        let manager = BoxManager::new(Arc::new(LimitRecorder(Arc::clone(&limits))));
        let pool = Pool::builder(manager, sim.clone()).connect_timeout(limit).build_lazy().unwrap();
        assert!(sim.block_on(pool.get()).is_ok());
        assert_eq!(*limits.lock().unwrap(), [limit]);
    }
}

#[test]
fn pool_clones_on_many_threads_share_the_idle_set() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(4).build_lazy().unwrap();
    fill(&sim, &pool, 4);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            let pool = pool.clone();
            threads.spawn(move || {
                for _ in 0..1_000 {
                    let guard = pool.try_get().expect("fewer connections than threads");
                    drop(guard);
                }
            });
        }
    });
    assert_at_rest(&pool, &fake, 0);
    assert_eq!(fake.calls(Call::Connect), 4);
}
