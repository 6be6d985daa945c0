//! What a workload runs on.

use std::future::Future;

use futures_lite::future::or;
use smol::channel::Receiver;

use crate::budget::Budget;
use crate::sockets::Sockets;

/// What a turn is done on: a runtime of its own, so that what is left behind goes with it.
pub(crate) struct RoundContext<S> {
    /// The runtime.
    pub(crate) runtime: S,
    /// How long to measure.
    pub(crate) budget: Budget,
    stop: Receiver<()>,
}

/// The turn was given up.
#[derive(Debug)]
pub(crate) struct Hung;

impl<S: Sockets> RoundContext<S> {
    /// Creates a context. Dropping the sender of `stop` abandons the round.
    pub(crate) fn new(runtime: S, budget: Budget, stop: Receiver<()>) -> Self {
        RoundContext {
            runtime,
            budget,
            stop,
        }
    }

    /// Waits for the end of it, unless the turn is given up before.
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Hung> {
        let stopped = async {
            // Nothing is ever sent: it ends when the other half is dropped.
            let _ = self.stop.recv().await;
            Err(Hung)
        };
        self.runtime.block_on(or(async { Ok(work.await) }, stopped))
    }
}
