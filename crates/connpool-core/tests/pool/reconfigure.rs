//! `reconfigure`: settings that change while the pool runs.

use std::time::Duration;

use crate::support::counting::CountingRuntime;
use crate::support::{
    Behavior, Call, Fake, Job, MILLI, SECOND, assert_full_capacity, closed, fill, hold, new, spawn,
    spawn_get,
};
use connpool_core::{Breaker, CloseReason, ConnectError, GetError, Pool, PoolConfig, Runtime};

fn reconfigure(pool: &Pool<Fake>, reconfigure: impl FnOnce(&mut PoolConfig)) {
    let mut config = pool.config();
    reconfigure(&mut config);
    pool.reconfigure(config.clone()).unwrap();
    assert_eq!(pool.config(), config);
}

#[test]
fn reconfigure_applies_all_settings_or_none() {
    let (sim, fake) = new(1);
    let pool = fake.pool().name("orders").build_lazy().unwrap();
    let before = pool.config();
    let mut config = before.clone();
    config.get_timeout = None;
    config.max_size = 2;
    config.min_size = 3;
    let error = pool.reconfigure(config.clone()).unwrap_err();
    assert_eq!(error.field(), "min_size");
    config.min_size = 0;
    config.name = Some(String::from("invoices"));
    let error = pool.reconfigure(config.clone()).unwrap_err();
    assert_eq!(error.to_string(), r#"name is "invoices": it must stay "orders", or be None"#);
    assert_eq!(pool.config(), before);
    config.name = None;
    pool.reconfigure(config.clone()).unwrap();
    config.name = Some(String::from("orders"));
    assert_eq!(pool.config(), config);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn resize_and_reconfigure_read_back_the_same_config() {
    let (_, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    pool.resize(3).unwrap();
    reconfigure(&pool, |c| c.min_size = 3);
    assert!(pool.resize(2).is_err());
    assert_eq!((pool.config().max_size, pool.config().min_size), (3, 3));
}

#[test]
fn larger_min_size_is_opened_and_smaller_min_size_is_released() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(5).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    reconfigure(&pool, |c| c.min_size = 4);
    sim.settle();
    assert_eq!(fake.alive(), 4);
    reconfigure(&pool, |c| {
        (c.min_size, c.idle_timeout, c.evict_interval) = (2, Some(SECOND), Some(SECOND));
    });
    sim.advance(2 * SECOND);
    assert_eq!(fake.alive(), 2);
    assert_eq!(closed(&pool, CloseReason::Idle), 2);
}

#[test]
fn shorter_lifetime_applies_to_idle_and_borrowed_connections() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_lifetime(3_600 * SECOND).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 3);
    drop(held.pop());
    sim.advance(10 * SECOND);
    reconfigure(&pool, |c| {
        (c.max_lifetime, c.evict_interval) = (Some(5 * SECOND), Some(SECOND));
    });
    sim.advance(SECOND);
    assert_eq!((fake.alive(), pool.stats().available), (2, 0));
    drop(held.pop());
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::Lifetime), 2);
    // Connections opened under the limit keep it after its removal.
    reconfigure(&pool, |c| c.max_lifetime = None);
    drop(held.pop());
    sim.settle();
    assert_eq!(pool.stats().available, 1);
}

/// The pool does not record idle times while no limit needs them.
#[test]
fn first_idle_timeout_counts_from_its_reconfigure() {
    let (sim, fake) = new(1);
    let runtime = CountingRuntime::new(&sim, 60_000);
    let pool = Pool::builder(fake.clone(), runtime)
        .ping_after(None)
        .evict_interval(SECOND)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 2);
    let held = hold(&sim, &pool, 1);
    sim.advance(3_600 * SECOND);
    reconfigure(&pool, |c| c.idle_timeout = Some(60 * SECOND));
    drop(held);
    sim.advance(55 * SECOND);
    assert_eq!(fake.alive(), 2);
    sim.advance(10 * SECOND);
    assert_eq!(fake.alive(), 0);
}

