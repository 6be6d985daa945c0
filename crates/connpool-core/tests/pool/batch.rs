//! `get_many` and `Pool::exchange`.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::time::Duration;

use crate::support::{
    Behavior, Call, Fake, Job, MILLI, SECOND, ScriptedError, assert_at_rest, assert_full_capacity,
    closed, fill, hold, new, poll_once, spawn, spawn_get,
};
use connpool_core::{CloseReason, GetError, Pool, PooledConnection, Runtime};
use connpool_testkit::SimRuntime;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future::yield_now};

/// Spawns a task that gets `n` connections, holds them for `keep` and returns them. Its result
/// tells whether it got them.
fn spawn_get_many(sim: &SimRuntime, pool: &Pool<Fake>, n: usize, keep: Duration) -> Job<bool> {
    let (pool, sim_) = (pool.clone(), sim.clone());
    let job = spawn(sim, async move {
        let all = pool.get_many(n).await;
        sim_.sleep(keep).await;
        all.is_ok_and(|all| all.len() == n)
    });
    sim.settle();
    job
}

fn ids(all: &[PooledConnection<'_, Fake>]) -> Vec<u64> {
    let mut ids: Vec<_> = all.iter().map(PooledConnection::id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn get_many_combines_idle_and_new_connections() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(4).build_lazy().unwrap();
    fill(&sim, &pool, 2);
    let all = sim.block_on(pool.get_many(4)).unwrap();
    assert_eq!(ids(&all), [1, 2, 3, 4]);
    assert_eq!(pool.stats().active, 4);
    drop(all);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn get_many_of_zero_or_beyond_max_size_returns_immediately() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    assert_eq!(sim.block_on(pool.get_many(0)).unwrap().len(), 0);
    for n in [3, usize::MAX] {
        let error = sim.block_on(pool.get_many(n)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot get {n} connections at once: max_size is 2; raise max_size or request fewer"
            )
        );
        assert!(!error.is_timeout() && !error.is_closed());
        assert_eq!(format!("{error:?}"), format!("{:?}", error.clone()));
    }
    assert_eq!(fake.calls(Call::Connect), 0);
}

#[test]
fn get_many_calls_are_served_in_fifo_order() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let held = hold(&sim, &pool, 2);
    let first = spawn_get_many(&sim, &pool, 2, SECOND);
    let second = spawn_get_many(&sim, &pool, 1, SECOND);
    let third = spawn_get_many(&sim, &pool, 2, SECOND);
    drop(held);
    sim.settle();
    sim.advance(SECOND);
    let ended = || [&first, &second, &third].map(Job::has_ended);
    assert_eq!(ended(), [true, false, false]);
    sim.advance(SECOND);
    assert_eq!(ended(), [true, true, false]);
    sim.advance(SECOND);
    assert_eq!(ended(), [true, true, true]);
}

#[test]
fn get_many_beyond_a_shrunk_max_size_fails_and_returns_its_connections() {
    let (sim, fake) = new(1);
    let builder = fake.pool().max_size(3).get_timeout(None);
    let pool = builder.build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let current = spawn_get_many(&sim, &pool, 3, MILLI);
    let queued = spawn_get_many(&sim, &pool, 3, MILLI);
    let fewer = spawn_get_many(&sim, &pool, 2, MILLI);
    pool.resize(2).unwrap();
    drop(held);
    sim.advance(SECOND);
    let jobs = [current, queued, fewer];
    assert_eq!(jobs.map(|job| job.take()), [false, false, true].map(Some));
    assert_eq!(pool.stats().available, 2);
}

#[test]
fn get_many_that_times_out_returns_its_connections() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).fail_fast_after(Duration::ZERO).build_lazy().unwrap();
    let held = hold(&sim, &pool, 1);
    let start = sim.elapsed();
    let error = sim.block_on(pool.get_many_timeout(3, SECOND)).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(sim.elapsed() - start, SECOND, "the timeout was not shared");
    assert_eq!(pool.stats().available, 2);
    // Conversely, a get_many in the queue has the same limit.
    let many = spawn_get_many(&sim, &pool, 3, SECOND);
    let start = sim.elapsed();
    assert!(sim.block_on(pool.get_many_timeout(1, SECOND)).unwrap_err().is_timeout());
    assert_eq!(sim.elapsed() - start, SECOND);
    drop(held);
    sim.advance(2 * SECOND);
    assert_eq!(many.take(), Some(true));
    fake.next(Call::Connect, [Behavior::Fail]);
    pool.clear();
    sim.settle();
    assert!(matches!(sim.block_on(pool.get_many(2)), Err(GetError::Connect(_))));
    sim.advance(SECOND);
    assert_full_capacity(&sim, &fake, &pool);
}

#[test]
fn close_fails_active_queued_and_new_get_many() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(2).build_lazy().unwrap();
    let _held = hold(&sim, &pool, 1);
    let mut active = pin!(pool.get_many(2));
    assert!(poll_once(active.as_mut()).is_pending());
    sim.settle();
    let mut queued = pin!(pool.get_many(1));
    assert!(poll_once(queued.as_mut()).is_pending());
    sim.block_on(pool.close(Duration::ZERO));
    assert!(sim.block_on(queued).unwrap_err().is_closed());
    assert!(sim.block_on(active).unwrap_err().is_closed());
    assert!(sim.block_on(pool.get_many(1)).unwrap_err().is_closed());
}

