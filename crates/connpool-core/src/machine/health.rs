//! The health of one connection: what is checked, in which order, and what follows.
//!
//! Pure: what happened comes in as arguments, what to do next comes out. `get`, `try_get` and the
//! driver all walk the same machine, the return of a connection asks [`on_return`].

use std::time::Duration;

use crate::time::{FIBONACCI_HASH, Nanos, jittered};
use crate::{CloseReason, Instant, Liveness};

/// The settings that health is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) idle_timeout: Nanos,
    pub(crate) max_lifetime: Nanos,
    pub(crate) max_uses: Option<u64>,
    pub(crate) ping_after: Nanos,
    pub(crate) liveness_after: Nanos,
    pub(crate) keepalive: Nanos,
    pub(crate) resets: bool,
}

impl Rules {
    /// Which clock they need, and `leak_warning` with them, on the way of a connection out and back.
    pub(crate) fn clock(&self, leak_warning: Nanos) -> Clock {
        // A check that is due each time has no need to know how much time has passed.
        let unless_always = |after: Nanos| {
            if after == Nanos::ZERO {
                Nanos::NEVER
            } else {
                after
            }
        };
        let shortest = [
            self.idle_timeout,
            self.max_lifetime,
            self.keepalive,
            unless_always(self.ping_after),
            unless_always(self.liveness_after),
            leak_warning,
        ];
        match shortest.into_iter().min() {
            None | Some(Nanos::NEVER) => Clock::None,
            Some(shortest) if shortest < Nanos::from_nanos(500_000_000) => Clock::Precise,
            Some(_) => Clock::Recent,
        }
    }

    /// For how long after its return a connection needs no check but a look.
    pub(crate) fn fresh_for(&self) -> Nanos {
        if self.resets {
            return Nanos::ZERO;
        }
        self.idle_timeout.min(self.ping_after)
    }

    /// Whether a connection is older than it may become by now. Its own drawn limit is shorter, but
    /// was drawn under the rules of its time.
    #[inline]
    fn forbid_age_of(&self, stamps: &Stamps, now: Instant) -> bool {
        let over_rule = now.is_past(stamps.born, self.max_lifetime) && stamps.had_its_chance(now);
        stamps.is_over_lifetime(now) || over_rule
    }

    /// Whether a connection was lent as often as it may be by now.
    fn is_worn_out(&self, stamps: &Stamps) -> bool {
        self.max_uses.is_some_and(|most| stamps.uses >= most)
    }
}

/// Which clock is read on the way of a connection out and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// None: no rule asks what time it is.
    None,
    /// The one that lags a little and costs next to nothing.
    Recent,
    /// The precise one: a rule is so short that the lag would be a good part of it.
    Precise,
}

/// By how much of it, at most, `keepalive` is shortened at random.
const KEEPALIVE_JITTER: f64 = 0.25;

/// A connection that was never lent is over no limit before this.
const SHORTEST_UNUSED_LIFE: Duration = Duration::from_millis(1);

/// What is remembered of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Stamps {
    pub(crate) id: u64,
    /// When its connect ended.
    pub(crate) born: Instant,
    /// When its lifetime ends.
    pub(crate) expires: Instant,
    /// When it last came back, or was born; while it is lent, when that began.
    pub(crate) idle_since: Instant,
    /// The last proof of life: born, used, pinged or reset.
    pub(crate) proven: Instant,
    /// How often it was lent.
    pub(crate) uses: u64,
    /// The pool's generation when its connect began.
    pub(crate) generation: u64,
    pub(crate) proof: Proof,
}

/// The pool's seal when a connection last proved alive, and whether it was in order in every other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proof(u64);

impl Proof {
    pub(crate) fn new(seal: u64, in_order: bool) -> Self {
        Proof(seal << 1 | u64::from(in_order))
    }

    fn seal(self) -> u64 {
        self.0 >> 1
    }

    /// Whether it was in order under this seal.
    #[inline]
    fn holds_under(self, seal: u64) -> bool {
        self.0 == seal << 1 | 1
    }
}

/// The counters of the pool that its connections are measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Era {
    /// Another one than that of a connection: it was opened before a `clear`.
    pub(crate) generation: u64,
    /// Another one, and a higher one, whenever anything changes that a check depends on: the generation,
    /// the settings, or whom the pool suspects.
    pub(crate) seal: u64,
    /// The seal since which several connections were found broken in a short time: what proved alive
    /// under one before it is suspect.
    pub(crate) suspicion: u64,
}

impl Stamps {
    /// It comes back, and was alive until now.
    #[inline]
    pub(crate) fn comes_back(&mut self, now: Instant) {
        self.idle_since = now;
        self.proven = now;
    }

    /// Somebody gets it.
    #[inline]
    pub(crate) fn is_lent(&mut self, now: Instant) {
        self.idle_since = now;
        self.uses = self.uses.saturating_add(1);
    }

    /// It has just shown that it is alive. The rules are those of the era, or later ones.
    #[inline]
    pub(crate) fn proves_alive(&mut self, now: Instant, era: Era, rules: &Rules) {
        self.proven = now;
        // One whose lifetime was drawn when it could be longer has two ends: not for the shortest way.
        let longest = rules.max_lifetime.after(self.born);
        let has_one_end = longest.is_none_or(|end| self.expires <= end);
        let is_of_today = self.generation == era.generation;
        let in_order = has_one_end && is_of_today && !rules.is_worn_out(self);
        self.proof = Proof::new(era.seal, in_order);
    }

