//! No pool: the cost of the check alone.

use std::sync::Arc;

use crate::competitor::{Competitor, Handle, Setup};
use crate::sockets::Sockets;
use crate::transport::Transport;

/// One connection, checked at each get and not pooled.
#[derive(Clone, Copy)]
pub(crate) struct Bare;

/// The connection.
pub(crate) struct Conn<K: Transport> {
    transport: K,
    conn: Arc<K::Conn>,
}

impl Competitor for Bare {
    type Pool<K: Transport, S: Sockets> = Conn<K>;

    fn name(self) -> &'static str {
        "no pool"
    }

    fn package(self) -> Option<&'static str> {
        None
    }

    async fn build<K: Transport, S: Sockets>(self, transport: K, _setup: Setup) -> Conn<K> {
        let conn = transport.connect().await.expect("connecting");
        Conn { transport, conn: Arc::new(conn) }
    }
}

impl<K: Transport> Handle for Conn<K> {
    async fn get(&self) -> Result<impl Send, String> {
        let checked = self.transport.check(&self.conn).await;
        checked.map_err(|error| error.to_string())
    }
}

impl<K: Transport> Clone for Conn<K> {
    fn clone(&self) -> Self {
        Conn { transport: self.transport.clone(), conn: Arc::clone(&self.conn) }
    }
}