/// Batches of all sizes, with and without timeouts.
#[test]
fn random_get_many_calls_lose_nothing() {
    for seed in 0..20 {
        let (sim, fake) = new(seed);
        let pool = fake.pool().max_size(4).build_lazy().unwrap();
        fake.always(Call::Connect, Behavior::Take(MILLI));
        let jobs: Vec<_> = (0..40)
            .map(|nth| {
                let (pool, sim_) = (pool.clone(), sim.clone());
                spawn(&sim, async move {
                    let pause = |most| sim_.sleep(MILLI * (sim_.random() % most) as u32);
                    pause(20).await;
                    let n = 1 + nth % 4;
                    if nth % 5 == 0 {
                        drop(pool.get_many_timeout(n, MILLI * 3).await);
                    } else {
                        let all = pool.get_many(n).await.unwrap();
                        assert_eq!(all.len(), n);
                        pause(5).await;
                    }
                })
            })
            .collect();
        sim.advance(5 * SECOND);
        assert!(jobs.iter().all(Job::has_ended), "seed {seed}");
        assert_full_capacity(&sim, &fake, &pool);
    }
}

// ---- exchange

#[derive(Debug)]
enum Failure {
    Get(GetError<ScriptedError>),
    Io(std::io::Error),
}

impl From<GetError<ScriptedError>> for Failure {
    fn from(error: GetError<ScriptedError>) -> Self {
        Failure::Get(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Io(error)
    }
}

#[test]
fn pool_exchange_borrows_and_returns_a_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().build_lazy().unwrap();
    fill(&sim, &pool, 1);
    let mut peer = fake.take_peer(1).unwrap();
    let job = {
        let pool = pool.clone();
        spawn(&sim, async move {
            pool.exchange(async |conn| {
                conn.write_all(b"ping").await?;
                let mut reply = [0; 4];
                conn.read_exact(&mut reply).await?;
                Ok::<_, Failure>(reply)
            })
            .await
        })
    };
    sim.block_on(async {
        let mut request = [0; 4];
        peer.read_exact(&mut request).await.unwrap();
        peer.write_all(b"pong").await.unwrap();
    });
    sim.settle();
    assert_eq!(&job.take().unwrap().unwrap(), b"pong");
    assert_eq!((pool.stats().available, pool.stats().success), (1, 2));
}

#[test]
fn pool_exchange_that_fails_is_dropped_or_panics_closes_its_connection() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).build_lazy().unwrap();
    let failed = sim.block_on(
        pool.exchange(async |_| Err::<(), _>(Failure::Io(ErrorKind::InvalidData.into()))),
    );
    assert!(matches!(failed, Err(Failure::Io(error)) if error.kind() == ErrorKind::InvalidData));
    {
        let mut dropped = pin!(pool.exchange(async |_| {
            yield_now().await;
            Ok::<_, Failure>(())
        }));
        for _ in 0..2 {
            assert!(poll_once(dropped.as_mut()).is_pending());
            sim.settle();
        }
    }
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::Unfinished), 2);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        sim.block_on(pool.exchange::<(), Failure>(async |_| panic!("scripted panic")))
    }));
    assert!(panicked.is_err());
    sim.settle();
    assert_eq!(closed(&pool, CloseReason::Panicked), 1);
    assert_at_rest(&pool, &fake, 0);
}

#[test]
fn pool_exchange_without_a_connection_returns_the_get_error() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(1).get_timeout(SECOND).build_lazy().unwrap();
    let held = spawn_get(&sim, &pool);
    let result = sim.block_on(pool.exchange(async |_| Ok::<_, Failure>(())));
    let Err(Failure::Get(error)) = result else {
        panic!("{result:?}");
    };
    assert!(error.is_timeout());
    drop(held);
}

/// It takes one place at a time, so it is never ahead of a single get by more than one connection.
#[test]
fn single_gets_beside_get_many_wait_for_one_connection_of_it_at_most() {
    let (sim, fake) = new(1);
    let pool = fake.pool().max_size(3).build_lazy().unwrap();
    let mut held = hold(&sim, &pool, 3);
    let before = spawn_get(&sim, &pool);
    let gather = spawn_get_many(&sim, &pool, 3, SECOND);
    let after = [(); 2].map(|()| spawn_get(&sim, &pool));
    let ended = || {
        sim.settle();
        [before.has_ended(), after[0].has_ended(), after[1].has_ended()]
    };
    held.pop();
    assert_eq!(ended(), [true, false, false]);
    // The first one gathered: its place was ahead of the others.
    held.pop();
    assert_eq!(ended(), [true, false, false]);
    // Its second place is behind them, and they share what it has not gathered.
    held.pop();
    assert_eq!(ended(), [true, true, false]);
    drop(after[0].take());
    assert!(ended()[2]);
    assert!(!gather.has_ended());
    drop((before.take(), after[1].take()));
    sim.advance(SECOND);
    assert_eq!(gather.take(), Some(true));
}
