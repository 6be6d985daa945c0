//! One turn of one pool, whatever becomes of it.

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

/// Why there is no figure.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// It was not done in time, by far.
    Hangs,
    /// It panicked, or a get failed that should not.
    Breaks(String),
    /// It is not made for this.
    Cannot(&'static str),
}

/// Lets a pool do a workload, on a thread of its own.
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
        // Nobody listens any more if it took too long even to give up.
        let _ = tell.send(outcome);
    };
    thread::Builder::new()
        .name("round".into())
        .spawn(round)
        .expect("starting a thread");
    let outcome = told
        .recv_timeout(budget.patience * kind.weight())
        .or_else(|_| {
            drop(keep_on);
            told.recv_timeout(Duration::from_secs(1))
        });
    match outcome {
        Ok(Ok(Ok(sample))) => Ok(sample),
        Ok(Err(panic)) => Err(Failure::Breaks(message(&*panic))),
        Ok(Ok(Err(Hung))) | Err(_) => Err(Failure::Hangs),
    }
}

/// What a panic says, in one line.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    let line = text.and_then(|text| text.lines().next());
    line.unwrap_or("a panic without a message").to_owned()
}
