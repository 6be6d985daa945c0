//! **connpool** on tokio: an async connection pool for network clients.
//!
//! ```no_run
//! use connpool_tokio::{TcpManager, builder, io::AsyncWriteExt};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = builder(TcpManager::new("127.0.0.1:9090"))
//!     .name("my-pool")
//!     .min_size(5)
//!     .max_size(20)
//!     .increment(2)
//!     .idle_timeout(Duration::from_secs(30))
//!     .max_lifetime(Duration::from_secs(300))
//!     .build()
//!     .await?;
//!
//! let mut conn = pool.get().await?;
//! conn.write_all(b"hello\n").await?;
//! drop(conn); // returns it to the pool
//! println!("{}", pool.stats());
//! # Ok(())
//! # }
//! ```
//!
//! This crate re-exports everything in [`connpool_core`] and adds the parts that need tokio:
//! [`builder`], [`TokioRuntime`], [`TcpManager`] with its [`TcpConn`], and [`Io`] for other tokio
//! streams, such as Unix sockets and TLS.
//!
//! # Reading and writing
//!
//! A [`TcpConn`] implements tokio's `AsyncRead` and `AsyncWrite` as well as those of `futures-io`.
//! If one family of extension traits is in scope (tokio's are in [`io`]), every method resolves on
//! the guard itself. If both are in scope, those of `futures-io` take precedence, because the guard
//! implements `futures-io`. To read lines, use `BufReader::new(&mut *conn)`.
//!
//! # Features
//!
//! | feature     | default | adds |
//! |-------------|---------|------|
//! | `dyn`       | yes     | `BoxManager`, a type-erased manager |
//! | `serde`     | no      | `Serialize` and `Deserialize` for `PoolConfig`, with durations as `"30s"` |
//! | `tracing`   | no      | pool events as `tracing` events and spans, target `connpool` |
//! | `test-util` | no      | lets tests pause tokio's clock, which the pool uses |

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod factory;
mod runtime;
mod socket;
mod stream;
mod tcp;
mod unprobed;

pub use connpool_core::*;
pub use connpool_tcp::{AddressErrors, PingFn, SockRef, SocketProbe, TcpKeepalive};
pub use factory::io_fn;
#[cfg(all(unix, not(connpool_portable)))]
pub use factory::socket_fn;
pub use runtime::TokioRuntime;
pub use stream::Io;
pub use tcp::{TcpConn, TcpManager, TokioNet};
/// tokio's I/O traits and extension traits, for use with a pooled connection.
pub use tokio::io;

/// Starts building a pool that uses `manager` and the tokio runtime of the caller.
///
/// If the caller is outside of any tokio runtime, the pool runs on the one that first polls its
/// `get`.
///
/// The pool is not built if its connections are [`TcpConn`], `Io<UnixStream>` or tokio's sockets
/// themselves, and [`Manager::stream`] returns `None`.
pub fn builder<M: Manager>(manager: M) -> Builder<M> {
    Pool::builder(manager, TokioRuntime::new())
}
