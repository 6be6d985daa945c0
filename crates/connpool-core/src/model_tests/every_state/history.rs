//! The outage policy, stated once more: when a caller may be told that connects fail.
//!
//! Independent of the machine's backoff. It knows each borrowed connection, where the machine knows
//! when one was last borrowed.

use std::time::Duration;

use crate::time::Instant;

/// The history of connects, as far as the policy depends on it.
#[derive(Debug, Default, Clone)]
pub(super) struct History {
    /// A new connection has proved good.
    pub(super) has_connected: bool,
    /// When the first connect began that failed since.
    pub(super) failing_since: Option<Instant>,
    pub(super) failed_at: Instant,
    /// When the newest connection opened that proved good.
    succeeded_at: Instant,
    /// The number of permanent failures in a row, of which one while nothing was open is enough.
    permanent: u8,
}

/// Why a caller must not be told of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untimely {
    /// Something that is open can come back.
    ComesBack,
    /// Connects have not failed for long enough.
    TooEarly,
}

impl History {
    /// Records a failed connect, or a connection that was dead on arrival.
    pub(super) fn failed(
        &mut self,
        began: Instant,
        permanent: bool,
        beside_open: bool,
        now: Instant,
    ) {
        if self.has_connected && began < self.succeeded_at {
            return;
        }
        self.failed_at = now;
        self.failing_since.get_or_insert(began);
        self.permanent = match (permanent, beside_open) {
            (false, _) => 0,
            (true, true) => self.permanent.saturating_add(1),
            (true, false) => 2,
        };
    }

    /// Records that a connection opened at `created_at` passed its first check.
    pub(super) fn succeeded(&mut self, created_at: Instant) {
        if created_at >= self.failed_at {
            self.has_connected = true;
            self.succeeded_at = self.succeeded_at.max(created_at);
            self.forget();
        }
    }

    /// Records a `clear` or a `resume`.
    pub(super) fn forget(&mut self) {
        (self.failing_since, self.permanent) = (None, 0);
    }

    /// Returns why a caller must not be told now; `None` if it may be.
    ///
    /// `oldest` is when the oldest connect under way began, and `comes_back` says that an open
    /// connection is idle, under check, or borrowed for less than `fail_fast_after`.
    pub(super) fn forbids(
        &self,
        fail_fast_after: Option<Duration>,
        oldest: Option<Instant>,
        comes_back: bool,
        now: Instant,
    ) -> Option<Untimely> {
        let oldest = oldest.filter(|began| *began >= self.succeeded_at || !self.has_connected);
        let began = [self.failing_since, oldest].into_iter().flatten().min();
        let patience = fail_fast_after.unwrap_or(Duration::MAX);
        let failing_long = began.is_some_and(|began| now.is_past(began, patience));
        let wrong_from_the_start =
            !self.has_connected && self.failing_since.is_some() && fail_fast_after.is_some();
        if comes_back {
            Some(Untimely::ComesBack)
        } else if self.permanent >= 2 || wrong_from_the_start || failing_long {
            None
        } else {
            Some(Untimely::TooEarly)
        }
    }

    pub(super) fn project(&self, into: &mut crate::machine::projection::Projector) {
        into.flag(self.has_connected);
        into.flag(self.failing_since.is_some());
        self.failing_since.into_iter().for_each(|at| into.time(at));
        into.order(self.failed_at);
        into.order(self.succeeded_at);
        into.number(usize::from(self.permanent.min(2)));
    }
}
