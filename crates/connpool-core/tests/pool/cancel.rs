//! Futures of the pool can be dropped at any poll without losing a connection, a slot or a wake-up.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use crate::support::{
    Behavior, Call, Conn, Fake, Guard, MILLI, SECOND, ScriptedError, Wakes, assert_at_rest,
    assert_full_capacity, fill, graceful_closes, hold, poll_once, spawn_get,
};
use connpool_core::{BoxFuture, Breaker, Builder, CloseReason, GetError, Liveness, Pool};
use connpool_core::{ResetWhen, Runtime};
use connpool_testkit::{SimRuntime, drop_at_every_poll};
use futures_lite::future::yield_now;

/// The action between two polls of the future under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// Nothing; the tasks of the pool do not run.
    Nothing,
    /// The tasks of the pool run until none is ready.
    Settle,
    /// Time passes, and tasks and timers run.
    Pass(Duration),
}

struct Case {
    sim: SimRuntime,
    fake: Fake,
    pool: Pool<Fake>,
    /// Returned after the second poll.
    held: Vec<Guard>,
}

impl Case {
    fn new(seed: u64, settings: impl FnOnce(Builder<Fake>) -> Builder<Fake>) -> Self {
        let sim = SimRuntime::new(seed);
        let fake = crate::support::fake(&sim);
        let pool = settings(fake.pool()).build_lazy().unwrap();
        let held = Vec::new();
        Case { sim, fake, pool, held }
    }

    /// Opens `count` connections and returns them.
    fn filled(self, count: usize) -> Self {
        fill(&self.sim, &self.pool, count);
        self
    }

    fn get(&self) -> BoxFuture {
        let get = self.pool.get_owned();
        Box::pin(async move { drop(get.await) })
    }
}

/// Drops the future of `make` after every possible number of polls, for each [`Between`]. `after`
/// checks the pool.
fn drop_each(make: impl Fn(u64) -> (Case, BoxFuture), after: impl Fn(Case)) {
    let all = [Between::Nothing, Between::Settle, Between::Pass(MILLI), Between::Pass(100 * MILLI)];
    let ended = all.map(|between| {
        drop_at_every_poll(
            40,
            |k| make(k as u64),
            |case, poll| {
                match between {
                    Between::Nothing => {}
                    Between::Settle => case.sim.settle(),
                    Between::Pass(time) => case.sim.advance(time),
                }
                if poll == 1 {
                    case.held.clear();
                }
            },
            |mut case| {
                case.held.clear();
                case.sim.settle();
                case.sim.advance(60 * SECOND);
                case.fake.clear_script();
                after(case);
            },
        )
    });
    assert!(ended.contains(&true), "the future never completed");
}

fn assert_nothing_lost(case: Case) {
    assert_at_rest(&case.pool, &case.fake, 0);
    assert_full_capacity(&case.sim, &case.fake, &case.pool);
}

#[test]
fn get_of_an_idle_connection_dropped_at_every_poll_loses_nothing() {
    drop_each(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(2)).filled(1);
            let get = case.get();
            (case, get)
        },
        assert_nothing_lost,
    );
}

#[test]
fn get_dropped_at_every_poll_of_a_ping_loses_nothing() {
    drop_each(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(2).ping_after(Duration::ZERO)).filled(2);
            case.fake.next(Call::Ping, [Behavior::Yield(2)]);
            let get = case.get();
            (case, get)
        },
        assert_nothing_lost,
    );
}

#[test]
fn get_with_dropped_at_every_poll_loses_nothing() {
    for filled in [0, 1] {
        drop_each(
            |k| {
                let case = Case::new(k, |pool| pool.max_size(1)).filled(filled);
                let sim = case.sim.clone();
                let get = case.pool.get_owned_with(async move |_| {
                    yield_now().await;
                    sim.sleep(MILLI).await;
                    Ok(())
                });
                let get: BoxFuture = Box::pin(async move { drop(get.await) });
                (case, get)
            },
            assert_nothing_lost,
        );
    }
}

