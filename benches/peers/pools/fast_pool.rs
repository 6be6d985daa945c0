//! fast_pool (with an underscore).

use fast_pool::plugin::{CheckMode, DurationManager};
use fast_pool::{ConnectionGuard, Manager, Pool};

use crate::competitor::{Competitor, Handle, Setup};
use crate::kind::Kind;
use crate::sockets::{Runtime, Sockets};
use crate::transport::{Check, Transport};

/// fast_pool. Its plugin has a lifetime, but no idle timeout.
#[derive(Clone, Copy)]
pub(crate) struct FastPool;

impl Competitor for FastPool {
    type Pool<K: Transport, S: Sockets> = Either<K>;

    fn name(self) -> &'static str {
        "fast_pool"
    }

    fn package(self) -> Option<&'static str> {
        Some("fast_pool")
    }

    fn cannot<S: Sockets>(self, _kind: Kind) -> Option<&'static str> {
        (S::RUNTIME != Runtime::Tokio).then_some("needs tokio")
    }

    fn remark(self, kind: Kind) -> Option<&'static str> {
        let remark = "lifetime only (plugin), no idle timeout";
        kind.has_limits().then_some(remark)
    }

    async fn build<K: Transport, S: Sockets>(self, transport: K, setup: Setup) -> Either<K> {
        let manager = PoolManager { transport, check: setup.check };
        match setup.limits {
            None => Either::Plain(configured(manager, setup)),
            Some(limits) => {
                let mode = CheckMode::MaxLifetime(limits.lifetime);
                Either::Dated(configured(DurationManager::new(manager, mode), setup))
            }
        }
    }
}

fn configured<M: Manager>(manager: M, setup: Setup) -> Pool<M> {
    let pool = Pool::new(manager);
    pool.set_max_open(setup.max as u64);
    pool.set_max_idle_conns(setup.max as u64);
    if setup.timeout.is_some() {
        pool.set_timeout_wait(setup.timeout);
    }
    pool
}

/// The pool without and with a lifetime: different types.
pub(crate) enum Either<K: Transport> {
    /// Without a lifetime.
    Plain(Pool<PoolManager<K>>),
    /// With a lifetime.
    Dated(Pool<DurationManager<PoolManager<K>>>),
}

/// A guard of either pool.
enum Guard<K: Transport> {
    Plain(ConnectionGuard<PoolManager<K>>),
    Dated(ConnectionGuard<DurationManager<PoolManager<K>>>),
}

/// The manager.
pub(crate) struct PoolManager<K> {
    transport: K,
    check: Check,
}

impl<K: Transport> Manager for PoolManager<K> {
    type Connection = K::Conn;
    type Error = String;

    async fn connect(&self) -> Result<K::Conn, String> {
        let connected = self.transport.connect().await;
        connected.map_err(|error| error.to_string())
    }

    async fn check(&self, conn: &mut K::Conn) -> Result<(), String> {
        if self.check == Check::Nothing {
            return Ok(());
        }
        let checked = self.transport.check(conn).await;
        checked.map_err(|error| error.to_string())
    }
}

impl<K: Transport> Handle for Either<K> {
    async fn get(&self) -> Result<impl Send, String> {
        Ok(match self {
            Either::Plain(pool) => Guard::Plain(pool.get().await?),
            Either::Dated(pool) => Guard::Dated(pool.get().await?),
        })
    }
}

impl<K: Transport> Clone for Either<K> {
    fn clone(&self) -> Self {
        match self {
            Either::Plain(pool) => Either::Plain(pool.clone()),
            Either::Dated(pool) => Either::Dated(pool.clone()),
        }
    }
}
