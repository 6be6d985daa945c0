//! Counters of the clients, to verify those of the pool.

use std::sync::atomic::{AtomicU64, Ordering};

use connpool_core::GetError;

/// The counters of all clients.
#[derive(Default)]
pub(crate) struct ClientStats {
    replies: AtomicU64,
    wrong: AtomicU64,
    succeeded: AtomicU64,
    cancelled: AtomicU64,
    timeout: AtomicU64,
    exhausted: AtomicU64,
    connect: AtomicU64,
    other: AtomicU64,
    detached: AtomicU64,
}

fn up(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl ClientStats {
    /// Counts a correct reply.
    pub(crate) fn reply(&self) {
        up(&self.replies);
    }

    /// Counts a reply that belongs to another request.
    pub(crate) fn wrong_reply(&self) {
        up(&self.wrong);
    }

    /// Counts a finished `get`. `None` means that it was dropped first.
    pub(crate) fn get<T, E>(&self, ended: Option<&Result<T, GetError<E>>>) {
        up(match ended {
            None => &self.cancelled,
            Some(Ok(_)) => &self.succeeded,
            Some(Err(GetError::Timeout { .. })) => &self.timeout,
            Some(Err(GetError::Exhausted(_))) => &self.exhausted,
            Some(Err(GetError::Connect(_))) => &self.connect,
            Some(Err(_)) => &self.other,
        });
    }

    /// Counts a detached connection.
    pub(crate) fn detached(&self) {
        up(&self.detached);
    }

    pub(crate) fn replies(&self) -> u64 {
        read(&self.replies)
    }

    pub(crate) fn wrong(&self) -> u64 {
        read(&self.wrong)
    }

    pub(crate) fn succeeded(&self) -> u64 {
        read(&self.succeeded)
    }

    pub(crate) fn cancelled(&self) -> u64 {
        read(&self.cancelled)
    }

    pub(crate) fn detached_in_all(&self) -> u64 {
        read(&self.detached)
    }

    /// Returns the failed gets by kind.
    pub(crate) fn failed(&self) -> [(&'static str, u64); 4] {
        [
            ("timeout", read(&self.timeout)),
            ("exhausted", read(&self.exhausted)),
            ("connect", read(&self.connect)),
            ("other", read(&self.other)),
        ]
    }
}
