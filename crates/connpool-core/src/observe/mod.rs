//! The observable side of a pool: events, statistics, histograms, close reasons, holders.

pub(crate) mod close_reason;
pub(crate) mod event;
pub(crate) mod histogram;
pub(crate) mod holders;
pub(crate) mod stats;
pub(crate) mod tracing;
