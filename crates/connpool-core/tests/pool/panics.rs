//! Code of managers and users that panics costs one connection, and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{
    Behavior, Call, SECOND, ScriptedError, assert_lends_all, fill, go_get, hold, new, weak_stats,
};
use connpool_core::{BuildError, CloseReason, GetError, Liveness, Manager, Pool, PooledConnection};

fn scripted() -> ! {
    panic!("scripted panic")
}

// ---- the manager's

#[test]
fn a_connect_that_panics_answers_the_first_in_line_and_frees_its_slot() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Panic]);
    let first = go_get(&sim, &pool);
    let second = go_get(&sim, &pool);
    match first.take() {
        Some(Err(GetError::Panicked { step, message })) => {
            assert_eq!(
                (step, message.as_str()),
                ("connect", "scripted panic in Connect")
            );
        }
        other => panic!("{other:?}"),
    }
    sim.advance(SECOND);
    assert!(second.take().is_some_and(|got| got.is_ok()));
    assert_eq!(pool.stats().connect_failed, 1);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_connect_that_panics_without_fail_fast_is_tried_again() {
    let (sim, fake) = new(1);
    let pool = fake.pool().fail_fast(false).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Panic, Behavior::Panic]);
    assert!(sim.block_on(pool.get()).is_ok());
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_build_whose_connect_panics_says_so() {
    let (sim, fake) = new(1);
    fake.next(Call::Connect, [Behavior::Succeed, Behavior::Panic]);
    match sim.block_on(fake.pool().min_size(3).build()) {
        Err(BuildError::Panicked(message)) => assert!(message.contains("Connect"), "{message}"),
        other => panic!("{:?}", other.map(|pool| pool.stats())),
    }
    sim.settle();
    assert_eq!(fake.alive(), 0, "what was opened is closed again");
}

#[test]
fn a_ping_that_panics_destroys_its_connection_and_the_next_is_tried() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 2);
    fake.next(Call::Ping, [Behavior::Panic]);
    drop(sim.block_on(pool.get()).unwrap());
    sim.settle();
    assert_eq!((fake.alive(), fake.calls(Call::Connect)), (1, 2));
    assert_eq!(pool.stats().closed.get(CloseReason::Panicked), 1);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_reset_that_panics_destroys_its_connection() {
    let (sim, fake) = new(1);
    fake.require_reset().next(Call::Reset, [Behavior::Panic]);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_look_that_panics_destroys_its_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.set_liveness_with(|conn| match conn.id() {
        4.. => Liveness::Alive,
        _ => scripted(),
    });
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    sim.settle();
    assert_eq!(fake.alive(), 0);
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 4);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_look_that_panics_during_a_sweep_does_not_end_the_driver() {
    let (sim, fake) = new(1);
    let pool = fake.pool().evict_interval(SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.set_liveness_with(|_| scripted());
    sim.advance(SECOND);
    assert_eq!(fake.alive(), 0);
    fake.clear_script();
    fill(&sim, &pool, 3);
    fake.set_liveness(Liveness::Closed);
    sim.advance(SECOND);
    assert_eq!(fake.alive(), 0, "nobody sweeps any more");
}

#[test]
fn a_look_at_a_new_connection_that_panics_costs_that_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.set_liveness_with(|conn| match conn.id() {
        1 => scripted(),
        _ => Liveness::Alive,
    });
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn an_is_reusable_that_panics_destroys_its_connection_and_not_its_user() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.set_is_reusable_with(|_| scripted());
    let held = hold(&sim, &pool, 1);
    let waiter = go_get(&sim, &pool);
    drop(held);
    fake.clear_script();
    sim.settle();
    assert_eq!(waiter.take().unwrap().unwrap().id(), 2);
    assert_eq!(pool.stats().closed.get(CloseReason::Panicked), 1);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_goodbye_that_panics_frees_its_slot() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).max_idle(0).build_lazy().unwrap();
    fake.always(Call::Close, Behavior::Panic);
    drop(hold(&sim, &pool, 2));
    sim.settle();
    assert_eq!((fake.graceful_closes().len(), fake.alive()), (2, 0));
    assert_lends_all(&sim, &fake, &pool);
}

