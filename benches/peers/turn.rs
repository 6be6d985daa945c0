//! One turn of one pool, whatever becomes of it.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures_lite::future::or;
use smol::channel::{Receiver, bounded};

use crate::pace::Pace;
use crate::peer::Peer;
use crate::sockets::Sockets;
use crate::workloads::{Kind, Sample, perform};

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

/// What a turn is done on: a runtime of its own, so that what is left behind goes with it.
pub(crate) struct Stage<S> {
    /// The runtime.
    pub(crate) lane: S,
    /// How long to measure.
    pub(crate) pace: Pace,
    stop: Receiver<()>,
}

/// The turn was given up.
#[derive(Debug)]
pub(crate) struct Hung;

impl<S: Sockets> Stage<S> {
    /// Waits for the end of it, unless the turn is given up before.
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Hung> {
        let stopped = async {
            // Nothing is ever sent: it ends when the other half is dropped.
            let _ = self.stop.recv().await;
            Err(Hung)
        };
        self.lane.block_on(or(async { Ok(work.await) }, stopped))
    }
}

/// Lets a pool do a workload, on a thread of its own.
pub(crate) fn take<P: Peer, S: Sockets>(
    peer: P,
    kind: Kind,
    pace: Pace,
) -> Result<Sample, Failure> {
    if let Some(why) = peer.cannot::<S>(kind) {
        return Err(Failure::Cannot(why));
    }
    let (keep_on, stop) = bounded(1);
    let (tell, told) = mpsc::channel();
    let turn = move || {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let lane = S::start(kind.workers());
            perform(peer, kind, &Stage { lane, pace, stop })
        }));
        // Nobody listens any more if it took too long even to give up.
        let _ = tell.send(outcome);
    };
    thread::Builder::new()
        .name("turn".into())
        .spawn(turn)
        .expect("starting a thread");
    let outcome = told
        .recv_timeout(pace.patience * kind.weight())
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
