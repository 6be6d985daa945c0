//! The observable side of a pool: events, statistics, close reasons, holders.

pub(crate) mod close_reason;
pub(crate) mod event;
pub(crate) mod holders;
pub(crate) mod stats;
pub(crate) mod tracing;
