//! The health of one connection: what is checked, in which order, and what follows.
//!
//! Pure: what happened comes in as arguments, what to do next comes out. `get`, `try_get` and the
//! driver all walk the same machine, the return of a connection asks [`on_return`].

use crate::moment::Span;
use crate::{CloseReason, Liveness, Moment};

/// The settings that health is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) idle_timeout: Span,
    pub(crate) max_lifetime: Span,
    pub(crate) max_uses: Option<u64>,
    pub(crate) ping_after: Span,
    pub(crate) liveness_after: Span,
    pub(crate) resets: bool,
}

impl Rules {
    /// Whether any rule asks what time it is. If none does, no clock is read on the way of a
    /// connection out and back.
    pub(crate) fn need_clock(&self) -> bool {
        let depends_on_age = |after: Span| after != Span::ZERO && after != Span::NEVER;
        self.idle_timeout != Span::NEVER
            || self.max_lifetime != Span::NEVER
            || depends_on_age(self.ping_after)
            || depends_on_age(self.liveness_after)
    }

    /// Whether a connection is older than it may become by now. Its own drawn limit is shorter, but
    /// was drawn under the rules of its time.
    fn forbid_age_of(&self, stamps: &Stamps, now: Moment) -> bool {
        stamps.is_over_lifetime(now) || now.is_past(stamps.born, self.max_lifetime)
    }
}

/// What is remembered of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Stamps {
    pub(crate) id: u64,
    /// When its connect ended.
    pub(crate) born: Moment,
    /// When its lifetime ends; `None`: never.
    pub(crate) expires: Option<Moment>,
    /// When it last came back, or was born.
    pub(crate) idle_since: Moment,
    /// The last proof of life: born, used, pinged or reset.
    pub(crate) proven: Moment,
    /// How often it was lent.
    pub(crate) uses: u64,
    /// The pool's generation when its connect began.
    pub(crate) generation: u64,
}

impl Stamps {
    fn is_over_lifetime(&self, now: Moment) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// What a connection is checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To lend one that was idle, or that somebody just gave back.
    Lend,
    /// To lend one that was just opened: a look is enough.
    LendNew,
    /// To lend without waiting: no ping.
    TryLend,
    /// To leave it idle: limits and a look.
    Sweep,
}

/// Where a check stands: what to do with the connection now.
///
/// `Look`, `Ping` and `Reset` ask for an action; what it [`Found`] leads to the next step. What is
/// not due is skipped. `Pass` and `Close` end the check.
///
/// | step  | found             | next                                     |
/// |-------|-------------------|------------------------------------------|
/// | Look  | Quiet             | Ping if due, else Reset if due, else Pass |
/// | Look  | Closed            | Close(Dead)                              |
/// | Look  | Unsolicited       | Close(Unsolicited)                       |
/// | Ping  | Done              | Reset if due, else Look again, else Pass |
/// | Ping, Reset | Done, and over its lifetime by now | Close(Lifetime)    |
/// | Ping  | Failed            | Close(PingFailed)                        |
/// | Ping  | TimedOut          | Close(PingTimeout)                       |
/// | Reset | Done              | Look again, else Pass                    |
/// | Reset | Failed            | Close(ResetFailed)                       |
/// | Reset | TimedOut          | Close(ResetTimeout)                      |
/// | any   | Panicked          | Close(Panicked)                          |
/// | Pass, Close(r) | anything | unchanged                                |
///
/// The second look finds what the answer to a ping or a reset left unread; it is not taken with
/// `liveness_after` `None`. After it nothing is due any more.
///
/// A finding that does not belong to the step closes the connection as `Cancelled`: its state is
/// unknown then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Look,
    Ping,
    Reset,
    Pass,
    Close(CloseReason),
}

/// What an action of a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Quiet,
    Closed,
    Unsolicited,
    Done,
    Failed,
    TimedOut,
    Panicked,
}

impl From<Liveness> for Found {
    fn from(liveness: Liveness) -> Self {
        match liveness {
            Liveness::Alive | Liveness::Unknown => Found::Quiet,
            Liveness::Closed => Found::Closed,
            Liveness::Unsolicited => Found::Unsolicited,
        }
    }
}

/// One check of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Check {
    step: Step,
    ping_due: bool,
    reset_due: bool,
    looks: bool,
}

