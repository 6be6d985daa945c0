//! Locks and atomics, timeouts and panics.

pub(crate) mod sync;
pub(crate) mod timeout;