#[test]
fn drain_dropped_at_every_poll_closes_the_pool_and_serves_its_callers() {
    drop_each(
        |k| {
            let mut case = Case::new(k, |pool| pool.max_size(1)).filled(1);
            case.held = hold(&case.sim, &case.pool, 1);
            case.sim.spawn(case.get());
            case.sim.settle();
            let pool = case.pool.clone();
            let drain: BoxFuture = Box::pin(async move {
                pool.drain(20 * SECOND).await;
            });
            (case, drain)
        },
        |case| {
            // One that was never polled has changed nothing.
            if !case.pool.is_closed() {
                assert_nothing_lost(case);
            }
        },
    );
}

#[test]
fn get_in_a_paused_pool_dropped_at_every_poll_loses_nothing() {
    drop_each(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(1).ping_after(Duration::ZERO)).filled(1);
            case.fake.next(Call::Ping, [Behavior::Yield(2)]);
            let (pool, sim) = (case.pool.clone(), case.sim.clone());
            crate::support::spawn(&case.sim, async move {
                for _ in 0..3 {
                    pool.pause();
                    sim.sleep(MILLI).await;
                    pool.resume();
                    sim.sleep(MILLI).await;
                }
            });
            let get = case.get();
            (case, get)
        },
        assert_nothing_lost,
    );
}

/// The maintenance task pings the idle connection while the get comes and goes.
#[test]
fn get_dropped_at_every_poll_beside_a_keepalive_ping_loses_nothing() {
    for ping in [Behavior::Take(SECOND / 2), Behavior::FailAfter(SECOND / 2), Behavior::Hang] {
        drop_each(
            |k| {
                let settings = |pool: Builder<Fake>| pool.max_size(1).keepalive(20 * SECOND);
                let case = Case::new(k, settings).filled(1);
                case.fake.next(Call::Ping, [ping]);
                while case.fake.calls(Call::Ping) == 0 {
                    case.sim.advance(100 * MILLI);
                }
                let get = case.get();
                (case, get)
            },
            |case| {
                case.fake.clear_script();
                case.sim.settle();
                assert_eq!(case.pool.stats().waiting, 0);
                assert_full_capacity(&case.sim, &case.fake, &case.pool);
            },
        );
    }
}

#[test]
fn get_that_runs_the_breaker_probe_dropped_at_every_poll_loses_nothing() {
    for probe in [Behavior::Yield(1), Behavior::Take(2 * MILLI), Behavior::YieldThenFail(1)] {
        drop_each(
            |k| {
                let breaker = Breaker::new(1, SECOND);
                let case = Case::new(k, |pool| pool.max_size(2).breaker(breaker));
                case.fake.next(Call::Connect, [Behavior::Fail, probe]);
                assert!(case.sim.block_on(case.pool.get()).is_err());
                case.sim.advance(SECOND);
                let get = case.get();
                (case, get)
            },
            assert_nothing_lost,
        );
    }
}

#[test]
fn get_dropped_at_every_poll_of_a_reset_loses_nothing() {
    drop_each(
        |k| {
            let case = {
                let sim = SimRuntime::new(k);
                let fake = crate::support::fake(&sim);
                let pool = fake.require_reset().pool().max_size(2);
                let pool = pool.reset_when(ResetWhen::OnGet).build_lazy().unwrap();
                let held = Vec::new();
                Case { sim, fake, pool, held }
            };
            let case = case.filled(2);
            case.fake.next(Call::Reset, [Behavior::Yield(2)]);
            let get = case.get();
            (case, get)
        },
        assert_nothing_lost,
    );
}

/// The reset goes on without it.
#[test]
fn get_dropped_at_every_poll_of_a_reset_after_the_return_loses_nothing() {
    drop_each(
        |k| {
            let case = {
                let sim = SimRuntime::new(k);
                let fake = crate::support::fake(&sim);
                let pool = fake.require_reset().pool().max_size(1).build_lazy().unwrap();
                let held = Vec::new();
                Case { sim, fake, pool, held }
            };
            case.fake.next(Call::Reset, [Behavior::Yield(3)]);
            let case = case.filled(1);
            let get = case.get();
            (case, get)
        },
        assert_nothing_lost,
    );
}

