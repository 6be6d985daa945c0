//! fastpool, without an underscore, bounded.

use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastpool::bounded::{Pool, PoolConfig};
use fastpool::{ManageObject, ObjectStatus};

use crate::link::{Check, Link};
use crate::peer::{Handle, Limits, Peer, Setup};
use crate::sockets::Sockets;
use crate::workloads::Kind;

/// fastpool. It has no timeouts, which its users put around, and no limits, which they check in
/// `is_recyclable`, by the status that they are given there.
#[derive(Clone, Copy)]
pub(crate) struct Fastpool;

impl Peer for Fastpool {
    type Pool<K: Link, S: Sockets> = Timed<K, S>;

    fn name(self) -> &'static str {
        "fastpool"
    }

    fn package(self) -> Option<&'static str> {
        Some("fastpool")
    }

    fn remark(self, kind: Kind) -> Option<&'static str> {
        if kind.has_limits() {
            return Some("limits checked in is_recyclable");
        }
        kind.has_timeout().then_some("the timeout put around")
    }

    async fn build<K: Link, S: Sockets>(self, link: K, setup: Setup) -> Timed<K, S> {
        let manager = Links {
            link,
            check: setup.check,
            limits: setup.limits,
        };
        Timed {
            pool: Pool::new(PoolConfig::new(setup.max), manager),
            timeout: setup.timeout,
            sockets: PhantomData,
        }
    }
}

/// The pool, and the timeout around it if there is to be one.
pub(crate) struct Timed<K: Link, S> {
    pool: Arc<Pool<Links<K>>>,
    timeout: Option<Duration>,
    sockets: PhantomData<fn() -> S>,
}

/// Its manager.
pub(crate) struct Links<K> {
    link: K,
    check: Check,
    limits: Option<Limits>,
}

impl<K: Link> ManageObject for Links<K> {
    type Object = K::Conn;
    type Error = io::Error;

    fn create(&self) -> impl Future<Output = io::Result<K::Conn>> + Send {
        self.link.connect()
    }

    async fn is_recyclable(&self, conn: &mut K::Conn, status: &ObjectStatus) -> io::Result<()> {
        if let Some(limits) = self.limits {
            let now = Instant::now();
            if limits.are_over(now - status.created(), now - status.last_used()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        if self.check != Check::Nothing {
            self.link.check(conn).await?;
        }
        Ok(())
    }
}

impl<K: Link, S: Sockets> Handle for Timed<K, S> {
    async fn get(&self) -> Result<impl Send, String> {
        let got = match self.timeout {
            None => self.pool.get().await,
            Some(limit) => match S::within(limit, self.pool.get()).await {
                Some(got) => got,
                None => return Err("timed out".into()),
            },
        };
        got.map_err(|error| error.to_string())
    }
}

impl<K: Link, S> Clone for Timed<K, S> {
    fn clone(&self) -> Self {
        Timed {
            pool: Arc::clone(&self.pool),
            ..*self
        }
    }
}
