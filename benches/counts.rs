//! Counts the instructions of a thousand operations with valgrind, and fails above a limit.
//!
//! Times depend on the load of the machine. Instruction counts do not, so a change of a few percent
//! is visible. Everything that is counted runs on one thread.
//!
//! All benchmarks share one pool type, as the call sites of a program do. With a single call site
//! the compiler would inline the whole pool, at a lower count.

#![allow(missing_docs, reason = "the macros of gungraun define modules")]

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::thread;
use std::time::Duration;

use connpool_benches::{BenchRuntime, Hold, Smol, Tokio, Workload};
use connpool_core::{Builder, Event, EventKinds, FromFn, Pool, PooledConnection, object_fn};
use futures_lite::future::{poll_once, yield_now};
use gungraun::prelude::*;
use gungraun::{Callgrind, EventKind};

/// The operations of one run.
const OPERATIONS: u64 = 1_000;

/// After this many operations, every buffer has reached its final size.
const WARM_UP: u64 = 500;

/// Returns the limit for a run, from the instructions of one operation. It allows 4 % more than were
/// measured with rustc 1.95 for x86-64.
fn at_most(measured: u64) -> LibraryBenchmarkConfig {
    let limit = measured * OPERATIONS * 104 / 100;
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    LibraryBenchmarkConfig::default().tool(callgrind).clone()
}

type Connected = Result<u64, Infallible>;
type Plain = FromFn<fn() -> Ready<Connected>, u64>;

/// A pool with one connection, and the runtime that it lives on.
struct Subject<R> {
    runtime: R,
    pool: Pool<Plain>,
    /// The connection, if it is not idle.
    held: Option<PooledConnection<'static, Plain>>,
}

fn without_pings<R: BenchRuntime>(runtime: R) -> Subject<R> {
    subject(runtime, |pool| pool.ping_after(None))
}

fn with_defaults<R: BenchRuntime>(runtime: R) -> Subject<R> {
    subject(runtime, |pool| pool)
}

fn with_limits<R: BenchRuntime>(runtime: R) -> Subject<R> {
    subject(runtime, |pool| {
        pool.idle_timeout(Duration::from_secs(30)).max_lifetime(Duration::from_secs(300))
    })
}

fn with_histograms<R: BenchRuntime>(runtime: R) -> Subject<R> {
    subject(runtime, |pool| pool.histograms(true))
}

/// With an observer of all events but those of each get.
fn watched<R: BenchRuntime>(runtime: R) -> Subject<R> {
    let kinds = EventKinds::CONNECTIONS | EventKinds::INCIDENTS;
    subject(runtime, |pool| pool.observer(kinds.to(|_: &str, _: &Event<'_>| ())))
}

/// Nothing is idle, and no get needs a timer: the thread of smol that handles timers varies.
fn exhausted<R: BenchRuntime>(runtime: R) -> Subject<R> {
    let mut subject = subject(runtime, |pool| pool.get_timeout(None));
    let held = subject.runtime.block_on(subject.pool.get_owned());
    subject.held = Some(held.expect("an idle connection"));
    subject.runtime.block_on(repeat(WARM_UP, async || give_up_once(&subject.pool).await));
    subject
}

fn subject<R: BenchRuntime>(
    runtime: R,
    settings: impl FnOnce(Builder<Plain>) -> Builder<Plain>,
) -> Subject<R> {
    let pool = runtime.block_on(async {
        let pool = settings(runtime.builder(object_fn(connect as _))).max_size(1).min_size(1);
        pool.build().await.expect("building the pool")
    });
    // All threads of smol must have started, so that every run counts the same.
    thread::sleep(Duration::from_millis(50));
    runtime.block_on(repeat(WARM_UP, async || {
        end(pool.get().await);
        // Lets the maintenance task of the pool go idle.
        yield_now().await;
    }));
    Subject { runtime, pool, held: None }
}

fn connect() -> Ready<Connected> {
    ready(Ok(7))
}

async fn repeat(operations: u64, operation: impl AsyncFn()) {
    for _ in 0..operations {
        operation().await;
    }
}

/// Returns a connection. Panics on an error, which must not be counted.
fn end<C, E: Debug>(guard: Result<C, E>) {
    drop(black_box(guard.expect("an idle connection")));
}

async fn give_up_once(pool: &Pool<Plain>) {
    assert!(poll_once(pool.get()).await.is_none());
}

#[library_benchmark]
#[bench::tokio(args = (Tokio::new(0)), setup = without_pings, config = at_most(466))]
#[bench::smol(args = (Smol::new(0)), setup = without_pings, config = at_most(471))]
#[bench::tokio_default(args = (Tokio::new(0)), setup = with_defaults, config = at_most(543))]
#[bench::smol_default(args = (Smol::new(0)), setup = with_defaults, config = at_most(548))]
#[bench::tokio_limits(args = (Tokio::new(0)), setup = with_limits, config = at_most(543))]
#[bench::smol_limits(args = (Smol::new(0)), setup = with_limits, config = at_most(548))]
#[bench::tokio_histograms(args = (Tokio::new(0)), setup = with_histograms, config = at_most(575))]
#[bench::tokio_watched(args = (Tokio::new(0)), setup = watched, config = at_most(543))]
fn get_return<R: BenchRuntime>(subject: Subject<R>) -> Subject<R> {
    let pool = &subject.pool;
    subject.runtime.block_on(repeat(OPERATIONS, async || end(pool.get().await)));
    subject
}

#[library_benchmark]
#[bench::tokio(args = (Tokio::new(0)), setup = with_defaults, config = at_most(568))]
#[bench::smol(args = (Smol::new(0)), setup = with_defaults, config = at_most(573))]
fn get_owned_return<R: BenchRuntime>(subject: Subject<R>) -> Subject<R> {
    let pool = &subject.pool;
    subject.runtime.block_on(repeat(OPERATIONS, async || end(pool.get_owned().await)));
    subject
}

#[library_benchmark]
#[bench::tokio(args = (Tokio::new(0)), setup = with_defaults, config = at_most(491))]
#[bench::smol(args = (Smol::new(0)), setup = with_defaults, config = at_most(502))]
fn try_get_return<R: BenchRuntime>(subject: Subject<R>) -> Subject<R> {
    let pool = &subject.pool;
    subject.runtime.block_on(repeat(OPERATIONS, async || end(pool.try_get())));
    subject
}

// Two tasks, one connection: in each operation one task waits for the other's connection.
#[library_benchmark]
#[bench::tokio(args = (Tokio::new(0)), setup = with_defaults, config = at_most(3_033))]
#[bench::smol(args = (Smol::new(0)), setup = with_defaults, config = at_most(3_400))]
fn hand_over<R: BenchRuntime>(subject: Subject<R>) -> Subject<R> {
    let workload = Workload { tasks: 2, hold: Hold::OverAYield };
    subject.runtime.block_on(workload.time(&subject.runtime, &subject.pool, OPERATIONS));
    subject
}

// Enters the wait queue and leaves it.
#[library_benchmark]
#[bench::tokio(args = (Tokio::new(0)), setup = exhausted, config = at_most(1_560))]
#[bench::smol(args = (Smol::new(0)), setup = exhausted, config = at_most(1_574))]
fn give_up<R: BenchRuntime>(subject: Subject<R>) -> Subject<R> {
    let pool = &subject.pool;
    subject.runtime.block_on(repeat(OPERATIONS, async || give_up_once(pool).await));
    subject
}

library_benchmark_group!(
    name = operations,
    benchmarks = [get_return, get_owned_return, try_get_return, hand_over, give_up]
);

main!(library_benchmark_groups = operations);
