//! Keepalive pings of idle connections.

use std::time::Duration;

use crate::support::counting::CountingRuntime;
use crate::support::{
    Behavior, Call, Fake, Job, MILLI, SECOND, assert_full_capacity, closed, fill, hold, new,
    spawn_get,
};
use connpool_core::{Builder, CloseReason, Instant, Liveness, Manager, Pool, Runtime, StreamOf};
use connpool_testkit::SimRuntime;

/// A pool that pings connections after ten seconds of idleness and makes no other checks.
fn with_keepalive(fake: &Fake) -> Builder<Fake> {
    fake.pool().keepalive(10 * SECOND).evict_interval(None).ping_after(None)
}

fn advance_to_first_ping(sim: &SimRuntime, fake: &Fake) {
    while fake.calls(Call::Ping) == 0 {
        sim.advance(MILLI);
    }
}

#[test]
fn keepalive_pings_idle_connections_without_a_get() {
    let (sim, fake) = new(1);
    let pool = with_keepalive(&fake).build_lazy().unwrap();
    fill(&sim, &pool, 5);
    sim.advance(7 * SECOND);
    assert_eq!(fake.calls(Call::Ping), 0, "too early");
    sim.advance(53 * SECOND);
    let pings = fake.calls(Call::Ping);
    // Every ten seconds, minus up to a quarter of jitter, plus up to half of it until the next
    // round.
    assert!((5 * 4..=5 * 8).contains(&pings), "{pings} pings in a minute");
    assert_eq!((pool.stats().available, fake.alive()), (5, 5));
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn no_connection_is_pinged_without_keepalive() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 5);
    sim.advance(1_000 * SECOND);
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn keepalive_skips_recently_used_connections() {
    let (sim, fake) = new(1);
    let pool = with_keepalive(&fake).build_lazy().unwrap();
    for _ in 0..60 {
        fill(&sim, &pool, 2);
        sim.advance(SECOND);
    }
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn keepalive_pings_one_of_few_connections_at_a_time_while_others_are_lent() {
    let (sim, fake) = new(1);
    let pool = with_keepalive(&fake).max_size(3).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.always(Call::Ping, Behavior::Take(100 * MILLI));
    advance_to_first_ping(&sim, &fake);
    let others = hold(&sim, &pool, 2);
    assert_eq!(fake.calls(Call::Ping), 1);
    let waiter = spawn_get(&sim, &pool);
    assert!(!waiter.has_ended(), "a connect beyond max_size");
    sim.advance(100 * MILLI);
    assert!(waiter.take().is_some_and(|got| got.is_ok()));
    drop(others);
    sim.advance(400 * MILLI);
    assert_eq!(fake.calls(Call::Ping), 1, "recently used connections were pinged");
}

#[test]
fn get_during_a_keepalive_ping_of_the_last_connection_gets_a_new_one() {
    let (sim, fake) = new(1);
    let pool = with_keepalive(&fake).max_size(2).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.always(Call::Ping, Behavior::Take(100 * MILLI));
    advance_to_first_ping(&sim, &fake);
    let start = sim.elapsed();
    assert_eq!(hold(&sim, &pool, 1)[0].id(), 2);
    assert_eq!(sim.elapsed(), start);
}

#[test]
fn keepalive_round_of_slow_pings_runs_to_its_end() {
    let (sim, fake) = new(1);
    let runtime = CountingRuntime::new(&sim, 10_000);
    let pool = Pool::builder(fake.clone(), runtime)
        .max_size(20)
        .keepalive(60 * SECOND)
        .evict_interval(None)
        .ping_timeout(5 * SECOND)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 20);
    fake.always(Call::Ping, Behavior::Take(SECOND));
    sim.advance(90 * SECOND);
    assert_eq!(fake.calls(Call::Ping), 20);
    assert_eq!(fake.observed().most_connecting, 1);
    assert_eq!(pool.stats().available, 20);
}

/// The peer of a pool that hears of its connections and forgets the silent ones.
struct Forgetful(SimRuntime);

impl Manager for Forgetful {
    type Connection = Instant;
    type Error = std::io::Error;

    async fn connect(&self) -> std::io::Result<Instant> {
        Ok(self.0.now())
    }

    fn stream(&self) -> Option<StreamOf<Instant>> {
        None
    }

