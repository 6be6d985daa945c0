//! Runs a number of operations of one scenario and exits. `cargo xtask counts` counts its
//! instructions. Everything runs on the waiting thread.
//!
//! All scenarios share one pool type, as the call sites of a program do. With a single call site
//! the compiler would inline the whole pool, at a lower count.

use std::convert::Infallible;
use std::env;
use std::fmt::Debug;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use connpool_benches::{BenchRuntime, Hold, Smol, Tokio, Workload};
use connpool_core::{Builder, FromFn, Pool, object_fn};
use futures_lite::future::{poll_once, yield_now};

const USAGE: &str = "usage: counts --list, or counts SCENARIO/RUNTIME OPERATIONS";

/// After this many operations, every buffer has reached its final size.
const WARM_UP: u64 = 500;

/// The name of a scenario, and the function that runs it.
type Scenario<L> = (&'static str, fn(&L, u64));

type Connected = Result<u64, Infallible>;
type Plain = FromFn<fn() -> Ready<Connected>, u64>;

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["--list"] => list(),
        [name, operations] => run(name, operations),
        _ => None,
    };
    match done {
        Some(()) => ExitCode::SUCCESS,
        None => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> Option<()> {
    for (scenario, _) in scenarios::<Tokio>() {
        println!("{scenario}/tokio\n{scenario}/smol");
    }
    Some(())
}

/// Returns `None` if the scenario does not exist or `operations` is not a number.
fn run(name: &str, operations: &str) -> Option<()> {
    let operations = operations.parse().ok()?;
    match name.rsplit_once('/')? {
        (scenario, "tokio") => run_on(&Tokio::new(0), scenario, operations),
        (scenario, "smol") => run_on(&Smol::new(0), scenario, operations),
        _ => None,
    }
}

fn run_on<L: BenchRuntime>(runtime: &L, name: &str, operations: u64) -> Option<()> {
    let found = scenarios().into_iter().find(|(scenario, _)| *scenario == name);
    found.map(|(_, run)| run(runtime, operations))
}

fn scenarios<L: BenchRuntime>() -> [Scenario<L>; 7] {
    [
        ("get-return", |runtime, operations| {
            let pool = pool(runtime, |pool| pool.ping_after(None));
            repeat(runtime, operations, async || end(pool.get().await));
        }),
        ("get-return-default", |runtime, operations| {
            let pool = pool(runtime, |pool| pool);
            repeat(runtime, operations, async || end(pool.get().await));
        }),
        ("get-return-limits", |runtime, operations| {
            let pool = pool(runtime, |pool| {
                pool.idle_timeout(Duration::from_secs(30)).max_lifetime(Duration::from_secs(300))
            });
            repeat(runtime, operations, async || end(pool.get().await));
        }),
        ("get-return-owned", |runtime, operations| {
            let pool = pool(runtime, |pool| pool);
            repeat(runtime, operations, async || end(pool.get_owned().await));
        }),
        ("try-get", |runtime, operations| {
            let pool = pool(runtime, |pool| pool);
            repeat(runtime, operations, async || end(pool.try_get()));
        }),
        // Two tasks, one connection: in each operation one task waits for the other's connection.
        ("handover", |runtime, operations| {
            let pool = pool(runtime, |pool| pool);
            let workload = Workload { tasks: 2, hold: Hold::OverAYield };
            runtime.block_on(workload.time(runtime, &pool, WARM_UP + operations));
        }),
        // Enters the wait queue and leaves it. Without a timer, since the smol thread that handles
        // timers varies between runs.
        ("give-up", |runtime, operations| {
            let pool = pool(runtime, |pool| pool.get_timeout(None));
            let held = runtime.block_on(pool.get_owned());
            let operation = async || assert!(poll_once(pool.get()).await.is_none());
            repeat(runtime, operations, operation);
            drop(held);
        }),
    ]
}

fn repeat(runtime: &impl BenchRuntime, operations: u64, operation: impl AsyncFn()) {
    runtime.block_on(async {
        for _ in 0..WARM_UP {
            operation().await;
            // Lets the maintenance task of the pool go idle.
            yield_now().await;
        }
        for _ in 0..operations {
            operation().await;
        }
    });
}

/// Returns a connection. Panics on an error, which must not be counted.
fn end<C, E: Debug>(guard: Result<C, E>) {
    drop(black_box(guard.expect("an idle connection")));
}

/// Builds a pool with one idle connection of eight bytes.
fn pool(
    runtime: &impl BenchRuntime,
    settings: impl FnOnce(Builder<Plain>) -> Builder<Plain>,
) -> Pool<Plain> {
    let pool = runtime.block_on(async {
        let pool = settings(runtime.builder(object_fn(connect as _))).max_size(1).min_size(1);
        pool.build().await.expect("building the pool")
    });
    // All threads of smol must have started, so that every run counts the same.
    thread::sleep(Duration::from_millis(50));
    pool
}

fn connect() -> Ready<Connected> {
    ready(Ok(7))
}
