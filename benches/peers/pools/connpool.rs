//! connpool.

use std::hint::black_box;
use std::time::Duration;

use connpool_core::{Builder, Event, EventKinds, Manager, Pool};

use crate::competitor::{Competitor, Handle, Setup};
use crate::sockets::{Runtime, Sockets};
use crate::transport::{Check, Transport};

/// connpool.
#[derive(Clone, Copy)]
pub(crate) enum Connpool {
    /// Set up like the other pools.
    Plain,
    /// Looks only at connections that were idle for a second.
    LooksSeldom,
    /// Keeps histograms.
    Histograms,
    /// With an observer of all events but those of each `get`.
    Observer,
    /// With an observer of all events.
    ObserverOfGets,
}

impl Competitor for Connpool {
    type Pool<K: Transport, S: Sockets> = Pool<K::Manager>;

    fn name(self) -> &'static str {
        match self {
            Connpool::Plain => "connpool",
            Connpool::LooksSeldom => "connpool, liveness_after 1 s",
            Connpool::Histograms => "connpool, histograms",
            Connpool::Observer => "connpool, an observer",
            Connpool::ObserverOfGets => "connpool, an observer of gets",
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
        let builder = builder.max_size(setup.max).liveness_after(Duration::ZERO);
        let kinds = EventKinds::CONNECTIONS | EventKinds::INCIDENTS;
        let ignore = |_: &str, event: &Event<'_>| _ = black_box(event);
        let builder = match self {
            Connpool::Plain => builder,
            Connpool::LooksSeldom => builder.liveness_after(Duration::from_secs(1)),
            Connpool::Histograms => builder.histograms(true),
            Connpool::Observer => builder.observer(kinds.to(ignore)),
            Connpool::ObserverOfGets => builder.observer(ignore),
        };
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