#[test]
fn changed_time_limits_apply_from_the_next_use() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).fail_fast_after(Duration::ZERO).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let early = spawn_get(&sim, &pool);
    reconfigure(&pool, |c| c.get_timeout = Some(SECOND));
    let late = spawn_get(&sim, &pool);
    sim.advance(2 * SECOND);
    assert!(!early.has_ended() && late.take().unwrap().is_err());
    drop((held, early));
    sim.settle();
    reconfigure(&pool, |c| {
        (c.ping_after, c.ping_timeout) = (Some(Duration::ZERO), Some(MILLI));
    });
    fake.next(Call::Ping, [Behavior::Hang]);
    assert!(sim.block_on(pool.get()).is_ok());
    assert_eq!(closed(&pool, CloseReason::PingTimeout), 1);
    reconfigure(&pool, |c| c.max_uses = Some(1));
    drop(sim.block_on(pool.get()).unwrap());
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::MaxUses), 2);
    reconfigure(&pool, |c| c.connect_timeout = Some(MILLI));
    fake.next(Call::Connect, [Behavior::Hang]);
    let error = sim.block_on(pool.get()).unwrap_err();
    assert!(matches!(error, GetError::Connect(ConnectError::TimedOut)), "{error:?}");
}

#[test]
fn shorter_evict_interval_takes_effect_immediately() {
    let (sim, fake) = new(1);
    let pool = fake.pool().evict_interval(None).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    sim.advance(SECOND);
    let before = fake.probes();
    reconfigure(&pool, |c| c.evict_interval = Some(10 * MILLI));
    sim.advance(SECOND);
    assert!(fake.probes() - before > 90);
    reconfigure(&pool, |c| c.evict_interval = None);
    let before = fake.probes();
    sim.advance(SECOND);
    assert_eq!(fake.probes(), before);
}

#[test]
fn shorter_backoff_takes_effect_immediately() {
    let probing = |probe_every| {
        let failures = 1;
        Some(Breaker::new(failures, probe_every))
    };
    for shorter in [None, probing(SECOND)] {
        let (sim, fake) = new(1);
        let builder = fake.pool().min_size(1).fail_fast_after(None);
        let pool = builder.breaker(probing(Duration::MAX)).build_lazy().unwrap();
        fake.next(Call::Connect, [Behavior::Fail]);
        // No caller waits, which would shorten the pause.
        assert!(sim.block_on(pool.get_timeout(Duration::ZERO)).is_err());
        sim.advance(2 * SECOND);
        assert_eq!(fake.calls(Call::Connect), 1);
        reconfigure(&pool, |config| {
            config.breaker = shorter;
            config.backoff.max = SECOND;
        });
        sim.settle();
        assert_eq!(pool.stats().available, 1, "{shorter:?}");
    }
}

#[test]
fn smaller_max_waiters_keeps_queued_waiters() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let waiter = spawn_get(&sim, &pool);
    reconfigure(&pool, |c| c.max_waiters = Some(0));
    assert!(spawn_get(&sim, &pool).take().unwrap().is_err());
    drop(held);
    sim.settle();
    assert!(waiter.take().unwrap().is_ok());
}

