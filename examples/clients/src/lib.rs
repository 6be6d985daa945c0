//! Managers of clients that a byte stream is not enough for, to copy from: one file for each client.
//!
//! The tests of each are in `tests`, under the same name.

#![forbid(unsafe_code)]

pub mod http;
pub mod lines;
pub mod postgres;
