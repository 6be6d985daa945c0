//! `min_idle`, and the successor of the last idle connection.

use std::time::Duration;

use crate::support::counting::CountingRuntime;
use crate::support::{
    Behavior, Call, Fake, MILLI, SECOND, assert_at_rest, assert_full_capacity, closed, hold, new,
    spawn,
};
use connpool_core::{Builder, CloseReason, Pool, Runtime};

const CONNECT: Duration = Duration::from_millis(150);

#[test]
fn bursts_of_two_never_wait_beside_three_connections_in_use() {
    for (min_idle, waited) in [(0, 8), (2, 0)] {
        let (sim, fake) = new(1);
        fake.always(Call::Connect, Behavior::Take(CONNECT));
        let pool = fake.pool().max_size(20).min_size(4).min_idle(min_idle);
        let pool = pool.idle_timeout(300 * MILLI).evict_interval(50 * MILLI);
        let pool = sim.block_on(pool.build()).unwrap();
        let _held = hold(&sim, &pool, 3);
        let mut slow = 0;
        for _ in 0..8 {
            sim.advance(400 * MILLI);
            let before = sim.elapsed();
            let burst = hold(&sim, &pool, 2);
            slow += u32::from(sim.elapsed() > before);
            sim.advance(100 * MILLI);
            drop(burst);
        }
        assert_eq!(slow, waited, "min_idle {min_idle}");
    }
}

#[test]
fn get_that_leaves_too_few_has_others_opened_up_to_max_size() {
    let (sim, fake) = new(1);
    let pool = sim.block_on(fake.pool().max_size(5).min_idle(2).build()).unwrap();
    sim.settle();
    assert_eq!((pool.stats().available, pool.stats().request), (2, 0));
    let mut held = Vec::new();
    for idle in [2, 2, 2, 1, 0] {
        held.extend(hold(&sim, &pool, 1));
        sim.settle();
        assert_eq!((pool.stats().available, pool.stats().active), (idle, held.len()));
    }
    drop(held);
    sim.settle();
    assert_at_rest(&pool, &fake, 0);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn try_get_that_leaves_too_few_has_another_one_opened() {
    let (sim, fake) = new(1);
    let pool = sim.block_on(fake.pool().min_idle(1).build()).unwrap();
    sim.settle();
    let _conn = pool.try_get().unwrap();
    sim.settle();
    assert_eq!(pool.stats().available, 1);
}

#[test]
fn lost_and_destroyed_connections_are_replaced() {
    let (sim, fake) = new(1);
    let pool = fake.pool().min_idle(2).evict_interval(SECOND).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 1);
    sim.settle();
    assert_eq!(pool.stats().available, 2);
    fake.hang_up(2);
    sim.advance(SECOND);
    assert_eq!((pool.stats().available, closed(&pool, CloseReason::Dead)), (2, 1));
    held[0].mark_unusable();
    drop(held);
    sim.settle();
    assert_eq!((pool.stats().available, pool.stats().size), (2, 2));
}

#[test]
fn idle_timeout_leaves_min_idle_connections() {
    let (sim, fake) = new(1);
    let pool = fake.pool().min_idle(2).idle_timeout(SECOND).evict_interval(SECOND / 10);
    let pool = pool.build_lazy().unwrap();
    drop(hold(&sim, &pool, 5));
    sim.advance(60 * SECOND);
    assert_eq!(pool.stats().available, 2);
    assert!(pool.stats().created <= 7, "closed and opened again: {}", pool.stats());
}

#[test]
fn connects_for_min_idle_are_governed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(9).min_idle(3).max_connecting(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    sim.settle();
    fake.always(Call::Connect, Behavior::FailAfter(MILLI));
    pool.clear();
    drop(held);
    sim.advance(10 * SECOND);
    let failed = pool.stats().connect_failed;
    assert!((2..40).contains(&failed), "{failed} connects failed in ten seconds");
    fake.always(Call::Connect, Behavior::Succeed);
    sim.advance(20 * SECOND);
    assert_eq!(pool.stats().available, 3);
}

#[test]
fn paused_pool_opens_nothing_for_min_idle() {
    let (sim, fake) = new(1);
    let pool = fake.pool().min_idle(1).build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    sim.settle();
    pool.pause();
    fake.hang_up_all();
    sim.advance(60 * SECOND);
    assert_eq!(pool.stats().available, 0);
    pool.resume();
    sim.settle();
    assert_eq!(pool.stats().available, 1);
}

