//! Races between one operation and another, forced at a fixed point.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::support::hooks::HookedRuntime;
use crate::support::{
    Behavior, Call, Fake, Got, MILLI, assert_at_rest, assert_full_capacity, fill, hold, new,
    poll_once, spawn, spawn_get,
};
use connpool_core::{Backoff, GetError, Liveness, Pool};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn pool_closed_during_a_ping_lends_nothing() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.next(Call::Ping, [Behavior::Take(SECOND)]);
    let job = spawn_get(&sim, &pool);
    sim.settle();
    sim.block_on(pool.close(Duration::ZERO));
    sim.advance(2 * SECOND);
    assert!(matches!(job.take(), Some(Err(GetError::Closed))));
    assert_at_rest(&pool, &fake, 0);
}

#[test]
fn assigned_connection_is_not_lent_if_the_pool_closes_before_the_next_poll() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut get = Box::pin(pool.get_owned());
    assert!(poll_once(get.as_mut()).is_pending());
    drop(held);
    sim.block_on(pool.close(Duration::ZERO));
    assert!(matches!(sim.block_on(get), Err(GetError::Closed)));
    sim.settle();
    assert_at_rest(&pool, &fake, 0);
}

#[test]
fn healthy_connection_ends_the_backoff_for_all_waiters() {
    for seed in 0..20 {
        let (sim, fake) = new(seed);
        let pool = fake
            .pool()
            .max_size(3)
            .get_timeout(None)
            .evict_interval(None)
            .backoff(Backoff::new(DAY, DAY, 1.0))
            .build_lazy()
            .unwrap();
        fake.next(Call::Connect, [Behavior::Take(SECOND), Behavior::Fail]);
        let jobs = [0, 1, 2].map(|_| {
            let job = spawn_get(&sim, &pool);
            sim.settle();
            job
        });
        sim.advance(2 * SECOND);
        let ended = jobs.iter().filter(|job| job.has_ended()).count();
        assert_eq!(ended, 3, "seed {seed}: {}", pool.stats());
    }
}

#[test]
fn get_waits_for_a_slot_that_is_being_freed_despite_max_waiters() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).max_waiters(0).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.set_liveness_with(|conn| if conn.id() == 1 { Liveness::Closed } else { Liveness::Alive });
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
    pool.clear();
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 3);
}

#[test]
fn get_during_a_sweep_probe_is_served_after_the_probe() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).max_waiters(0).evict_interval(SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    let (once, sim_, pool_ref) = (std::sync::Mutex::new(Some(())), sim.clone(), pool.downgrade());
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    fake.set_liveness_with(move |_| {
        if once.lock().unwrap().take().is_some() {
            let pool = pool_ref.upgrade().unwrap();
            let mut get = Box::pin(async move { pool.get_owned().await });
            assert!(
                poll_once(get.as_mut()).is_pending(),
                "rejected or served before the probe ended"
            );
            sender.lock().unwrap().send(spawn(&sim_, get)).unwrap();
        }
        Liveness::Alive
    });
    sim.advance(2 * SECOND);
    let job = receiver.recv().unwrap();
    assert!(job.take().expect("get is still pending").is_ok());
    assert_eq!(fake.calls(Call::Connect), 1);
}

#[test]
fn connection_returned_between_idle_check_and_enqueue_is_found() {
    let (sim, fake) = new(1);
    let runtime = HookedRuntime::new(&sim);
    let pool = Pool::builder(fake.clone(), runtime.clone())
        .max_size(1)
        .ping_after(None)
        .build_lazy()
        .unwrap();
    let held = hold(&sim, &pool, 1);
    // Without age limits, a `get` reads the clock only after it has found nothing idle and before
    // it enters the queue.
    runtime.on_next_now(move || drop(held));
    let mut get = pin!(pool.get());
    assert!(poll_once(get.as_mut()).is_ready(), "{}", pool.stats());
    assert_eq!(fake.calls(Call::Connect), 1);
}

