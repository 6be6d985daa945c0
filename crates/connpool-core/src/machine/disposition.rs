//! Classifies a connection that comes back to the pool.

use crate::machine::health::{ConnMeta, Rules, Step, Versions};
use crate::observe::close_reason::CloseReason;
use crate::time::Instant;

/// Flags that a user set on the guard of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct GuardFlags(u8);

impl GuardFlags {
    pub(crate) const NONE: GuardFlags = GuardFlags(0);
    /// The user marked the connection unusable.
    pub(crate) const UNUSABLE: GuardFlags = GuardFlags(1);
    /// An exchange started and has not ended well.
    pub(crate) const UNFINISHED: GuardFlags = GuardFlags(2);
    /// A label or a backtrace is recorded beside the lease.
    pub(crate) const NOTED: GuardFlags = GuardFlags(4);
    /// The connection was reset after it came back. Forgotten with the other flags at the next return.
    pub(crate) const RESET: GuardFlags = GuardFlags(8);

    /// How long it is borrowed is measured.
    pub(crate) const MEASURED: GuardFlags = GuardFlags(16);

    pub(crate) fn has(self, flag: GuardFlags) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) fn with(self, flag: GuardFlags) -> GuardFlags {
        GuardFlags(self.0 | flag.0)
    }

    /// Returns why the connection cannot be used again, whatever its manager says.
    #[inline]
    pub(crate) fn spoiled(self, panicking: bool) -> Option<CloseReason> {
        if panicking {
            Some(CloseReason::Panicked)
        } else if self.has(GuardFlags::UNUSABLE) {
            Some(CloseReason::Marked)
        } else if self.has(GuardFlags::UNFINISHED) {
            Some(CloseReason::Unfinished)
        } else {
            None
        }
    }
}

/// Says where a connection goes that comes back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// It goes to the first waiter, or becomes idle.
    Reuse,
    /// The maintenance task closes it.
    Close(CloseReason),
    /// The same, for one that its user left unfit: broken, or with unfinished work.
    Discard(CloseReason),
}

impl Disposition {
    /// Returns what follows from the last step of a check; `None` if the check goes on.
    #[inline]
    pub(crate) fn after(step: Step) -> Option<Self> {
        match step {
            Step::Pass => Some(Disposition::Reuse),
            Step::Close(reason) => Some(Disposition::Close(reason)),
            Step::Probe | Step::Ping | Step::Reset => None,
        }
    }

    /// Returns whether a check ended because the peer did not answer. Peers vanish together, so
    /// another connection of the same age probably does not answer either.
    pub(crate) fn is_silence(self) -> bool {
        use CloseReason::{Cancelled, PingTimeout, ResetTimeout};
        matches!(self, Disposition::Close(PingTimeout | ResetTimeout | Cancelled))
    }
}

/// Returns what happens to a returned connection that its user and its manager left in good order.
#[inline]
pub(crate) fn on_return(
    meta: &ConnMeta,
    rules: &Rules,
    versions: Versions,
    now: Instant,
) -> Disposition {
    if meta.is_stale(versions) {
        Disposition::Close(CloseReason::Cleared)
    } else if rules.forbid_age_of(meta, now) {
        Disposition::Close(CloseReason::Lifetime)
    } else if meta.uses >= rules.max_uses {
        Disposition::Close(CloseReason::MaxUses)
    } else {
        Disposition::Reuse
    }
}
