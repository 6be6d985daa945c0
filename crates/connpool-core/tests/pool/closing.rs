//! `Manager::close`: called for every removal, and who waits for the slot meanwhile.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, MILLI, SECOND, closed, fill, hold, new, poll_once, spawn, spawn_get,
};
use connpool_core::{CloseReason, Liveness, Manager, Pool, StreamOf};
use connpool_testkit::SimRuntime;

/// Has a connection removed for each reason that can be had in a simulation with one runtime.
#[test]
fn close_is_called_for_every_removal_with_its_reason() {
    type Remove = fn(&SimRuntime, &Fake, &Pool<Fake>);
    let removals: [(CloseReason, Remove); 19] = [
        (CloseReason::Idle, |sim, _, pool| {
            set(pool, |config| config.idle_timeout = Some(SECOND));
            sim.advance(2 * SECOND);
        }),
        (CloseReason::Lifetime, |sim, _, pool| {
            set(pool, |config| config.max_lifetime = Some(SECOND));
            sim.advance(2 * SECOND);
        }),
        (CloseReason::MaxUses, |sim, _, pool| {
            set(pool, |config| config.max_uses = Some(2));
            drop(hold(sim, pool, 1));
        }),
        (CloseReason::Dead, |sim, fake, pool| {
            fake.set_liveness_with(|conn| match conn.id() {
                1 => Liveness::Closed,
                _ => Liveness::Alive,
            });
            drop(hold(sim, pool, 1));
        }),
        (CloseReason::Unsolicited, |sim, fake, pool| {
            fake.set_liveness_with(|conn| match conn.id() {
                1 => Liveness::Unsolicited,
                _ => Liveness::Alive,
            });
            drop(hold(sim, pool, 1));
        }),
        (CloseReason::PingFailed, |sim, fake, pool| {
            fake.next(Call::Ping, [Behavior::Fail]);
            set(pool, |config| config.ping_after = Some(Duration::ZERO));
            drop(hold(sim, pool, 1));
        }),
        (CloseReason::PingTimeout, |sim, fake, pool| {
            fake.next(Call::Ping, [Behavior::Hang]);
            set(pool, |config| config.ping_after = Some(Duration::ZERO));
            drop(hold(sim, pool, 1));
        }),
        (CloseReason::ResetFailed, |sim, fake, pool| {
            // The reset after the first return was ready at once: the next one is before a checkout.
            drop(hold(sim, pool, 1));
            fake.next(Call::Reset, [Behavior::Fail]);
            drop(hold(sim, pool, 1));
        }),
        (CloseReason::ResetTimeout, |sim, fake, pool| {
            // The reset after the first return was ready at once: the next one is before a checkout.
            drop(hold(sim, pool, 1));
            fake.next(Call::Reset, [Behavior::Hang]);
            drop(hold(sim, pool, 1));
        }),
        (CloseReason::Marked, |sim, _, pool| hold(sim, pool, 1).remove(0).mark_unusable()),
        (CloseReason::Unfinished, |sim, _, pool| {
            let mut guard = hold(sim, pool, 1).remove(0);
            _ = sim.block_on(guard.exchange(async |_| Err::<(), _>(())));
        }),
        (CloseReason::NotReusable, |sim, fake, pool| {
            fake.set_is_reusable_with(|conn| conn.id() != 1);
            drop(hold(sim, pool, 1));
        }),
        (CloseReason::Cancelled, |sim, fake, pool| {
            fake.next(Call::Ping, [Behavior::Hang]);
            set(pool, |config| config.ping_after = Some(Duration::ZERO));
            assert!(poll_once(pin!(pool.get())).is_pending());
            sim.settle();
        }),
        (CloseReason::Panicked, |sim, fake, pool| {
            // The reset after the first return was ready at once: the next one is before a checkout.
            drop(hold(sim, pool, 1));
            fake.next(Call::Reset, [Behavior::Panic]);
            drop(hold(sim, pool, 1));
        }),
        (CloseReason::Cleared, |_, _, pool| pool.clear()),
        (CloseReason::Shrunk, |sim, _, pool| {
            let held = hold(sim, pool, 2);
            pool.resize(1).unwrap();
            drop(held);
        }),
        (CloseReason::Overflow, |sim, _, pool| {
            set(pool, |config| config.max_idle = Some(1));
            drop(hold(sim, pool, 2));
        }),
        (CloseReason::Evicted, |_, _, pool| _ = pool.retain(|_| false)),
        (CloseReason::PoolClosed, |sim, _, pool| {
            let held = hold(sim, pool, 1);
            sim.block_on(pool.close(Duration::ZERO));
            drop(held);
        }),
    ];
    connpool_testkit::silence_scripted_panics();
    for (reason, remove) in removals {
        let (sim, fake) = new(1);
        fake.require_reset();
        let pool = fake.pool().max_size(2).evict_interval(SECOND).build_lazy().unwrap();
        fill(&sim, &pool, 1);
        remove(&sim, &fake, &pool);
        sim.settle();
        let closes = fake.closes();
        assert!(closes.iter().any(|(_, why)| *why == reason), "{reason:?} not in {closes:?}");
        assert_eq!(closed(&pool, reason), 1, "{reason:?}");
        assert_eq!(closes.len() as u64, pool.stats().closed.total(), "{reason:?}: {closes:?}");
    }
}

