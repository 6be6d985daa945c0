//! The pool of sqlx, here over a database without SQL.

mod absent;
mod database;

use sqlx_core::pool::{Pool, PoolOptions};

use crate::competitor::{Competitor, Handle, Setup};
use crate::kind::Kind;
use crate::sockets::Sockets;
use crate::transport::{Check, Transport};
use database::{Options, PoolManager};

/// The pool of sqlx. It spawns a task to return a connection, which pings it again.
#[derive(Clone, Copy)]
pub(crate) struct Sqlx;

impl Competitor for Sqlx {
    type Pool<K: Transport, S: Sockets> = Pool<PoolManager<K>>;

    fn name(self) -> &'static str {
        "sqlx"
    }

    fn package(self) -> Option<&'static str> {
        Some("sqlx-core")
    }

    fn remark(self, kind: Kind) -> Option<&'static str> {
        matches!(kind, Kind::TcpLook | Kind::TcpPing).then_some("checks again at each return")
    }

    async fn build<K: Transport, S: Sockets>(
        self,
        transport: K,
        setup: Setup,
    ) -> Pool<PoolManager<K>> {
        let mut options = PoolOptions::new()
            .max_connections(setup.max as u32)
            // The default is to ping at each get, which not every workload asks for.
            .test_before_acquire(setup.check != Check::Nothing)
            .max_lifetime(setup.limits.map(|limits| limits.lifetime))
            .idle_timeout(setup.limits.map(|limits| limits.idle));
        if let Some(limit) = setup.timeout {
            options = options.acquire_timeout(limit);
        }
        options.connect_lazy_with(Options(transport))
    }
}

impl<K: Transport> Handle for Pool<PoolManager<K>> {
    async fn get(&self) -> Result<impl Send, String> {
        self.acquire().await.map_err(|error| error.to_string())
    }
}