#[test]
fn min_idle_can_be_changed() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    let mut config = pool.config();
    config.min_idle = 3;
    pool.reconfigure(config).unwrap();
    sim.settle();
    assert_eq!(pool.stats().available, 3);
    let error = pool.resize(2).unwrap_err().to_string();
    assert_eq!(error, "max_size is 2: it must be at least min_idle, which is 3");
}

#[test]
fn random_use_keeps_min_idle_and_loses_nothing() {
    for seed in 0..10 {
        let (sim, fake) = new(seed);
        fake.always(Call::Connect, Behavior::Take(MILLI));
        let pool = fake.pool().max_size(8).min_idle(2).build_lazy().unwrap();
        for _ in 0..40 {
            let (pool, sim_) = (pool.clone(), sim.clone());
            drop(spawn(&sim, async move {
                sim_.sleep(MILLI * (sim_.random() % 40) as u32).await;
                let mut conn = pool.get().await.unwrap();
                sim_.sleep(MILLI * (sim_.random() % 5) as u32).await;
                if sim_.random() % 4 == 0 {
                    conn.mark_unusable();
                }
            }));
        }
        sim.advance(SECOND);
        assert!(pool.stats().available >= 2, "seed {seed}: {}", pool.stats());
        assert!(fake.peak() <= 8);
        assert_full_capacity(&sim, &fake, &pool);
    }
}

// ---- the successor of the last idle connection

fn aging(pool: Builder<Fake>) -> Builder<Fake> {
    pool.max_lifetime(10 * SECOND).lifetime_jitter(0.0).evict_interval(30 * SECOND)
}

#[test]
fn last_idle_connection_is_replaced_before_its_lifetime_ends() {
    for settings in [
        |pool: Builder<Fake>| pool.min_size(1),
        |pool: Builder<Fake>| pool.min_idle(1),
        |pool: Builder<Fake>| pool.min_size(3),
    ] {
        let (sim, fake) = new(1);
        fake.always(Call::Connect, Behavior::Take(CONNECT));
        let pool = sim.block_on(settings(aging(fake.pool())).build()).unwrap();
        sim.advance(SECOND);
        for _ in 0..20 {
            sim.advance(3 * SECOND + 170 * MILLI);
            let before = sim.elapsed();
            drop(hold(&sim, &pool, 1));
            assert_eq!(sim.elapsed(), before, "waited for a connect");
        }
        assert_eq!(closed(&pool, CloseReason::Dead), 0);
    }
}

#[test]
fn successor_is_opened_only_if_there_is_room() {
    let (sim, fake) = new(1);
    let pool = aging(fake.pool()).max_size(1).min_size(1);
    let pool = sim.block_on(pool.build()).unwrap();
    sim.advance(9_999 * MILLI);
    assert_eq!((pool.stats().size, fake.peak()), (1, 1));
    sim.advance(60 * SECOND);
    assert_eq!(fake.peak(), 1);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn pool_that_keeps_nothing_opens_no_successor() {
    let (sim, fake) = new(1);
    let pool = aging(fake.pool()).build_lazy().unwrap();
    drop(hold(&sim, &pool, 1));
    sim.advance(60 * SECOND);
    assert_eq!(pool.stats().created, 1);
}

#[test]
fn short_lifetimes_open_no_endless_successors() {
    for lifetime in [Duration::ZERO, MILLI, 50 * MILLI, 200 * MILLI] {
        let (sim, fake) = new(1);
        let pool = aging(fake.pool()).max_lifetime(lifetime).min_size(1).min_idle(1);
        let pool = sim.block_on(pool.evict_interval(10 * MILLI).build()).unwrap();
        sim.advance(SECOND);
        let created = pool.stats().created;
        assert!(created <= 110, "{lifetime:?}: {created} connections in a second");
    }
}

/// The time to look at the last idle connection passes, and there is nothing to look for.
#[test]
fn successor_that_is_no_longer_wanted_keeps_no_task_busy() {
    let (sim, fake) = new(1);
    // Panics if the pool spins.
    let runtime = CountingRuntime::new(&sim, 100);
    let pool = aging(Pool::builder(fake, runtime)).min_size(1);
    let pool = sim.block_on(pool.build()).unwrap();
    let mut config = pool.config();
    config.min_size = 0;
    pool.reconfigure(config).unwrap();
    sim.advance(9_999 * MILLI);
    assert_eq!(pool.stats().created, 1);
}
