//! qp.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use qp::Pool;
use qp::resource::Manage;

use crate::link::{Check, Link};
use crate::peer::{Handle, Peer, Setup};
use crate::sockets::Sockets;
use crate::workloads::Kind;

/// qp. It has no timeouts, which its users put around.
#[derive(Clone, Copy)]
pub(crate) struct Qp;

impl Peer for Qp {
    type Pool<K: Link, S: Sockets> = Timed<K, S>;

    fn name(self) -> &'static str {
        "qp"
    }

    fn package(self) -> Option<&'static str> {
        Some("qp")
    }

    fn cannot<S: Sockets>(self, kind: Kind) -> Option<&'static str> {
        let why = "has no limits, and does not tell how old a connection is";
        kind.has_limits().then_some(why)
    }

    fn remark(self, kind: Kind) -> Option<&'static str> {
        kind.has_timeout().then_some("the timeout put around")
    }

    async fn build<K: Link, S: Sockets>(self, link: K, setup: Setup) -> Timed<K, S> {
        Timed {
            pool: Pool::new(Links(link), setup.max),
            checks: setup.check != Check::Nothing,
            timeout: setup.timeout,
            sockets: PhantomData,
        }
    }
}

/// The pool, and what its users have to say at each get.
pub(crate) struct Timed<K: Link, S> {
    pool: Pool<Links<K>>,
    checks: bool,
    timeout: Option<Duration>,
    sockets: PhantomData<fn() -> S>,
}

/// Its manager.
pub(crate) struct Links<K>(K);

#[async_trait]
impl<K: Link> Manage for Links<K> {
    type Output = K::Conn;
    type Error = io::Error;

    async fn try_create(&self) -> io::Result<K::Conn> {
        self.0.connect().await
    }

    async fn validate(&self, conn: &K::Conn) -> bool {
        self.0.check(conn).await.is_ok()
    }
}

impl<K: Link, S: Sockets> Handle for Timed<K, S> {
    async fn get(&self) -> Result<impl Send, String> {
        let got = match (self.timeout, self.checks) {
            (None, true) => self.pool.acquire().await,
            // Its check is a boxed future, so its users leave it out where there is none.
            (None, false) => self.pool.acquire_unchecked().await,
            (Some(limit), _) => match S::within(limit, self.pool.acquire_unchecked()).await {
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
            pool: self.pool.clone(),
            ..*self
        }
    }
}
