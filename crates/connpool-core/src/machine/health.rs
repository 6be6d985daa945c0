//! The health of one connection: what is checked, in which order, and what follows.
//!
//! Every checkout and every sweep walks the same [`Check`].

use std::time::Duration;

use crate::machine::check_limit::RoundTrips;
use crate::machine::home::RuntimeId;
use crate::observe::close_reason::CloseReason;
use crate::time::{FIBONACCI_HASH, Instant, Nanos, earliest, jittered};

/// The settings that a check depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) idle_timeout: Nanos,
    pub(crate) max_lifetime: Nanos,
    /// The largest number if there is no limit.
    pub(crate) max_uses: u64,
    pub(crate) ping_after: Nanos,
    pub(crate) liveness_after: Nanos,
    pub(crate) keepalive: Nanos,
    pub(crate) needs_reset: bool,
}

impl Rules {
    /// Returns which clock these rules and `leak_warning` need at a checkout and a return.
    pub(crate) fn clock(&self, leak_warning: Nanos) -> Clock {
        // A check that is always due does not depend on how much time has passed.
        let unless_always = |after: Nanos| {
            if after == Nanos::ZERO { Nanos::NEVER } else { after }
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
            Some(shortest) => Clock::for_limit(shortest),
        }
    }

    /// Returns how long after its return a connection needs only a liveness probe.
    pub(crate) fn fresh_for(&self) -> Nanos {
        if self.needs_reset {
            return Nanos::ZERO;
        }
        self.idle_timeout.min(self.ping_after)
    }

    /// Returns whether a connection is over its lifetime: over its own, drawn when it was opened,
    /// or over that of the current settings.
    #[inline]
    pub(crate) fn forbid_age_of(&self, meta: &ConnMeta, now: Instant) -> bool {
        let is_over = now >= meta.expires_at || now.is_past(meta.created_at, self.max_lifetime);
        is_over && meta.was_available(now)
    }
}

/// The clock that is read at a checkout and a return.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Clock {
    /// No rule depends on time.
    None,
    /// The coarse clock: its lag is small against every rule.
    Recent,
    /// The precise clock: some rule is so short that the lag would matter.
    Precise,
}

impl Clock {
    /// Returns the clock that is needed for a limit.
    pub(crate) fn for_limit(limit: Nanos) -> Clock {
        if limit < Nanos(500_000_000) { Clock::Precise } else { Clock::Recent }
    }
}

/// The largest fraction by which `keepalive` is shortened at random.
const KEEPALIVE_JITTER: f64 = 0.25;

/// A connection that was never borrowed is over no limit before this age.
const SHORTEST_UNUSED_LIFE: Duration = Duration::from_millis(1);

/// A connection is not used in this part of the time that its peer has announced.
const MARGIN_PART: u32 = 10;
const LONGEST_MARGIN: Duration = Duration::from_secs(1);

/// A connection gets a successor ahead of time if it lives for at least this many connects.
const SHORTEST_LIFE: u32 = 4;

/// The versions of a pool. A connection that carries an older one needs a full check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Versions {
    /// Incremented by every `clear`, settings change, burst and leap. It only grows: a checkout that finds
    /// the number it knows may skip what the full check would find.
    pub(crate) current: u64,
    /// The version of the last `clear`. Connections whose connect started under an older one are
    /// stale.
    pub(crate) cleared: u64,
    /// The version of the last burst. Connections verified under an older one are suspect.
    pub(crate) suspect: u64,
    /// The version of the last leap of the clock. Connections verified under an older one may have been
    /// idle for longer than they seem.
    pub(crate) leapt: u64,
    /// The runtime that the pool is at home on.
    pub(crate) home: Option<RuntimeId>,
}

impl Versions {
    /// Returns whether the pool was cleared after this version.
    #[inline]
    pub(crate) fn outdates(self, version: u64) -> bool {
        version < self.cleared
    }

    pub(crate) fn advance(&mut self) {
        // Saturation would freeze the version. It takes 2^64 changes; the snapshot keeps 53 bits.
        self.current = self.current.saturating_add(1);
    }
}

/// The metadata of one connection.
#[derive(Debug, Clone)]
pub(crate) struct ConnMeta {
    pub(crate) id: ConnId,
    /// When its connect ended.
    pub(crate) created_at: Instant,
    /// When its lifetime ends, or earlier, shortly before the peer closes it.
    pub(crate) expires_at: Instant,
    /// When it was last returned, or created. A checkout leaves it alone.
    pub(crate) idle_since: Instant,
    /// The last sign of life: created, used, pinged or reset.
    pub(crate) last_alive: Instant,
    /// How often it was borrowed.
    pub(crate) uses: u64,
    pub(crate) origin: Origin,
    pub(crate) verified: VerifiedAt,
    pub(crate) round_trips: RoundTrips,
}

