//! The reasons to close a connection.

/// Why a connection was closed. Each reason has a counter in [`Stats`](crate::Stats).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Nobody wanted it for `idle_timeout`.
    Idle,
    /// It was older than its `max_lifetime`, less jitter.
    Lifetime,
    /// It had been lent `max_uses` times.
    MaxUses,
    /// A look found the end of the stream, or an error.
    Dead,
    /// A look found bytes that nobody had asked for.
    Unsolicited,
    /// Its ping answered with an error.
    PingFailed,
    /// Its ping did not answer within `ping_timeout`.
    PingTimeout,
    /// Its reset failed.
    ResetFailed,
    /// Its reset did not end within `reset_timeout`.
    ResetTimeout,
    /// Its user marked it unusable.
    Marked,
    /// Its user gave up in the middle of an exchange, or the exchange failed.
    Unfinished,
    /// Its manager said that it cannot be used again: for a stream, that an operation was left
    /// half done, or that the stream had ended.
    NotReusable,
    /// Whoever waited for its check gave up.
    Cancelled,
    /// Code of its manager or of its user panicked.
    Panicked,
    /// It was opened before the last [`clear`](crate::Pool::clear).
    Cleared,
    /// The pool was made smaller.
    Shrunk,
    /// As many connections as `max_idle` were idle already.
    Overflow,
    /// [`retain`](crate::Pool::retain) was told not to keep it.
    Evicted,
    /// The pool was closed.
    PoolClosed,
}

impl CloseReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: &'static [CloseReason] = &[
        CloseReason::Idle,
        CloseReason::Lifetime,
        CloseReason::MaxUses,
        CloseReason::Dead,
        CloseReason::Unsolicited,
        CloseReason::PingFailed,
        CloseReason::PingTimeout,
        CloseReason::ResetFailed,
        CloseReason::ResetTimeout,
        CloseReason::Marked,
        CloseReason::Unfinished,
        CloseReason::NotReusable,
        CloseReason::Cancelled,
        CloseReason::Panicked,
        CloseReason::Cleared,
        CloseReason::Shrunk,
        CloseReason::Overflow,
        CloseReason::Evicted,
        CloseReason::PoolClosed,
    ];

    /// The reason in one lower-case word, as it is printed and used for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            CloseReason::Idle => "idle",
            CloseReason::Lifetime => "lifetime",
            CloseReason::MaxUses => "max_uses",
            CloseReason::Dead => "dead",
            CloseReason::Unsolicited => "unsolicited",
            CloseReason::PingFailed => "ping_failed",
            CloseReason::PingTimeout => "ping_timeout",
            CloseReason::ResetFailed => "reset_failed",
            CloseReason::ResetTimeout => "reset_timeout",
            CloseReason::Marked => "marked",
            CloseReason::Unfinished => "unfinished",
            CloseReason::NotReusable => "not_reusable",
            CloseReason::Cancelled => "cancelled",
            CloseReason::Panicked => "panicked",
            CloseReason::Cleared => "cleared",
            CloseReason::Shrunk => "shrunk",
            CloseReason::Overflow => "overflow",
            CloseReason::Evicted => "evicted",
            CloseReason::PoolClosed => "pool_closed",
        }
    }

    /// Whether a check of the pool found it broken: several such in a short time speak against the
    /// others.
    pub(crate) fn is_breakage(self) -> bool {
        matches!(
            self,
            CloseReason::Dead
                | CloseReason::PingFailed
                | CloseReason::PingTimeout
                | CloseReason::ResetFailed
                | CloseReason::ResetTimeout
        )
    }

    /// Whether the connection is believed to be in good order, so that a goodbye makes sense.
    pub(crate) fn is_graceful(self) -> bool {
        matches!(
            self,
            CloseReason::Idle
                | CloseReason::Lifetime
                | CloseReason::MaxUses
                | CloseReason::Shrunk
                | CloseReason::Overflow
                | CloseReason::Evicted
                | CloseReason::PoolClosed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_label_of_its_own() {
        let labels: std::collections::HashSet<_> = CloseReason::ALL
            .iter()
            .map(|reason| reason.label())
            .collect();
        assert_eq!(labels.len(), CloseReason::ALL.len());
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
