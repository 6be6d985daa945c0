//! Many tasks that get a connection and return it, for a fixed time.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::yield_now;

use super::{Sample, enlist, fill};
use crate::competitor::{Competitor, Handle, Setup};
use crate::context::{Hung, RoundContext};
use crate::sockets::Sockets;
use crate::transport::Plain;

/// Of how many gets one is timed. Two looks at the clock each time would cost more than some pools
/// do.
const TIMED: u64 = 8;

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// So many tasks on so many connections, each held over a yield or returned at once.
pub(crate) fn get_and_return<P: Competitor, S: Sockets>(
    competitor: P,
    context: &RoundContext<S>,
    tasks: usize,
    max: usize,
    yields: bool,
) -> Result<Sample, Hung> {
    let budget = context.budget;
    context.run(async {
        let pool = competitor.build::<Plain, S>(Plain, Setup::of(max)).await;
        fill(&pool, max).await;
        let phase = Arc::new(AtomicU8::new(WARMING_UP));
        let waits_count = tasks > max;
        let tasks: Vec<_> = (0..budget.size(tasks))
            .map(|index| {
                let task = Task {
                    index: index as u64,
                    pool: pool.clone(),
                    phase: Arc::clone(&phase),
                    waits_count,
                };
                enlist::<P, S, _>(&context.runtime, task.work::<P>(yields))
            })
            .collect();
        let clock = thread::spawn(move || conduct(&phase, budget.warm_up, budget.window));
        let mut tallies = Vec::with_capacity(tasks.len());
        for task in tasks {
            tallies.push(task.await);
        }
        let window = clock.join().expect("the clock ticks");
        summary(tallies, window, waits_count)
    })
}

/// What a task has done in the time that counts.
#[derive(Default)]
struct Tally {
    done: u64,
    waits: Vec<u64>,
}

struct Task<H> {
    index: u64,
    pool: H,
    phase: Arc<AtomicU8>,
    waits_count: bool,
}

impl<H: Handle> Task<H> {
    async fn work<P: Competitor>(self, yields: bool) -> Tally {
        let mut tally = Tally::default();
        // Each begins elsewhere, so that some are timed even if none of the tasks gets far.
        let mut gets = self.index;
        loop {
            let phase = self.phase.load(Ordering::Relaxed);
            if phase == OVER {
                return tally;
            }
            gets += 1;
            let timed = self.waits_count && gets.is_multiple_of(TIMED);
            let start = timed.then(Instant::now);
            let conn = self.pool.get().await.expect("getting one among many tasks");
            let wait = start.map(|start| start.elapsed());
            black_box(&conn);
            if yields && P::BLOCKS {
                thread::yield_now();
            } else if yields {
                yield_now().await;
            }
            drop(conn);
            if phase == MEASURING {
                tally.done += 1;
                tally.waits.extend(wait.map(|wait| wait.as_nanos() as u64));
            }
        }
    }
}

/// Says what counts, and tells how long it did.
fn conduct(phase: &AtomicU8, warm_up: Duration, window: Duration) -> Duration {
    thread::sleep(warm_up);
    let start = Instant::now();
    phase.store(MEASURING, Ordering::Relaxed);
    // However short, it is to be noticed.
    thread::sleep(window.max(Duration::from_millis(1)));
    phase.store(OVER, Ordering::Relaxed);
    start.elapsed()
}

fn summary(tallies: Vec<Tally>, window: Duration, waits_count: bool) -> Sample {
    let done: u64 = tallies.iter().map(|tally| tally.done).sum();
    let most = tallies.iter().map(|tally| tally.done).max().unwrap_or(0);
    let fewest = tallies.iter().map(|tally| tally.done).min().unwrap_or(0);
    let starved = tallies.iter().filter(|tally| tally.done == 0).count();
    Sample {
        value: window.as_nanos() as f64 / done.max(1) as f64,
        // As if the unluckiest had had one, where it had none.
        fairness: waits_count.then(|| most as f64 / fewest.max(1) as f64),
        note: (waits_count && starved > 0).then(|| "some tasks got nothing".to_owned()),
        waits: tallies.into_iter().flat_map(|tally| tally.waits).collect(),
    }
}
