//! Tests of pools, and of the managers they run, in virtual time.
//!
//! [`SimRuntime`] is a [`Runtime`](connpool_core::Runtime) with a clock that is moved, not waited
//! for: a test of a thirty-second timeout takes microseconds and comes out the same every time.

#![forbid(unsafe_code)]

mod sim;

pub use sim::SimRuntime;
