//! Tests of pools, of the managers they run, and of the runtimes they run on.
//!
//! * [`SimRuntime`] is a [`Runtime`](connpool_core::Runtime) with a clock that is moved, not waited
//!   for: a test of a thirty-second timeout takes microseconds and comes out the same every time.
//! * [`FaultyManager`] is a backend that fails, hangs, panics and lies as told, on any runtime.
//!   [`pipe`] makes the streams for a manager of your own.
//! * [`assert_invariants`] compares a pool's books with what really exists.
//! * [`drop_at_every_poll`] drops a future at every point at which it can be dropped.
//! * [`fuzz`] does at random whatever can be done to a pool.
//! * [`conformance!`] makes tests of all that a pool does, on a runtime of your own.

#![forbid(unsafe_code)]

pub mod conformance;
mod conn;
mod faulty;
mod fuzz;
mod held;
mod kpoll;
mod script;
mod sim;
mod stream;
mod truth;

pub use conn::FaultyConn;
pub use faulty::{FaultyManager, silence_scripted_panics};
pub use fuzz::{Violation, fuzz};
pub use kpoll::drop_at_every_poll;
pub use script::{Behavior, Call, ScriptedError};
pub use sim::SimRuntime;
pub use stream::{SimStream, pipe};
pub use truth::{Observed, assert_at_rest, assert_invariants, assert_no_lost_wakeup};