fn set(pool: &Pool<Fake>, change: impl FnOnce(&mut connpool_core::PoolConfig)) {
    let mut config = pool.config();
    change(&mut config);
    pool.reconfigure(config).unwrap();
}

#[test]
fn unfinished_work_holds_its_slot_until_abandon_timeout() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).abandon_timeout(3 * SECOND).build_lazy().unwrap();
    fake.always(Call::Close, Behavior::Hang);
    hold(&sim, &pool, 1).remove(0).mark_unusable();
    let waiter = spawn_get(&sim, &pool);
    sim.advance(3 * SECOND - MILLI);
    assert!(!waiter.has_ended());
    assert_eq!((fake.alive(), pool.stats().size), (1, 1));
    sim.advance(MILLI);
    assert_eq!(waiter.take().unwrap().unwrap().id(), 2);
    assert_eq!(fake.dropped(), [1]);
}

#[test]
fn unfinished_work_that_ends_early_frees_its_slot_at_once() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fake.always(Call::Close, Behavior::Take(40 * MILLI));
    hold(&sim, &pool, 1).remove(0).mark_unusable();
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
    assert_eq!(sim.elapsed(), 40 * MILLI);
}

#[test]
fn abandon_timeout_may_be_zero_or_none() {
    for (limit, served) in [(Some(Duration::ZERO), true), (None, false)] {
        let (sim, fake) = new(1);
        let pool = fake.pool().max_size(1).abandon_timeout(limit).get_timeout(None);
        let pool = pool.build_lazy().unwrap();
        fake.always(Call::Close, Behavior::Hang);
        hold(&sim, &pool, 1).remove(0).mark_unusable();
        let waiter = spawn_get(&sim, &pool);
        sim.advance(3600 * SECOND);
        assert_eq!(waiter.has_ended(), served, "{limit:?}");
        assert_eq!(fake.closes(), [(1, CloseReason::Marked)], "it is polled once in any case");
    }
}

#[test]
fn close_of_a_broken_connection_gives_way_to_a_waiter_at_once() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.always(Call::Close, Behavior::Hang);
    fake.set_liveness_with(|conn| match conn.id() {
        1 => Liveness::Closed,
        _ => Liveness::Alive,
    });
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
    assert_eq!((sim.elapsed(), fake.closes()), (Duration::ZERO, vec![(1, CloseReason::Dead)]));
}