#[test]
fn get_dropped_at_every_poll_of_a_connect_loses_nothing() {
    for act in [
        Behavior::Succeed,
        Behavior::Yield(2),
        Behavior::Take(2 * MILLI),
        Behavior::YieldThenFail(1),
        Behavior::FailAfter(2 * MILLI),
        Behavior::Panic,
    ] {
        drop_each(
            |k| {
                let case = Case::new(k, |pool| pool.max_size(2).increment(2));
                case.fake.next(Call::Connect, [act]);
                let get = case.get();
                (case, get)
            },
            assert_nothing_lost,
        );
    }
}

#[test]
fn get_that_retries_after_failures_dropped_at_every_poll_loses_nothing() {
    drop_each(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(2).fail_fast_after(None));
            case.fake.next(Call::Connect, [Behavior::Fail, Behavior::Yield(1), Behavior::Panic]);
            case.fake.set_liveness_with(|conn| match conn.id() {
                1 => Liveness::Closed,
                _ => Liveness::Alive,
            });
            let get = case.get();
            (case, get)
        },
        assert_nothing_lost,
    );
}

#[test]
fn get_that_waits_for_a_return_dropped_at_every_poll_loses_nothing() {
    for ping in [Behavior::Succeed, Behavior::Yield(1), Behavior::Fail, Behavior::Panic] {
        drop_each(
            |k| {
                let mut case = Case::new(k, |pool| pool.max_size(1).ping_after(Duration::ZERO));
                case.held = hold(&case.sim, &case.pool, 1);
                case.fake.next(Call::Ping, [ping]);
                let get = case.get();
                (case, get)
            },
            assert_nothing_lost,
        );
    }
}

#[test]
fn get_that_connects_after_failed_pings_dropped_at_every_poll_loses_nothing() {
    drop_each(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(4).ping_after(Duration::ZERO)).filled(4);
            let acts = [Behavior::YieldThenFail(1), Behavior::Panic, Behavior::Hang];
            case.fake.next(Call::Ping, acts);
            case.fake.next(Call::Connect, [Behavior::Yield(1), Behavior::Yield(2)]);
            let get = case.get();
            (case, get)
        },
        assert_nothing_lost,
    );
}

#[test]
fn guard_exchange_dropped_at_every_poll_loses_nothing() {
    drop_each(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(1));
            let mut guard = hold(&case.sim, &case.pool, 1).remove(0);
            let fake = case.fake.clone();
            fake.next(Call::Ping, [Behavior::Yield(2)]);
            let work = Box::pin(async move {
                // Any call of the manager serves as the request.
                let done = guard
                    .exchange(async |conn| connpool_core::Manager::ping(&fake, conn).await)
                    .await;
                assert!(done.is_ok());
            });
            (case, work)
        },
        assert_nothing_lost,
    );
}

#[test]
fn get_many_dropped_at_every_poll_loses_nothing() {
    for ping in [Behavior::Succeed, Behavior::Yield(1), Behavior::YieldThenFail(1)] {
        drop_each(
            |k| {
                let settings = |pool: Builder<Fake>| pool.max_size(4).ping_after(Duration::ZERO);
                let mut case = Case::new(k, settings).filled(2);
                case.held = hold(&case.sim, &case.pool, 1);
                case.fake.next(Call::Ping, [ping]);
                case.fake.next(Call::Connect, [Behavior::Yield(1), Behavior::Take(MILLI)]);
                let pool = case.pool.clone();
                let gather = Box::pin(async move { drop(pool.get_many(4).await) });
                (case, gather as BoxFuture)
            },
            assert_nothing_lost,
        );
    }
}