#[test]
fn connection_returned_between_idle_check_and_enqueue_is_found_while_connects_fail() {
    let (sim, fake) = new(1);
    let runtime = HookedRuntime::new(&sim);
    let pool = Pool::builder(fake.clone(), runtime.clone())
        .max_size(2)
        .ping_after(None)
        .build_lazy()
        .unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Connect, Behavior::Fail);
    sim.advance(4 * SECOND);
    let told = spawn_get(&sim, &pool);
    sim.advance(4 * SECOND);
    assert!(matches!(told.take(), Some(Err(GetError::Connect(_)))));
    // The clock is read as in the test above.
    runtime.on_next_now(move || drop(held));
    let mut get = pin!(pool.get());
    assert!(matches!(poll_once(get.as_mut()), Poll::Ready(Ok(_))), "{}", pool.stats());
}

#[test]
fn concurrent_connects_do_not_share_the_last_slot() {
    let (sim, fake) = new(1);
    let runtime = HookedRuntime::new(&sim);
    let pool = Pool::builder(fake.clone(), runtime.clone()).max_size(1).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let mut second = Box::pin(pool.get_owned());
    let (sender, receiver) = std::sync::mpsc::channel();
    // At this point the first get has reserved its slot and is about to start its connect.
    runtime.on_next_spawn(move || {
        assert!(poll_once(second.as_mut()).is_pending());
        sender.send(second).unwrap();
    });
    let first = spawn_get(&sim, &pool);
    let second = receiver.recv().unwrap();
    assert_eq!(pool.stats().connecting, 1);
    sim.advance(SECOND);
    drop((first.take(), second));
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn connection_returned_while_the_pool_closes_is_not_kept() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let (pool_ref, sim_ref) = (pool.downgrade(), sim.clone());
    fake.set_is_reusable_with(move |_| {
        let pool = pool_ref.upgrade().unwrap();
        let mut close = pin!(pool.close(Duration::ZERO));
        assert!(poll_once(close.as_mut()).is_ready());
        // The maintenance task ends, and will close nothing that becomes idle later.
        sim_ref.settle();
        true
    });
    drop(held);
    sim.settle();
    assert!(pool.is_closed());
    assert_eq!(fake.alive(), 0, "{}", pool.stats());
    assert_at_rest(&pool, &fake, 0);
}

/// A woken task may run immediately: on another thread or, as here, inside of `wake`.
#[test]
fn woken_waiter_sees_consistent_counters() {
    type Get = Pin<Box<dyn Future<Output = Got> + Send>>;
    struct CallOnWake(Box<dyn Fn() + Send + Sync>);
    impl Wake for CallOnWake {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }

    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let get: Arc<Mutex<Get>> = Arc::new(Mutex::new(Box::pin(pool.get_owned())));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let waker = {
        let pool = pool.clone();
        let (get, seen) = (Arc::clone(&get), Arc::clone(&seen));
        Waker::from(Arc::new(CallOnWake(Box::new(move || {
            let record = || {
                let mut seen = seen.lock().unwrap();
                seen.push((pool.stats().size, fake.alive()));
            };
            if let Poll::Ready(Ok(mut guard)) = poll_once(get.lock().unwrap().as_mut()) {
                record();
                guard.mark_unusable();
                drop(guard);
                record();
            }
        }))))
    };
    let polled = get.lock().unwrap().as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    sim.settle();
    assert_eq!(*seen.lock().unwrap(), [(1, 1), (1, 1)]);
    assert_eq!(pool.stats().size, 0);
}

/// The waiter must either get the assigned connection or keep its queue position.
#[test]
fn clear_during_take_of_an_assigned_connection_keeps_the_queue_position() {
    let (sim, _) = new(1);
    let runtime = HookedRuntime::new(&sim);
    let fake = Fake::new(runtime.clone());
    let builder = fake.pool().max_size(1).liveness_after(None);
    let pool = builder.idle_timeout(60 * SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    let held = hold(&sim, &pool, 1);
    let [first, second] = [(); 2].map(|()| spawn_get(&sim, &pool));
    drop(held);
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let (pool_ref, again) = (pool.downgrade(), runtime.clone());
    let clear = move || pool_ref.upgrade().unwrap().clear();
    runtime.on_next_now(move || again.on_next_now(clear));
    sim.settle();
    sim.advance(SECOND + MILLI);
    sim.settle();
    assert!(first.has_ended());
    assert!(!second.has_ended());
}
