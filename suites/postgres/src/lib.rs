//! A PostgreSQL server of a test's own, for the tests here and those of the example of clients.

#![cfg(unix)]
#![forbid(unsafe_code)]

pub mod server;
pub mod until;
