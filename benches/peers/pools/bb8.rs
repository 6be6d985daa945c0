//! bb8.

use std::io;

use bb8::{ManageConnection, Pool};

use crate::link::{Check, Link};
use crate::peer::{Handle, Peer, Setup};
use crate::sockets::{Runtime, Sockets};
use crate::workloads::Kind;

/// bb8.
#[derive(Clone, Copy)]
pub(crate) struct Bb8;

impl Peer for Bb8 {
    type Pool<K: Link, S: Sockets> = Pool<Links<K>>;

    fn name(self) -> &'static str {
        "bb8"
    }

    fn package(self) -> Option<&'static str> {
        Some("bb8")
    }

    fn cannot<S: Sockets>(self, _kind: Kind) -> Option<&'static str> {
        (S::RUNTIME != Runtime::Tokio).then_some("needs tokio")
    }

    async fn build<K: Link, S: Sockets>(self, link: K, setup: Setup) -> Pool<Links<K>> {
        let mut builder = Pool::builder()
            .max_size(setup.max as u32)
            // Its default is to check each time, which here is for those workloads that want it.
            .test_on_check_out(setup.check != Check::Nothing)
            .max_lifetime(setup.limits.map(|limits| limits.lifetime))
            .idle_timeout(setup.limits.map(|limits| limits.idle));
        if let Some(limit) = setup.timeout {
            builder = builder.connection_timeout(limit);
        }
        builder.build(Links(link)).await.expect("building the pool")
    }
}

/// Its manager.
pub(crate) struct Links<K>(K);

impl<K: Link> ManageConnection for Links<K> {
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

impl<K: Link> Handle for Pool<Links<K>> {
    async fn get(&self) -> Result<impl Send, String> {
        Pool::get(self).await.map_err(|error| error.to_string())
    }
}
