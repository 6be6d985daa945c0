//! Deadlines, and the checks of a checkout.

use std::error::Error;
use std::time::Duration;

use crate::support::{
    Behavior, Call, Job, MILLI, SECOND, assert_full_capacity, closed, fill, graceful_closes, hold,
    new, spawn, spawn_get,
};
use connpool_core::{CloseReason, GetError, Liveness, Phase, ResetWhen, Runtime};

// ---- deadlines

#[test]
fn wait_timeout_names_the_holders() {
    let (sim, fake) = new(1);
    let pool = fake.pool().name("db").max_size(2).build_lazy().unwrap();
    let _held = hold(&sim, &pool, 2);
    let _other = spawn_get(&sim, &pool);
    let error = sim.block_on(pool.get_timeout(3 * SECOND)).unwrap_err();
    assert_eq!(sim.elapsed(), 3 * SECOND);
    let GetError::Timeout { phase, diagnosis } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*phase, Phase::Wait);
    assert_eq!((diagnosis.size, diagnosis.max_size), (2, 2));
    assert_eq!((diagnosis.active, diagnosis.available), (2, 0));
    assert_eq!((diagnosis.connecting, diagnosis.waiting), (0, 2));
    assert_eq!(diagnosis.queue_position, Some(2));
    assert_eq!(diagnosis.waited, 3 * SECOND);
    let [one, other] = &diagnosis.longest_held[..] else {
        panic!("{diagnosis:?}");
    };
    assert_eq!(
        error.to_string(),
        format!(
            "pool \"db\": no connection after 3.0 s: 2 of 2 in use, 0 idle, 2 waiting (this request: 2nd); \
             held longest: {one}, {other}; raise max_size, or check those holders"
        )
    );
}

#[test]
fn connect_timeout_reports_the_connect_phase() {
    let (sim, fake) = new(1);
    let pool = fake.pool().name("db").connect_timeout(None).build_lazy().unwrap();
    fake.always(Call::Connect, Behavior::Hang);
    let error = sim.block_on(pool.get_timeout(SECOND)).unwrap_err();
    assert_eq!(sim.elapsed(), SECOND);
    let GetError::Timeout { phase, diagnosis } = &error else {
        panic!("{error:?}");
    };
    // The first connect hangs, so a second one was started.
    assert_eq!((*phase, diagnosis.connecting), (Phase::Connect, 2));
    let text = "no connection after 1.0 s, while connecting: 0 of 10 in use, 0 idle, 2 connecting";
    assert!(error.to_string().contains(text), "{error}");
    assert!(error.source().is_none());
}

#[test]
fn check_with_no_time_left_reports_the_check_phase() {
    for resets in [false, true] {
        let (sim, fake) = new(1);
        let mut builder =
            fake.pool().ping_timeout(None).reset_timeout(None).reset_when(ResetWhen::OnGet);
        if resets {
            fake.require_reset().always(Call::Reset, Behavior::Hang);
            // The pool calls `needs_reset` when it is built.
        } else {
            builder = builder.ping_after(Duration::ZERO);
            fake.always(Call::Ping, Behavior::Hang);
        }
        let pool = builder.build_lazy().unwrap();
        fill(&sim, &pool, 1);
        let error = sim.block_on(pool.get_timeout(Duration::ZERO)).unwrap_err();
        let GetError::Timeout { phase, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*phase, Phase::Check);
        assert!(error.to_string().contains("while checking one"));
        sim.settle();
        assert_eq!(fake.alive(), 0, "a half-checked connection was kept");
    }
}

#[test]
fn hanging_checks_do_not_extend_the_get_deadline() {
    for timeout in [None, Some(SECOND), Some(70 * MILLI), Some(100 * MILLI)] {
        for call in [Call::Ping, Call::Reset] {
            let (sim, fake) = new(1);
            if call == Call::Reset {
                fake.require_reset();
            }
            let pool = fake
                .pool()
                .ping_after(Duration::ZERO)
                .ping_timeout(timeout)
                .reset_timeout(timeout)
                .reset_when(ResetWhen::OnGet)
                .build_lazy()
                .unwrap();
            fill(&sim, &pool, 10);
            fake.always(call, Behavior::Hang);
            fake.always(Call::Connect, Behavior::Hang);
            let error = sim.block_on(pool.get_timeout(300 * MILLI)).unwrap_err();
            assert_eq!(sim.elapsed(), 300 * MILLI, "{timeout:?}");
            let GetError::Timeout { phase, .. } = &error else {
                panic!("{error:?}");
            };
            assert_eq!((*phase, fake.calls(call)), (Phase::Connect, 1), "{timeout:?}");
            fake.clear_script();
            sim.advance(20 * SECOND);
            assert_full_capacity(&sim, &fake, &pool);
        }
    }
}

