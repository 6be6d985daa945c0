//! What a user can do with a connection in hand, and managers of other kinds.

use std::io::IoSlice;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, MILLI, SECOND, ScriptedError, assert_books, assert_lends_all, closed,
    fill, go_get, hold, new, poll_once,
};
use connpool_core::{BoxManager, CloseReason, GetError, Liveness, Manager, Pool};
use connpool_testkit::SimRuntime;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

// ---- a connection in hand

#[test]
fn a_marked_connection_is_destroyed_and_the_next_in_line_gets_a_new_one() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let mut guard = hold(&sim, &pool, 1).remove(0);
    let waiter = go_get(&sim, &pool);
    guard.mark_unusable();
    drop(guard);
    sim.settle();
    assert_eq!(waiter.take().unwrap().unwrap().id(), 2);
    assert_eq!(closed(&pool, CloseReason::Marked), 1);
    assert_eq!(fake.graceful_closes(), [0; 0]);
}

/// The backend never sees more than `max_size`, not even for an instant.
#[test]
fn a_slot_is_held_until_its_connection_is_gone() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(1)
        .close_timeout(SECOND)
        .build_lazy()
        .unwrap();
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
    for goodbye in [
        None,
        Some(Behavior::Succeed),
        Some(Behavior::Yield(1)),
        Some(Behavior::Hang),
    ] {
        let held = hold(&sim, &pool, 1);
        match goodbye {
            None => pool.clear(),
            Some(act) => {
                fake.always(Call::Close, act);
                sim.advance(SECOND);
            }
        }
        drop(held);
        pool.resize(2).unwrap();
        if goodbye.is_some() {
            // One too many, so that one of them is told goodbye.
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
fn a_return_asks_nothing_of_a_peer_that_may_not_answer() {
    let (sim, fake) = new(1);
    let pool = fake
        .require_reset()
        .pool()
        .max_size(1)
        .build_lazy()
        .unwrap();
    let held = hold(&sim, &pool, 1);
    for op in [Call::Ping, Call::Reset, Call::Close] {
        fake.always(op, Behavior::Hang);
    }
    drop(held);
    sim.settle();
    let stats = pool.stats();
    assert_eq!((stats.available, stats.active), (1, 0), "{stats}");
}

#[test]
fn one_that_is_not_reusable_is_destroyed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fake.set_is_reusable_with(|conn| conn.id() != 1);
    drop(hold(&sim, &pool, 2));
    assert_eq!((fake.dropped(), pool.stats().available), (vec![1], 1));
    assert_eq!(closed(&pool, CloseReason::NotReusable), 1);
}

#[test]
fn a_detached_connection_is_its_users_and_its_slot_is_free() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let guard = hold(&sim, &pool, 1).remove(0);
    let waiter = go_get(&sim, &pool);
    let conn = guard.detach();
    sim.settle();
    assert_eq!(waiter.take().unwrap().unwrap().id(), 2);
    assert_eq!((conn.id(), fake.alive()), (1, 2));
    let stats = pool.stats();
    assert_eq!(
        (stats.detached, stats.size, stats.closed.total()),
        (1, 1, 0)
    );
    drop(pool);
    sim.settle();
    assert_eq!(fake.dropped(), [2]);
    drop(conn);
    assert_eq!(fake.alive(), 0);
}

#[test]
fn an_exchange_spoils_its_connection_unless_it_ends_well() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum End {
        Well,
        BadAnswer,
        Failed,
        Dropped,
        FailedThenWell,
    }
    for end in [
        End::Well,
        End::BadAnswer,
        End::Failed,
        End::Dropped,
        End::FailedThenWell,
    ] {
        let (sim, fake) = new(1);
        let pool = fake.pool().max_size(1).build_lazy().unwrap();
        let mut guard = hold(&sim, &pool, 1).remove(0);
        match end {
            End::Well => {
                let done =
                    sim.block_on(guard.exchange(async |conn| Ok::<_, ScriptedError>(conn.id())));
                assert_eq!(done, Ok(1));
            }
            End::BadAnswer => {
                let answer = async |_: &mut _| Ok::<Result<(), &str>, ScriptedError>(Err("no"));
                assert_eq!(sim.block_on(guard.exchange(answer)), Ok(Err("no")));
            }
            End::Failed | End::FailedThenWell => {
                let failed = async |_: &mut _| Err::<(), _>(ScriptedError(7));
                assert_eq!(sim.block_on(guard.exchange(failed)), Err(ScriptedError(7)));
                if end == End::FailedThenWell {
                    let well = async |_: &mut _| Ok::<_, ScriptedError>(());
                    assert_eq!(sim.block_on(guard.exchange(well)), Ok(()));
                }
            }
            End::Dropped => {
                let mut exchange = pin!(guard.exchange(async |_| -> Result<(), ScriptedError> {
                    std::future::pending().await
                }));
                assert!(poll_once(exchange.as_mut()).is_pending());
            }
        }
        drop(guard);
        let kept = usize::from(matches!(end, End::Well | End::BadAnswer));
        assert_eq!(fake.alive(), kept, "{end:?}");
        assert_eq!(closed(&pool, CloseReason::Unfinished), 1 - kept as u64);
        assert_lends_all(&sim, &fake, &pool);
    }
}

