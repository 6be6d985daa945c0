//! **connpool** on smol: a connection pool for people who write network clients.
//!
//! ```no_run
//! use connpool_smol::{TcpManager, builder, io::AsyncWriteExt};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
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
//! # Ok(()) }) }
//! ```
//!
//! Everything of [`connpool_core`] is re-exported here; this crate adds what needs smol:
//! [`builder`], [`SmolRuntime`], [`TcpManager`] with its [`TcpConn`], and [`Io`] for any other
//! stream (a Unix socket, TLS). It works wherever futures are polled: smol's global executor and
//! reactor, which it uses, start by themselves.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---------|---------|------|
//! | `dyn`   | yes     | `BoxManager`, a manager whose type is erased |
//! | `serde` | no      | `PoolConfig` reads and writes itself, durations as `"30s"` |
//! | `tracing` | no    | what happens in a pool becomes events and spans of `tracing`, target `connpool` |

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
pub use runtime::SmolRuntime;
/// smol's I/O traits and their extensions, for use with a pooled connection.
pub use smol::io;
pub use stream::Io;
pub use tcp::{SmolNet, TcpConn, TcpManager};

/// Begins a pool of what `manager` connects, on smol.
pub fn builder<M: Manager>(manager: M) -> Builder<M> {
    Pool::builder(manager, SmolRuntime::new())
}