/// A dropped `get_many` passes its turn on to the next one.
#[test]
fn queued_get_many_dropped_at_every_poll_passes_its_turn_on() {
    drop_each(
        |k| {
            let mut case = Case::new(k, |pool| pool.max_size(2));
            case.held = hold(&case.sim, &case.pool, 1);
            let gather = || {
                let (pool, sim) = (case.pool.clone(), case.sim.clone());
                async move {
                    let all = pool.get_many(2).await;
                    sim.sleep(MILLI).await;
                    drop(all);
                }
            };
            let (first, dropped, last) = (gather(), gather(), gather());
            case.sim.spawn(Box::pin(first));
            case.sim.settle();
            let mut dropped = Box::pin(dropped);
            assert!(poll_once(dropped.as_mut()).is_pending());
            case.sim.spawn(Box::pin(last));
            case.sim.settle();
            (case, dropped as BoxFuture)
        },
        |case| {
            assert_eq!(case.pool.stats().waiting, 0);
            let slowest = case.sim.block_on(case.pool.get_many_timeout(2, SECOND));
            assert!(slowest.is_ok(), "get_many is stuck");
            drop(slowest);
            assert_nothing_lost(case);
        },
    );
}

#[test]
fn pool_exchange_dropped_at_every_poll_loses_nothing() {
    drop_each(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(1)).filled(1);
            let pool = case.pool.clone();
            let exchange = Box::pin(async move {
                let pend = async |_: &mut Conn| {
                    yield_now().await;
                    Ok::<_, GetError<ScriptedError>>(())
                };
                drop(pool.exchange(pend).await);
            });
            (case, exchange as BoxFuture)
        },
        |case| {
            let stats = case.pool.stats();
            // The connection is idle, or was closed because the exchange was unfinished.
            let unfinished = stats.closed.get(CloseReason::Unfinished);
            assert_eq!(stats.available as u64 + unfinished, 1);
            assert_nothing_lost(case);
        },
    );
}

#[test]
fn build_dropped_at_every_poll_leaves_no_connection_and_no_task() {
    let built = Arc::new(Mutex::new(None));
    drop_each(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(2));
            case.fake.next(
                Call::Connect,
                [Behavior::Yield(1), Behavior::Take(MILLI), Behavior::Yield(2)],
            );
            let build = case.fake.pool().min_size(3).build();
            let built = Arc::clone(&built);
            let work = Box::pin(async move {
                let pool = build.await.unwrap();
                assert_eq!(pool.stats().size, 3);
                *built.lock().unwrap() = Some(pool);
            });
            (case, work)
        },
        |case| {
            let built = built.lock().unwrap().take();
            match &built {
                Some(pool) => assert_eq!(case.fake.alive(), pool.stats().size),
                None => assert_eq!(case.fake.alive(), 0),
            }
            drop(built);
            case.sim.settle();
            assert_eq!(case.fake.alive(), 0);
            assert_eq!(case.sim.tasks(), 0, "a task outlived its pool");
        },
    );
}

#[test]
fn warm_up_dropped_at_every_poll_leaves_its_connects_to_the_pool() {
    drop_each(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(3).min_size(2));
            case.fake.next(Call::Connect, [Behavior::Yield(1), Behavior::Take(MILLI)]);
            let pool = case.pool.clone();
            let work = Box::pin(async move { pool.warm_up().await.unwrap() });
            (case, work)
        },
        |case| {
            case.sim.advance(SECOND);
            assert_nothing_lost(case);
        },
    );
}

#[test]
fn get_dropped_at_every_poll_beside_a_close_loses_nothing() {
    drop_each(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(1).max_uses(2)).filled(1);
            case.fake.always(Call::Close, Behavior::Yield(3));
            // Closed in the background, and its slot is what the get waits for.
            drop(hold(&case.sim, &case.pool, 1));
            let get = case.get();
            (case, get)
        },
        assert_nothing_lost,
    );
}

#[test]
fn close_dropped_at_every_poll_loses_nothing() {
    drop_each(
        |k| {
            let mut case = Case::new(k, |pool| pool.max_size(4)).filled(3);
            case.fake.always(Call::Close, Behavior::Yield(2));
            case.held = hold(&case.sim, &case.pool, 1);
            let pool = case.pool.clone();
            let work = Box::pin(async move {
                pool.close(10 * SECOND).await;
                assert!(pool.is_closed());
            });
            (case, work)
        },
        |case| {
            if case.pool.is_closed() {
                assert_at_rest(&case.pool, &case.fake, 0);
                assert_eq!(case.fake.alive(), 0);
            } else {
                assert_nothing_lost(case);
            }
        },
    );
}

