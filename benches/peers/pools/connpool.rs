//! connpool.

use std::time::Duration;

use connpool_core::{Builder, Manager, Pool};

use crate::competitor::{Competitor, Handle, Setup};
use crate::sockets::{Runtime, Sockets};
use crate::transport::{Check, Transport};

/// connpool.
#[derive(Clone, Copy)]
pub(crate) struct Connpool {
    /// The value of `liveness_after`.
    pub(crate) look_after: Duration,
}

impl Competitor for Connpool {
    type Pool<K: Transport, S: Sockets> = Pool<K::Manager>;

    fn name(self) -> &'static str {
        match self.look_after {
            Duration::ZERO => "connpool",
            _ => "connpool, liveness_after 1 s",
        }
    }

    fn package(self) -> Option<&'static str> {
        Some("connpool-core")
    }

    async fn build<K: Transport, S: Sockets>(self, transport: K, setup: Setup) -> Pool<K::Manager> {
        let builder = match S::RUNTIME {
            Runtime::Tokio => connpool_tokio::builder(transport.manager()),
            Runtime::Smol => connpool_smol::builder(transport.manager()),
        };
        let builder = builder.max_size(setup.max).liveness_after(self.look_after);
        let pool = configured(builder, setup).build_lazy();
        pool.expect("building the pool")
    }
}

fn configured<M: Manager>(mut builder: Builder<M>, setup: Setup) -> Builder<M> {
    builder = match setup.check {
        // The other pools have their check disabled, or have none.
        Check::Nothing => builder.ping_after(None),
        Check::Look => builder,
        Check::Ping => builder.ping_after(Duration::ZERO),
    };
    if let Some(limits) = setup.limits {
        builder = builder.idle_timeout(limits.idle).max_lifetime(limits.lifetime);
    }
    if let Some(limit) = setup.timeout {
        builder = builder.get_timeout(limit);
    }
    builder
}

impl<M: Manager> Handle for Pool<M> {
    async fn get(&self) -> Result<impl Send, String> {
        Pool::get(self).await.map_err(|error| error.to_string())
    }
}