#[test]
fn a_guard_tells_its_number_its_age_and_its_uses() {
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
fn a_connection_on_loan_does_not_age_away_in_its_users_hands() {
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
fn the_figures_read_well() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 3);
    held.remove(0).mark_unusable();
    held.pop();
    let text = pool.stats().to_string();
    assert!(text.starts_with("size=2 active=1 available=1 connecting=0 waiting=0 request=3"));
    assert!(
        text.ends_with("created=3 connect_failed=0 closed=1 (marked=1)"),
        "{text}"
    );
}

// ---- managers of other kinds

/// Fills, checks, resets, closes: every method of the manager behind `pool` is called.
fn walk_through<M>(sim: &SimRuntime, fake: &Fake, pool: &Pool<M>)
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
    assert!(pool.try_get().is_err(), "resets() went astray");
    fake.set_is_reusable_with(|_| false);
    drop(sim.block_on(pool.get()).unwrap());
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
    drop(sim.block_on(pool.get()).unwrap());
    sim.block_on(pool.close(SECOND));
    assert_eq!((fake.graceful_closes(), fake.alive()), (vec![4], 0));
}

#[test]
fn a_boxed_manager_does_all_that_its_inside_does() {
    let (sim, fake) = new(1);
    fake.require_reset();
    let pool = Pool::builder(BoxManager::new(fake.clone()), sim.clone())
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    walk_through(&sim, &fake, &pool);
}

#[test]
fn a_guard_passes_on_what_is_written_in_pieces() {
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
fn a_boxed_manager_resets_if_its_inside_does() {
    let (_, fake) = new(1);
    assert!(!BoxManager::new(fake.clone()).needs_reset());
    fake.require_reset();
    assert!(BoxManager::new(fake).needs_reset());
}

#[test]
fn what_is_printed_for_debugging_names_settings_and_no_manager() {
    let (_, fake) = new(1);
    assert_eq!(format!("{:?}", BoxManager::new(fake.clone())), "BoxManager");
    let builder = format!("{:?}", fake.pool().max_size(7));
    assert!(
        builder.starts_with("Builder { config: PoolConfig {"),
        "{builder}"
    );
    assert!(builder.contains("max_size: 7"), "{builder}");
}

#[test]
fn a_shared_manager_does_all_that_its_inside_does() {
    let (sim, fake) = new(1);
    fake.require_reset();
    let pool = Pool::builder(Arc::new(fake.clone()), sim.clone())
        .ping_after(Duration::ZERO)
        .build_lazy()
        .unwrap();
    walk_through(&sim, &fake, &pool);
}

#[test]
fn a_manager_is_told_how_long_a_connect_may_take() {
    struct Told(Arc<std::sync::Mutex<Vec<Option<Duration>>>>);
    impl Manager for Told {
        type Connection = ();
        type Error = ScriptedError;

        async fn connect(&self) -> Result<(), ScriptedError> {
            Err(ScriptedError(0))
        }

        async fn connect_within(&self, limit: Option<Duration>) -> Result<(), ScriptedError> {
            self.0.lock().unwrap().push(limit);
            Ok(())
        }
    }
    for limit in [None, Some(3 * SECOND)] {
        let told = Arc::default();
        let (sim, _) = new(1);
        let manager = BoxManager::new(Arc::new(Told(Arc::clone(&told))));
        let pool = Pool::builder(manager, sim.clone())
            .connect_timeout(limit)
            .build_lazy()
            .unwrap();
        assert!(sim.block_on(pool.get()).is_ok());
        assert_eq!(*told.lock().unwrap(), [limit]);
    }
}

#[test]
fn a_pool_is_usable_through_many_handles_and_threads() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(4).build_lazy().unwrap();
    fill(&sim, &pool, 4);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            let pool = pool.clone();
            threads.spawn(move || {
                for _ in 0..1_000 {
                    let guard = pool.try_get().expect("one for each thread");
                    drop(guard);
                }
            });
        }
    });
    assert_books(&pool, &fake, 0);
    assert_eq!(fake.calls(Call::Connect), 4);
}
