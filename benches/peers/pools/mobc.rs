//! mobc.

use std::future::Future;
use std::io;

use mobc::{Manager, Pool, async_trait};

use crate::competitor::{Competitor, Handle, Setup};
use crate::sockets::{Runtime, Sockets};
use crate::transport::{Check, Transport};

/// mobc. It spawns a task to return a connection.
#[derive(Clone, Copy)]
pub(crate) struct Mobc;

impl Competitor for Mobc {
    type Pool<K: Transport, S: Sockets> = Pool<PoolManager<K>>;

    fn name(self) -> &'static str {
        "mobc"
    }

    fn package(self) -> Option<&'static str> {
        Some("mobc")
    }

    async fn build<K: Transport, S: Sockets>(
        self,
        transport: K,
        setup: Setup,
    ) -> Pool<PoolManager<K>> {
        let manager = PoolManager { transport, runtime: S::RUNTIME };
        let mut builder = Pool::builder()
            .max_open(setup.max as u64)
            // The default of two would close all other returned connections.
            .max_idle(setup.max as u64)
            .test_on_check_out(setup.check != Check::Nothing)
            .max_lifetime(setup.limits.map(|limits| limits.lifetime))
            .max_idle_lifetime(setup.limits.map(|limits| limits.idle));
        if let Some(limit) = setup.timeout {
            builder = builder.get_timeout(Some(limit));
        }
        builder.build(manager)
    }
}

/// The manager.
pub(crate) struct PoolManager<K> {
    transport: K,
    runtime: Runtime,
}

#[async_trait]
impl<K: Transport> Manager for PoolManager<K> {
    type Connection = K::Conn;
    type Error = io::Error;

    fn spawn_task<T>(&self, task: T)
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        match self.runtime {
            Runtime::Tokio => mobc::spawn(task),
            Runtime::Smol => smol::spawn(task).detach(),
        }
    }

    async fn connect(&self) -> io::Result<K::Conn> {
        self.transport.connect().await
    }

    async fn check(&self, conn: K::Conn) -> io::Result<K::Conn> {
        self.transport.check(&conn).await?;
        Ok(conn)
    }
}

impl<K: Transport> Handle for Pool<PoolManager<K>> {
    async fn get(&self) -> Result<impl Send, String> {
        Pool::get(self).await.map_err(|error| error.to_string())
    }
}
