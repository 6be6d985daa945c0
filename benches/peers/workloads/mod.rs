//! The workloads.

mod counts;
mod many_tasks;
mod one_task;
mod storms;

use std::future::Future;
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use futures_lite::future::{block_on, yield_now};
use smol::channel::bounded;

use crate::competitor::{Competitor, Handle, Limits, Setup};
use crate::context::{Hung, RoundContext};
use crate::kind::Kind;
use crate::sockets::{Runtime, Sockets};
use crate::transport::{Check, Plain, Tcp};

/// A workload and its name.
pub(crate) struct Case {
    /// The name on the command line and in the records.
    pub(crate) name: String,
    /// The kind.
    pub(crate) kind: Kind,
}

/// The result of one round.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// The figure.
    pub(crate) value: f64,
    /// Durations of the timed gets, in nanoseconds.
    pub(crate) waits: Vec<u64>,
    /// The highest number of gets of a task over the lowest.
    pub(crate) fairness: Option<f64>,
    /// A note.
    pub(crate) note: Option<String>,
}

/// Returns all workloads of a runtime. Memory is counted on one thread only, and pools on smol use
/// several.
pub(crate) fn all(runtime: Runtime) -> Vec<Case> {
    let mut all = vec![
        ("sequential".to_owned(), Kind::Sequential),
        ("sequential-limits".to_owned(), Kind::SequentialLimits),
        ("sequential-multi".to_owned(), Kind::SequentialMulti),
    ];
    let parallel = [2, 8, 64, 512].map(|tasks| ("parallel", tasks, tasks));
    let contended = [8, 64, 1024].map(|tasks| ("contended", tasks, 4));
    for (name, tasks, max) in parallel.into_iter().chain(contended) {
        for (variant, yields) in [("", false), ("-yield", true)] {
            let kind = Kind::ManyTasks { tasks, max, yields };
            all.push((format!("{name}-{tasks}{variant}"), kind));
        }
    }
    all.push(("tcp-look".into(), Kind::TcpLook));
    all.push(("tcp-ping".into(), Kind::TcpPing));
    for power in 0..=5 {
        let idle = 10_usize.pow(power);
        all.push((format!("idle-{idle}"), Kind::Idle(idle)));
    }
    all.push(("one-idle-of-100000".into(), Kind::OneIdle(100_000)));
    all.push(("cold-start".into(), Kind::ColdStart));
    all.push(("expired-1000".into(), Kind::Expired));
    all.push(("cancel-storm".into(), Kind::CancelStorm));
    if runtime == Runtime::Tokio {
        all.push(("memory-idle".into(), Kind::MemoryIdle));
        all.push(("memory-waiter".into(), Kind::MemoryWaiter));
        all.push(("allocations".into(), Kind::Allocations));
        all.push(("allocations-wait".into(), Kind::AllocationsWait));
    }
    let all = all.into_iter();
    all.map(|(name, kind)| Case { name, kind }).collect()
}

/// Runs a workload on a pool.
pub(crate) fn run<P: Competitor, S: Sockets>(
    competitor: P,
    kind: Kind,
    context: &RoundContext<S>,
) -> Result<Sample, Hung> {
    let ten = Setup::of(10);
    match kind {
        Kind::Sequential => one_task::with_idle(competitor, context, Plain, ten),
        Kind::SequentialLimits => {
            let limits =
                Some(Limits { idle: Duration::from_secs(30), lifetime: Duration::from_secs(300) });
            one_task::with_idle(competitor, context, Plain, Setup { limits, ..ten })
        }
        Kind::SequentialMulti => one_task::on_a_worker(competitor, context, ten),
        Kind::ManyTasks { tasks, max, yields } => {
            many_tasks::get_and_return(competitor, context, tasks, max, yields)
        }
        Kind::TcpLook => over_tcp(competitor, context, Check::Look),
        Kind::TcpPing => over_tcp(competitor, context, Check::Ping),
        Kind::Idle(idle) => {
            one_task::with_idle(competitor, context, Plain, Setup::of(context.budget.size(idle)))
        }
        Kind::OneIdle(max) => {
            one_task::with_the_last(competitor, context, context.budget.size(max))
        }
        Kind::ColdStart => storms::cold_start(competitor, context),
        Kind::Expired => storms::expired(competitor, context),
        Kind::CancelStorm => storms::cancel(competitor, context),
        Kind::MemoryIdle => counts::idle_bytes(competitor, context),
        Kind::MemoryWaiter => counts::waiter_bytes(competitor, context),
        Kind::Allocations => counts::allocations(competitor, context),
        Kind::AllocationsWait => counts::allocations_of_waits(competitor, context),
    }
}

fn over_tcp<P: Competitor, S: Sockets>(
    competitor: P,
    context: &RoundContext<S>,
    check: Check,
) -> Result<Sample, Hung> {
    let server = connpool_benches::echo::start().expect("starting the echo server");
    let setup = Setup { check, ..Setup::of(1) };
    one_task::with_idle(competitor, context, Tcp::<S>::new(server, check), setup)
}

/// Opens this many connections and returns all of them.
async fn fill(pool: &impl Handle, connections: usize) {
    let mut held = Vec::with_capacity(connections);
    for _ in 0..connections {
        held.push(pool.get().await.expect("getting one of many"));
    }
    drop(held);
    // Some pools return connections in tasks, of which a runtime polls a few dozen before this one.
    for _ in 0..connections.div_ceil(16) {
        yield_now().await;
    }
}

/// Spawns a task, or a thread if the pool blocks.
fn spawn<P: Competitor, S: Sockets, T: Send + 'static>(
    runtime: &S,
    work: impl Future<Output = T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = T> + '_>> {
    if !P::BLOCKS {
        return Box::pin(runtime.spawn(work));
    }
    let (tell, told) = bounded(1);
    thread::spawn(move || tell.send_blocking(block_on(work)));
    Box::pin(async move { told.recv().await.expect("the thread ends without a panic") })
}
