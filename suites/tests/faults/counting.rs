//! A manager that counts the calls of the pool.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::adapter::{Liveness, Manager, StreamOf};

/// Wraps a manager and counts the calls of the pool.
pub(crate) struct CountingManager<M> {
    inner: M,
    pub(crate) count: Arc<Count>,
}

#[derive(Default)]
pub(crate) struct Count {
    connecting: AtomicU64,
    max_connecting_seen: AtomicU64,
    probes: AtomicU64,
    expect_dead: AtomicBool,
    missed: AtomicU64,
}

impl<M> CountingManager<M> {
    pub(crate) fn new(inner: M) -> CountingManager<M> {
        CountingManager { inner, count: Arc::default() }
    }
}

impl Count {
    /// Returns the highest number of concurrent connects.
    pub(crate) fn max_connecting_seen(&self) -> u64 {
        self.max_connecting_seen.load(SeqCst)
    }

    /// Returns the number of liveness probes.
    pub(crate) fn probes(&self) -> u64 {
        self.probes.load(SeqCst)
    }

    /// From now on, a probe that finds a connection alive counts as missed.
    pub(crate) fn expect_dead(&self) {
        self.expect_dead.store(true, SeqCst);
    }

    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(SeqCst)
    }
}

impl<M: Manager> Manager for CountingManager<M> {
    type Connection = M::Connection;
    type Error = M::Error;

    async fn connect(&self) -> Result<M::Connection, M::Error> {
        self.inner.connect().await
    }

    fn stream(&self) -> Option<StreamOf<M::Connection>> {
        self.inner.stream()
    }

    async fn connect_within(&self, limit: Option<Duration>) -> Result<M::Connection, M::Error> {
        let _in_progress = ConnectInProgress::begin(&self.count);
        self.inner.connect_within(limit).await
    }

    fn ping(&self, conn: &mut M::Connection) -> impl Future<Output = Result<(), M::Error>> + Send {
        self.inner.ping(conn)
    }

    fn needs_reset(&self) -> bool {
        self.inner.needs_reset()
    }

    fn liveness(&self, conn: &mut M::Connection) -> Liveness {
        let is_dead = self.count.expect_dead.load(SeqCst);
        let seen = self.inner.liveness(conn);
        self.count.probes.fetch_add(1, SeqCst);
        if is_dead && seen == Liveness::Alive {
            self.count.missed.fetch_add(1, SeqCst);
        }
        seen
    }
}

/// A connect in progress, counted until it ends or is dropped.
struct ConnectInProgress<'a>(&'a Count);

impl<'a> ConnectInProgress<'a> {
    fn begin(count: &'a Count) -> ConnectInProgress<'a> {
        let now = count.connecting.fetch_add(1, SeqCst) + 1;
        count.max_connecting_seen.fetch_max(now, SeqCst);
        ConnectInProgress(count)
    }
}

impl Drop for ConnectInProgress<'_> {
    fn drop(&mut self) {
        self.0.connecting.fetch_sub(1, SeqCst);
    }
}