#[test]
fn get_deadline_spans_wait_and_check_from_the_first_poll() {
    let (sim, fake) = new(1);
    let pool =
        fake.pool().max_size(1).ping_after(Duration::ZERO).ping_timeout(None).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    fake.always(Call::Ping, Behavior::Hang);
    fake.always(Call::Connect, Behavior::Hang);
    let job = spawn(&sim, pool.get_owned_timeout(SECOND));
    sim.advance(600 * MILLI);
    drop(held);
    sim.advance(399 * MILLI);
    assert!(!job.has_ended());
    sim.advance(MILLI);
    let error = job.take().expect("still pending after its deadline").unwrap_err();
    assert!(matches!(error, GetError::Timeout { phase: Phase::Connect, .. }));
}

// ---- checks

#[test]
fn get_takes_a_new_connection_after_three_failed_pings() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 5);
    fake.always(Call::Ping, Behavior::Fail);
    let guard = sim.block_on(pool.get()).unwrap();
    assert_eq!((guard.id(), fake.calls(Call::Ping)), (6, 3));
    sim.settle();
    assert_eq!(pool.stats().ping_failed, 3);
    assert_eq!(pool.stats().available, 2);
}

/// A firewall has forgotten all idle connections, while the backend is well.
#[test]
fn idle_connection_serves_a_get_whose_own_connect_hangs() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 2);
    fake.next(Call::Ping, [Behavior::Hang]);
    fake.always(Call::Connect, Behavior::Hang);
    let job = spawn_get(&sim, &pool);
    sim.advance(1_000 * MILLI);
    assert!(!job.has_ended(), "a ping of 250 ms, and a connect that may still succeed");
    sim.advance(51 * MILLI);
    assert!(matches!(job.take(), Some(Ok(_))), "{}", pool.stats());
}

#[test]
fn silent_connections_cost_a_get_a_quarter_of_a_second_and_a_connect() {
    for get_timeout in [10_000, 2_000, 900] {
        let (sim, fake) = new(1);
        let pool = fake.pool().min_size(10).get_timeout(get_timeout * MILLI);
        let pool = sim.block_on(pool.build()).unwrap();
        fill(&sim, &pool, 10);
        sim.advance(2 * SECOND);
        fake.always(Call::Ping, Behavior::Hang);
        fake.always(Call::Connect, Behavior::Take(MILLI));
        let start = sim.elapsed();
        let guard = sim.block_on(pool.get()).unwrap();
        assert_eq!((guard.id(), sim.elapsed() - start), (11, 251 * MILLI), "{get_timeout} ms");
        assert_eq!(closed(&pool, CloseReason::PingTimeout), 1);
    }
}

/// The time for the ping is up sooner than a slow peer answers, which says nothing about the peer.
#[test]
fn ping_cut_short_by_the_deadline_is_no_breakage() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(20).ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 10);
    fake.always(Call::Ping, Behavior::Take(200 * MILLI));
    for _ in 0..3 {
        drop(sim.block_on(pool.get_timeout(300 * MILLI)).unwrap().detach());
    }
    assert_eq!((sim.elapsed(), fake.calls(Call::Ping)), (300 * MILLI, 3));
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::Cancelled), 3);
    // No burst: with more time, the next one is pinged and lent.
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 7);
}

#[test]
fn slow_backend_gets_four_times_its_round_trip_for_a_ping() {
    let (sim, fake) = new(1);
    fake.next(Call::Connect, [Behavior::Take(200 * MILLI)]);
    let pool = fake.pool().ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    fake.next(Call::Ping, [Behavior::Take(799 * MILLI), Behavior::Take(MILLI), Behavior::Hang]);
    fill(&sim, &pool, 1);
    fill(&sim, &pool, 1);
    let start = sim.elapsed();
    assert_eq!(sim.block_on(pool.get()).unwrap().id(), 2);
    assert_eq!(sim.elapsed() - start, 800 * MILLI, "the connect is longer than the last ping");
}

