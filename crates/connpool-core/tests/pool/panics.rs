//! Panics in managers, connections and user code cost one connection each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{
    Behavior, Call, SECOND, ScriptedError, assert_full_capacity, fill, hold, new, spawn_get,
    use_pool,
};
use connpool_core::{
    BuildError, CloseReason, ConnectError, GetError, Liveness, Manager, Pool, PooledConnection,
    StreamOf,
};

fn scripted() -> ! {
    panic!("scripted panic")
}

// ---- panics of the manager

#[test]
fn panicking_connect_without_fail_fast_is_retried() {
    let (sim, fake) = new(1);
    let pool = fake.pool().fail_fast_after(None).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Panic, Behavior::Panic]);
    assert!(sim.block_on(pool.get()).is_ok());
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn build_with_a_panicking_connect_says_so() {
    let (sim, fake) = new(1);
    fake.next(Call::Connect, [Behavior::Panic]);
    match sim.block_on(fake.pool().min_size(3).build()) {
        Err(BuildError::Connect(ConnectError::Panicked)) => {}
        other => panic!("{:?}", other.map(|pool| pool.stats())),
    }
    sim.settle();
    assert_eq!(fake.alive(), 0, "an opened connection was kept");
}

#[test]
fn panicking_ping_destroys_its_connection_and_the_next_is_tried() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 2);
    fake.next(Call::Ping, [Behavior::Panic]);
    drop(sim.block_on(pool.get()).unwrap());
    sim.settle();
    assert_eq!((fake.alive(), fake.calls(Call::Connect)), (1, 2));
    assert_eq!(pool.stats().closed.get(CloseReason::Panicked), 1);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn panicking_liveness_probe_destroys_its_connection() {
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
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn panicking_sweep_probe_does_not_end_the_maintenance_task() {
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
    assert_eq!(fake.alive(), 0, "the sweeps have stopped");
}

#[test]
fn panicking_probe_of_a_new_connection_destroys_that_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).fail_fast_after(None).build_lazy().unwrap();
    fake.set_liveness_with(|conn| match conn.id() {
        1 => scripted(),
        _ => Liveness::Alive,
    });
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
    assert_full_capacity(&sim, &fake, &pool);
}

// ---- panics of the connection

/// The graceful close owns the connection and drops it at close_timeout.
#[test]
fn connection_whose_drop_panics_at_close_timeout_frees_its_slot() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).max_idle(0).close_timeout(SECOND).build_lazy().unwrap();
    fake.always(Call::Close, Behavior::Hang);
    fake.at_drop(|_| scripted());
    drop(hold(&sim, &pool, 2));
    let passed = catch_unwind(AssertUnwindSafe(|| sim.advance(2 * SECOND)));
    assert!(passed.is_ok(), "the panic reached the runtime");
    assert_eq!(fake.alive(), 0);
    fake.clear_script();
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn connection_whose_drop_panics_in_an_expedited_close_frees_its_slot() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).max_idle(0).build_lazy().unwrap();
    fake.always(Call::Close, Behavior::Hang);
    fake.at_drop(|_| scripted());
    drop(hold(&sim, &pool, 1));
    sim.settle();
    let got = catch_unwind(AssertUnwindSafe(|| sim.block_on(pool.get_owned())));
    match got {
        Ok(got) => assert!(got.is_ok()),
        Err(_) => panic!("the panic reached the runtime"),
    }
}

#[test]
fn connection_whose_drop_panics_with_the_pool_is_caught() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.at_drop(|_| scripted());
    sim.shut_down();
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(pool)));
    assert!(dropped.is_ok(), "dropping the pool panicked");
    assert_eq!(fake.alive(), 0);
}

// ---- panics of the user

