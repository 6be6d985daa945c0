//! deadpool, managed.

use std::io;

use deadpool::managed::{Manager, Metrics, Pool, RecycleError, RecycleResult};

use crate::link::{Check, Link};
use crate::peer::{Handle, Limits, Peer, Setup};
use crate::sockets::{Runtime, Sockets};
use crate::workloads::Kind;

/// deadpool. It has no limits of its own: its users check them in `recycle`, by the metrics that
/// they are given there.
#[derive(Clone, Copy)]
pub(crate) struct Deadpool;

impl Peer for Deadpool {
    type Pool<K: Link, S: Sockets> = Pool<Links<K>>;

    fn name(self) -> &'static str {
        "deadpool"
    }

    fn package(self) -> Option<&'static str> {
        Some("deadpool")
    }

    fn remark(self, kind: Kind) -> Option<&'static str> {
        kind.has_limits().then_some("limits checked in recycle")
    }

    async fn build<K: Link, S: Sockets>(self, link: K, setup: Setup) -> Pool<Links<K>> {
        let manager = Links {
            link,
            check: setup.check,
            limits: setup.limits,
        };
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

/// Its manager.
pub(crate) struct Links<K> {
    link: K,
    check: Check,
    limits: Option<Limits>,
}

impl<K: Link> Manager for Links<K> {
    type Type = K::Conn;
    type Error = io::Error;

    async fn create(&self) -> io::Result<K::Conn> {
        self.link.connect().await
    }

    async fn recycle(&self, conn: &mut K::Conn, metrics: &Metrics) -> RecycleResult<io::Error> {
        if let Some(limits) = self.limits {
            // Two looks at the clock, which is what its metrics offer.
            if limits.are_over(metrics.age(), metrics.last_used()) {
                return Err(RecycleError::message("past its time"));
            }
        }
        if self.check != Check::Nothing {
            self.link.check(conn).await?;
        }
        Ok(())
    }
}

impl<K: Link> Handle for Pool<Links<K>> {
    async fn get(&self) -> Result<impl Send, String> {
        Pool::get(self).await.map_err(|error| error.to_string())
    }
}
