//! A flag that a waker sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

/// Remembers that its waker was called: `Waker::from(WakeFlag::raised())`.
#[derive(Debug)]
pub struct WakeFlag(AtomicBool);

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raise();
    }
}

impl WakeFlag {
    /// Creates a flag that is raised, so that its task is polled first.
    pub fn raised() -> Arc<Self> {
        Arc::new(WakeFlag(AtomicBool::new(true)))
    }

    /// Raises the flag, as a wake does.
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Returns whether the flag was raised, and lowers it.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }

    /// Returns whether the flag is raised.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
