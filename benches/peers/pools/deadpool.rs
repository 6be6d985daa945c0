//! deadpool, managed.

use std::io;

use deadpool::managed::{Manager, Metrics, Pool, RecycleError, RecycleResult};

use crate::competitor::{Competitor, Handle, Limits, Setup};
use crate::kind::Kind;
use crate::sockets::{Runtime, Sockets};
use crate::transport::{Check, Transport};

/// deadpool. It has no age limits: users compare the metrics in `recycle`.
#[derive(Clone, Copy)]
pub(crate) struct Deadpool;

impl Competitor for Deadpool {
    type Pool<K: Transport, S: Sockets> = Pool<PoolManager<K>>;

    fn name(self) -> &'static str {
        "deadpool"
    }

    fn package(self) -> Option<&'static str> {
        Some("deadpool")
    }

    fn remark(self, kind: Kind) -> Option<&'static str> {
        kind.has_limits().then_some("limits checked in recycle")
    }

    async fn build<K: Transport, S: Sockets>(
        self,
        transport: K,
        setup: Setup,
    ) -> Pool<PoolManager<K>> {
        let manager = PoolManager { transport, check: setup.check, limits: setup.limits };
        let mut builder = Pool::builder(manager).max_size(setup.max);
        if let Some(limit) = setup.timeout {
            let runtime = match S::RUNTIME {
                Runtime::Tokio => deadpool::Runtime::Tokio1,
                Runtime::Smol => deadpool::Runtime::Smol2,
            };
            builder = builder.wait_timeout(Some(limit)).runtime(runtime);
        }
        builder.build().expect("building the pool")
    }
}

/// The manager.
pub(crate) struct PoolManager<K> {
    transport: K,
    check: Check,
    limits: Option<Limits>,
}

impl<K: Transport> Manager for PoolManager<K> {
    type Type = K::Conn;
    type Error = io::Error;

    async fn create(&self) -> io::Result<K::Conn> {
        self.transport.connect().await
    }

    async fn recycle(&self, conn: &mut K::Conn, metrics: &Metrics) -> RecycleResult<io::Error> {
        if let Some(limits) = self.limits {
            // The metrics read the clock twice.
            if limits.are_over(metrics.age(), metrics.last_used()) {
                return Err(RecycleError::message("expired"));
            }
        }
        if self.check != Check::Nothing {
            self.transport.check(conn).await?;
        }
        Ok(())
    }
}

impl<K: Transport> Handle for Pool<PoolManager<K>> {
    async fn get(&self) -> Result<impl Send, String> {
        Pool::get(self).await.map_err(|error| error.to_string())
    }
}
