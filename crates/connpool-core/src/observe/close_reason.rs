//! The reasons to close a connection.

/// Why a connection was closed. Each reason has a counter in [`Stats`](crate::Stats).
///
/// Reasons fall into three groups, which decide how long [`Manager::close`](crate::Manager::close) may
/// take, and who waits for the slot of the connection meanwhile:
///
/// | group      | reasons                             | `close` may take  | if a caller waits for the slot |
/// |------------|-------------------------------------|-------------------|--------------------------------|
/// | healthy    | `Idle`, `Lifetime`, `MaxUses`, `Cleared`, `Shrunk`, `Overflow`, `Evicted`, `PoolClosed` | `close_timeout` | `close` is polled once, then dropped |
/// | broken     | `Dead`, `Unsolicited`, `PingFailed`, `PingTimeout`, `ResetFailed`, `ResetTimeout`, `Cancelled`, `Panicked`, `RuntimeGone` | `close_timeout` | `close` is polled once, then dropped |
/// | unfinished | `Marked`, `Unfinished`, `NotReusable` | `abandon_timeout` | it waits: the slot stands for the work that goes on at the server |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// It was idle for `idle_timeout`.
    Idle,
    /// It was older than its `max_lifetime`, less jitter, or its peer was about to close it, as announced by
    /// [`expires_in`](crate::Manager::expires_in).
    Lifetime,
    /// It was borrowed `max_uses` times.
    MaxUses,
    /// A liveness probe found the end of the stream, or an error.
    Dead,
    /// A liveness probe found bytes that were not requested.
    Unsolicited,
    /// Its ping answered with an error.
    PingFailed,
    /// Its ping did not answer in time, see [`ping_timeout`](crate::PoolConfig::ping_timeout).
    PingTimeout,
    /// Its reset failed.
    ResetFailed,
    /// Its reset did not end within `reset_timeout`.
    ResetTimeout,
    /// The user marked it unusable.
    Marked,
    /// An exchange or the preparation of [`get_with`](crate::Pool::get_with) failed, or its future was
    /// dropped.
    Unfinished,
    /// Its manager returned `false` from `is_reusable`: for a stream, an operation was left pending, or
    /// the stream had ended.
    NotReusable,
    /// The `get` that waited for its check was dropped, timed out, or had too little time left for the
    /// whole check.
    Cancelled,
    /// Code of its manager or of its user panicked.
    Panicked,
    /// The runtime that it was opened on has ended, or does not answer, see
    /// [`Runtime::current`](crate::Runtime::current).
    RuntimeGone,
    /// It was opened before the last [`clear`](crate::Pool::clear), or
    /// [`condemn`](crate::PooledConnection::condemn) of a connection of its age.
    Cleared,
    /// `max_size` was lowered.
    Shrunk,
    /// `max_idle` connections were idle already.
    Overflow,
    /// The closure of [`retain`](crate::Pool::retain) returned `false`.
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
        CloseReason::RuntimeGone,
        CloseReason::Cleared,
        CloseReason::Shrunk,
        CloseReason::Overflow,
        CloseReason::Evicted,
        CloseReason::PoolClosed,
    ];

    /// Returns the name that is printed and used in metrics, such as `ping_failed`.
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
            CloseReason::RuntimeGone => "runtime_gone",
            CloseReason::Cleared => "cleared",
            CloseReason::Shrunk => "shrunk",
            CloseReason::Overflow => "overflow",
            CloseReason::Evicted => "evicted",
            CloseReason::PoolClosed => "pool_closed",
        }
    }

    /// Returns whether a check found the connection broken. Several such connections make a burst.
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

    /// Returns whether the connection was in good order, so that it can be closed with a farewell to which
    /// the peer replies.
    pub const fn is_healthy(self) -> bool {
        matches!(
            self,
            CloseReason::Idle
                | CloseReason::Lifetime
                | CloseReason::MaxUses
                | CloseReason::Cleared
                | CloseReason::Shrunk
                | CloseReason::Overflow
                | CloseReason::Evicted
                | CloseReason::PoolClosed
        )
    }

    /// Returns whether its user left the connection while work may go on at the server.
    pub const fn is_unfinished(self) -> bool {
        matches!(self, CloseReason::Marked | CloseReason::Unfinished | CloseReason::NotReusable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_distinct_label() {
        let labels: std::collections::HashSet<_> =
            CloseReason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), CloseReason::ALL.len());
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }

    #[test]
    fn no_reason_is_of_two_groups() {
        let is = |group: fn(CloseReason) -> bool| {
            CloseReason::ALL.iter().copied().filter(move |reason| group(*reason)).count()
        };
        assert_eq!(is(CloseReason::is_healthy), 8);
        assert_eq!(is(CloseReason::is_unfinished), 3);
        assert_eq!(is(|reason| reason.is_healthy() && reason.is_unfinished()), 0);
        assert_eq!(is(|reason| reason.is_breakage() && reason.is_healthy()), 0);
    }
}