    async fn ping(&self, heard: &mut Instant) -> std::io::Result<()> {
        self.0.sleep(40 * MILLI).await;
        match self.liveness(heard) {
            Liveness::Alive => *heard = self.0.now(),
            _ => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
        Ok(())
    }

    fn liveness(&self, heard: &mut Instant) -> Liveness {
        let is_silent = self.0.now().since(*heard) >= 3 * SECOND;
        if is_silent { Liveness::Closed } else { Liveness::Alive }
    }

    fn needs_reset(&self) -> bool {
        false
    }
}

#[test]
fn keepalive_loses_none_of_many_connections_to_a_peer_that_closes_silent_ones() {
    for size in [20, 200, 500] {
        let sim = SimRuntime::new(1);
        let builder = Pool::builder(Forgetful(sim.clone()), sim.clone());
        let builder = builder.max_size(size).min_size(size).keepalive(SECOND);
        let pool = sim.block_on(builder.build()).unwrap();
        let mut fewest_idle = size;
        for _ in 0..1_000 {
            sim.advance(10 * MILLI);
            fewest_idle = fewest_idle.min(pool.stats().available);
        }
        let closed = pool.stats().closed.iter().map(|(_, count)| count).sum::<u64>();
        assert_eq!((closed, pool.stats().created), (0, size as u64), "of {size}");
        assert!(fewest_idle >= size - size / 10 - 1, "{fewest_idle} of {size} were left idle");
    }
}

#[test]
fn keepalive_pings_nothing_while_a_get_waits() {
    let (sim, fake) = new(1);
    let pool = with_keepalive(&fake).max_size(3).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    let held = hold(&sim, &pool, 3);
    let jobs: Vec<_> = (0..2).map(|_| spawn_get(&sim, &pool)).collect();
    sim.advance(9 * SECOND);
    drop(held);
    sim.settle();
    assert!(jobs.iter().all(Job::has_ended));
    assert_eq!(fake.calls(Call::Ping), 0);
}

#[test]
fn connection_that_fails_a_keepalive_ping_is_closed() {
    for (act, reason) in [
        (Behavior::Fail, CloseReason::PingFailed),
        (Behavior::Hang, CloseReason::PingTimeout),
        (Behavior::Panic, CloseReason::Panicked),
    ] {
        for ping_timeout in [Some(SECOND), None] {
            let (sim, fake) = new(1);
            let build = with_keepalive(&fake).min_size(2).ping_timeout(ping_timeout);
            let pool = sim.block_on(build.build()).unwrap();
            fake.next(Call::Ping, [act]);
            sim.advance(40 * SECOND);
            assert_eq!(closed(&pool, reason), 1, "{reason:?}, {ping_timeout:?}");
            assert_eq!(pool.stats().available, 2, "min_size was not restored");
            assert_full_capacity(&sim, &fake, &pool);
        }
    }
}

#[test]
fn bytes_left_unread_by_a_keepalive_ping_close_the_connection() {
    let (sim, fake) = new(1);
    let pool = with_keepalive(&fake).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    let asked = fake.clone();
    fake.set_liveness_with(move |_| match asked.calls(Call::Ping) {
        0 => Liveness::Alive,
        _ => Liveness::Unsolicited,
    });
    sim.advance(15 * SECOND);
    assert_eq!(closed(&pool, CloseReason::Unsolicited), 1);
}

#[test]
fn clear_resize_close_and_drop_during_a_keepalive_ping_lose_nothing() {
    for case in 0..4 {
        let (sim, fake) = new(1);
        let pool = with_keepalive(&fake).max_size(3).build_lazy().unwrap();
        fill(&sim, &pool, 3);
        fake.always(Call::Ping, Behavior::Take(100 * MILLI));
        advance_to_first_ping(&sim, &fake);
        match case {
            0 => pool.clear(),
            1 => pool.resize(2).unwrap(),
            2 => {
                let report = sim.block_on(pool.close(SECOND));
                assert!(!report.timed_out);
                assert_eq!(closed(&pool, CloseReason::Cancelled), 1);
            }
            _ => {
                let weak = pool.downgrade();
                drop(pool);
                sim.advance(SECOND);
                assert!(weak.upgrade().is_none());
                assert_eq!((fake.alive(), sim.tasks()), (0, 0));
                continue;
            }
        }
        sim.advance(SECOND);
        assert_eq!(fake.alive(), [0, 2, 0][case]);
        if case < 2 {
            fake.clear_script();
            let size = pool.config().max_size;
            assert_eq!(hold(&sim, &pool, size).len(), size);
        }
    }
}

#[test]
fn runtime_shutdown_during_a_keepalive_ping_destroys_the_connection() {
    let (sim, fake) = new(1);
    let pool = with_keepalive(&fake).build_lazy().unwrap();
    fill(&sim, &pool, 2);
    fake.always(Call::Ping, Behavior::Hang);
    advance_to_first_ping(&sim, &fake);
    sim.shut_down();
    assert_eq!((fake.alive(), pool.stats().available), (1, 1));
    assert_eq!(closed(&pool, CloseReason::Cancelled), 1);
    fake.clear_script();
    assert!(pool.try_get().is_ok());
}

#[test]
fn extreme_keepalive_intervals_neither_spin_nor_stall() {
    for (keepalive, pings) in [
        (Duration::ZERO, 2 * 90..=2 * 101),
        (Duration::from_nanos(1), 2 * 90..=2 * 101),
        (Duration::MAX, 0..=0),
    ] {
        let (sim, fake) = new(1);
        let runtime = CountingRuntime::new(&sim, 10_000);
        let pool = Pool::builder(fake.clone(), runtime).keepalive(keepalive).build_lazy().unwrap();
        fill(&sim, &pool, 2);
        let before = fake.calls(Call::Ping);
        sim.advance(100 * MILLI);
        let asked = fake.calls(Call::Ping) - before;
        assert!(pings.contains(&asked), "{keepalive:?}: {asked} pings");
    }
}
