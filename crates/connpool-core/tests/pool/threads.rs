//! Real threads on one pool.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use crate::support::{Fake, assert_at_rest, assert_full_capacity, fill};
use connpool_core::Pool;
use connpool_testkit::SimRuntime;
use futures_lite::future::block_on;

const THREADS: usize = 8;

/// A lost wake-up hangs the test; after this time a thread counts as hanging.
const HANG: Duration = Duration::from_secs(60);

/// Runs `work` on many threads while another one runs the tasks of the pool.
fn on_threads(sim: &SimRuntime, work: impl Fn(usize) + Send + Clone + 'static) {
    let (done, all_done) = channel();
    for nth in 0..THREADS {
        let (work, done) = (work.clone(), done.clone());
        thread::Builder::new()
            .spawn(move || {
                work(nth);
                done.send(()).unwrap();
            })
            .unwrap();
    }
    drop(done);
    let over = AtomicBool::new(false);
    let ended = thread::scope(|threads| {
        let tasks = threads.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                // Time passes: what a `clear` abandons counts for the attempts of a second.
                sim.advance(Duration::from_millis(1));
                thread::yield_now();
            }
        });
        let ended = (0..THREADS).filter(|_| all_done.recv_timeout(HANG).is_ok()).count();
        over.store(true, Ordering::SeqCst);
        tasks.join().unwrap();
        ended
    });
    assert_eq!(ended, THREADS, "a thread panicked or hangs");
    sim.settle();
}

fn pool_of(size: usize) -> (SimRuntime, Fake, Pool<Fake>) {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let pool = fake.pool().max_size(size).get_timeout(None).build_lazy().unwrap();
    fill(&sim, &pool, size);
    (sim, fake, pool)
}

#[test]
fn contending_threads_are_all_served() {
    let (sim, fake, pool) = pool_of(2);
    let shared = pool.clone();
    on_threads(&sim, move |_| {
        for _ in 0..2_000 {
            drop(block_on(shared.get()).unwrap());
        }
    });
    assert_eq!(fake.alive(), 2);
    assert_at_rest(&pool, &fake, 0);
    assert_eq!(pool.stats().success, 2 + 2_000 * THREADS as u64);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn threads_that_drop_their_gets_lose_nothing() {
    let (sim, fake, pool) = pool_of(2);
    let shared = pool.clone();
    on_threads(&sim, move |nth| {
        for round in 0..2_000 {
            if (nth + round) % 3 == 0 {
                drop(block_on(shared.get()).unwrap());
            } else {
                let mut get = pin!(shared.get());
                drop(crate::support::poll_once(get.as_mut()));
            }
        }
    });
    assert_eq!(fake.alive(), 2);
    assert_at_rest(&pool, &fake, 0);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn threads_that_mark_clear_and_resize_lose_nothing() {
    let (sim, fake, pool) = pool_of(4);
    let shared = pool.clone();
    on_threads(&sim, move |nth| {
        for round in 0..300 {
            let mut guard = block_on(shared.get()).unwrap();
            match (nth * 7 + round) % 11 {
                0 => guard.mark_unusable(),
                1 => shared.clear(),
                2 => shared.resize(1 + round % 4).unwrap(),
                3 => drop(shared.stats()),
                _ => {}
            }
        }
    });
    pool.resize(4).unwrap();
    sim.settle();
    assert_at_rest(&pool, &fake, 0);
    assert_full_capacity(&sim, &fake, &pool);
}

/// Gauges are computed under one lock from the state they describe. Counters beside it could be
/// wrong for an instant, and decisions based on them wrong for good.
#[test]
fn stats_never_exceed_the_true_counts() {
    let (sim, fake, pool) = pool_of(1);
    let shared = pool.clone();
    on_threads(&sim, move |_| {
        for _ in 0..5_000 {
            drop(shared.try_get());
            let stats = shared.stats();
            assert!(stats.available <= 1 && stats.size == 1, "{stats}");
        }
    });
    assert_at_rest(&pool, &fake, 0);
}

#[test]
fn close_ends_the_gets_of_all_threads() {
    for round in 0..20 {
        let (sim, fake, pool) = pool_of(2);
        let shared = pool.clone();
        on_threads(&sim, move |nth| {
            if nth == 0 {
                for _ in 0..round * 10 {
                    drop(block_on(shared.get()));
                }
                assert_eq!(block_on(shared.close(Duration::MAX)).still_out.len(), 0);
            }
            while block_on(shared.get()).is_ok() {}
        });
        assert_eq!(fake.alive(), 0);
        assert!(block_on(pool.get()).is_err());
    }
}