    /// Whether the whole check of one that was lent before would come to nothing but a look now, told by
    /// what costs next to nothing: under the same seal it was in order, and is neither over its lifetime
    /// nor idle for so long that anything is due. `fresh_for` is [`Rules::fresh_for`].
    ///
    /// May say no where the whole check says yes, never the other way round.
    #[inline]
    pub(crate) fn is_fit(&self, seal: u64, fresh_for: Nanos, now: Instant) -> bool {
        self.proof.holds_under(seal)
            && now < self.expires
            && !now.is_past(self.idle_since, fresh_for)
    }

    /// The same for the moment in which it comes back: whether [`on_return`] would keep it.
    #[inline]
    pub(crate) fn may_return(&self, seal: u64, max_uses: u64, now: Instant) -> bool {
        self.proof.holds_under(seal) && now < self.expires && self.uses < max_uses
    }

    /// At which age of its last proof of life it is pinged while idle: not at the same as others,
    /// and always at the same, so drawn from what is its own.
    // Cold: its arithmetic has no place in the middle of what every `get` runs through.
    #[cold]
    fn keepalive(&self, rules: &Rules) -> Nanos {
        let draw = self.id.wrapping_mul(FIBONACCI_HASH);
        let age = rules.keepalive.as_duration();
        age.map(|age| jittered(age, KEEPALIVE_JITTER, draw)).into()
    }

    #[inline]
    fn is_over_lifetime(&self, now: Instant) -> bool {
        now >= self.expires && self.had_its_chance(now)
    }

    #[inline]
    fn is_idle_too_long(&self, rules: &Rules, now: Instant) -> bool {
        now.is_past(self.idle_since, rules.idle_timeout) && self.had_its_chance(now)
    }

    /// Whether it was lent, or could have been: with limits of zero, what is opened ahead of need
    /// would else be replaced without end, and none of it lent.
    #[inline]
    fn had_its_chance(&self, now: Instant) -> bool {
        self.uses > 0 || now.is_past(self.born, SHORTEST_UNUSED_LIFE)
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
    /// To leave it idle: limits and a look, and a ping to keep it alive.
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
    /// it below `min_size`. One that is suspect is looked at and pinged whatever the rules say.
    #[inline]
    pub(crate) fn begin(
        purpose: Purpose,
        stamps: &Stamps,
        rules: &Rules,
        era: Era,
        spare: bool,
        now: Instant,
    ) -> Check {
        let is_suspect = stamps.proof.seal() < era.suspicion;
        let unproven = |after: Nanos| is_suspect || now.is_past(stamps.proven, after);
        let look_due = purpose == Purpose::LendNew || unproven(rules.liveness_after);
        let check = Check {
            step: Step::Look,
            ping_due: match purpose {
                Purpose::Lend => unproven(rules.ping_after),
                Purpose::Sweep => {
                    rules.keepalive != Nanos::NEVER && unproven(stamps.keepalive(rules))
                }
                Purpose::LendNew | Purpose::TryLend => false,
            },
            reset_due: purpose == Purpose::Lend && rules.resets && stamps.uses > 0,
            looks: rules.liveness_after != Nanos::NEVER,
        };
        if stamps.generation != era.generation {
            return check.at(Step::Close(CloseReason::Cleared));
        }
        if purpose != Purpose::LendNew {
            if rules.forbid_age_of(stamps, now) {
                return check.at(Step::Close(CloseReason::Lifetime));
            }
            if rules.is_worn_out(stamps) {
                return check.at(Step::Close(CloseReason::MaxUses));
            }
            if spare && stamps.is_idle_too_long(rules, now) {
                return check.at(Step::Close(CloseReason::Idle));
            }
        }
        if look_due {
            check
        } else {
            check.found(Found::Quiet)
        }
    }

    /// What a check comes to in which nothing was due but a look.
    pub(crate) fn only_a_look(found: Found) -> Step {
        let check = Check {
            step: Step::Look,
            ping_due: false,
            reset_due: false,
            looks: true,
        };
        check.found(found).step()
    }

    /// One that is over before it began.
    pub(crate) fn over(reason: CloseReason) -> Check {
        Check {
            step: Step::Close(reason),
            ping_due: false,
            reset_due: false,
            looks: false,
        }
    }

    /// What to do now.
    #[inline]
    pub(crate) fn step(self) -> Step {
        self.step
    }

    /// Whether it ends at a limit, without a look at the connection.
    pub(crate) fn is_over_a_limit(self) -> bool {
        matches!(
            self.step,
            Step::Close(CloseReason::Lifetime | CloseReason::Idle)
        )
    }

    /// The check after its step found this.
    #[inline]
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
    pub(crate) fn done(self, stamps: &Stamps, rules: &Rules) -> Check {
        if rules.forbid_age_of(stamps, stamps.proven) {
            self.at(Step::Close(CloseReason::Lifetime))
        } else {
            self.found(Found::Done)
        }
    }

    #[inline]
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
    #[inline]
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
    now: Instant,
) -> Option<CloseReason> {
    if stamps.generation != generation {
        Some(CloseReason::Cleared)
    } else if rules.forbid_age_of(stamps, now) {
        Some(CloseReason::Lifetime)
    } else if rules.is_worn_out(stamps) {
        Some(CloseReason::MaxUses)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