/// Ten idle connections that died silently, and a manager whose `close` never ends.
#[test]
fn silently_dead_connections_whose_close_hangs_delay_a_get_by_one_ping() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(10).build_lazy().unwrap();
    fill(&sim, &pool, 10);
    fake.always(Call::Close, Behavior::Hang);
    fake.always(Call::Ping, Behavior::Hang);
    sim.advance(10 * SECOND);
    let before = sim.elapsed();
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 11);
    assert_eq!(sim.elapsed() - before, 250 * MILLI);
}

#[test]
fn connection_returned_after_the_pool_was_closed_or_dropped_goes_through_close() {
    for dropped in [false, true] {
        let (sim, fake) = new(1);
        let pool = fake.pool().build_lazy().unwrap();
        let mut guards = vec![sim.block_on(pool.get_owned()).unwrap()];
        guards.push(sim.block_on(pool.get_owned()).unwrap());
        if dropped {
            drop(pool);
        } else {
            sim.block_on(pool.close(Duration::ZERO));
        }
        sim.settle();
        guards.remove(0).mark_unusable();
        sim.settle();
        drop(guards);
        sim.settle();
        assert_eq!(fake.closes(), [(1, CloseReason::Marked), (2, CloseReason::PoolClosed)]);
        assert_eq!((fake.alive(), sim.tasks()), (0, 0), "dropped: {dropped}");
    }
}

#[test]
fn without_a_maintenance_task_connections_are_dropped_where_they_are() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    sim.shut_down();
    for mut guard in held {
        guard.mark_unusable();
    }
    assert_eq!((fake.alive(), fake.closes()), (0, vec![]));
}

/// A server that goes on with a request when its client gives up, until it is told to cancel it.
#[derive(Clone)]
struct Server {
    sim: SimRuntime,
    working: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

/// Ends with the work of one request.
struct Work(Server);

impl Server {
    fn request(&self) -> Work {
        let working = self.working.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(working, Ordering::SeqCst);
        Work(self.clone())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Cancelling(Server);

/// What goes on at the server for a connection, whoever listens.
type Request = Arc<Mutex<Option<Work>>>;

impl Manager for Cancelling {
    type Connection = Request;
    type Error = std::io::Error;

    async fn connect(&self) -> Result<Request, Self::Error> {
        Ok(Request::default())
    }

    fn stream(&self) -> Option<StreamOf<Request>> {
        None
    }

    async fn close(&self, request: Request, reason: CloseReason) {
        if reason.is_unfinished() {
            // A cancel request takes its time.
            self.0.sim.sleep(20 * MILLI).await;
            *request.lock().unwrap() = None;
        }
    }
}

#[test]
fn cancelled_requests_never_exceed_max_size_at_the_server() {
    let sim = SimRuntime::new(1);
    let server = Server { sim: sim.clone(), working: Arc::default(), most: Arc::default() };
    let pool = Pool::builder(Cancelling(server.clone()), sim.clone()).max_size(5);
    let pool = pool.build_lazy().unwrap();
    for _ in 0..10 {
        let (pool, server, sim2) = (pool.clone(), server.clone(), sim.clone());
        _ = spawn(&sim, async move {
            for _ in 0..20 {
                let Ok(mut guard) = pool.get().await else { continue };
                let work = guard.exchange(async |request| {
                    *request.lock().unwrap() = Some(server.request());
                    // Work of two seconds, and a patience of 50 ms.
                    sim2.sleep(50 * MILLI).await;
                    Err::<(), ()>(())
                });
                _ = work.await;
            }
        });
    }
    sim.advance(60 * SECOND);
    assert_eq!(server.most.load(Ordering::SeqCst), 5);
    assert_eq!(server.working.load(Ordering::SeqCst), 0);
    assert_eq!(closed_of(&pool, CloseReason::Unfinished), 200);
}

fn closed_of<M: Manager>(pool: &Pool<M>, reason: CloseReason) -> u64 {
    pool.stats().closed.get(reason)
}
