//! What happens to one while something happens to the pool.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::support::meddling::Meddling;
use crate::support::{
    Behavior, Call, Fake, Got, MILLI, assert_books, assert_lends_all, fill, go, go_get, hold, new,
    poll_once,
};
use connpool_core::{Backoff, GetError, Liveness, Pool};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn nothing_is_lent_by_a_pool_that_was_closed_during_the_ping() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.next(Call::Ping, [Behavior::Take(SECOND)]);
    let job = go_get(&sim, &pool);
    sim.settle();
    sim.block_on(pool.close(Duration::ZERO));
    sim.advance(2 * SECOND);
    assert!(matches!(job.take(), Some(Err(GetError::Closed))));
    assert_books(&pool, &fake, 0);
}

#[test]
fn a_connection_handed_over_is_not_lent_if_the_pool_is_closed_before_the_next_poll() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut get = Box::pin(pool.get_owned());
    assert!(poll_once(get.as_mut()).is_pending());
    drop(held);
    sim.block_on(pool.close(Duration::ZERO));
    assert!(matches!(sim.block_on(get), Err(GetError::Closed)));
    sim.settle();
    assert_books(&pool, &fake, 0);
}

#[test]
fn a_connection_that_proves_good_ends_the_pause_for_all() {
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
            let job = go_get(&sim, &pool);
            sim.settle();
            job
        });
        sim.advance(2 * SECOND);
        let ended = jobs.iter().filter(|job| job.has_ended()).count();
        assert_eq!(ended, 3, "seed {seed}: {}", pool.stats());
    }
}

#[test]
fn a_slot_that_is_being_vacated_is_worth_waiting_for() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).max_waiters(0).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.set_liveness_with(|conn| {
        if conn.id() == 1 {
            Liveness::Closed
        } else {
            Liveness::Alive
        }
    });
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
    pool.clear();
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 3);
}

#[test]
fn a_getter_that_comes_during_a_look_is_served_when_it_is_over() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_size(1)
        .max_waiters(0)
        .evict_interval(SECOND)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 1);
    let (come, sim_, weak) = (
        std::sync::Mutex::new(Some(())),
        sim.clone(),
        pool.downgrade(),
    );
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    fake.set_liveness_with(move |_| {
        if come.lock().unwrap().take().is_some() {
            let pool = weak.upgrade().unwrap();
            let mut get = Box::pin(async move { pool.get_owned().await });
            assert!(
                poll_once(get.as_mut()).is_pending(),
                "refused or served too early"
            );
            tell.lock().unwrap().send(go(&sim_, get)).unwrap();
        }
        Liveness::Alive
    });
    sim.advance(2 * SECOND);
    let job = told.recv().unwrap();
    assert!(job.take().expect("it has ended").is_ok());
    assert_eq!(fake.calls(Call::Connect), 1);
}

#[test]
fn a_connection_that_comes_back_between_the_look_and_the_line_is_found() {
    let (sim, fake) = new(1);
    let runtime = Meddling::new(&sim);
    let pool = Pool::builder(fake.clone(), runtime.clone())
        .max_size(1)
        .ping_after(None)
        .build_lazy()
        .unwrap();
    let held = hold(&sim, &pool, 1);
    // With no age to know, a get looks at the clock when it has found nothing and has yet to stand in
    // line.
    runtime.at_the_clock(move || drop(held));
    let mut get = pin!(pool.get());
    assert!(poll_once(get.as_mut()).is_ready(), "{}", pool.stats());
    assert_eq!(fake.calls(Call::Connect), 1);
}

#[test]
fn two_that_want_to_connect_at_once_do_not_both_take_the_last_slot() {
    let (sim, fake) = new(1);
    let runtime = Meddling::new(&sim);
    let pool = Pool::builder(fake.clone(), runtime.clone())
        .max_size(1)
        .build_lazy()
        .unwrap();
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let mut second = Box::pin(pool.get_owned());
    let (leave, left) = std::sync::mpsc::channel();
    // The first one has decided by now what is to be begun, and begins it.
    runtime.at_the_spawn(move || {
        assert!(poll_once(second.as_mut()).is_pending());
        leave.send(second).unwrap();
    });
    let first = go_get(&sim, &pool);
    let second = left.recv().unwrap();
    assert_eq!(pool.stats().connecting, 1);
    sim.advance(SECOND);
    drop((first.take(), second));
    assert_lends_all(&sim, &fake, &pool);
}

#[test]
fn a_connection_that_is_on_its_way_back_when_the_pool_closes_is_not_kept() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let weak = pool.downgrade();
    fake.set_is_reusable_with(move |_| {
        let pool = weak.upgrade().unwrap();
        let mut close = pin!(pool.close(Duration::ZERO));
        assert!(poll_once(close.as_mut()).is_ready());
        true
    });
    drop(held);
    sim.settle();
    assert!(pool.is_closed());
    assert_eq!(fake.alive(), 0, "{}", pool.stats());
    assert_books(&pool, &fake, 0);
}

/// Whoever is woken may run at once, on another thread or, as here, within the wake.
#[test]
fn who_is_woken_finds_the_books_settled() {
    type Get = Pin<Box<dyn Future<Output = Got> + Send>>;
    struct Wakeful(Box<dyn Fn() + Send + Sync>);
    impl Wake for Wakeful {
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
        Waker::from(Arc::new(Wakeful(Box::new(move || {
            let look = || {
                let mut seen = seen.lock().unwrap();
                seen.push((pool.stats().size, fake.alive()));
            };
            if let Poll::Ready(Ok(mut guard)) = poll_once(get.lock().unwrap().as_mut()) {
                look();
                guard.mark_unusable();
                drop(guard);
                look();
            }
        }))))
    };
    let polled = get
        .lock()
        .unwrap()
        .as_mut()
        .poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    sim.settle();
    assert_eq!(*seen.lock().unwrap(), [(1, 1), (0, 0)]);
}

/// It may be lent what it was handed, or keep its place: not lose the one for want of the other.
#[test]
fn a_clear_while_somebody_takes_what_he_was_handed_does_not_put_him_last_in_line() {
    let (sim, _) = new(1);
    let meddling = Meddling::new(&sim);
    let fake = Fake::new(meddling.clone());
    let builder = fake.pool().max_size(1).liveness_after(None);
    let pool = builder.idle_timeout(60 * SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    let held = hold(&sim, &pool, 1);
    let [first, second] = [(); 2].map(|()| go_get(&sim, &pool));
    drop(held);
    fake.always(Call::Connect, Behavior::Take(SECOND));
    let (weak, again) = (pool.downgrade(), meddling.clone());
    let clear = move || weak.upgrade().unwrap().clear();
    meddling.at_the_clock(move || again.at_the_clock(clear));
    sim.settle();
    sim.advance(SECOND + MILLI);
    sim.settle();
    assert!(first.has_ended());
    assert!(!second.has_ended());
}
