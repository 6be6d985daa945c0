//! The interface between the pools and the workloads.

use std::future::Future;
use std::time::Duration;

use crate::kind::Kind;
use crate::sockets::Sockets;
use crate::transport::{Check, Transport};

/// A pool in the comparison.
pub(crate) trait Competitor: Copy + Send + 'static {
    /// The pool for a transport on a runtime.
    type Pool<K: Transport, S: Sockets>: Handle;

    /// Set if a get blocks its thread, so that each task needs its own thread.
    const BLOCKS: bool = false;

    /// Returns the name used in the records.
    fn name(self) -> &'static str;

    /// Returns the crate of the pool, if any.
    fn package(self) -> Option<&'static str>;

    /// Returns the reason if the pool does not support a workload on this runtime.
    fn cannot<S: Sockets>(self, kind: Kind) -> Option<&'static str> {
        let _ = kind;
        None
    }

    /// Returns a note on how the pool performs a workload.
    fn remark(self, kind: Kind) -> Option<&'static str> {
        let _ = kind;
        None
    }

    /// Builds a pool with its default settings, apart from those in `setup`.
    fn build<K: Transport, S: Sockets>(
        self,
        transport: K,
        setup: Setup,
    ) -> impl Future<Output = Self::Pool<K, S>>;
}

/// A handle to a pool, cloned for every task.
pub(crate) trait Handle: Clone + Send + Sync + 'static {
    /// Borrows a connection. Dropping the guard returns it.
    fn get(&self) -> impl Future<Output = Result<impl Send, String>> + Send;
}

/// The settings that a workload requires.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    /// The maximum number of connections.
    pub(crate) max: usize,
    /// The check before each checkout.
    pub(crate) check: Check,
    /// Idle timeout and lifetime. With `None` there are no limits, and the pool need not read a
    /// clock.
    pub(crate) limits: Option<Limits>,
    /// The timeout of a get. `None` keeps the default of the pool: none in deadpool, fastpool and
    /// qp, ten or thirty seconds in the others.
    pub(crate) timeout: Option<Duration>,
    /// Do not open connections in advance.
    pub(crate) lazy: bool,
}

/// Age limits of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The idle timeout.
    pub(crate) idle: Duration,
    /// The maximum lifetime.
    pub(crate) lifetime: Duration,
}

impl Setup {
    /// Creates a setup without checks and limits.
    pub(crate) fn of(max: usize) -> Self {
        Setup { max, check: Check::Nothing, limits: None, timeout: None, lazy: false }
    }
}

impl Limits {
    /// Returns whether a connection has exceeded its limits.
    pub(crate) fn are_over(self, age: Duration, idle: Duration) -> bool {
        age > self.lifetime || idle > self.idle
    }
}
