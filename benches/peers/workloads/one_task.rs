//! One task that gets and returns a connection in a loop.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::{Sample, fill};
use crate::budget::Budget;
use crate::competitor::{Competitor, Handle, Setup};
use crate::context::{Hung, RoundContext};
use crate::sockets::Sockets;
use crate::transport::{Plain, Transport};

/// Operations between two clock readings.
const BATCH: u32 = 32;

/// Measures with all connections idle.
pub(crate) fn with_idle<P: Competitor, S: Sockets, K: Transport>(
    competitor: P,
    context: &RoundContext<S>,
    transport: K,
    setup: Setup,
) -> Result<Sample, Hung> {
    context.run(async {
        let pool = competitor.build::<K, S>(transport, setup).await;
        fill(&pool, setup.max).await;
        measured(&pool, context.budget).await
    })
}

/// Measures on a worker thread.
pub(crate) fn on_a_worker<P: Competitor, S: Sockets>(
    competitor: P,
    context: &RoundContext<S>,
    setup: Setup,
) -> Result<Sample, Hung> {
    let budget = context.budget;
    context.run(async {
        let pool = competitor.build::<Plain, S>(Plain, setup).await;
        fill(&pool, setup.max).await;
        context.runtime.spawn(async move { measured(&pool, budget).await }).await
    })
}

/// Measures with all connections borrowed but one.
pub(crate) fn with_the_last<P: Competitor, S: Sockets>(
    competitor: P,
    context: &RoundContext<S>,
    max: usize,
) -> Result<Sample, Hung> {
    context.run(async {
        let pool = competitor.build::<Plain, S>(Plain, Setup::of(max)).await;
        fill(&pool, max).await;
        let mut held = Vec::with_capacity(max);
        for _ in 1..max {
            held.push(pool.get().await.expect("getting one of many"));
        }
        measured(&pool, context.budget).await
    })
}

async fn measured(pool: &impl Handle, budget: Budget) -> Sample {
    get_and_return(pool, budget.warm_up).await;
    Sample { value: get_and_return(pool, budget.window).await, ..Sample::default() }
}

/// Runs for `window` and returns the nanoseconds per get and return.
async fn get_and_return(pool: &impl Handle, window: Duration) -> f64 {
    let start = Instant::now();
    let mut done = 0;
    loop {
        for _ in 0..BATCH {
            black_box(&pool.get().await.expect("getting the idle one"));
        }
        done += BATCH;
        let elapsed = start.elapsed();
        if elapsed >= window {
            return elapsed.as_nanos() as f64 / f64::from(done);
        }
    }
}
