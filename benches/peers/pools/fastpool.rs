//! fastpool (without an underscore), bounded.

use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastpool::bounded::{Pool, PoolConfig};
use fastpool::{ManageObject, ObjectStatus};

use crate::competitor::{Competitor, Handle, Limits, Setup};
use crate::kind::Kind;
use crate::sockets::Sockets;
use crate::transport::{Check, Transport};

/// fastpool. It has no timeouts, which users wrap around a get, and no age limits, which users
/// check in `is_recyclable`.
#[derive(Clone, Copy)]
pub(crate) struct Fastpool;

impl Competitor for Fastpool {
    type Pool<K: Transport, S: Sockets> = Timed<K, S>;

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
        kind.has_timeout().then_some("timeout wrapped around the get")
    }

    async fn build<K: Transport, S: Sockets>(self, transport: K, setup: Setup) -> Timed<K, S> {
        let manager = PoolManager { transport, check: setup.check, limits: setup.limits };
        Timed {
            pool: Pool::new(PoolConfig::new(setup.max), manager),
            timeout: setup.timeout,
            sockets: PhantomData,
        }
    }
}

/// The pool, with an optional timeout around each get.
pub(crate) struct Timed<K: Transport, S> {
    pool: Arc<Pool<PoolManager<K>>>,
    timeout: Option<Duration>,
    sockets: PhantomData<fn() -> S>,
}

/// The manager.
pub(crate) struct PoolManager<K> {
    transport: K,
    check: Check,
    limits: Option<Limits>,
}

impl<K: Transport> ManageObject for PoolManager<K> {
    type Object = K::Conn;
    type Error = io::Error;

    fn create(&self) -> impl Future<Output = io::Result<K::Conn>> + Send {
        self.transport.connect()
    }

    async fn is_recyclable(&self, conn: &mut K::Conn, status: &ObjectStatus) -> io::Result<()> {
        if let Some(limits) = self.limits {
            let now = Instant::now();
            if limits.are_over(now - status.created(), now - status.last_used()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        if self.check != Check::Nothing {
            self.transport.check(conn).await?;
        }
        Ok(())
    }
}

impl<K: Transport, S: Sockets> Handle for Timed<K, S> {
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

impl<K: Transport, S> Clone for Timed<K, S> {
    fn clone(&self) -> Self {
        Timed { pool: Arc::clone(&self.pool), ..*self }
    }
}
