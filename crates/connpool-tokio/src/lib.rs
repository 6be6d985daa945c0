//! **connpool** on tokio: a connection pool for people who write network clients.
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
//! drop(conn); // back to the pool
//! println!("{}", pool.stats());
//! # Ok(())
//! # }
//! ```
//!
//! Everything of [`connpool_core`] is re-exported here; this crate adds what needs tokio:
//! [`builder`], [`TokioRuntime`], [`TcpManager`] with its [`TcpConn`], and [`Io`] for any other
//! tokio stream (a Unix socket, TLS).
//!
//! # Reading and writing
//!
//! A [`TcpConn`] implements tokio's `AsyncRead` and `AsyncWrite` as well as those of `futures-io`.
//! With one family of extension traits imported (tokio's are in [`io`]) every method resolves on
//! the guard itself. With both imported, those of `futures-io` win, since the guard implements
//! them. `BufReader::new(&mut *conn)` reads by lines.
//!
//! # Features
//!
//! | feature     | default | adds |
//! |-------------|---------|------|
//! | `dyn`       | yes     | `BoxManager`, a manager whose type is erased |
//! | `serde`     | no      | `PoolConfig` reads and writes itself, durations as `"30s"` |
//! | `tracing`   | no      | what happens in a pool becomes events and spans of `tracing`, target `connpool` |
//! | `test-util` | no      | tokio's clock, which the pool goes by, can be paused |

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod factory;
mod runtime;
mod stream;
mod tcp;

pub use connpool_core::*;
pub use connpool_tcp::{PingFn, TcpKeepalive};
pub use factory::io_fn;
#[cfg(unix)]
pub use factory::socket_fn;
pub use runtime::TokioRuntime;
pub use stream::Io;
pub use tcp::{TcpConn, TcpManager, TokioNet};
/// tokio's I/O traits and their extensions, for use with a pooled connection.
pub use tokio::io;

/// Begins a pool of what `manager` connects, on the tokio runtime that this is called in.
///
/// Called outside of any, the pool runs on whatever runtime first polls its `get`.
pub fn builder<M: Manager>(manager: M) -> Builder<M> {
    Pool::builder(manager, TokioRuntime::new())
}
