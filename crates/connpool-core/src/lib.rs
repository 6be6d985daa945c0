//! The runtime-agnostic core of **connpool**, a connection pool for people who write network
//! clients: custom TCP protocols first, any client object second.
//!
//! Most users depend on the adapter crate of their runtime, `connpool-tokio` or `connpool-smol`, which
//! re-exports everything here and adds TCP, timers and tasks. This crate depends on no runtime, no socket
//! and no clock. Another runtime implements one small trait, [`Runtime`].
//!
//! # Overview
//!
//! * Implement [`Manager`], or use [`object_fn`] or [`stream_fn`], to say how to connect.
//! * Build a [`Pool`] with its [`Builder`], and [`get`](Pool::get) connections from it.
//! * Use the [`PooledConnection`] and drop it. The connection is returned, or destroyed if it must not be
//!   used again.
//!
//! ```
//! use connpool_core::{object_fn, Pool};
//! # let runtime = connpool_testkit::SimRuntime::new(1);
//! # runtime.clone().block_on(async {
//!
//! let manager = object_fn(|| async { Ok::<_, std::io::Error>(String::from("a client")) });
//! let pool = Pool::builder(manager, runtime).max_size(4).build().await?;
//!
//! let client = pool.get().await?;
//! assert_eq!(*client, "a client");
//! drop(client);
//! assert_eq!(pool.stats().available, 1);
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Features
//!
//! | feature | default | adds |
//! |---------|---------|------|
//! | `dyn`   | yes     | [`BoxManager`], a manager whose type is erased |
//! | `serde` | no      | [`PoolConfig`] implements `Serialize` and `Deserialize`, durations as `"30s"` |
//! | `tracing` | no    | each [`Event`] is also an event of the crate `tracing`, target `connpool`, at warn level if something failed and else at info, debug or trace; each `get` has a span `connpool.get` |

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::unwrap_used
    )
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// First, so that rustdoc lists the methods of `Pool` in the order of the handle.
mod pool;

mod config;
mod error;
mod machine;
mod manager;
#[cfg(all(test, any(connpool_loom, connpool_shuttle, connpool_stateright)))]
mod model_tests;
mod observe;
mod runtime;
mod stream;
mod time;
mod tracked;
mod util;

pub use config::builder::Builder;
pub use config::{Backoff, Breaker, ConfigError, IdleOrder, PoolConfig, ResetWhen};
pub use error::add_error::AddError;
pub use error::connect_error::ConnectError;
pub use error::diagnosis::{Diagnosis, Phase};
pub use error::failed_check::FailedCheck;
pub use error::{BuildError, GetError};
pub use machine::breaker::BreakerState;
pub use machine::home::RuntimeId;
#[cfg(feature = "dyn")]
pub use manager::boxed::BoxManager;
pub use manager::closures::{FromFn, object_fn, stream_fn};
pub use manager::{Manager, Severity};
pub use observe::close_reason::CloseReason;
pub use observe::event::{Event, EventKinds, Observer};
pub use observe::histogram::{Histogram, Histograms};
pub use observe::holders::Holder;
pub use observe::stats::{ClosedStats, Stats};
pub use pool::close::CloseReport;
pub use pool::guard::PooledConnection;
pub use pool::handle::{Pool, WeakPool};
pub use runtime::{BoxFuture, Runtime};
pub use stream::{Connection, Liveness, Probe, StreamOf, StreamState};
pub use time::Instant;
pub use tracked::Tracked;
