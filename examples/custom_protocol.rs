//! Implements `Manager` for a protocol of frames with a handshake, a ping and a reset.
//!
//! $ cargo run --release --example custom_protocol
//! $ cargo run --release --example custom_protocol -- --runtime smol

use std::{error::Error, io, time::Duration};

use clap::Parser;
use connpool_core::{Builder, CloseReason, Connection, Manager, StreamOf};
use connpool_examples::args::{Args, Which};
use smol::{Timer, future::FutureExt};

#[path = "custom_protocol/kv.rs"]
mod kv;

/// The error of the manager.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KvError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("denied: {0}")]
    Denied(String),
}

/// Connects over the streams of another manager, such as `TcpManager`.
pub(crate) struct KvManager<S> {
    pub(crate) streams: S,
    pub(crate) token: &'static str,
}

impl<S: Manager<Connection: Connection, Error = io::Error>> Manager for KvManager<S> {
    type Connection = S::Connection;
    type Error = KvError;

    // Includes the handshake: the pool hands the connection out as is. The pool applies
    // `connect_timeout`.
    async fn connect(&self) -> Result<S::Connection, KvError> {
        let mut conn = self.streams.connect().await?;
        let hello = format!("HELLO 1 {}", self.token);
        ask(&mut conn, &hello).await?.map_err(KvError::Denied)?;
        Ok(conn)
    }

    // The pool probes this stream before each checkout, and reuses it only if no read or write was
    // abandoned.
    fn stream(&self) -> Option<StreamOf<S::Connection>> {
        self.streams.stream()
    }

    // Reads the whole answer: the pool would take leftover bytes for unsolicited data.
    async fn ping(&self, conn: &mut S::Connection) -> Result<(), KvError> {
        ask(conn, "PING").await?.map(drop).map_err(KvError::Denied)
    }

    // Undoes all changes a user can make to the connection state.
    async fn reset(&self, conn: &mut S::Connection) -> Result<(), KvError> {
        ask(conn, "RESET").await?.map(drop).map_err(KvError::Denied)
    }

    // Runs in the background. The peer of a broken connection does not answer.
    async fn close(&self, mut conn: S::Connection, reason: CloseReason) {
        if reason.is_healthy() {
            let _ = ask(&mut conn, "BYE").await;
        }
    }
}

/// Sends a request and reads the answer. A refusal is `Ok(Err(reason))` and leaves the connection
/// usable; after an `Err` it is not.
async fn ask(conn: &mut impl Connection, request: &str) -> io::Result<Result<String, String>> {
    kv::write_frame(conn, request).await?;
    let answer = kv::read_frame(conn).await?;
    match answer.split_at_checked(1) {
        Some(("+", text)) => Ok(Ok(text.to_owned())),
        Some(("-", reason)) => Ok(Err(reason.to_owned())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

async fn demo<S: Manager<Connection: Connection, Error = io::Error>>(
    begin: impl Fn(&'static str) -> Builder<KvManager<S>>,
) -> Result<(), Box<dyn Error>> {
    let refused = begin("guess").min_size(1).build().await;
    println!("{}", refused.expect_err("this is not the token"));

    // Zero pings before every checkout, for this demo. The default is one second.
    let pool = begin("sesame").ping_after(Duration::ZERO).build().await?;
    for request in ["USE orders", "WHERE", "DANCE", "WAIT", "WHERE"] {
        let mut conn = pool.get().await?;
        // If the exchange is dropped or returns `Err`, the pool destroys the connection.
        let exchange = conn.exchange(async |conn| ask(conn, request).await);
        // On tokio alone, use `tokio::time::timeout`.
        let too_late = async {
            Timer::after(Duration::from_millis(300)).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        println!("{:?}", exchange.or(too_late).await);
    }
    println!("{}", pool.stats());
    pool.close(Duration::from_secs(1)).await;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = kv::start_server()?;
    let address = server.address();
    match Args::parse().runtime {
        Which::Tokio => tokio::runtime::Runtime::new()?.block_on(demo(|token| {
            let streams = connpool_tokio::TcpManager::new(address);
            connpool_tokio::builder(KvManager { streams, token })
        })),
        Which::Smol => smol::block_on(demo(|token| {
            let streams = connpool_smol::TcpManager::new(address);
            connpool_smol::builder(KvManager { streams, token })
        })),
    }
}
