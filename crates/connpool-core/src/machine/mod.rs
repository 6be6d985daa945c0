//! The decisions of a pool, as pure state machines.
//!
//! Nothing here knows a connection, a future, a lock, a waker or a clock: values come in, values go out.

pub(crate) mod backoff;
pub(crate) mod breaker;
pub(crate) mod burst;
pub(crate) mod health;
pub(crate) mod pool;
pub(crate) mod slab;
pub(crate) mod wait_queue;
