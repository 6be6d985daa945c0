//! bb8.

use std::io;

use bb8::{ManageConnection, Pool};

use crate::competitor::{Competitor, Handle, Setup};
use crate::kind::Kind;
use crate::sockets::{Runtime, Sockets};
use crate::transport::{Check, Transport};

/// bb8.
#[derive(Clone, Copy)]
pub(crate) struct Bb8;

impl Competitor for Bb8 {
    type Pool<K: Transport, S: Sockets> = Pool<PoolManager<K>>;

    fn name(self) -> &'static str {
        "bb8"
    }

    fn package(self) -> Option<&'static str> {
        Some("bb8")
    }

    fn cannot<S: Sockets>(self, _kind: Kind) -> Option<&'static str> {
        (S::RUNTIME != Runtime::Tokio).then_some("needs tokio")
    }

    async fn build<K: Transport, S: Sockets>(
        self,
        transport: K,
        setup: Setup,
    ) -> Pool<PoolManager<K>> {
        let mut builder = Pool::builder()
            .max_size(setup.max as u32)
            // The default is to check at each get, which not every workload asks for.
            .test_on_check_out(setup.check != Check::Nothing)
            .max_lifetime(setup.limits.map(|limits| limits.lifetime))
            .idle_timeout(setup.limits.map(|limits| limits.idle));
        if let Some(limit) = setup.timeout {
            builder = builder.connection_timeout(limit);
        }
        builder.build(PoolManager(transport)).await.expect("building the pool")
    }
}

/// The manager.
pub(crate) struct PoolManager<K>(K);

impl<K: Transport> ManageConnection for PoolManager<K> {
    type Connection = K::Conn;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<K::Conn> {
        self.0.connect().await
    }

    async fn is_valid(&self, conn: &mut K::Conn) -> io::Result<()> {
        self.0.check(conn).await
    }

    fn has_broken(&self, _conn: &mut K::Conn) -> bool {
        false
    }
}

impl<K: Transport> Handle for Pool<PoolManager<K>> {
    async fn get(&self) -> Result<impl Send, String> {
        Pool::get(self).await.map_err(|error| error.to_string())
    }
}
