//! Dropping a future at any point loses nothing.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use crate::support::{
    Behavior, Call, Conn, Fake, Guard, MILLI, SECOND, ScriptedError, Wakes, assert_books,
    assert_lends_all, fill, go_get, hold, poll_once,
};
use connpool_core::{BoxFuture, Breaker, Builder, CloseReason, GetError, Liveness, Pool, Runtime};
use connpool_testkit::{SimRuntime, drop_at_every_poll};
use futures_lite::future::yield_now;

/// What happens between two polls of the future that will be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// Nothing: the tasks of the pool do not run.
    Nothing,
    /// The tasks run until none is ready.
    Settle,
    /// Time passes.
    Pass(Duration),
}

struct Case {
    sim: SimRuntime,
    fake: Fake,
    pool: Pool<Fake>,
    /// Given back after the second poll.
    held: Vec<Guard>,
}

impl Case {
    fn new(seed: u64, settings: impl FnOnce(Builder<Fake>) -> Builder<Fake>) -> Self {
        let sim = SimRuntime::new(seed);
        let fake = crate::support::fake(&sim);
        let pool = settings(fake.pool()).build_lazy().unwrap();
        let held = Vec::new();
        Case {
            sim,
            fake,
            pool,
            held,
        }
    }

    /// The pool has idle connections that were lent once.
    fn filled(self, count: usize) -> Self {
        fill(&self.sim, &self.pool, count);
        self
    }

    fn get(&self) -> BoxFuture {
        let get = self.pool.get_owned();
        Box::pin(async move { drop(get.await) })
    }
}

/// Drops what `make` makes at every poll, with everything that may happen between two polls.
/// `after` judges what is left.
fn at_every_poll(make: impl Fn(u64) -> (Case, BoxFuture), after: impl Fn(Case)) {
    let all = [
        Between::Nothing,
        Between::Settle,
        Between::Pass(MILLI),
        Between::Pass(100 * MILLI),
    ];
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
    assert!(ended.contains(&true), "it never ended by itself");
}

fn nothing_is_lost(case: Case) {
    assert_books(&case.pool, &case.fake, 0);
    assert_lends_all(&case.sim, &case.fake, &case.pool);
}

#[test]
fn a_get_of_an_idle_connection_can_be_dropped_at_every_poll() {
    at_every_poll(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(2)).filled(1);
            let get = case.get();
            (case, get)
        },
        nothing_is_lost,
    );
}

#[test]
fn a_get_can_be_dropped_at_every_poll_of_a_ping() {
    at_every_poll(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(2).ping_after(Duration::ZERO)).filled(2);
            case.fake.next(Call::Ping, [Behavior::Yield(2)]);
            let get = case.get();
            (case, get)
        },
        nothing_is_lost,
    );
}

#[test]
fn a_get_in_a_paused_pool_can_be_dropped_at_every_poll() {
    at_every_poll(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(1).ping_after(Duration::ZERO)).filled(1);
            case.fake.next(Call::Ping, [Behavior::Yield(2)]);
            let (pool, sim) = (case.pool.clone(), case.sim.clone());
            crate::support::go(&case.sim, async move {
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
        nothing_is_lost,
    );
}

/// The pool pings what is idle while somebody comes and goes.
#[test]
fn a_get_can_be_dropped_at_every_poll_beside_a_keepalive() {
    for ping in [
        Behavior::Take(SECOND / 2),
        Behavior::FailAfter(SECOND / 2),
        Behavior::Hang,
    ] {
        at_every_poll(
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
                assert_lends_all(&case.sim, &case.fake, &case.pool);
            },
        );
    }
}

#[test]
fn a_get_that_is_the_probe_can_be_dropped_at_every_poll() {
    for probe in [
        Behavior::Yield(1),
        Behavior::Take(2 * MILLI),
        Behavior::YieldThenFail(1),
    ] {
        at_every_poll(
            |k| {
                let breaker = Breaker::new(1, SECOND);
                let case = Case::new(k, |pool| pool.max_size(2).breaker(breaker));
                case.fake.next(Call::Connect, [Behavior::Fail, probe]);
                assert!(case.sim.block_on(case.pool.get()).is_err());
                case.sim.advance(SECOND);
                let get = case.get();
                (case, get)
            },
            nothing_is_lost,
        );
    }
}

