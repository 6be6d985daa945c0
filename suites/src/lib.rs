//! What the suites share: the servers that their clients talk to, and the requirements that a
//! machine may not meet.
//!
//! The suites are in `tests`: `scenarios`, `go_parity` and `faults` run on both adapters, each in
//! one test program for an adapter. Their root provides `adapter`, the crate under test, and a few
//! functions of its runtime.

#![forbid(unsafe_code)]

pub mod left_out;
pub mod requirement;
pub mod server;
