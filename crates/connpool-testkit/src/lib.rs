//! Tools to test pools, managers and runtimes.
//!
//! * [`SimRuntime`] is a [`Runtime`](connpool_core::Runtime) with a virtual clock: a test of a
//!   thirty-second timeout takes microseconds, with the same result every time.
//! * [`FaultyManager`] has a scripted backend that succeeds, fails, hangs or panics, on any runtime.
//!   [`pipe`] creates in-memory streams for other managers.
//! * [`assert_invariants`] compares the statistics of a pool with the connections that exist.
//! * [`drop_at_every_poll`] drops a future at every await point.
//!
//! `connpool-conformance` tests runtimes.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend;
mod conn;
mod drop_points;
mod faulty;
mod hold;
mod invariants;
mod observed;
mod script;
mod sim;
mod stream;
mod wake_flag;

pub use conn::FaultyConn;
pub use drop_points::drop_at_every_poll;
pub use faulty::{FaultyManager, silence_scripted_panics};
pub use invariants::{assert_at_rest, assert_invariants, assert_no_lost_wakeup, assert_stats};
pub use observed::Observed;
pub use script::{Behavior, Call, ScriptedError};
pub use sim::SimRuntime;
pub use stream::{SimStream, pipe};
pub use wake_flag::WakeFlag;
