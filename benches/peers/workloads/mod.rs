//! What the pools have to do.

mod alone;
mod counts;
mod crowd;
mod storms;

use std::future::Future;
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use futures_lite::future::{block_on, yield_now};
use smol::channel::bounded;

use crate::link::{Check, Plain, Tcp};
use crate::peer::{Handle, Limits, Peer, Setup};
use crate::sockets::{Runtime, Sockets};
use crate::turn::{Hung, Stage};

/// A workload.
pub(crate) struct Workload {
    /// Its name, as on the command line and in the records.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// One task, ten idle connections, nothing to look after.
    Sequential,
    /// The same, with an idle timeout and a lifetime.
    SequentialLimits,
    /// The same as the first, on one of two workers.
    SequentialMulti,
    /// So many tasks on two workers, with so many connections.
    Crowd {
        /// How many tasks.
        tasks: usize,
        /// How many connections.
        max: usize,
        /// Whether each holds its connection over a yield.
        yields: bool,
    },
    /// One task, one TCP connection, which is looked at in the kernel each time.
    TcpLook,
    /// One task, one TCP connection, and one byte there and back each time.
    TcpPing,
    /// One task, so many idle connections.
    Idle(usize),
    /// One task, so many connections, all of them lent but one.
    OneIdle(usize),
    /// A hundred gets at once from an empty pool, of a server that greets after 5 ms.
    ColdStart,
    /// The first get where a thousand idle TCP connections are past their time.
    Expired,
    /// A thousand gets that wait in vain, for a millisecond each.
    CancelStorm,
    /// The bytes of an idle connection.
    MemoryIdle,
    /// The bytes of a get that waits, beside its future.
    MemoryWaiter,
    /// The allocations of a get and a return.
    Allocations,
    /// The allocations of a get that waits, with a timeout, and a return.
    AllocationsWait,
}

/// What one turn found.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// The figure.
    pub(crate) value: f64,
    /// How long some of the gets took, in nanoseconds.
    pub(crate) waits: Vec<u64>,
    /// The most gets that one task had, over the fewest.
    pub(crate) fairness: Option<f64>,
    /// What else is to be known.
    pub(crate) note: Option<String>,
}

/// All workloads of a runtime. Memory is counted on one thread only, and smol's pools work on
/// several.
pub(crate) fn all(runtime: Runtime) -> Vec<Workload> {
    let mut all = vec![
        ("sequential".to_owned(), Kind::Sequential),
        ("sequential-limits".to_owned(), Kind::SequentialLimits),
        ("sequential-multi".to_owned(), Kind::SequentialMulti),
    ];
    let parallel = [2, 8, 64, 512].map(|tasks| ("parallel", tasks, tasks));
    let contended = [8, 64, 1024].map(|tasks| ("contended", tasks, 4));
    for (name, tasks, max) in parallel.into_iter().chain(contended) {
        for (variant, yields) in [("", false), ("-yield", true)] {
            let kind = Kind::Crowd { tasks, max, yields };
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
    all.map(|(name, kind)| Workload { name, kind }).collect()
}

impl Kind {
    /// On how many workers. With none, tasks run on the thread that waits for them.
    pub(crate) fn workers(self) -> usize {
        match self {
            Kind::SequentialMulti | Kind::Crowd { .. } => 2,
            _ => 0,
        }
    }

    /// How many times as much patience as others it needs, for what comes before the measurement.
    pub(crate) fn weight(self) -> u32 {
        match self {
            Kind::Idle(100_000) | Kind::OneIdle(_) => 4,
            _ => 1,
        }
    }

    /// What the figure counts.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Kind::MemoryIdle | Kind::MemoryWaiter => "bytes",
            Kind::Allocations | Kind::AllocationsWait => "allocations",
            _ => "ns",
        }
    }

    /// Whether it is counted rather than timed, and the same each time.
    pub(crate) fn is_a_count(self) -> bool {
        self.unit() != "ns"
    }

    /// Whether connections have an idle timeout and a lifetime.
    pub(crate) fn has_limits(self) -> bool {
        matches!(self, Kind::SequentialLimits | Kind::Expired)
    }

    /// Whether a get has a timeout that it would not have by default.
    pub(crate) fn has_timeout(self) -> bool {
        matches!(self, Kind::CancelStorm | Kind::AllocationsWait)
    }

    /// Whether several tasks use the pool.
    pub(crate) fn has_tasks(self) -> bool {
        matches!(
            self,
            Kind::Crowd { .. } | Kind::ColdStart | Kind::CancelStorm
        )
    }
}

/// Lets a pool do it.
pub(crate) fn perform<P: Peer, S: Sockets>(
    peer: P,
    kind: Kind,
    stage: &Stage<S>,
) -> Result<Sample, Hung> {
    let ten = Setup::of(10);
    match kind {
        Kind::Sequential => alone::with_idle(peer, stage, Plain, ten),
        Kind::SequentialLimits => {
            let limits = Some(Limits {
                idle: Duration::from_secs(30),
                lifetime: Duration::from_secs(300),
            });
            alone::with_idle(peer, stage, Plain, Setup { limits, ..ten })
        }
        Kind::SequentialMulti => alone::on_a_worker(peer, stage, ten),
        Kind::Crowd { tasks, max, yields } => crowd::crowd(peer, stage, tasks, max, yields),
        Kind::TcpLook => over_tcp(peer, stage, Check::Look),
        Kind::TcpPing => over_tcp(peer, stage, Check::Ping),
        Kind::Idle(idle) => alone::with_idle(peer, stage, Plain, Setup::of(stage.pace.size(idle))),
        Kind::OneIdle(max) => alone::with_the_last(peer, stage, stage.pace.size(max)),
        Kind::ColdStart => storms::cold_start(peer, stage),
        Kind::Expired => storms::expired(peer, stage),
        Kind::CancelStorm => storms::cancel(peer, stage),
        Kind::MemoryIdle => counts::idle_bytes(peer, stage),
        Kind::MemoryWaiter => counts::waiter_bytes(peer, stage),
        Kind::Allocations => counts::allocations(peer, stage),
        Kind::AllocationsWait => counts::allocations_of_waits(peer, stage),
    }
}

fn over_tcp<P: Peer, S: Sockets>(peer: P, stage: &Stage<S>, check: Check) -> Result<Sample, Hung> {
    let server = connpool_benches::echo::start().expect("starting the echo server");
    let setup = Setup {
        check,
        ..Setup::of(1)
    };
    alone::with_idle(peer, stage, Tcp::<S>::new(server, check), setup)
}

/// Has so many connections opened, and all of them returned.
async fn fill(pool: &impl Handle, connections: usize) {
    let mut held = Vec::with_capacity(connections);
    for _ in 0..connections {
        held.push(pool.get().await.expect("getting one of many"));
    }
    drop(held);
    // Some pools return by tasks, of which a runtime does a few dozen before it comes back here.
    for _ in 0..connections.div_ceil(16) {
        yield_now().await;
    }
}

/// Starts a task, or a thread if there is something in it that blocks.
fn enlist<P: Peer, S: Sockets, T: Send + 'static>(
    lane: &S,
    work: impl Future<Output = T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = T> + '_>> {
    if !P::BLOCKS {
        return Box::pin(lane.spawn(work));
    }
    let (tell, told) = bounded(1);
    thread::spawn(move || tell.send_blocking(block_on(work)));
    Box::pin(async move { told.recv().await.expect("the thread ends without a panic") })
}