impl Check {
    /// The check that `purpose` asks for at `now`. Limits, which cost nothing, are judged here.
    ///
    /// `spare` says whether the pool can do without this connection: `idle_timeout` does not bring
    /// it below `min_size`.
    #[inline]
    pub(crate) fn begin(
        purpose: Purpose,
        stamps: &Stamps,
        rules: &Rules,
        generation: u64,
        spare: bool,
        now: Moment,
    ) -> Check {
        let unproven = |after: Span| now.is_past(stamps.proven, after);
        let look_due = purpose == Purpose::LendNew || unproven(rules.liveness_after);
        let check = Check {
            step: Step::Look,
            ping_due: purpose == Purpose::Lend && unproven(rules.ping_after),
            reset_due: purpose == Purpose::Lend && rules.resets && stamps.uses > 0,
            looks: rules.liveness_after != Span::NEVER,
        };
        if stamps.generation != generation {
            return check.at(Step::Close(CloseReason::Cleared));
        }
        if purpose != Purpose::LendNew {
            if rules.forbid_age_of(stamps, now) {
                return check.at(Step::Close(CloseReason::Lifetime));
            }
            if spare && now.is_past(stamps.idle_since, rules.idle_timeout) {
                return check.at(Step::Close(CloseReason::Idle));
            }
        }
        if look_due {
            check
        } else {
            check.found(Found::Quiet)
        }
    }

    /// What to do now.
    pub(crate) fn step(self) -> Step {
        self.step
    }

    /// The check after its step found this.
    pub(crate) fn found(self, found: Found) -> Check {
        let next = match (self.step, found) {
            (Step::Pass | Step::Close(_), _) => self.step,
            (_, Found::Panicked) => Step::Close(CloseReason::Panicked),
            (Step::Look, Found::Quiet) if self.ping_due => Step::Ping,
            (Step::Look, Found::Quiet) | (Step::Ping, Found::Done) if self.reset_due => Step::Reset,
            (Step::Ping | Step::Reset, Found::Done) if self.looks => {
                return Check {
                    step: Step::Look,
                    ping_due: false,
                    reset_due: false,
                    ..self
                };
            }
            (Step::Look, Found::Quiet) | (Step::Ping | Step::Reset, Found::Done) => Step::Pass,
            (Step::Look, Found::Closed) => Step::Close(CloseReason::Dead),
            (Step::Look, Found::Unsolicited) => Step::Close(CloseReason::Unsolicited),
            (Step::Ping, Found::Failed) => Step::Close(CloseReason::PingFailed),
            (Step::Ping, Found::TimedOut) => Step::Close(CloseReason::PingTimeout),
            (Step::Reset, Found::Failed) => Step::Close(CloseReason::ResetFailed),
            (Step::Reset, Found::TimedOut) => Step::Close(CloseReason::ResetTimeout),
            (Step::Look | Step::Ping | Step::Reset, _) => Step::Close(CloseReason::Cancelled),
        };
        self.at(next)
    }

    /// The check after a ping or a reset that ended well at `stamps.proven`: that took its time, and
    /// the lifetime may be over by now.
    pub(crate) fn done(self, stamps: &Stamps) -> Check {
        if stamps.is_over_lifetime(stamps.proven) {
            self.at(Step::Close(CloseReason::Lifetime))
        } else {
            self.found(Found::Done)
        }
    }

    fn at(self, step: Step) -> Check {
        Check { step, ..self }
    }
}

/// How a guard was used, as far as its pool knows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Conduct {
    /// Its user marked it unusable.
    pub(crate) marked: bool,
    /// An exchange was begun and did not end well.
    pub(crate) unfinished: bool,
    /// It is dropped because its thread panics.
    pub(crate) panicking: bool,
}

impl Conduct {
    /// Why a connection used like this cannot be lent again, whatever its manager says.
    pub(crate) fn spoiled(self) -> Option<CloseReason> {
        if self.panicking {
            Some(CloseReason::Panicked)
        } else if self.marked {
            Some(CloseReason::Marked)
        } else if self.unfinished {
            Some(CloseReason::Unfinished)
        } else {
            None
        }
    }
}

/// Why a connection that comes back in good order is closed all the same; `None`: it is kept.
#[inline]
pub(crate) fn on_return(
    stamps: &Stamps,
    rules: &Rules,
    generation: u64,
    now: Moment,
) -> Option<CloseReason> {
    if stamps.generation != generation {
        Some(CloseReason::Cleared)
    } else if rules.forbid_age_of(stamps, now) {
        Some(CloseReason::Lifetime)
    } else if rules.max_uses.is_some_and(|most| stamps.uses >= most) {
        Some(CloseReason::MaxUses)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
