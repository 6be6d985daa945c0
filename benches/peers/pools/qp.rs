//! qp.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use qp::Pool;
use qp::resource::Manage;

use crate::competitor::{Competitor, Handle, Setup};
use crate::kind::Kind;
use crate::sockets::Sockets;
use crate::transport::{Check, Transport};

/// qp. It has no timeouts, which users wrap around a get.
#[derive(Clone, Copy)]
pub(crate) struct Qp;

impl Competitor for Qp {
    type Pool<K: Transport, S: Sockets> = Timed<K, S>;

    fn name(self) -> &'static str {
        "qp"
    }

    fn package(self) -> Option<&'static str> {
        Some("qp")
    }

    fn cannot<S: Sockets>(self, kind: Kind) -> Option<&'static str> {
        let why = "has no limits and does not report ages";
        kind.has_limits().then_some(why)
    }

    fn remark(self, kind: Kind) -> Option<&'static str> {
        kind.has_timeout().then_some("timeout wrapped around the get")
    }

    async fn build<K: Transport, S: Sockets>(self, transport: K, setup: Setup) -> Timed<K, S> {
        Timed {
            pool: Pool::new(PoolManager(transport), setup.max),
            checks: setup.check != Check::Nothing,
            timeout: setup.timeout,
            sockets: PhantomData,
        }
    }
}

/// The pool, with the options of each get.
pub(crate) struct Timed<K: Transport, S> {
    pool: Pool<PoolManager<K>>,
    checks: bool,
    timeout: Option<Duration>,
    sockets: PhantomData<fn() -> S>,
}

/// The manager.
pub(crate) struct PoolManager<K>(K);

#[async_trait]
impl<K: Transport> Manage for PoolManager<K> {
    type Output = K::Conn;
    type Error = io::Error;

    async fn try_create(&self) -> io::Result<K::Conn> {
        self.0.connect().await
    }

    async fn validate(&self, conn: &K::Conn) -> bool {
        self.0.check(conn).await.is_ok()
    }
}

impl<K: Transport, S: Sockets> Handle for Timed<K, S> {
    async fn get(&self) -> Result<impl Send, String> {
        let got = match (self.timeout, self.checks) {
            (None, true) => self.pool.acquire().await,
            // The check is a boxed future, so it is skipped where there is nothing to check.
            (None, false) => self.pool.acquire_unchecked().await,
            (Some(limit), _) => match S::within(limit, self.pool.acquire_unchecked()).await {
                Some(got) => got,
                None => return Err("timed out".into()),
            },
        };
        got.map_err(|error| error.to_string())
    }
}

impl<K: Transport, S> Clone for Timed<K, S> {
    fn clone(&self) -> Self {
        Timed { pool: self.pool.clone(), ..*self }
    }
}