// ---- the connection's

#[test]
fn a_connection_whose_drop_panics_still_frees_its_slot() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    fake.at_drop(|_| scripted());
    let mut held = hold(&sim, &pool, 3);
    held.iter_mut().for_each(|guard| guard.mark_unusable());
    drop(held);
    sim.settle();
    fill(&sim, &pool, 3);
    pool.clear();
    sim.settle();
    fake.always(Call::Close, Behavior::Yield(1));
    fill(&sim, &pool, 3);
    pool.resize(1).unwrap();
    sim.settle();
    assert_eq!(fake.alive(), 1);
    pool.resize(3).unwrap();
    fake.clear_script();
    assert_lends_all(&sim, &fake, &pool);
}

/// The future of the goodbye owns the connection, and drops it when its time is up.
#[test]
fn a_connection_whose_drop_panics_when_its_goodbye_is_given_up_frees_its_slot() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(2)
        .max_idle(0)
        .close_timeout(SECOND)
        .build_lazy()
        .unwrap();
    fake.always(Call::Close, Behavior::Hang);
    fake.at_drop(|_| scripted());
    drop(hold(&sim, &pool, 2));
    let passed = catch_unwind(AssertUnwindSafe(|| sim.advance(2 * SECOND)));
    assert!(passed.is_ok(), "the panic went through to the runtime");
    assert_eq!(fake.alive(), 0);
    fake.clear_script();
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_connection_whose_drop_panics_when_somebody_hurries_its_goodbye_frees_its_slot() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).max_idle(0).build_lazy().unwrap();
    fake.always(Call::Close, Behavior::Hang);
    fake.at_drop(|_| scripted());
    drop(hold(&sim, &pool, 1));
    sim.settle();
    let got = catch_unwind(AssertUnwindSafe(|| sim.block_on(pool.get_owned())));
    match got {
        Ok(got) => assert!(got.is_ok()),
        Err(_) => panic!("the panic went through to the runtime"),
    }
}

#[test]
fn a_connection_whose_drop_panics_when_the_pool_goes_is_caught() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.at_drop(|_| scripted());
    sim.shut_down();
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(pool)));
    assert!(dropped.is_ok(), "the drop of a pool has panicked");
    assert_eq!(fake.alive(), 0);
}

// ---- the user's

#[test]
fn an_exchange_that_panics_spoils_its_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let mut guard = hold(&sim, &pool, 1).remove(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        sim.block_on(guard.exchange(async |_| -> Result<(), ScriptedError> { scripted() }))
    }));
    assert!(caught.is_err());
    drop(guard);
    assert_eq!(fake.alive(), 0);
    assert_eq!(pool.stats().closed.get(CloseReason::Unfinished), 1);
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_guard_dropped_while_its_thread_panics_is_destroyed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let asked = std::sync::Arc::new(AtomicBool::new(false));
    let asked_ = asked.clone();
    fake.set_is_reusable_with(move |_| {
        asked_.store(true, Ordering::SeqCst);
        true
    });
    let guard = hold(&sim, &pool, 1).remove(0);
    let result = std::thread::scope(|threads| {
        threads
            .spawn(move || {
                let _guard = guard;
                scripted()
            })
            .join()
    });
    let Err::<std::convert::Infallible, _>(_) = result;
    assert_eq!(fake.alive(), 0);
    assert_eq!(pool.stats().closed.get(CloseReason::Panicked), 1);
    assert!(!asked.load(Ordering::SeqCst), "asked about a lost one");
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_panic_of_a_user_that_is_caught_before_the_guard_is_dropped_is_his_own_affair() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let guard = hold(&sim, &pool, 1).remove(0);
    assert!(catch_unwind(|| scripted()).is_err());
    drop(guard);
    assert_eq!(pool.stats().available, 1);
}

