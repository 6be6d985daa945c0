//! A `Framed` stream, which reads ahead: bytes of the next reply may be in its buffer instead of the
//! kernel, where the pool does not look.

use std::io;

use connpool_tokio::{Manager, StreamOf, TcpConn, TcpManager};
use futures_util::{SinkExt, StreamExt};
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};

/// A connection that exchanges lines.
pub type LinesConn = Framed<TcpConn, LinesCodec>;

/// Connects over TCP to a server that answers each line by one line.
#[derive(Debug)]
pub struct Lines {
    tcp: TcpManager,
}

impl Lines {
    /// Creates a manager that connects through `tcp`.
    pub fn new(tcp: TcpManager) -> Self {
        // Every request has a reply, so a connection that was written to and not read after that was given
        // up, although its buffers are empty.
        Lines { tcp: tcp.strict(true) }
    }
}

impl Manager for Lines {
    type Connection = LinesConn;
    type Error = LinesCodecError;

    async fn connect(&self) -> Result<LinesConn, LinesCodecError> {
        Ok(Framed::new(self.tcp.connect().await?, LinesCodec::new_with_max_length(8192)))
    }

    fn stream(&self) -> Option<StreamOf<LinesConn>> {
        Some(|conn| conn.get_mut())
    }

    // Asks the buffers too, of which the pool knows nothing.
    fn is_reusable(&self, conn: &mut LinesConn) -> bool {
        conn.read_buffer().is_empty() && conn.write_buffer().is_empty() && conn.get_ref().is_clean()
    }

    async fn ping(&self, conn: &mut LinesConn) -> Result<(), LinesCodecError> {
        ask(conn, "PING").await?;
        // What was read ahead belongs to no request.
        if conn.read_buffer().is_empty() {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::InvalidData).into())
        }
    }

    // The protocol has no state that a user could leave behind.
    fn needs_reset(&self) -> bool {
        false
    }
}

/// Sends a line and waits for the answer. To be called in an
/// [`exchange`](connpool_tokio::PooledConnection::exchange).
///
/// # Errors
///
/// If the connection fails or ends, or the answer is too long.
pub async fn ask(conn: &mut LinesConn, request: &str) -> Result<String, LinesCodecError> {
    conn.send(request).await?;
    conn.next().await.unwrap_or_else(|| Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()))
}
