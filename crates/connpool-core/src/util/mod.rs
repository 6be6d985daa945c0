//! Locks and atomics, data of threads, timeouts and panics.

pub(crate) mod fair_lock;
pub(crate) mod panic;
pub(crate) mod per_thread;
pub(crate) mod sync;
pub(crate) mod timeout;