#[test]
fn cancelled_check_destroys_its_connection() {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let pool = fake.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.always(Call::Ping, Behavior::Hang);
    {
        let mut get = pin!(pool.get());
        assert!(poll_once(get.as_mut()).is_pending());
        assert_eq!(pool.stats().active, 1);
    }
    sim.settle();
    assert_eq!(fake.dropped(), [1]);
    assert_eq!(pool.stats().closed.get(CloseReason::Cancelled), 1);
    assert_eq!(graceful_closes(&fake), [0; 0]);
}

#[test]
fn dropped_waiter_passes_its_connection_on() {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut first = Box::pin(pool.get_owned());
    assert!(poll_once(first.as_mut()).is_pending());
    let second = spawn_get(&sim, &pool);
    drop(held);
    sim.settle();
    assert!(!second.has_ended(), "the second waiter overtook the first");
    drop(first);
    sim.settle();
    let guard = second.take().expect("not passed on").unwrap();
    assert_eq!(guard.id(), 1);
    assert_eq!(sim.elapsed(), Duration::ZERO);
}

#[test]
fn connection_of_the_last_dropped_waiter_becomes_idle() {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut waiter = Box::pin(pool.get_owned());
    assert!(poll_once(waiter.as_mut()).is_pending());
    drop(held);
    drop(waiter);
    assert_eq!((pool.stats().available, fake.alive()), (1, 1));
    assert!(pool.try_get().is_ok());
}

#[test]
fn waiters_dropped_anywhere_in_the_queue_keep_fifo_order() {
    let sim = SimRuntime::new(3);
    let fake = crate::support::fake(&sim);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut waiters: Vec<_> = (0..20).map(|_| Box::pin(pool.get_owned())).collect();
    for waiter in &mut waiters {
        assert!(poll_once(waiter.as_mut()).is_pending());
    }
    for gone in [19, 10, 9, 0] {
        drop(waiters.remove(gone));
    }
    assert_eq!(pool.stats().waiting, 16);
    drop(held);
    for waiter in &mut waiters {
        assert!(poll_once(waiter.as_mut()).is_ready(), "out of order");
    }
}

#[test]
fn connect_of_a_dropped_get_serves_the_next_get() {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Take(SECOND));
    {
        let mut get = pin!(pool.get());
        assert!(poll_once(get.as_mut()).is_pending());
        sim.settle();
    }
    sim.advance(SECOND / 2);
    assert!(sim.block_on(pool.get()).is_ok());
    assert_eq!(sim.elapsed(), SECOND);
    assert_eq!(fake.calls(Call::Connect), 1);
}

/// A wake-up to start a task or a connect is capacity like a connection, and must not be lost.
#[test]
fn dropped_waiter_that_was_woken_to_start_a_connect_passes_the_wake_up_on() {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let pool = fake.pool().max_size(2).get_timeout(None).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::Hang, Behavior::Hang]);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut first = Box::pin(pool.get_owned());
    let mut second = Box::pin(pool.get_owned());
    assert!(poll_once(first.as_mut()).is_pending());
    let polled = second.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    sim.settle();
    // All tasks are dropped; the first waiter is woken to restart them.
    sim.shut_down();
    sim.restart();
    drop(first);
    sim.advance(SECOND);
    assert!(wakes.count() > 0, "the wake-up was lost with the dropped waiter: {}", pool.stats());
    assert!(sim.block_on(second).is_ok());
}

#[test]
fn get_that_is_never_polled_has_no_effect() {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    drop(pool.get());
    drop(pool.get_owned());
    assert_eq!(pool.stats().request, 0);
    assert_eq!(sim.spawned(), 0);
    assert_full_capacity(&sim, &fake, &pool);
}