#[test]
fn panicking_exchange_makes_its_connection_unusable() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let mut guard = hold(&sim, &pool, 1).remove(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        sim.block_on(guard.exchange(async |_| -> Result<(), ScriptedError> { scripted() }))
    }));
    assert!(caught.is_err());
    drop(guard);
    sim.settle();
    assert_eq!(fake.alive(), 0);
    assert_eq!(pool.stats().closed.get(CloseReason::Unfinished), 1);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn guard_dropped_by_a_panicking_thread_destroys_its_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let called = std::sync::Arc::new(AtomicBool::new(false));
    let called_ = called.clone();
    fake.set_is_reusable_with(move |_| {
        called_.store(true, Ordering::SeqCst);
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
    sim.settle();
    assert_eq!(fake.alive(), 0);
    assert_eq!(pool.stats().closed.get(CloseReason::Panicked), 1);
    assert!(!called.load(Ordering::SeqCst), "is_reusable was called for a lost connection");
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn panic_caught_before_the_guard_drops_keeps_the_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let guard = hold(&sim, &pool, 1).remove(0);
    assert!(catch_unwind(|| scripted()).is_err());
    drop(guard);
    assert_eq!(pool.stats().available, 1);
}

#[test]
fn waiter_is_served_after_a_panicking_thread_drops_its_guard() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let guard = hold(&sim, &pool, 1).remove(0);
    let waiter = spawn_get(&sim, &pool);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _guard = guard;
        scripted()
    }));
    let Err::<std::convert::Infallible, _>(_) = caught;
    sim.settle();
    assert_eq!(waiter.take().unwrap().unwrap().id(), 2);
}

// ---- user code never runs under a lock

/// Every callback of the pool may call the pool.
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
    let [in_liveness, in_is_reusable, in_drop] = weak;
    fake.set_liveness_with(move |_| {
        use_pool(&in_liveness);
        Liveness::Alive
    });
    fake.set_is_reusable_with(move |_| {
        use_pool(&in_is_reusable);
        true
    });
    fake.at_drop(move |_| use_pool(&in_drop));
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

/// A connection that returns another connection of the pool when it is dropped.
#[test]
fn guard_can_be_dropped_by_the_drop_of_a_connection() {
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
    sim.settle();
    assert_eq!((pool.stats().available, fake.alive()), (1, 1));
    assert_full_capacity(&sim, &fake, &pool);
}

// ---- panics outside of a poll

/// `connect` is an ordinary function that returns a future; the call and the future can both panic.
#[test]
fn panic_in_connect_before_its_future_is_caught() {
    struct Eager;
    impl Manager for Eager {
        type Connection = u8;
        type Error = ScriptedError;

        #[allow(clippy::manual_async_fn, reason = "the test is about the code before the future")]
        fn connect(&self) -> impl Future<Output = Result<u8, ScriptedError>> + Send {
            if true {
                scripted();
            }
            async { Ok(1) }
        }

        fn stream(&self) -> Option<StreamOf<u8>> {
            None
        }
    }
    let (sim, _) = new(1);
    let pool = Pool::builder(Eager, sim.clone()).max_size(1).build_lazy().unwrap();
    for _ in 0..2 {
        let got: Result<PooledConnection<'_, Eager>, _> = sim.block_on(pool.get());
        assert!(matches!(got, Err(GetError::Connect(ConnectError::Panicked))));
    }
    assert_eq!(pool.stats().connecting, 0);
}

/// The pool drops a connect at its timeout, and that drop runs user code.
#[test]
fn connect_that_panics_on_drop_at_connect_timeout_frees_its_slot() {
    struct PanickingConnect;
    impl Manager for PanickingConnect {
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

        fn stream(&self) -> Option<StreamOf<u8>> {
            None
        }
    }
    let (sim, _) = new(1);
    let pool = Pool::builder(PanickingConnect, sim.clone())
        .max_size(1)
        .connect_timeout(SECOND)
        .build_lazy()
        .unwrap();
    let got = catch_unwind(AssertUnwindSafe(|| sim.block_on(pool.get()).is_err()));
    // The probe for the caller that was told has the slot.
    let stats = pool.stats();
    assert_eq!((stats.connect_failed, stats.connecting), (1, 1));
    assert_eq!(got.ok(), Some(true), "the panic reached the runtime");
}