#[test]
fn a_get_can_be_dropped_at_every_poll_of_a_reset() {
    at_every_poll(
        |k| {
            let case = {
                let sim = SimRuntime::new(k);
                let fake = crate::support::fake(&sim);
                let pool = fake
                    .require_reset()
                    .pool()
                    .max_size(2)
                    .build_lazy()
                    .unwrap();
                let held = Vec::new();
                Case {
                    sim,
                    fake,
                    pool,
                    held,
                }
            };
            let case = case.filled(2);
            case.fake.next(Call::Reset, [Behavior::Yield(2)]);
            let get = case.get();
            (case, get)
        },
        nothing_is_lost,
    );
}

#[test]
fn a_get_can_be_dropped_at_every_poll_of_a_connect() {
    for act in [
        Behavior::Succeed,
        Behavior::Yield(2),
        Behavior::Take(2 * MILLI),
        Behavior::YieldThenFail(1),
        Behavior::FailAfter(2 * MILLI),
        Behavior::Panic,
    ] {
        at_every_poll(
            |k| {
                let case = Case::new(k, |pool| pool.max_size(2).increment(2));
                case.fake.next(Call::Connect, [act]);
                let get = case.get();
                (case, get)
            },
            nothing_is_lost,
        );
    }
}

#[test]
fn a_get_that_waits_on_after_failures_can_be_dropped_at_every_poll() {
    at_every_poll(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(2).fail_fast(false));
            case.fake.next(
                Call::Connect,
                [Behavior::Fail, Behavior::Yield(1), Behavior::Panic],
            );
            case.fake.set_liveness_with(|conn| match conn.id() {
                1 => Liveness::Closed,
                _ => Liveness::Alive,
            });
            let get = case.get();
            (case, get)
        },
        nothing_is_lost,
    );
}

#[test]
fn a_get_that_waits_for_a_return_can_be_dropped_at_every_poll() {
    for ping in [
        Behavior::Succeed,
        Behavior::Yield(1),
        Behavior::Fail,
        Behavior::Panic,
    ] {
        at_every_poll(
            |k| {
                let mut case = Case::new(k, |pool| pool.max_size(1).ping_after(Duration::ZERO));
                case.held = hold(&case.sim, &case.pool, 1);
                case.fake.next(Call::Ping, [ping]);
                let get = case.get();
                (case, get)
            },
            nothing_is_lost,
        );
    }
}

#[test]
fn a_get_whose_pings_fail_and_that_then_connects_can_be_dropped_at_every_poll() {
    at_every_poll(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(4).ping_after(Duration::ZERO)).filled(4);
            let acts = [Behavior::YieldThenFail(1), Behavior::Panic, Behavior::Hang];
            case.fake.next(Call::Ping, acts);
            case.fake
                .next(Call::Connect, [Behavior::Yield(1), Behavior::Yield(2)]);
            let get = case.get();
            (case, get)
        },
        nothing_is_lost,
    );
}

#[test]
fn an_exchange_can_be_dropped_at_every_poll() {
    at_every_poll(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(1));
            let mut guard = hold(&case.sim, &case.pool, 1).remove(0);
            let fake = case.fake.clone();
            fake.next(Call::Ping, [Behavior::Yield(2)]);
            let work = Box::pin(async move {
                // Any call of the manager's will do as the request.
                let done = guard
                    .exchange(async |conn| connpool_core::Manager::ping(&fake, conn).await)
                    .await;
                assert!(done.is_ok());
            });
            (case, work)
        },
        nothing_is_lost,
    );
}

#[test]
fn a_gatherer_can_be_dropped_at_every_poll() {
    for ping in [
        Behavior::Succeed,
        Behavior::Yield(1),
        Behavior::YieldThenFail(1),
    ] {
        at_every_poll(
            |k| {
                let settings = |pool: Builder<Fake>| pool.max_size(4).ping_after(Duration::ZERO);
                let mut case = Case::new(k, settings).filled(2);
                case.held = hold(&case.sim, &case.pool, 1);
                case.fake.next(Call::Ping, [ping]);
                case.fake
                    .next(Call::Connect, [Behavior::Yield(1), Behavior::Take(MILLI)]);
                let pool = case.pool.clone();
                let gather = Box::pin(async move { drop(pool.get_many(4).await) });
                (case, gather as BoxFuture)
            },
            nothing_is_lost,
        );
    }
}

/// Its turn is passed on to the one behind it.
#[test]
fn who_waits_to_gather_can_be_dropped_at_every_poll() {
    at_every_poll(
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
            assert!(slowest.is_ok(), "the turnstile is stuck");
            drop(slowest);
            nothing_is_lost(case);
        },
    );
}

