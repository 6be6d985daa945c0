//! Runs a round of one pool, and survives hangs and panics.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use smol::channel::bounded;

use crate::budget::Budget;
use crate::competitor::Competitor;
use crate::context::{Hung, RoundContext};
use crate::kind::Kind;
use crate::sockets::Sockets;
use crate::workloads::{self, Sample};

/// The reason why there is no figure.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The round exceeded its time limit.
    Hangs,
    /// It panicked, or a get failed unexpectedly.
    Breaks(String),
    /// The pool does not support the workload.
    Cannot(&'static str),
}

/// Runs a workload on a pool, on a separate thread.
pub(crate) fn run<P: Competitor, S: Sockets>(
    competitor: P,
    kind: Kind,
    budget: Budget,
) -> Result<Sample, Failure> {
    if let Some(why) = competitor.cannot::<S>(kind) {
        return Err(Failure::Cannot(why));
    }
    let (keep_on, stop) = bounded(1);
    let (tell, told) = mpsc::channel();
    let round = move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let runtime = S::start(kind.workers());
            workloads::run(competitor, kind, &RoundContext::new(runtime, budget, stop))
        }));
        // Fails if this thread took too long even to abandon the round.
        let _ = tell.send(outcome);
    };
    thread::Builder::new().name("round".into()).spawn(round).expect("starting a thread");
    let outcome = told.recv_timeout(budget.patience * kind.weight()).or_else(|_| {
        drop(keep_on);
        told.recv_timeout(Duration::from_secs(1))
    });
    match outcome {
        Ok(Ok(Ok(sample))) => Ok(sample),
        Ok(Err(panic)) => Err(Failure::Breaks(message(&*panic))),
        Ok(Ok(Err(Hung))) | Err(_) => Err(Failure::Hangs),
    }
}

/// Returns the first line of a panic message.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    let line = text.and_then(|text| text.lines().next());
    line.unwrap_or("a panic without a message").to_owned()
}
