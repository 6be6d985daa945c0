//! r2d2.

use std::io;

use r2d2::{ManageConnection, Pool};

use crate::competitor::{Competitor, Handle, Setup};
use crate::kind::Kind;
use crate::sockets::Sockets;
use crate::transport::{Check, Transport};

/// r2d2, which blocks: tasks are threads, as in its documentation. With a thousand of them
/// `block_in_place` would run out of threads. A single task that never waits calls it directly.
#[derive(Clone, Copy)]
pub(crate) struct R2d2;

impl Competitor for R2d2 {
    type Pool<K: Transport, S: Sockets> = Pool<PoolManager<K>>;

    const BLOCKS: bool = true;

    fn name(self) -> &'static str {
        "r2d2"
    }

    fn package(self) -> Option<&'static str> {
        Some("r2d2")
    }

    fn cannot<S: Sockets>(self, kind: Kind) -> Option<&'static str> {
        match kind {
            Kind::CancelStorm | Kind::MemoryWaiter | Kind::AllocationsWait => {
                Some("blocks a thread per wait, which cannot be cancelled")
            }
            Kind::MemoryIdle => Some("opens connections on its own threads, which are not counted"),
            _ => None,
        }
    }

    fn remark(self, kind: Kind) -> Option<&'static str> {
        match kind {
            Kind::OneIdle(_) => Some("each get iterates over all borrowed connections"),
            _ => kind.has_tasks().then_some("one thread per task"),
        }
    }

    async fn build<K: Transport, S: Sockets>(
        self,
        transport: K,
        setup: Setup,
    ) -> Pool<PoolManager<K>> {
        let mut builder = Pool::builder()
            .max_size(setup.max as u32)
            .test_on_check_out(setup.check != Check::Nothing)
            .max_lifetime(setup.limits.map(|limits| limits.lifetime))
            .idle_timeout(setup.limits.map(|limits| limits.idle));
        if setup.lazy {
            builder = builder.min_idle(Some(0));
        }
        if let Some(limit) = setup.timeout {
            builder = builder.connection_timeout(limit);
        }
        builder.build(PoolManager(transport)).expect("building the pool")
    }
}

/// The manager.
pub(crate) struct PoolManager<K>(K);

impl<K: Transport> ManageConnection for PoolManager<K> {
    type Connection = K::Blocking;
    type Error = io::Error;

    fn connect(&self) -> io::Result<K::Blocking> {
        self.0.connect_blocking()
    }

    fn is_valid(&self, conn: &mut K::Blocking) -> io::Result<()> {
        self.0.check_blocking(conn)
    }

    fn has_broken(&self, _conn: &mut K::Blocking) -> bool {
        false
    }
}

impl<K: Transport> Handle for Pool<PoolManager<K>> {
    async fn get(&self) -> Result<impl Send, String> {
        Pool::get(self).map_err(|error| error.to_string())
    }
}
