//! Many tasks that use one pool.

use std::hint::black_box;
use std::time::{Duration, Instant};

use futures_lite::future::yield_now;

use crate::bench_runtime::BenchRuntime;
use crate::pool_under_test::PoolUnderTest;

/// So many tasks, each of which gets a connection and returns it, again and again.
#[derive(Clone, Copy)]
pub struct Workload {
    /// How many.
    pub tasks: u32,
    /// For how long each keeps its connection.
    pub hold: Hold,
}

/// For how long a connection is kept.
#[derive(Clone, Copy)]
pub enum Hold {
    /// Returned as soon as it is there. On one thread, no task then ever meets another.
    NotAtAll,
    /// While every other task that can run has its turn.
    OverAYield,
}

impl Workload {
    /// Has the tasks share out so many operations, or a few more so that each has as many as the
    /// others. The time that so many took, all tasks together: divided by them, it is what one adds.
    pub async fn time(
        self,
        runtime: &impl BenchRuntime,
        pool: &impl PoolUnderTest,
        operations: u64,
    ) -> Duration {
        let each = operations.div_ceil(self.tasks.into());
        let start = Instant::now();
        let tasks: Vec<_> = (0..self.tasks)
            .map(|_| runtime.spawn(self.work(pool.clone(), each)))
            .collect();
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

    /// What the pool has counted when eight tasks have shared out so many operations.
    fn stats(runtime: &impl BenchRuntime, connections: usize, operations: u64) -> Stats {
        let workload = Workload {
            tasks: 8,
            hold: Hold::OverAYield,
        };
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