#[test]
fn constant_reconfigures_lose_no_connection_and_no_waiter() {
    for seed in 0..20 {
        let (sim, fake) = new(seed);
        let pool = fake.pool().max_size(8).build_lazy().unwrap();
        fake.always(Call::Connect, Behavior::Take(MILLI));
        fake.always(Call::Close, Behavior::Take(2 * MILLI));
        let jobs: Vec<_> = (0..40)
            .map(|_| {
                let (pool, sim_) = (pool.clone(), sim.clone());
                spawn(&sim, async move {
                    let up_to = |n| sim_.random() % n;
                    let millis = |n| MILLI * (sim_.random() % n) as u32;
                    sim_.sleep(millis(40)).await;
                    let guard = pool.get_owned().await.unwrap();
                    let max_size = 1 + up_to(8) as usize;
                    let min_size = up_to(max_size as u64 + 1) as usize;
                    reconfigure(&pool, |c| {
                        (c.max_size, c.min_size) = (max_size, min_size);
                        c.max_idle = (up_to(2) == 0).then_some(min_size);
                        c.increment = 1 + up_to(3) as usize;
                        c.max_connecting = (up_to(2) == 0).then_some(1);
                        c.idle_timeout = (up_to(2) == 0).then(|| millis(5));
                        c.max_lifetime = (up_to(2) == 0).then(|| millis(20));
                        c.evict_interval = (up_to(2) == 0).then(|| millis(5));
                        c.ping_after = (up_to(2) == 0).then(|| millis(5));
                    });
                    sim_.sleep(millis(5)).await;
                    drop(guard);
                })
            })
            .collect();
        sim.advance(5 * SECOND);
        assert!(jobs.iter().all(Job::has_ended), "seed {seed}");
        let size = pool.config().max_size;
        assert!(fake.alive() <= size, "seed {seed}");
        pool.reconfigure(PoolConfig::default()).unwrap();
        // Connections opened under a short lifetime keep it.
        pool.clear();
        sim.advance(SECOND);
        assert_full_capacity(&sim, &fake, &pool);
    }
}

#[test]
fn smaller_max_uses_applies_to_idle_connections() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    for _ in 0..2 {
        fill(&sim, &pool, 1);
    }
    reconfigure(&pool, |c| c.max_uses = Some(2));
    let guard = sim.block_on(pool.get_owned()).unwrap();
    assert_eq!((guard.id(), guard.uses()), (2, 1));
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::MaxUses), 1);
    assert_eq!(fake.dropped(), [1]);
}

#[test]
fn shorter_lifetime_applies_to_a_connection_under_a_ping() {
    let (sim, fake) = new(1);
    let pool = fake
        .pool()
        .max_lifetime(3_600 * SECOND)
        .ping_after(Duration::ZERO)
        .ping_timeout(None)
        .build_lazy()
        .unwrap();
    fill(&sim, &pool, 1);
    fake.next(Call::Ping, [Behavior::Take(SECOND / 5)]);
    let get = spawn_get(&sim, &pool);
    reconfigure(&pool, |c| c.max_lifetime = Some(SECOND / 10));
    sim.advance(2 * SECOND);
    assert_eq!(get.take().unwrap().unwrap().id(), 2);
    assert_eq!(closed(&pool, CloseReason::Lifetime), 1);
}

#[test]
fn smaller_max_uses_applies_to_a_connection_under_a_keepalive_ping() {
    let (sim, fake) = new(1);
    let builder = fake.pool().max_size(1).ping_after(None).evict_interval(None);
    let pool = builder.keepalive(10 * SECOND).build_lazy().unwrap();
    for _ in 0..3 {
        fill(&sim, &pool, 1);
    }
    fake.always(Call::Ping, Behavior::Take(100 * MILLI));
    while fake.calls(Call::Ping) == 0 {
        sim.advance(MILLI);
    }
    reconfigure(&pool, |config| config.max_uses = Some(2));
    sim.advance(SECOND);
    let guard = sim.block_on(pool.get()).unwrap();
    assert_eq!((guard.id(), guard.uses()), (2, 1));
}

#[test]
fn temporarily_shorter_lifetime_leaves_no_trace() {
    let (sim, fake) = new(1);
    let builder = fake.pool().max_size(1).idle_timeout(None).ping_after(None);
    let pool = builder.max_lifetime(3_600 * SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    reconfigure(&pool, |config| config.max_lifetime = Some(60 * SECOND));
    fill(&sim, &pool, 1);
    reconfigure(&pool, |config| config.max_lifetime = Some(3_600 * SECOND));
    sim.advance(120 * SECOND);
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 1);
}
