//! The health of one connection: what is checked, in which order, and what follows.
//!
//! Pure: what happened comes in as arguments, what to do next comes out. `get`, `try_get` and the
//! driver all walk the same machine, the return of a connection asks [`on_return`].

use std::time::Duration;

use crate::{Liveness, Moment};

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
    /// The pool was closed.
    PoolClosed,
}

impl CloseReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [CloseReason; 18] = [
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
            CloseReason::PoolClosed => "pool_closed",
        }
    }

    /// Whether the connection is believed to be in good order, so that a goodbye makes sense.
    pub(crate) fn deserves_goodbye(self) -> bool {
        matches!(
            self,
            CloseReason::Idle
                | CloseReason::Lifetime
                | CloseReason::MaxUses
                | CloseReason::Shrunk
                | CloseReason::Overflow
                | CloseReason::PoolClosed
        )
    }
}

/// The settings that health is judged by.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) max_uses: Option<u64>,
    pub(crate) ping_after: Option<Duration>,
    pub(crate) liveness_after: Option<Duration>,
    pub(crate) resets: bool,
}

impl Rules {
    /// Whether any rule asks what time it is. If none does, no clock is read on the way of a
    /// connection out and back.
    pub(crate) fn need_clock(&self) -> bool {
        self.idle_timeout.is_some()
            || self.max_lifetime.is_some()
            || self.ping_after.is_some_and(|after| after > Duration::ZERO)
            || self
                .liveness_after
                .is_some_and(|after| after > Duration::ZERO)
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
/// | Ping  | Done              | Reset if due, else Pass                  |
/// | Ping  | Failed            | Close(PingFailed)                        |
/// | Ping  | TimedOut          | Close(PingTimeout)                       |
/// | Reset | Done              | Pass                                     |
/// | Reset | Failed            | Close(ResetFailed)                       |
/// | Reset | TimedOut          | Close(ResetTimeout)                      |
/// | any   | Panicked          | Close(Panicked)                          |
/// | Pass, Close(r) | anything | unchanged                                |
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
}

impl Check {
    /// The check that `purpose` asks for at `now`. Limits, which cost nothing, are judged here.
    ///
    /// `spare` says whether the pool can do without this connection: `idle_timeout` does not bring
    /// it below `min_size`.
    pub(crate) fn begin(
        purpose: Purpose,
        stamps: &Stamps,
        rules: &Rules,
        generation: u64,
        spare: bool,
        now: Moment,
    ) -> Check {
        let unproven =
            |after: Option<Duration>| after.is_some_and(|after| now.is_past(stamps.proven, after));
        let look_due = purpose == Purpose::LendNew || unproven(rules.liveness_after);
        let check = Check {
            step: Step::Look,
            ping_due: purpose == Purpose::Lend && unproven(rules.ping_after),
            reset_due: purpose == Purpose::Lend && rules.resets && stamps.uses > 0,
        };
        if stamps.generation != generation {
            return check.at(Step::Close(CloseReason::Cleared));
        }
        if purpose != Purpose::LendNew {
            if stamps.expires.is_some_and(|expires| now >= expires) {
                return check.at(Step::Close(CloseReason::Lifetime));
            }
            if spare
                && rules
                    .idle_timeout
                    .is_some_and(|limit| now.is_past(stamps.idle_since, limit))
            {
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
pub(crate) fn on_return(
    stamps: &Stamps,
    rules: &Rules,
    generation: u64,
    now: Moment,
) -> Option<CloseReason> {
    if stamps.generation != generation {
        Some(CloseReason::Cleared)
    } else if stamps.expires.is_some_and(|expires| now >= expires) {
        Some(CloseReason::Lifetime)
    } else if rules.max_uses.is_some_and(|most| stamps.uses >= most) {
        Some(CloseReason::MaxUses)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CloseReason::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment::ORIGIN.checked_add(SECOND * seconds as u32).unwrap()
    }

    fn stamps() -> Stamps {
        Stamps {
            id: 1,
            born: at(0),
            expires: None,
            idle_since: at(0),
            proven: at(0),
            uses: 1,
            generation: 7,
        }
    }

    fn rules() -> Rules {
        Rules {
            idle_timeout: None,
            max_lifetime: None,
            max_uses: None,
            ping_after: Some(SECOND),
            liveness_after: Some(Duration::ZERO),
            resets: true,
        }
    }

    fn begin(purpose: Purpose, stamps: &Stamps, rules: &Rules, now: u64) -> Step {
        Check::begin(purpose, stamps, rules, 7, true, at(now)).step()
    }

    #[test]
    fn the_machine_is_its_table() {
        use Found::*;
        let all = [
            Quiet,
            Closed,
            Unsolicited,
            Done,
            Failed,
            TimedOut,
            Found::Panicked,
        ];
        for ping_due in [false, true] {
            for reset_due in [false, true] {
                let after_ping = if reset_due { Step::Reset } else { Step::Pass };
                let after_look = if ping_due { Step::Ping } else { after_ping };
                let table = [
                    (Step::Look, Quiet, after_look),
                    (Step::Look, Closed, Step::Close(Dead)),
                    (
                        Step::Look,
                        Unsolicited,
                        Step::Close(CloseReason::Unsolicited),
                    ),
                    (Step::Ping, Done, after_ping),
                    (Step::Ping, Failed, Step::Close(PingFailed)),
                    (Step::Ping, TimedOut, Step::Close(PingTimeout)),
                    (Step::Reset, Done, Step::Pass),
                    (Step::Reset, Failed, Step::Close(ResetFailed)),
                    (Step::Reset, TimedOut, Step::Close(ResetTimeout)),
                ];
                for step in [
                    Step::Look,
                    Step::Ping,
                    Step::Reset,
                    Step::Pass,
                    Step::Close(Marked),
                ] {
                    for found in all {
                        let check = Check {
                            step,
                            ping_due,
                            reset_due,
                        };
                        let row = table.iter().find(|row| (row.0, row.1) == (step, found));
                        let expected = match (step, row) {
                            (Step::Pass | Step::Close(_), _) => step,
                            (_, Some(row)) => row.2,
                            (_, None) if found == Found::Panicked => {
                                Step::Close(CloseReason::Panicked)
                            }
                            (_, None) => Step::Close(Cancelled),
                        };
                        assert_eq!(check.found(found).step(), expected, "{check:?} {found:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_cheapest_check_comes_first() {
        let mut stamps = stamps();
        let mut rules = rules();
        rules.idle_timeout = Some(SECOND * 5);
        stamps.expires = Some(at(9));
        assert_eq!(
            begin(Purpose::Lend, &stamps, &rules, 9),
            Step::Close(Lifetime)
        );
        stamps.expires = None;
        assert_eq!(begin(Purpose::Lend, &stamps, &rules, 9), Step::Close(Idle));
        rules.idle_timeout = None;
        let check = Check::begin(Purpose::Lend, &stamps, &rules, 7, true, at(9));
        assert_eq!(check.step(), Step::Look);
        assert_eq!(check.found(Found::Quiet).step(), Step::Ping);
        assert_eq!(
            check.found(Found::Quiet).found(Found::Done).step(),
            Step::Reset
        );
        stamps.generation = 6;
        assert_eq!(
            begin(Purpose::Lend, &stamps, &rules, 9),
            Step::Close(Cleared)
        );
    }

    #[test]
    fn limits_act_at_their_moment_and_not_before() {
        let mut stamps = stamps();
        let mut rules = rules();
        rules.idle_timeout = Some(SECOND * 5);
        assert_eq!(begin(Purpose::Sweep, &stamps, &rules, 4), Step::Look);
        assert_eq!(begin(Purpose::Sweep, &stamps, &rules, 5), Step::Close(Idle));
        stamps.expires = Some(at(3));
        assert_eq!(begin(Purpose::Sweep, &stamps, &rules, 2), Step::Look);
        assert_eq!(
            begin(Purpose::Sweep, &stamps, &rules, 3),
            Step::Close(Lifetime)
        );
        assert_eq!(on_return(&stamps, &rules, 7, at(2)), None);
        assert_eq!(on_return(&stamps, &rules, 7, at(3)), Some(Lifetime));
    }

    #[test]
    fn what_the_pool_cannot_spare_is_not_idle_too_long() {
        let mut rules = rules();
        rules.idle_timeout = Some(SECOND);
        let check = Check::begin(Purpose::Sweep, &stamps(), &rules, 7, false, at(9));
        assert_eq!(check.step(), Step::Look);
    }

    #[test]
    fn a_fresh_proof_of_life_saves_the_look_and_the_ping() {
        let mut rules = rules();
        rules.resets = false;
        rules.liveness_after = Some(SECOND * 2);
        rules.ping_after = Some(SECOND * 4);
        let check = |now| Check::begin(Purpose::Lend, &stamps(), &rules, 7, true, at(now));
        assert_eq!(check(1).step(), Step::Pass);
        assert_eq!(check(2).step(), Step::Look);
        assert_eq!(check(3).found(Found::Quiet).step(), Step::Pass);
        assert_eq!(check(4).found(Found::Quiet).step(), Step::Ping);
    }

    #[test]
    fn zero_means_always_and_none_means_never() {
        let mut rules = rules();
        rules.resets = false;
        (rules.liveness_after, rules.ping_after) = (Some(Duration::ZERO), Some(Duration::ZERO));
        let check = Check::begin(Purpose::Lend, &stamps(), &rules, 7, true, at(0));
        assert_eq!(check.step(), Step::Look);
        assert_eq!(check.found(Found::Quiet).step(), Step::Ping);
        (rules.liveness_after, rules.ping_after) = (None, None);
        assert_eq!(begin(Purpose::Lend, &stamps(), &rules, 999), Step::Pass);
    }

    #[test]
    fn a_new_connection_is_only_looked_at() {
        let mut stamps = stamps();
        stamps.uses = 0;
        stamps.expires = Some(at(0));
        let mut rules = rules();
        rules.ping_after = Some(Duration::ZERO);
        rules.liveness_after = None;
        let check = Check::begin(Purpose::LendNew, &stamps, &rules, 7, true, at(0));
        assert_eq!(check.step(), Step::Look);
        assert_eq!(check.found(Found::Quiet).step(), Step::Pass);
    }

    #[test]
    fn an_unused_connection_needs_no_reset() {
        let mut stamps = stamps();
        stamps.uses = 0;
        let check = Check::begin(Purpose::Lend, &stamps, &rules(), 7, true, at(0));
        assert_eq!(check.found(Found::Quiet).step(), Step::Pass);
    }

    #[test]
    fn a_panic_outweighs_a_mark_and_a_mark_an_exchange() {
        let conduct = |panicking, marked, unfinished| {
            Conduct {
                marked,
                unfinished,
                panicking,
            }
            .spoiled()
        };
        assert_eq!(conduct(true, true, true), Some(CloseReason::Panicked));
        assert_eq!(conduct(false, true, true), Some(Marked));
        assert_eq!(conduct(false, false, true), Some(Unfinished));
        assert_eq!(conduct(false, false, false), None);
    }

    #[test]
    fn enough_uses_are_enough() {
        let mut rules = rules();
        rules.max_uses = Some(3);
        let mut stamps = stamps();
        stamps.uses = 2;
        assert_eq!(on_return(&stamps, &rules, 7, at(0)), None);
        stamps.uses = 3;
        assert_eq!(on_return(&stamps, &rules, 7, at(0)), Some(MaxUses));
        assert_eq!(on_return(&stamps, &rules, 8, at(0)), Some(Cleared));
    }

    #[test]
    fn every_reason_has_a_label_of_its_own() {
        let labels: std::collections::HashSet<_> = CloseReason::ALL
            .iter()
            .map(|reason| reason.label())
            .collect();
        assert_eq!(labels.len(), CloseReason::ALL.len());
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