/// The pool's version when a connect started, and the runtime that it ran on, if that is known: 40 bits,
/// a thousand changes a second for 34 years, and 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin(u64);

impl Origin {
    pub(crate) fn new(version: u64, runtime: Option<RuntimeId>) -> Self {
        let number = runtime.map_or(0, RuntimeId::get);
        Origin(version << RuntimeId::BITS | u64::from(number))
    }

    #[inline]
    pub(crate) fn version(self) -> u64 {
        self.0 >> RuntimeId::BITS
    }

    #[inline]
    pub(crate) fn runtime(self) -> Option<RuntimeId> {
        RuntimeId::of_bits(self.0)
    }
}

/// The pool's version when a connection last gave a sign of life, and whether it was in order in
/// every other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VerifiedAt(u64);

impl VerifiedAt {
    pub(crate) fn new(version: u64, in_order: bool) -> Self {
        VerifiedAt(version << 1 | u64::from(in_order))
    }

    fn version(self) -> u64 {
        self.0 >> 1
    }

    /// Returns whether the connection was in order under `version`.
    #[inline]
    fn holds_under(self, version: u64) -> bool {
        self.0 == version << 1 | 1
    }
}

/// The number of a connection. 48 bits, a million connections a second for nine years, leave room in its
/// word for the round trips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnId([u8; 6]);

impl ConnId {
    pub(crate) fn new(id: u64) -> Self {
        let [a, b, c, d, e, f, ..] = id.to_le_bytes();
        ConnId([a, b, c, d, e, f])
    }
}

impl ConnMeta {
    pub(crate) fn id(&self) -> u64 {
        let ConnId([a, b, c, d, e, f]) = self.id;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// Records a return: the connection was alive until now.
    #[inline]
    pub(crate) fn returned(&mut self, now: Instant) {
        self.idle_since = now;
        self.last_alive = now;
    }

    /// Records that the peer announced at `now` to close it after `left`.
    ///
    /// Each announcement replaces the one before, so the end of the lifetime is computed again. To save a
    /// word for each connection, its random part is then drawn from the connection itself.
    pub(crate) fn announced(
        &mut self,
        left: Duration,
        now: Instant,
        (max_lifetime, jitter): (Option<Duration>, f64),
    ) {
        let margin = left.checked_div(MARGIN_PART).unwrap_or_default().min(LONGEST_MARGIN);
        let draw = (self.id() ^ self.created_at.as_nanos()).wrapping_mul(FIBONACCI_HASH);
        let lifetime = max_lifetime.map(|limit| jittered(limit, jitter, draw));
        let ends = [
            now.checked_add(left.saturating_sub(margin)),
            lifetime.and_then(|lifetime| self.created_at.checked_add(lifetime)),
        ];
        self.expires_at = earliest(ends).unwrap_or(Instant::NEVER);
    }

    /// Returns when a successor is due if this is the last idle connection: a connect's time before it
    /// expires. Never, if its life is not much longer than that.
    pub(crate) fn successor_due_at(&self) -> Instant {
        let takes = self.round_trips.connect_takes();
        let life = self.expires_at.since(self.created_at);
        let at = life.checked_sub(takes).and_then(|after| self.created_at.checked_add(after));
        let is_worth_it = life >= takes.saturating_mul(SHORTEST_LIFE);
        at.filter(|_| is_worth_it && self.expires_at < Instant::NEVER).unwrap_or(Instant::NEVER)
    }

    /// Records a sign of life. `rules` are those of `versions`, or later ones.
    #[inline]
    pub(crate) fn verified(&mut self, now: Instant, versions: Versions, rules: &Rules) {
        self.last_alive = now;
        // A connection whose lifetime was drawn when it could be longer has two ends. The fast path
        // compares only one, so it must not take such a connection.
        let longest = rules.max_lifetime.after(self.created_at);
        let has_one_end = longest.is_none_or(|end| self.expires_at <= end);
        let in_order = has_one_end
            && self.origin.runtime() == versions.home
            && !self.is_stale(versions)
            && self.uses < rules.max_uses;
        self.verified = VerifiedAt::new(versions.current, in_order);
    }

    /// Returns whether its connect started before the last `clear`.
    #[inline]
    pub(crate) fn is_stale(&self, versions: Versions) -> bool {
        versions.outdates(self.origin.version())
    }

    /// Returns whether the full check of a connection that was borrowed before would ask for nothing
    /// but a liveness probe: it was in order under the same version, and neither its lifetime nor
    /// `fresh_for`, which is [`Rules::fresh_for`], is over.
    ///
    /// May return `false` where the full check passes, never the other way round.
    #[inline]
    pub(crate) fn is_fit(&self, version: u64, fresh_for: Nanos, now: Instant) -> bool {
        self.verified.holds_under(version)
            && now < self.expires_at
            && !now.is_past(self.idle_since, fresh_for)
    }

    /// Returns whether `on_return` would keep the connection, told by as little.
    #[inline]
    pub(crate) fn may_return(&self, version: u64, max_uses: u64, now: Instant) -> bool {
        self.verified.holds_under(version) && now < self.expires_at && self.uses < max_uses
    }

    /// Returns the age of its last sign of life at which it is pinged while idle: different for each
    /// connection, and always the same for one, so drawn from its id.
    // Cold: keeps the arithmetic out of the code that every `get` runs through.
    #[cold]
    fn keepalive(&self, rules: &Rules) -> Nanos {
        let draw = self.id().wrapping_mul(FIBONACCI_HASH);
        let age = rules.keepalive.as_duration();
        age.map(|age| jittered(age, KEEPALIVE_JITTER, draw)).into()
    }

    /// Returns whether it was borrowed, or could have been. With limits of zero, connections that
    /// are opened ahead of need would otherwise be replaced forever without one being borrowed.
    #[inline]
    fn was_available(&self, now: Instant) -> bool {
        self.uses > 0 || now.is_past(self.created_at, SHORTEST_UNUSED_LIFE)
    }
}

/// The purpose of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckKind {
    /// Checkout of a connection that was idle or just returned.
    Reused,
    /// Checkout of a connection that was just opened: a liveness probe is enough.
    Fresh,
    /// Checkout without waiting: no ping.
    Immediate,
    /// To stay idle: limits, a liveness probe, and a ping to keep it alive.
    Sweep,
}

