//! No pool at all: what a check costs by itself.

use std::sync::Arc;

use crate::link::Link;
use crate::peer::{Handle, Peer, Setup};
use crate::sockets::Sockets;

/// A connection that is checked each time, and not pooled.
#[derive(Clone, Copy)]
pub(crate) struct Bare;

/// The connection.
pub(crate) struct Conn<K: Link> {
    link: K,
    conn: Arc<K::Conn>,
}

impl Peer for Bare {
    type Pool<K: Link, S: Sockets> = Conn<K>;

    fn name(self) -> &'static str {
        "no pool"
    }

    fn package(self) -> Option<&'static str> {
        None
    }

    async fn build<K: Link, S: Sockets>(self, link: K, _setup: Setup) -> Conn<K> {
        let conn = link.connect().await.expect("connecting");
        Conn {
            link,
            conn: Arc::new(conn),
        }
    }
}

impl<K: Link> Handle for Conn<K> {
    async fn get(&self) -> Result<impl Send, String> {
        let checked = self.link.check(&self.conn).await;
        checked.map_err(|error| error.to_string())
    }
}

impl<K: Link> Clone for Conn<K> {
    fn clone(&self) -> Self {
        Conn {
            link: self.link.clone(),
            conn: Arc::clone(&self.conn),
        }
    }
}
