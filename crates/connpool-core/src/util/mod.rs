//! Locks and atomics, timeouts and panics.

pub(crate) mod fair_lock;
pub(crate) mod panic;
pub(crate) mod sync;
pub(crate) mod timeout;