/// The next step of a check.
///
/// `Probe`, `Ping` and `Reset` ask for an action, whose [`StepResult`] leads to the next step.
/// Steps that are not due are skipped. `Pass` and `Close` end the check.
///
/// | step  | result            | next                                      |
/// |-------|-------------------|-------------------------------------------|
/// | Probe | Quiet             | Ping if due, else Reset if due, else Pass |
/// | Probe | Closed            | Close(Dead)                               |
/// | Probe | Unsolicited       | Close(Unsolicited)                        |
/// | Ping  | Done              | Reset if due, else Probe again, else Pass |
/// | Ping, Reset | Done, and over its lifetime by now | Close(Lifetime)    |
/// | Ping  | Failed            | Close(PingFailed)                         |
/// | Ping  | TimedOut          | Close(PingTimeout)                        |
/// | Reset | Done              | Probe again, else Pass                    |
/// | Reset | Failed            | Close(ResetFailed)                        |
/// | Reset | TimedOut          | Close(ResetTimeout)                       |
/// | Ping, Reset | CutShort    | Close(Cancelled)                          |
/// | any   | Panicked          | Close(Panicked)                           |
/// | Pass, Close(r) | anything | unchanged                                 |
///
/// The second probe finds what the reply to a ping or a reset left unread. It is skipped with
/// `liveness_after` `None`, and after it nothing is due.
///
/// A result that does not belong to the step closes the connection as `Cancelled`, since its state
/// is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Probe,
    Ping,
    Reset,
    Pass,
    Close(CloseReason),
}

impl Step {
    /// Returns the name of a step that runs code of the manager.
    pub(crate) fn label(self) -> &'static str {
        if self == Step::Reset { "reset" } else { "ping" }
    }
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepResult {
    Quiet,
    Closed,
    Unsolicited,
    Done,
    Failed,
    TimedOut,
    /// It took longer than its `get` could wait.
    CutShort,
    Panicked,
}

/// One check of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Check {
    pub(crate) step: Step,
    ping_due: bool,
    reset_due: bool,
    probes: bool,
}

