//! The workload of the benchmarks.

use std::hint::black_box;
use std::time::{Duration, Instant};

use futures_lite::future::yield_now;

use crate::bench_runtime::BenchRuntime;
use crate::pool_under_test::PoolUnderTest;

/// Tasks that get and return connections in a loop.
#[derive(Clone, Copy)]
pub struct Workload {
    /// The number of tasks.
    pub tasks: u32,
    /// How long a task holds a connection.
    pub hold: Hold,
}

/// How long a task holds a connection.
#[derive(Clone, Copy)]
pub enum Hold {
    /// Returns it at once. On one thread, tasks then never contend.
    NotAtAll,
    /// Holds it while every other ready task runs.
    OverAYield,
}

impl Workload {
    /// Distributes `operations` evenly over the tasks, rounded up. Returns the time of `operations`
    /// operations of all tasks together.
    pub async fn time(
        self,
        runtime: &impl BenchRuntime,
        pool: &impl PoolUnderTest,
        operations: u64,
    ) -> Duration {
        let each = operations.div_ceil(self.tasks.into());
        let start = Instant::now();
        let tasks: Vec<_> =
            (0..self.tasks).map(|_| runtime.spawn(self.work(pool.clone(), each))).collect();
        for task in tasks {
            task.await;
        }
        let done = each * u64::from(self.tasks);
        start.elapsed().mul_f64(operations as f64 / done as f64)
    }

    async fn work(self, pool: impl PoolUnderTest, operations: u64) {
        for _ in 0..operations {
            let conn = black_box(pool.get().await);
            match self.hold {
                Hold::NotAtAll => {}
                Hold::OverAYield => yield_now().await,
            }
            drop(conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use connpool_core::{Stats, object_fn};

    use super::*;
    use crate::bench_runtime::{Smol, Tokio};

    /// Returns the statistics of a pool after eight tasks have run `operations` operations.
    fn stats(runtime: &impl BenchRuntime, connections: usize, operations: u64) -> Stats {
        let workload = Workload { tasks: 8, hold: Hold::OverAYield };
        runtime.block_on(async {
            let pool = runtime.builder(object_fn(|| async { Ok::<_, Infallible>(7) }));
            let pool = pool.max_size(connections).min_size(connections);
            let pool = pool.build().await.expect("building the pool");
            workload.time(runtime, &pool, operations).await;
            pool.stats()
        })
    }

    #[test]
    fn every_task_does_the_same_and_all_of_them_enough() {
        for (operations, done) in [(1, 8), (80, 80), (81, 88)] {
            assert_eq!(stats(&Tokio::new(0), 8, operations).success, done);
            assert_eq!(stats(&Tokio::new(2), 8, operations).success, done);
            assert_eq!(stats(&Smol::new(0), 8, operations).success, done);
            assert_eq!(stats(&Smol::new(2), 8, operations).success, done);
        }
    }

    #[test]
    fn tasks_that_hold_over_a_yield_meet_on_one_thread() {
        assert_eq!(stats(&Tokio::new(0), 8, 8).wait_count, 0);
        assert_eq!(stats(&Tokio::new(0), 2, 8).wait_count, 6);
        assert_eq!(stats(&Smol::new(0), 8, 8).wait_count, 0);
        assert_eq!(stats(&Smol::new(0), 2, 8).wait_count, 6);
    }
}
