//! The locks and atomics of the pool, in one place.
//!
//! In the crate's own tests, `--cfg connpool_loom` and `--cfg connpool_shuttle` replace them by those
//! of a model checker, which explores the schedules of the threads that use them: see `model_tests`.
//! The cfgs are the pool's own, since dependencies read a global `--cfg loom`.

// Always those of std: loom's `Arc` has no `Weak`, and no order between threads relies on a reference
// count.
pub(crate) use std::sync::{Arc, Weak};

#[cfg(all(test, connpool_loom))]
use loom::sync as chosen;
#[cfg(all(test, connpool_shuttle))]
use shuttle::sync as chosen;
#[cfg(not(all(test, any(connpool_loom, connpool_shuttle))))]
use std::sync as chosen;

use std::sync::{PoisonError, TryLockError};

#[cfg(not(all(test, any(connpool_loom, connpool_shuttle))))]
use crate::time::FIBONACCI_HASH;

pub(crate) use chosen::MutexGuard;
pub(crate) use chosen::atomic::{AtomicU64, Ordering};

/// The largest number of shards of the idle set. Two are enough for a model.
pub(crate) const SHARDS: usize =
    if cfg!(all(test, any(connpool_loom, connpool_shuttle))) { 2 } else { 8 };

/// A lock without poisoning: no foreign code runs under it, so a panic elsewhere says nothing about
/// the data.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(chosen::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(chosen::Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A number that is ordered with nothing else, so the models leave out what happens before and after
/// an access. Counters are exact all the same.
#[derive(Debug, Default)]
pub(crate) struct Relaxed(std::sync::atomic::AtomicU64);

impl Relaxed {
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one and returns the sum.
    #[inline]
    pub(crate) fn inc(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

/// Returns a cheap index of the calling thread: the hashed address of a thread-local. Stable for each
/// thread, not unique.
#[cfg(not(all(test, any(connpool_loom, connpool_shuttle))))]
#[inline]
pub(crate) fn thread_index() -> usize {
    thread_local! {
        static ADDRESS: u8 = const { 0 };
    }
    let address = ADDRESS.with(|byte| std::ptr::from_ref(byte).addr() as u64);
    (address.wrapping_mul(FIBONACCI_HASH) >> 32) as usize
}

/// Returns the number of a thread of the model: all of them run on one thread of the system.
#[cfg(all(test, any(connpool_loom, connpool_shuttle)))]
pub(crate) fn thread_index() -> usize {
    #[cfg(connpool_loom)]
    use loom::thread;
    #[cfg(connpool_shuttle)]
    use shuttle::thread;

    let id = format!("{:?}", thread::current().id());
    let number: String = id.chars().filter(char::is_ascii_digit).collect();
    number.parse().expect("an id with a number in it")
}
