//! The shell: it owns connections, wakers and locks, asks `machine` what to do, and does it.

pub(crate) mod acquire;
pub(crate) mod actions;
pub(crate) mod admin;
pub(crate) mod background;
pub(crate) mod batch;
pub(crate) mod close;
pub(crate) mod conn;
pub(crate) mod connect;
pub(crate) mod guard;
pub(crate) mod handle;
pub(crate) mod idle;
pub(crate) mod release;
pub(crate) mod seats;
pub(crate) mod settings;
pub(crate) mod shared;
pub(crate) mod snapshot;
pub(crate) mod state;
