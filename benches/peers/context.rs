//! The environment of a round.

use std::future::Future;

use futures_lite::future::or;
use smol::channel::Receiver;

use crate::budget::Budget;
use crate::sockets::Sockets;

/// The environment of a round: its own runtime, so that leftover tasks end with it.
pub(crate) struct RoundContext<S> {
    /// The runtime.
    pub(crate) runtime: S,
    /// The time budget.
    pub(crate) budget: Budget,
    stop: Receiver<()>,
}

/// The round was abandoned.
#[derive(Debug)]
pub(crate) struct Hung;

impl<S: Sockets> RoundContext<S> {
    /// Creates a context. Dropping the sender of `stop` abandons the round.
    pub(crate) fn new(runtime: S, budget: Budget, stop: Receiver<()>) -> Self {
        RoundContext { runtime, budget, stop }
    }

    /// Runs `work` to its end, unless the round is abandoned first.
    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, Hung> {
        let stopped = async {
            // The sender never sends: `recv` ends when it is dropped.
            let _ = self.stop.recv().await;
            Err(Hung)
        };
        self.runtime.block_on(or(async { Ok(work.await) }, stopped))
    }
}
