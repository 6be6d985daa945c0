//! What `cargo xtask tsan` puts in the place of `std::sync`, here and in the tests: std's lock,
//! with a trace of it that ThreadSanitizer can see.
//!
//! std was compiled long ago and without it, so that it misses what the lock does when threads
//! contend, and takes it for none. A store before each unlock and a load after each lock, compiled
//! here, show the order that the lock makes.

use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

pub use std::sync::atomic;

use atomic::{AtomicBool, Ordering};

/// std's lock, as far as the pool uses it.
#[derive(Debug, Default)]
pub struct Mutex<T> {
    inside: std::sync::Mutex<T>,
    trace: AtomicBool,
}

/// Its guard.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    inside: std::sync::MutexGuard<'a, T>,
    trace: &'a AtomicBool,
}

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub fn new(value: T) -> Self {
        Mutex {
            inside: std::sync::Mutex::new(value),
            trace: AtomicBool::new(false),
        }
    }

    /// Waits for the lock.
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let locked = self.inside.lock();
        self.trace.load(Ordering::Acquire);
        let guard = |inside| MutexGuard {
            inside,
            trace: &self.trace,
        };
        match locked {
            Ok(inside) => Ok(guard(inside)),
            Err(poisoned) => Err(PoisonError::new(guard(poisoned.into_inner()))),
        }
    }
}

impl<T> Mutex<T> {
    /// Takes the lock if nobody has it.
    ///
    /// # Errors
    ///
    /// As std's.
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        let locked = self.inside.try_lock();
        let guard = |inside| {
            self.trace.load(Ordering::Acquire);
            MutexGuard {
                inside,
                trace: &self.trace,
            }
        };
        match locked {
            Ok(inside) => Ok(guard(inside)),
            Err(TryLockError::Poisoned(poisoned)) => {
                Err(PoisonError::new(guard(poisoned.into_inner())).into())
            }
            Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // The unlock comes after it, with the drop of the field.
        self.trace.store(true, Ordering::Release);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inside
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inside
    }
}