#[test]
fn failed_pings_in_a_full_pool_make_room_for_a_new_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).ping_after(Duration::ZERO).build_lazy().unwrap();
    fill(&sim, &pool, 3);
    fake.always(Call::Ping, Behavior::Fail);
    fake.always(Call::Close, Behavior::Hang);
    let guard = sim.block_on(pool.get()).unwrap();
    assert_eq!((guard.id(), sim.elapsed()), (4, Duration::ZERO));
    assert!(fake.peak() <= 3);
}

#[test]
fn ping_is_skipped_for_ping_after_since_the_last_proof_of_life() {
    let (sim, fake) = new(1);
    let pool = fake.pool().ping_after(10 * SECOND).build_lazy().unwrap();
    fill(&sim, &pool, 1);
    sim.advance(10 * SECOND - Duration::from_nanos(1));
    drop(sim.block_on(pool.get()).unwrap());
    assert_eq!(fake.calls(Call::Ping), 0);
    sim.advance(10 * SECOND);
    let held = sim.block_on(pool.get()).unwrap();
    assert_eq!(fake.calls(Call::Ping), 1);
    // A return counts as proof of life.
    sim.advance(30 * SECOND);
    drop(held);
    sim.advance(9 * SECOND);
    drop(sim.block_on(pool.get()).unwrap());
    assert_eq!(fake.calls(Call::Ping), 1);
}

#[test]
fn dead_connections_and_those_with_unsolicited_bytes_are_replaced() {
    for (liveness, reason) in [
        (Liveness::Closed, Some(CloseReason::Dead)),
        (Liveness::Unsolicited, Some(CloseReason::Unsolicited)),
        (Liveness::Unknown, None),
    ] {
        let (sim, fake) = new(1);
        let pool = fake.pool().build_lazy().unwrap();
        fill(&sim, &pool, 1);
        fake.set_liveness_with(move |conn| if conn.id() == 1 { liveness } else { Liveness::Alive });
        let guard = sim.block_on(pool.get()).unwrap();
        assert_eq!(guard.id(), if reason.is_some() { 2 } else { 1 });
        sim.settle();
        if let Some(reason) = reason {
            assert_eq!(pool.stats().closed.get(reason), 1);
            assert_eq!(graceful_closes(&fake), [0; 0]);
        }
    }
}

#[test]
fn connection_is_reset_between_users_and_destroyed_if_the_reset_fails() {
    let (sim, fake) = new(1);
    fake.require_reset();
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    for user in 0..3 {
        sim.block_on(pool.get()).unwrap().used_by(user);
    }
    assert_eq!((fake.calls(Call::Reset), fake.alive()), (2, 1));
    fake.next(Call::Reset, [Behavior::Fail, Behavior::Hang]);
    let mut guard = sim.block_on(pool.get()).unwrap();
    guard.used_by(3);
    assert_eq!(guard.id(), 2);
    drop(guard);
    let mut guard = sim.block_on(pool.get()).unwrap();
    guard.used_by(4);
    assert_eq!((guard.id(), sim.elapsed()), (3, SECOND), "one reset_timeout");
}

/// With random pings, resets, sweeps and timeouts at once.
#[test]
fn connection_is_never_lent_twice_without_a_reset() {
    for seed in 0..30 {
        let (sim, fake) = new(seed);
        fake.require_reset().always(Call::Reset, Behavior::Yield(1));
        fake.next(Call::Reset, [Behavior::Take(MILLI), Behavior::Fail, Behavior::Panic]);
        let pool = fake
            .pool()
            .max_size(3)
            .min_size(1)
            .ping_after(3 * MILLI)
            .evict_interval(2 * MILLI)
            .build_lazy()
            .unwrap();
        let jobs: Vec<_> = (0..60)
            .map(|user| {
                let (pool, sim_) = (pool.clone(), sim.clone());
                spawn(&sim, async move {
                    sim_.sleep(MILLI * (sim_.random() % 30) as u32).await;
                    match user % 3 {
                        0 => {
                            if let Ok(mut guard) = pool.try_get() {
                                guard.used_by(user);
                            }
                        }
                        1 => {
                            let limit = MILLI * (sim_.random() % 4) as u32;
                            if let Ok(mut guard) = pool.get_timeout(limit).await {
                                guard.used_by(user);
                            }
                        }
                        _ => {
                            let mut guard = pool.get().await.unwrap();
                            guard.used_by(user);
                            sim_.sleep(MILLI).await;
                        }
                    }
                })
            })
            .collect();
        sim.advance(SECOND);
        assert!(jobs.iter().all(Job::has_ended), "seed {seed}");
        fake.clear_script();
        assert_full_capacity(&sim, &fake, &pool);
    }
}
