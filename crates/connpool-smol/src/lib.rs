//! **connpool** on smol: an async connection pool for network clients.
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
//! drop(conn); // returns it to the pool
//! println!("{}", pool.stats());
//! # Ok(()) }) }
//! ```
//!
//! This crate re-exports everything in [`connpool_core`] and adds the parts that need smol:
//! [`builder`], [`SmolRuntime`], [`TcpManager`] with its [`TcpConn`], and [`Io`] for other streams,
//! such as Unix sockets and TLS. The pool works on any thread and under any executor, because
//! smol's global executor and reactor start on first use.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---------|---------|------|
//! | `dyn`   | yes     | `BoxManager`, a type-erased manager |
//! | `serde` | no      | `Serialize` and `Deserialize` for `PoolConfig`, with durations as `"30s"` |
//! | `tracing` | no    | pool events as `tracing` events and spans, target `connpool` |

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
pub use runtime::SmolRuntime;
/// smol's I/O traits and extension traits, for use with a pooled connection.
pub use smol::io;
pub use stream::Io;
pub use tcp::{SmolNet, TcpConn, TcpManager};

/// Starts building a pool that uses `manager` and runs on smol.
///
/// The pool is not built if its connections are [`TcpConn`], another `Io` of a socket of smol, or such
/// a socket itself, and [`Manager::stream`] returns `None`.
pub fn builder<M: Manager>(manager: M) -> Builder<M> {
    Pool::builder(manager, SmolRuntime::new())
}