impl Check {
    /// Starts a check. Limits, which cost no I/O, are judged here.
    ///
    /// `spare` says whether the pool can do without this connection: `idle_timeout` does not bring
    /// it below `min_size`. A suspect connection is probed and pinged whatever the rules say. One that is
    /// idle since a leap of the clock is probed, and pinged if the rules ever ask for a ping.
    #[inline]
    pub(crate) fn begin(
        kind: CheckKind,
        meta: &ConnMeta,
        rules: &Rules,
        versions: Versions,
        spare: bool,
        now: Instant,
    ) -> Check {
        let verified = meta.verified.version();
        let is_suspect = verified < versions.suspect;
        let is_in_doubt = is_suspect || verified < versions.leapt;
        let is_due = |after: Nanos| {
            (is_in_doubt && after != Nanos::NEVER) || now.is_past(meta.last_alive, after)
        };
        let probe_due = kind == CheckKind::Fresh || is_in_doubt || is_due(rules.liveness_after);
        let check = Check {
            step: Step::Probe,
            ping_due: match kind {
                CheckKind::Reused => is_suspect || is_due(rules.ping_after),
                CheckKind::Sweep => {
                    rules.keepalive != Nanos::NEVER && is_due(meta.keepalive(rules))
                }
                CheckKind::Fresh | CheckKind::Immediate => false,
            },
            reset_due: kind == CheckKind::Reused && rules.needs_reset && meta.uses > 0,
            probes: rules.liveness_after != Nanos::NEVER,
        };
        if meta.is_stale(versions) {
            return check.at(Step::Close(CloseReason::Cleared));
        }
        if kind != CheckKind::Fresh {
            if rules.forbid_age_of(meta, now) {
                return check.at(Step::Close(CloseReason::Lifetime));
            }
            if meta.uses >= rules.max_uses {
                return check.at(Step::Close(CloseReason::MaxUses));
            }
            let is_idle_too_long = now.is_past(meta.idle_since, rules.idle_timeout);
            if spare && is_idle_too_long && meta.was_available(now) {
                return check.at(Step::Close(CloseReason::Idle));
            }
        }
        if probe_due { check } else { check.after(StepResult::Quiet) }
    }

    /// Returns the check of a connection whose runtime is gone: it is closed.
    #[cold]
    pub(crate) fn of_stranded() -> Check {
        let step = Step::Close(CloseReason::RuntimeGone);
        Check { step, ping_due: false, reset_due: false, probes: false }
    }

    /// Returns the outcome of a check in which only a liveness probe was due.
    pub(crate) fn probe_only(result: StepResult) -> Step {
        let check = Check { step: Step::Probe, ping_due: false, reset_due: false, probes: true };
        check.after(result).step
    }

    /// Starts the check of a connection that came back and is reset before it becomes idle.
    pub(crate) fn of_returned(rules: &Rules) -> Check {
        let probes = rules.liveness_after != Nanos::NEVER;
        let step = if probes { Step::Probe } else { Step::Reset };
        Check { step, ping_due: false, reset_due: true, probes }
    }

    /// Returns whether the check ended at a limit, without a probe.
    pub(crate) fn is_over_a_limit(self) -> bool {
        matches!(self.step, Step::Close(CloseReason::Lifetime | CloseReason::Idle))
    }

    /// Returns the check after the result of its step.
    #[inline]
    pub(crate) fn after(self, result: StepResult) -> Check {
        let next = match (self.step, result) {
            (Step::Pass | Step::Close(_), _) => self.step,
            (_, StepResult::Panicked) => Step::Close(CloseReason::Panicked),
            (Step::Probe, StepResult::Quiet) if self.ping_due => Step::Ping,
            (Step::Probe, StepResult::Quiet) | (Step::Ping, StepResult::Done) if self.reset_due => {
                Step::Reset
            }
            (Step::Ping | Step::Reset, StepResult::Done) if self.probes => {
                return Check { step: Step::Probe, ping_due: false, reset_due: false, ..self };
            }
            (Step::Probe, StepResult::Quiet) | (Step::Ping | Step::Reset, StepResult::Done) => {
                Step::Pass
            }
            (Step::Probe, StepResult::Closed) => Step::Close(CloseReason::Dead),
            (Step::Probe, StepResult::Unsolicited) => Step::Close(CloseReason::Unsolicited),
            (Step::Ping, StepResult::Failed) => Step::Close(CloseReason::PingFailed),
            (Step::Ping, StepResult::TimedOut) => Step::Close(CloseReason::PingTimeout),
            (Step::Reset, StepResult::Failed) => Step::Close(CloseReason::ResetFailed),
            (Step::Reset, StepResult::TimedOut) => Step::Close(CloseReason::ResetTimeout),
            (Step::Probe | Step::Ping | Step::Reset, _) => Step::Close(CloseReason::Cancelled),
        };
        self.at(next)
    }

    /// Returns the check after a ping or a reset that succeeded at `meta.last_alive`. It took its
    /// time, and the lifetime may be over by now.
    pub(crate) fn after_success(self, meta: &ConnMeta, rules: &Rules) -> Check {
        if rules.forbid_age_of(meta, meta.last_alive) {
            self.at(Step::Close(CloseReason::Lifetime))
        } else {
            self.after(StepResult::Done)
        }
    }

    #[inline]
    fn at(self, step: Step) -> Check {
        Check { step, ..self }
    }
}

#[cfg(test)]
mod tests;
