//! The pools under test, as the workloads see them.

use std::future::Future;
use std::time::Duration;

use crate::kind::Kind;
use crate::sockets::Sockets;
use crate::transport::{Check, Transport};

/// A pool under test: how those who chose it build it.
pub(crate) trait Competitor: Copy + Send + 'static {
    /// The pool of a kind of connection, on a runtime.
    type Pool<K: Transport, S: Sockets>: Handle;

    /// Whether it blocks its thread while it waits, so that each task needs one of its own.
    const BLOCKS: bool = false;

    /// As in the records.
    fn name(self) -> &'static str;

    /// The crate that it comes from, if any.
    fn package(self) -> Option<&'static str>;

    /// Why it cannot do a workload on a runtime, if so.
    fn cannot<S: Sockets>(self, kind: Kind) -> Option<&'static str> {
        let _ = kind;
        None
    }

    /// What is to be known about how it does a workload.
    fn remark(self, kind: Kind) -> Option<&'static str> {
        let _ = kind;
        None
    }

    /// Builds a pool with its default settings, but for those in `setup`.
    fn build<K: Transport, S: Sockets>(
        self,
        transport: K,
        setup: Setup,
    ) -> impl Future<Output = Self::Pool<K, S>>;
}

/// A handle of a pool, of which every task has a clone.
pub(crate) trait Handle: Clone + Send + Sync + 'static {
    /// Borrows a connection. Dropping what comes out returns it.
    fn get(&self) -> impl Future<Output = Result<impl Send, String>> + Send;
}

/// What a workload wants of a pool.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    /// How many connections at most.
    pub(crate) max: usize,
    /// What to check before each lending.
    pub(crate) check: Check,
    /// For how long a connection may be idle, and how old it may become. `None`: both for ever,
    /// and no clock need be read.
    pub(crate) limits: Option<Limits>,
    /// How long a get may wait. `None`: whatever the pool does by default, which is for ever with
    /// deadpool, fastpool and qp, and ten or thirty seconds with the others.
    pub(crate) timeout: Option<Duration>,
    /// Whether a pool that opens its connections ahead is not to do so.
    pub(crate) lazy: bool,
}

/// How old a connection may become.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// For how long it may be idle.
    pub(crate) idle: Duration,
    /// How old it may become.
    pub(crate) lifetime: Duration,
}

impl Setup {
    /// So many connections, and nothing to look after.
    pub(crate) fn of(max: usize) -> Self {
        Setup {
            max,
            check: Check::Nothing,
            limits: None,
            timeout: None,
            lazy: false,
        }
    }
}

impl Limits {
    /// Whether a connection is past its time.
    pub(crate) fn are_over(self, age: Duration, idle: Duration) -> bool {
        age > self.lifetime || idle > self.idle
    }
}
