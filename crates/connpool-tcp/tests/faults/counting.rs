//! What a pool asks of its manager, counted.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::adapter::{Liveness, Manager};

/// Another manager, and what the pool asks of it, counted.
pub(crate) struct Counted<M> {
    inner: M,
    pub(crate) count: Arc<Count>,
}

#[derive(Default)]
pub(crate) struct Count {
    connecting: AtomicU64,
    most_connecting: AtomicU64,
    looks: AtomicU64,
    all_are_dead: AtomicBool,
    misses: AtomicU64,
}

impl<M> Counted<M> {
    pub(crate) fn new(inner: M) -> Counted<M> {
        Counted {
            inner,
            count: Arc::default(),
        }
    }
}

impl Count {
    /// The most connects that were under way at once.
    pub(crate) fn most_connecting(&self) -> u64 {
        self.most_connecting.load(SeqCst)
    }

    /// How often a connection was looked at.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(SeqCst)
    }

    /// From now on a look that begins and finds a connection alive has missed its end.
    pub(crate) fn all_are_dead(&self) {
        self.all_are_dead.store(true, SeqCst);
    }

    pub(crate) fn misses(&self) -> u64 {
        self.misses.load(SeqCst)
    }
}

impl<M: Manager> Manager for Counted<M> {
    type Connection = M::Connection;
    type Error = M::Error;

    async fn connect(&self) -> Result<M::Connection, M::Error> {
        self.inner.connect().await
    }

    async fn connect_within(&self, limit: Option<Duration>) -> Result<M::Connection, M::Error> {
        let _under_way = UnderWay::begin(&self.count);
        self.inner.connect_within(limit).await
    }

    fn ping(&self, conn: &mut M::Connection) -> impl Future<Output = Result<(), M::Error>> + Send {
        self.inner.ping(conn)
    }

    fn needs_reset(&self) -> bool {
        self.inner.needs_reset()
    }

    fn liveness(&self, conn: &mut M::Connection) -> Liveness {
        let is_dead = self.count.all_are_dead.load(SeqCst);
        let seen = self.inner.liveness(conn);
        self.count.looks.fetch_add(1, SeqCst);
        if is_dead && seen == Liveness::Alive {
            self.count.misses.fetch_add(1, SeqCst);
        }
        seen
    }

    fn is_reusable(&self, conn: &mut M::Connection) -> bool {
        self.inner.is_reusable(conn)
    }
}

/// A connect that may end in any way, or be dropped.
struct UnderWay<'a>(&'a Count);

impl<'a> UnderWay<'a> {
    fn begin(count: &'a Count) -> UnderWay<'a> {
        let now = count.connecting.fetch_add(1, SeqCst) + 1;
        count.most_connecting.fetch_max(now, SeqCst);
        UnderWay(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.connecting.fetch_sub(1, SeqCst);
    }
}
