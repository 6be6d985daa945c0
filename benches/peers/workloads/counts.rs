//! Memory and allocations. Only this thread is counted, which runs everything except for pools with
//! their own threads.

use std::future::{Future, poll_fn};
use std::hint::black_box;
use std::mem::size_of_val;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use allocation_counter::measure;
use futures_lite::future::{poll_once, yield_now};

use super::{Sample, fill};
use crate::competitor::{Competitor, Handle, Setup};
use crate::context::{Hung, RoundContext};
use crate::sockets::Sockets;
use crate::transport::Plain;

/// Measures the bytes per idle connection of eight bytes, including those eight.
pub(crate) fn idle_bytes<P: Competitor, S: Sockets>(
    competitor: P,
    context: &RoundContext<S>,
) -> Result<Sample, Hung> {
    let idle = context.budget.size(4_096);
    // Grow the task queue of the runtime first: it does not belong to the pool.
    context.run(async {
        let tasks: Vec<_> = (0..idle).map(|_| context.runtime.spawn(yield_now())).collect();
        for task in tasks {
            task.await;
        }
    })?;
    let mut pool = Err(Hung);
    let memory = measure(|| {
        pool = context.run(async {
            let pool = competitor.build::<Plain, S>(Plain, Setup::of(idle)).await;
            fill(&pool, idle).await;
            pool
        });
    });
    let pool = pool?;
    context.run(async { drop(pool) })?;
    Ok(Sample { value: memory.bytes_current as f64 / idle as f64, ..Sample::default() })
}

/// Measures the bytes per waiting get, beside its future.
pub(crate) fn waiter_bytes<P: Competitor, S: Sockets>(
    competitor: P,
    context: &RoundContext<S>,
) -> Result<Sample, Hung> {
    let waiters = context.budget.size(1_024);
    context.run(async {
        let pool = competitor.build::<Plain, S>(Plain, Setup::of(1)).await;
        let held = pool.get().await.expect("getting the only one");
        let mut gets: Vec<_> = (0..waiters).map(|_| Box::pin(pool.get())).collect();
        let future = gets.first().map_or(0, |get| size_of_val(&**get));
        // Without `unconstrained`, most gets would yield because of tokio's cooperative budget
        // instead of waiting.
        let memory = tokio::task::unconstrained(poll_fn(|cx| {
            Poll::Ready(measure(|| {
                for get in &mut gets {
                    assert!(get.as_mut().poll(cx).is_pending(), "there was only one");
                }
            }))
        }));
        let memory = memory.await;
        drop(gets);
        drop(held);
        Sample {
            value: memory.bytes_current as f64 / waiters as f64,
            note: Some(format!("and a future of {future}")),
            ..Sample::default()
        }
    })
}

/// Counts the allocations of a get and a return, without waiting.
pub(crate) fn allocations<P: Competitor, S: Sockets>(
    competitor: P,
    context: &RoundContext<S>,
) -> Result<Sample, Hung> {
    let gets = context.budget.size(10_000);
    let get_and_return = async |pool: &P::Pool<Plain, S>| {
        for _ in 0..gets {
            black_box(&pool.get().await.expect("getting an idle one"));
        }
    };
    let pool = context.run(async {
        let pool = competitor.build::<Plain, S>(Plain, Setup::of(10)).await;
        fill(&pool, 10).await;
        get_and_return(&pool).await;
        pool
    })?;
    counted(context, gets, get_and_return(&pool))
}

/// Counts the allocations of a get that waits, with a timeout, and of the return that ends the
/// wait.
pub(crate) fn allocations_of_waits<P: Competitor, S: Sockets>(
    competitor: P,
    context: &RoundContext<S>,
) -> Result<Sample, Hung> {
    let gets = context.budget.size(10_000);
    let setup = Setup { timeout: Some(Duration::from_secs(5)), ..Setup::of(1) };
    let hand_over = async |pool: &P::Pool<Plain, S>| {
        let mut held = pool.get().await.expect("getting the only one");
        for _ in 0..gets {
            let mut get = pin!(pool.get());
            let early = poll_once(&mut get).await;
            assert!(early.is_none(), "there was only one");
            drop(held);
            held = get.await.expect("getting what was returned");
        }
    };
    let pool = context.run(async {
        let pool = competitor.build::<Plain, S>(Plain, setup).await;
        hand_over(&pool).await;
        pool
    })?;
    counted(context, gets, hand_over(&pool))
}

/// Returns the allocations per operation.
fn counted<S: Sockets>(
    context: &RoundContext<S>,
    operations: usize,
    work: impl Future<Output = ()>,
) -> Result<Sample, Hung> {
    let mut ended = Err(Hung);
    let memory = measure(|| ended = context.run(work));
    ended?;
    Ok(Sample { value: memory.count_total as f64 / operations as f64, ..Sample::default() })
}
