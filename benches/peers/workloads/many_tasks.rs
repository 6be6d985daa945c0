//! Many tasks that get and return connections for a fixed time.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future::yield_now;

use super::{Sample, fill, spawn};
use crate::competitor::{Competitor, Handle, Setup};
use crate::context::{Hung, RoundContext};
use crate::sockets::Sockets;
use crate::transport::Plain;

/// One get in this many is timed. Timing all of them would cost more than some pools do.
const TIMED: u64 = 8;

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Measures the given number of tasks, with the connections held over a yield or returned at once.
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
                spawn::<P, S, _>(&context.runtime, task.work::<P>(yields))
            })
            .collect();
        let clock = thread::spawn(move || run_phases(&phase, budget.warm_up, budget.window));
        let mut stats = Vec::with_capacity(tasks.len());
        for task in tasks {
            stats.push(task.await);
        }
        let window = clock.join().expect("the clock ticks");
        summary(stats, window, waits_count)
    })
}

/// The operations of a task during the measured time.
#[derive(Default)]
struct TaskStats {
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
    async fn work<P: Competitor>(self, yields: bool) -> TaskStats {
        let mut stats = TaskStats::default();
        // Offset per task, so that some gets are timed even if each task makes only a few.
        let mut gets = self.index;
        loop {
            let phase = self.phase.load(Ordering::Relaxed);
            if phase == OVER {
                return stats;
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
                stats.done += 1;
                stats.waits.extend(wait.map(|wait| wait.as_nanos() as u64));
            }
        }
    }
}

/// Switches the phases and returns the measured time.
fn run_phases(phase: &AtomicU8, warm_up: Duration, window: Duration) -> Duration {
    thread::sleep(warm_up);
    let start = Instant::now();
    phase.store(MEASURING, Ordering::Relaxed);
    // Long enough for the tasks to notice.
    thread::sleep(window.max(Duration::from_millis(1)));
    phase.store(OVER, Ordering::Relaxed);
    start.elapsed()
}

fn summary(stats: Vec<TaskStats>, window: Duration, waits_count: bool) -> Sample {
    let done: u64 = stats.iter().map(|stats| stats.done).sum();
    let most = stats.iter().map(|stats| stats.done).max().unwrap_or(0);
    let fewest = stats.iter().map(|stats| stats.done).min().unwrap_or(0);
    let starved = stats.iter().filter(|stats| stats.done == 0).count();
    Sample {
        value: window.as_nanos() as f64 / done.max(1) as f64,
        // Treats a task without any get as if it had one.
        fairness: waits_count.then(|| most as f64 / fewest.max(1) as f64),
        note: (waits_count && starved > 0).then(|| "some tasks got no connection".to_owned()),
        waits: stats.into_iter().flat_map(|stats| stats.waits).collect(),
    }
}
