//! One task that gets a connection and returns it, again and again.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::{Sample, fill};
use crate::link::{Link, Plain};
use crate::pace::Pace;
use crate::peer::{Handle, Peer, Setup};
use crate::sockets::Sockets;
use crate::turn::{Hung, Stage};

/// How many between two looks at the clock.
const BATCH: u32 = 32;

/// With all connections idle that there may be.
pub(crate) fn with_idle<P: Peer, S: Sockets, K: Link>(
    peer: P,
    stage: &Stage<S>,
    link: K,
    setup: Setup,
) -> Result<Sample, Hung> {
    stage.run(async {
        let pool = peer.build::<K, S>(link, setup).await;
        fill(&pool, setup.max).await;
        measured(&pool, stage.pace).await
    })
}

/// The same by a task that is one of the runtime's.
pub(crate) fn on_a_worker<P: Peer, S: Sockets>(
    peer: P,
    stage: &Stage<S>,
    setup: Setup,
) -> Result<Sample, Hung> {
    let pace = stage.pace;
    stage.run(async {
        let pool = peer.build::<Plain, S>(Plain, setup).await;
        fill(&pool, setup.max).await;
        stage
            .lane
            .spawn(async move { measured(&pool, pace).await })
            .await
    })
}

/// With all connections lent but one.
pub(crate) fn with_the_last<P: Peer, S: Sockets>(
    peer: P,
    stage: &Stage<S>,
    max: usize,
) -> Result<Sample, Hung> {
    stage.run(async {
        let pool = peer.build::<Plain, S>(Plain, Setup::of(max)).await;
        fill(&pool, max).await;
        let mut held = Vec::with_capacity(max);
        for _ in 1..max {
            held.push(pool.get().await.expect("getting one of many"));
        }
        measured(&pool, stage.pace).await
    })
}

async fn measured(pool: &impl Handle, pace: Pace) -> Sample {
    get_and_return(pool, pace.warm_up).await;
    Sample {
        value: get_and_return(pool, pace.window).await,
        ..Sample::default()
    }
}

/// For so long; what one get and return took, in nanoseconds.
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
