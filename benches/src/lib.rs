//! Shared parts of the benchmarks: the [`BenchRuntime`] they run on, the [`PoolUnderTest`] they
//! measure, the [`Workload`] that uses the pool, and an [echo server](echo::start).

#![forbid(unsafe_code)]

mod bench_runtime;
pub mod echo;
pub mod figures;
mod pool_under_test;
mod workload;

pub use bench_runtime::{BenchRuntime, Smol, Tokio};
pub use pool_under_test::PoolUnderTest;
pub use workload::{Hold, Workload};
