//! Numbered requests and replies, so that a client detects a reply to another request.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use connpool_core::{CloseReason, Connection, Manager, StreamOf};
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::client_stats::ClientStats;

/// A request or a reply on the wire.
pub(crate) type Frame = [u8; 16];

/// Encodes a number.
pub(crate) fn frame(number: u64) -> Frame {
    let (low, high) = (number.to_le_bytes(), check(number).to_le_bytes());
    std::array::from_fn(|at| if at < 8 { low[at] } else { high[at - 8] })
}

/// Decodes a frame. Returns `None` if it is garbage.
pub(crate) fn number(frame: Frame) -> Option<u64> {
    let half = |from: usize| u64::from_le_bytes(std::array::from_fn(|at| frame[from + at]));
    let number = half(0);
    (half(8) == check(number)).then_some(number)
}

/// Returns the checksum of a number.
fn check(number: u64) -> u64 {
    (number ^ 0x736f_616b).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Sends a request and reads its reply.
pub(crate) async fn ask(conn: &mut impl Connection, counted: &ClientStats) -> io::Result<()> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let mine = LAST.fetch_add(1, Ordering::Relaxed);
    conn.write_all(&frame(mine)).await?;
    let mut reply = Frame::default();
    conn.read_exact(&mut reply).await?;
    match number(reply) {
        Some(theirs) if theirs == mine => {
            counted.reply();
            Ok(())
        }
        Some(theirs) => {
            counted.wrong_reply();
            let text = format!("asked {mine} and was answered {theirs}");
            Err(io::Error::new(ErrorKind::InvalidData, text))
        }
        None => Err(ErrorKind::InvalidData.into()),
    }
}

/// A manager that also pings, resets and closes with requests.
pub(crate) struct Client<T> {
    tcp: T,
    counted: Arc<ClientStats>,
}

impl<T> Client<T> {
    pub(crate) fn new(tcp: T, counted: Arc<ClientStats>) -> Self {
        Client { tcp, counted }
    }
}

impl<T> Manager for Client<T>
where
    T: Manager<Connection: Connection, Error = io::Error>,
{
    type Connection = T::Connection;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<T::Connection> {
        self.tcp.connect().await
    }

    fn stream(&self) -> Option<StreamOf<T::Connection>> {
        self.tcp.stream()
    }

    async fn connect_within(&self, limit: Option<Duration>) -> io::Result<T::Connection> {
        self.tcp.connect_within(limit).await
    }

    async fn ping(&self, conn: &mut T::Connection) -> io::Result<()> {
        ask(conn, &self.counted).await
    }

    async fn reset(&self, conn: &mut T::Connection) -> io::Result<()> {
        ask(conn, &self.counted).await
    }

    async fn close(&self, mut conn: T::Connection, reason: CloseReason) {
        if reason.is_healthy() {
            // An error does not matter: the connection is dropped either way.
            let _ = ask(&mut conn, &self.counted).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_number_and_garbage_has_none() {
        for value in [0, 1, u64::MAX] {
            assert_eq!(number(frame(value)), Some(value));
        }
        let mut garbage = frame(7);
        garbage[9] ^= 1;
        assert_eq!(number(garbage), None);
        assert_eq!(number(Frame::default()), None);
    }
}