#[test]
fn an_exchange_of_the_pool_can_be_dropped_at_every_poll() {
    at_every_poll(
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
            // It is kept, or was half way.
            let spoiled = stats.closed.get(CloseReason::Unfinished);
            assert_eq!(stats.available as u64 + spoiled, 1);
            nothing_is_lost(case);
        },
    );
}

#[test]
fn a_build_can_be_dropped_at_every_poll() {
    let built = Arc::new(Mutex::new(None));
    at_every_poll(
        |k| {
            let case = Case::new(k, |pool| pool.max_size(2));
            case.fake.next(
                Call::Connect,
                [
                    Behavior::Yield(1),
                    Behavior::Take(MILLI),
                    Behavior::Yield(2),
                ],
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
            assert_eq!(case.sim.tasks(), 0, "a task outlives its pool");
        },
    );
}

#[test]
fn a_close_can_be_dropped_at_every_poll() {
    at_every_poll(
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
                assert_books(&case.pool, &case.fake, 0);
                assert_eq!(case.fake.alive(), 0);
            } else {
                nothing_is_lost(case);
            }
        },
    );
}

#[test]
fn a_cancelled_check_destroys_its_connection() {
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
    assert_eq!(fake.graceful_closes(), [0; 0]);
}

#[test]
fn a_dropped_waiter_passes_on_what_it_was_handed() {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut first = Box::pin(pool.get_owned());
    assert!(poll_once(first.as_mut()).is_pending());
    let second = go_get(&sim, &pool);
    drop(held);
    sim.settle();
    assert!(!second.has_ended(), "the first in line was overtaken");
    drop(first);
    sim.settle();
    let guard = second.take().expect("handed on").unwrap();
    assert_eq!(guard.id(), 1);
    assert_eq!(sim.elapsed(), Duration::ZERO);
}

#[test]
fn a_connection_passed_on_by_the_last_in_line_becomes_idle() {
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
fn waiters_dropped_from_anywhere_in_line_leave_the_others_in_order() {
    let sim = SimRuntime::new(3);
    let fake = crate::support::fake(&sim);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let mut line: Vec<_> = (0..20).map(|_| Box::pin(pool.get_owned())).collect();
    for waiter in &mut line {
        assert!(poll_once(waiter.as_mut()).is_pending());
    }
    for gone in [19, 10, 9, 0] {
        drop(line.remove(gone));
    }
    assert_eq!(pool.stats().waiting, 16);
    drop(held);
    for waiter in &mut line {
        assert!(poll_once(waiter.as_mut()).is_ready(), "out of order");
    }
}

#[test]
fn a_connect_survives_its_caller_and_becomes_idle() {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let pool = fake.pool().build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Take(SECOND));
    {
        let mut get = pin!(pool.get());
        assert!(poll_once(get.as_mut()).is_pending());
        sim.settle();
    }
    assert_eq!((pool.stats().connecting, pool.stats().waiting), (1, 0));
    sim.advance(SECOND);
    assert_eq!(pool.stats().available, 1);
    assert!(pool.try_get().is_ok());
}

#[test]
fn a_connect_survives_its_caller_and_serves_the_next() {
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

/// The news that somebody may start a task, or begin a connect, is capacity like any other.
#[test]
fn a_waiter_woken_to_begin_what_is_wanted_passes_that_on_when_it_is_dropped() {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let pool = fake
        .pool()
        .max_size(2)
        .get_timeout(None)
        .build_lazy()
        .unwrap();
    fake.next(Call::Connect, [Behavior::Hang, Behavior::Hang]);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut first = Box::pin(pool.get_owned());
    let mut second = Box::pin(pool.get_owned());
    assert!(poll_once(first.as_mut()).is_pending());
    let polled = second.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    sim.settle();
    // All tasks are gone, and the first in line is told so that it starts them again.
    sim.shut_down();
    sim.restart();
    drop(first);
    sim.advance(SECOND);
    assert!(
        wakes.count() > 0,
        "the one who was woken is gone, and nobody else knows: {}",
        pool.stats()
    );
    assert!(sim.block_on(second).is_ok());
}

#[test]
fn a_get_that_is_never_polled_costs_nothing() {
    let sim = SimRuntime::new(1);
    let fake = crate::support::fake(&sim);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    drop(pool.get());
    drop(pool.get_owned());
    assert_eq!(pool.stats().request, 0);
    assert_eq!(sim.spawned(), 0);
    assert_lends_all(&sim, &fake, &pool);
}
