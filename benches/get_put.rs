//! Measures a get and a return: the four benchmarks of the Go library `connpool`, under the same
//! names, on both runtimes. docs/BENCHMARKS.md describes each figure.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use connpool_benches::{BenchRuntime, Hold, PoolUnderTest, Smol, Tokio, Workload, echo};
use connpool_core::{Builder, Manager, Pool, object_fn};
use criterion::Criterion;
use criterion::measurement::WallTime;

type Group<'a> = criterion::BenchmarkGroup<'a, WallTime>;

const TASKS: u32 = 64;
const FEW: usize = 4;
const WORKERS: usize = 2;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        // Plotting criterion's default of 100,000 takes longer than measuring.
        .nresamples(10_000)
        .configure_from_args();
    let server = echo::start().expect("starting the echo server");
    let (tokio, smol) = (Tokio::new(0), Smol::new(0));
    let (tokio_workers, smol_workers) = (Tokio::new(WORKERS), Smol::new(WORKERS));

    let mut group = criterion.benchmark_group("GetPut_Sequential");
    sequential(&mut group, &tokio, server);
    sequential(&mut group, &smol, server);
    group.finish();

    let mut group = criterion.benchmark_group("GetPut_Parallel");
    parallel(&mut group, &tokio, TASKS as usize);
    parallel(&mut group, &smol, TASKS as usize);
    parallel_on_workers(&mut group, &tokio_workers, TASKS as usize);
    parallel_on_workers(&mut group, &smol_workers, TASKS as usize);
    group.finish();

    let mut group = criterion.benchmark_group("GetPut_WithPing");
    with_ping(&mut group, &tokio, server);
    with_ping(&mut group, &smol, server);
    group.finish();

    let mut group = criterion.benchmark_group("GetPut_Contended");
    parallel(&mut group, &tokio, FEW);
    parallel(&mut group, &smol, FEW);
    parallel_on_workers(&mut group, &tokio_workers, FEW);
    parallel_on_workers(&mut group, &smol_workers, FEW);
    group.finish();

    criterion.final_summary();
}

/// One task, one connection, default settings. Variants: with limits; without a clock; over TCP
/// with the liveness probe; over TCP without it.
fn sequential(group: &mut Group, runtime: &impl BenchRuntime, server: SocketAddr) {
    let pool = pool_of(1, runtime, plain(), |pool| pool);
    one_task(group, "", runtime, &pool);
    let pool = pool_of(1, runtime, plain(), |pool| {
        pool.idle_timeout(Duration::from_secs(30)).max_lifetime(Duration::from_secs(300))
    });
    one_task(group, "-limits", runtime, &pool);
    let pool = pool_of(1, runtime, plain(), |pool| pool.ping_after(None));
    one_task(group, "-no-clock", runtime, &pool);
    let pool = pool_of(1, runtime, runtime.tcp(server), |pool| pool);
    one_task(group, "-tcp", runtime, &pool);
    let pool = pool_of(1, runtime, runtime.tcp(server), |pool| pool.liveness_after(None));
    one_task(group, "-tcp-no-look", runtime, &pool);
}

/// One task, one TCP connection, pinged at each get. Variant: the ping alone, without a pool.
fn with_ping(group: &mut Group, runtime: &impl BenchRuntime, server: SocketAddr) {
    let pool = pool_of(1, runtime, runtime.tcp(server), |pool| pool.ping_after(Duration::ZERO));
    one_task(group, "", runtime, &pool);

    let manager = runtime.tcp(server);
    let mut conn = runtime.block_on(manager.connect()).expect("connecting");
    let mut pings = async |operations| {
        let start = Instant::now();
        for _ in 0..operations {
            manager.ping(&mut conn).await.expect("pinging");
        }
        start.elapsed()
    };
    group.bench_function(runtime.name() + "-ping-alone", |bencher| {
        bencher.iter_custom(|operations| runtime.block_on(pings(operations)));
    });
}

/// Many tasks, each of which holds its connection over a yield.
fn parallel(group: &mut Group, runtime: &impl BenchRuntime, connections: usize) {
    many_tasks(group, "", runtime, connections, Hold::OverAYield);
}

/// The same on several threads. Variant: an immediate return, as in the Go benchmark.
fn parallel_on_workers(group: &mut Group, runtime: &impl BenchRuntime, connections: usize) {
    many_tasks(group, "", runtime, connections, Hold::OverAYield);
    many_tasks(group, "-no-yield", runtime, connections, Hold::NotAtAll);
}

fn one_task(
    group: &mut Group,
    variant: &str,
    runtime: &impl BenchRuntime,
    pool: &impl PoolUnderTest,
) {
    group.bench_function(runtime.name() + variant, |bencher| {
        // Criterion drops each output before the next iteration.
        bencher.to_async(runtime.clone()).iter(|| pool.get());
    });
}

fn many_tasks(
    group: &mut Group,
    variant: &str,
    runtime: &impl BenchRuntime,
    connections: usize,
    hold: Hold,
) {
    let pool = pool_of(connections, runtime, plain(), |pool| pool);
    let workload = Workload { tasks: TASKS, hold };
    group.bench_function(runtime.name() + variant, |bencher| {
        bencher
            .to_async(runtime.clone())
            .iter_custom(|operations| workload.time(runtime, &pool, operations));
    });
}

/// Creates connections of eight bytes without I/O, so that only the pool is measured.
fn plain() -> impl Manager<Connection = u64> {
    object_fn(|| async { Ok::<u64, Infallible>(7) })
}

/// Builds a pool with all its connections open.
fn pool_of<M: Manager>(
    connections: usize,
    runtime: &impl BenchRuntime,
    manager: M,
    settings: impl FnOnce(Builder<M>) -> Builder<M>,
) -> Pool<M> {
    runtime.block_on(async {
        let pool = settings(runtime.builder(manager)).max_size(connections).min_size(connections);
        pool.build().await.expect("building the pool")
    })
}
