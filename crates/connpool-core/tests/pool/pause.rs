//! `pause` and `resume`.

use std::time::Duration;

use crate::support::{
    Behavior, Call, Job, MILLI, SECOND, assert_full_capacity, fill, hold, new, spawn, spawn_get,
};
use connpool_core::{Breaker, GetError, Phase};

#[test]
fn paused_pool_lends_nothing_and_queues_every_get() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fill(&sim, &pool, 2);
    pool.pause();
    pool.pause();
    assert!(pool.is_paused());
    let jobs: Vec<_> = (0..5).map(|_| spawn_get(&sim, &pool)).collect();
    drop(held);
    sim.advance(SECOND);
    assert!(!jobs.iter().any(Job::has_ended));
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    let stats = pool.stats();
    assert_eq!((stats.available, stats.waiting, stats.paused), (3, 5, true));
    assert_eq!(stats.connecting, 0);
    assert!(stats.to_string().ends_with(" paused"), "{stats}");
    pool.resume();
    sim.settle();
    let served: Vec<bool> = jobs.iter().map(Job::has_ended).collect();
    assert_eq!(served, [true, true, true, false, false], "not served in FIFO order");
    drop(jobs);
    sim.settle();
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn waiter_in_a_paused_pool_keeps_its_own_deadline() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 2);
    pool.pause();
    for limit in [SECOND, MILLI, Duration::ZERO] {
        let start = sim.elapsed();
        let error = sim.block_on(pool.get_timeout(limit)).unwrap_err();
        assert!(matches!(error, GetError::Timeout { phase: Phase::Wait, .. }));
        assert_eq!(sim.elapsed() - start, limit);
    }
    pool.resume();
    assert!(sim.block_on(pool.get_timeout(Duration::ZERO)).is_ok());
}

#[test]
fn paused_empty_pool_connects_for_waiters_only_after_resume() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(4).build_lazy().unwrap();
    pool.pause();
    let jobs: Vec<_> = (0..3).map(|_| spawn_get(&sim, &pool)).collect();
    sim.advance(SECOND);
    assert_eq!(fake.calls(Call::Connect), 0);
    pool.resume();
    sim.settle();
    assert!(jobs.iter().all(Job::has_ended));
    assert_eq!(fake.calls(Call::Connect), 3);
}

#[test]
fn connection_that_passes_its_check_during_a_pause_is_not_lent() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.next(Call::Ping, [Behavior::Take(SECOND / 5)]);
    let job = spawn_get(&sim, &pool);
    pool.pause();
    sim.advance(2 * SECOND);
    assert!(!job.has_ended());
    assert_eq!((pool.stats().available, pool.stats().waiting), (1, 1));
    pool.resume();
    sim.settle();
    assert!(job.take().is_some_and(|got| got.is_ok()));
}

#[test]
fn connect_that_ends_during_a_pause_serves_and_fails_no_waiter() {
    let (sim, fake) = new(1);
    let pool = fake.pool().breaker(Breaker::new(1, SECOND)).build_lazy().unwrap();
    fake.next(Call::Connect, [Behavior::FailAfter(SECOND), Behavior::Take(SECOND)]);
    let jobs: Vec<_> = (0..2).map(|_| spawn_get(&sim, &pool)).collect();
    assert_eq!(pool.stats().connecting, 2);
    pool.pause();
    sim.advance(2 * SECOND);
    assert_eq!(jobs.iter().filter(|job| job.has_ended()).count(), 0);
    assert_eq!((pool.stats().available, pool.stats().connect_failed), (1, 1));
    pool.resume();
    sim.settle();
    assert!(jobs[0].take().is_some_and(|got| got.is_ok()));
}

#[test]
fn paused_pool_finds_dead_connections_and_opens_none_until_it_is_resumed() {
    let (sim, fake) = new(1);
    let build = fake.pool().min_size(2).evict_interval(SECOND);
    let pool = sim.block_on(build.build()).unwrap();
    pool.pause();
    let waiter = spawn_get(&sim, &pool);
    fake.hang_up_all();
    fake.set_liveness_with(|conn| match conn.id() {
        1 | 2 => connpool_core::Liveness::Closed,
        _ => connpool_core::Liveness::Alive,
    });
    sim.advance(3 * SECOND);
    assert_eq!((fake.alive(), fake.calls(Call::Connect)), (0, 2));
    assert!(!waiter.has_ended());
    pool.resume();
    sim.advance(SECOND);
    assert_eq!((fake.alive(), fake.calls(Call::Connect)), (2, 4));
    assert!(waiter.take().is_some_and(|got| got.is_ok()));
}

#[test]
fn close_ends_the_pause_and_fails_all_waiters() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 2);
    pool.pause();
    let job = spawn_get(&sim, &pool);
    let report = sim.block_on(pool.close(SECOND));
    assert_eq!((report.closed, report.timed_out), (2, false));
    sim.settle();
    assert!(matches!(job.take(), Some(Err(GetError::Closed))));
    pool.pause();
    assert!(!pool.is_paused(), "a closed pool was paused");
}

#[test]
fn failover_by_pause_clear_and_resume_fails_no_get() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(4).build_lazy().unwrap();
    fill(&sim, &pool, 4);
    let busy: Vec<_> = (0..8)
        .map(|_| {
            let (pool, sim_) = (pool.clone(), sim.clone());
            spawn(&sim, async move {
                for _ in 0..100 {
                    let guard = pool.get().await.expect("failed instead of queued");
                    sim_.sleep(MILLI).await;
                    drop(guard);
                }
            })
        })
        .collect();
    sim.advance(20 * MILLI);
    pool.pause();
    sim.advance(SECOND);
    assert_eq!(pool.stats().active, 0);
    pool.clear();
    pool.resume();
    sim.advance(SECOND);
    assert!(busy.iter().all(Job::has_ended));
    assert!(pool.stats().created >= 5);
    assert_full_capacity(&sim, &fake, &pool);
}
