//! What the clients count by themselves, to be held against what the pool counts.

use std::sync::atomic::{AtomicU64, Ordering};

use connpool_core::GetError;

/// Counts of all clients together.
#[derive(Default)]
pub(crate) struct ClientStats {
    replies: AtomicU64,
    wrong: AtomicU64,
    lent: AtomicU64,
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
    /// A reply came, and it was the right one.
    pub(crate) fn reply(&self) {
        up(&self.replies);
    }

    /// Somebody was given the reply to another one's request.
    pub(crate) fn wrong_reply(&self) {
        up(&self.wrong);
    }

    /// A `get` ended; `None`: it was dropped before it did.
    pub(crate) fn get<T, E>(&self, ended: Option<&Result<T, GetError<E>>>) {
        up(match ended {
            None => &self.cancelled,
            Some(Ok(_)) => &self.lent,
            Some(Err(GetError::Timeout { .. })) => &self.timeout,
            Some(Err(GetError::Exhausted(_))) => &self.exhausted,
            Some(Err(GetError::Connect(_))) => &self.connect,
            Some(Err(_)) => &self.other,
        });
    }

    /// A connection was taken out of the pool.
    pub(crate) fn detached(&self) {
        up(&self.detached);
    }

    pub(crate) fn replies(&self) -> u64 {
        read(&self.replies)
    }

    pub(crate) fn wrong(&self) -> u64 {
        read(&self.wrong)
    }

    pub(crate) fn lent(&self) -> u64 {
        read(&self.lent)
    }

    pub(crate) fn cancelled(&self) -> u64 {
        read(&self.cancelled)
    }

    pub(crate) fn detached_in_all(&self) -> u64 {
        read(&self.detached)
    }

    /// The failures of `get`, by their kind.
    pub(crate) fn failed(&self) -> [(&'static str, u64); 4] {
        [
            ("timeout", read(&self.timeout)),
            ("exhausted", read(&self.exhausted)),
            ("connect", read(&self.connect)),
            ("other", read(&self.other)),
        ]
    }
}