#[test]
fn a_waiter_is_served_by_the_guard_of_a_thread_that_panics() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let guard = hold(&sim, &pool, 1).remove(0);
    let waiter = go_get(&sim, &pool);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _guard = guard;
        scripted()
    }));
    let Err::<std::convert::Infallible, _>(_) = caught;
    sim.settle();
    assert_eq!(waiter.take().unwrap().unwrap().id(), 2);
}

// ---- no foreign code under a lock

/// Whatever the pool calls may call the pool.
#[test]
fn every_callback_may_use_the_pool() {
    let (sim, fake) = new(1);
    fake.require_reset();
    let pool = fake
        .pool()
        .max_size(4)
        .max_uses(3)
        .max_idle(2)
        .ping_after(Duration::ZERO)
        .evict_interval(SECOND)
        .build_lazy()
        .unwrap();
    let weak = [(); 3].map(|()| pool.downgrade());
    let [looking, asking, dropping] = weak;
    fake.set_liveness_with(move |_| {
        weak_stats(&looking);
        Liveness::Alive
    });
    fake.set_is_reusable_with(move |_| {
        weak_stats(&asking);
        true
    });
    fake.at_drop(move |_| weak_stats(&dropping));
    for _ in 0..10 {
        let held = hold(&sim, &pool, 4);
        drop(held);
        sim.advance(SECOND);
    }
    pool.clear();
    sim.settle();
    pool.resize(1).unwrap();
    sim.settle();
    assert_eq!(pool.stats().size, fake.alive());
    assert_eq!(pool.stats().waiting, 0);
    sim.block_on(pool.close(SECOND));
    assert_eq!(fake.alive(), 0);
}

/// A manager that returns a connection of the pool from within a callback of the pool.
#[test]
fn a_guard_can_be_dropped_by_a_connections_drop() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 2);
    let other = std::sync::Mutex::new(held.pop());
    fake.at_drop(move |_| {
        let other = other.lock().unwrap().take();
        drop(other);
    });
    held[0].mark_unusable();
    drop(held);
    assert_eq!((pool.stats().available, fake.alive()), (1, 1));
    assert_lends_all(&sim, &fake, &pool);
}

// ---- panics that are not the pool's

/// `connect` is an ordinary function that returns a future; both halves can panic.
#[test]
fn a_manager_that_panics_before_it_returns_a_future_is_caught_too() {
    struct Eager;
    impl Manager for Eager {
        type Connection = u8;
        type Error = ScriptedError;

        #[allow(clippy::manual_async_fn, reason = "the point is what runs before it")]
        fn connect(&self) -> impl Future<Output = Result<u8, ScriptedError>> + Send {
            if true {
                scripted();
            }
            async { Ok(1) }
        }
    }
    let (sim, _) = new(1);
    let pool = Pool::builder(Eager, sim.clone())
        .max_size(1)
        .build_lazy()
        .unwrap();
    for _ in 0..2 {
        let got: Result<PooledConnection<'_, Eager>, _> = sim.block_on(pool.get());
        assert!(matches!(got, Err(GetError::Panicked { .. })));
    }
    assert_eq!(pool.stats().connecting, 0);
}

/// The pool drops a connect whose time is up, and what it drops is the user's code.
#[test]
fn a_connect_that_panics_when_it_is_given_up_frees_its_slot() {
    struct Sore;
    impl Manager for Sore {
        type Connection = u8;
        type Error = ScriptedError;

        async fn connect(&self) -> Result<u8, ScriptedError> {
            struct Bomb;
            impl Drop for Bomb {
                fn drop(&mut self) {
                    scripted();
                }
            }
            let _bomb = Bomb;
            std::future::pending().await
        }
    }
    let (sim, _) = new(1);
    let pool = Pool::builder(Sore, sim.clone())
        .max_size(1)
        .connect_timeout(SECOND)
        .build_lazy()
        .unwrap();
    let got = catch_unwind(AssertUnwindSafe(|| sim.block_on(pool.get()).is_err()));
    assert_eq!(pool.stats().connecting, 0);
    assert_eq!(
        got.ok(),
        Some(true),
        "the panic went through to the runtime"
    );
}
