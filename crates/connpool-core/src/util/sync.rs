//! The locks and atomics of the pool, in one place.
//!
//! In the crate's own tests, `--cfg connpool_loom` and `--cfg connpool_shuttle` exchange them for
//! those of a model checker, which tries the schedules of the threads that use them: see `models`.
//! The cfgs are the pool's own, since dependencies read a global `--cfg loom`.

// Always those of std: loom's `Arc` has no `Weak`, and no order between threads is built on a count
// of references.
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

/// How many lanes the idle set has at most. A model has enough to do with two.
pub(crate) const LANES: usize = match cfg!(all(test, any(connpool_loom, connpool_shuttle))) {
    true => 2,
    false => 8,
};

/// A lock without poisoning: no foreign code runs under it, so that a panic elsewhere says
/// nothing about what it guards.
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

    /// The same if nobody has it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A number that may be exchanged for another. Like a [`Counter`] ordered with nothing else.
#[derive(Debug, Default)]
pub(crate) struct Setting(std::sync::atomic::AtomicU64);

impl Setting {
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that only grows. Exact, but ordered with nothing else: no model has to try what comes
/// before and after it.
#[derive(Debug, Default)]
pub(crate) struct Counter(std::sync::atomic::AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds one and tells the sum.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number by which threads can mostly be told apart, the same for a thread each time: where something
/// of its own lies, well mixed.
#[cfg(not(all(test, any(connpool_loom, connpool_shuttle))))]
#[inline]
pub(crate) fn this_thread() -> usize {
    thread_local! {
        static OWN: u8 = const { 0 };
    }
    let place = OWN.with(|own| std::ptr::from_ref(own).addr() as u64);
    (place.wrapping_mul(FIBONACCI_HASH) >> 32) as usize
}

/// The number of a thread of the model: all of them run on one of the system's.
#[cfg(all(test, any(connpool_loom, connpool_shuttle)))]
pub(crate) fn this_thread() -> usize {
    #[cfg(connpool_loom)]
    use loom::thread;
    #[cfg(connpool_shuttle)]
    use shuttle::thread;

    let id = format!("{:?}", thread::current().id());
    let number: String = id.chars().filter(char::is_ascii_digit).collect();
    number.parse().expect("an id with a number in it")
}
