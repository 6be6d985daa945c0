//! The locks and atomics of the pool, in one place.

use std::sync::PoisonError;
pub(crate) use std::sync::{Arc, Weak};

#[cfg(connpool_tsan)]
use crate::instrumented as chosen;
#[cfg(not(connpool_tsan))]
use std::sync as chosen;

use chosen::MutexGuard;
pub(crate) use chosen::atomic::{AtomicU8, AtomicU64, Ordering};

/// A lock without poisoning: no foreign code runs under it, so that a panic elsewhere says
/// nothing about what it guards.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(chosen::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Mutex(chosen::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that only grows. Exact, but ordered with nothing else.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
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

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
