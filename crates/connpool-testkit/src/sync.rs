//! The lock of this crate: std's, or one that ThreadSanitizer sees.

#[cfg(connpool_tsan)]
pub(crate) use connpool_core::instrumented::{Mutex, MutexGuard};
#[cfg(not(connpool_tsan))]
pub(crate) use std::sync::{Mutex, MutexGuard};
