//! The runtime that a pool is at home on, and what its callers do when that one is silent.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::time::{Instant, earliest};

/// If the home has not begun a connect, or answered, for this long, callers begin connects themselves.
pub(crate) const IMPATIENT_AFTER: Duration = Duration::from_millis(100);

/// If the home has not answered for this long, the maintenance task moves.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// Identifies one of the runtimes of a process, where there can be several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuntimeId(NonZeroU32);

impl RuntimeId {
    /// The number of bits of a number that count.
    pub(crate) const BITS: u32 = 24;
    const MAX: u32 = (1 << RuntimeId::BITS) - 1;

    /// Creates an id from a number that no other runtime of the process has or had. Numbers of 2^24 and
    /// above count as the same.
    pub const fn new(number: NonZeroU32) -> Self {
        match NonZeroU32::new(RuntimeId::MAX) {
            Some(max) if number.get() > max.get() => RuntimeId(max),
            _ => RuntimeId(number),
        }
    }

    /// Returns the id in the lowest bits of `bits`, if there is one.
    #[inline]
    pub(crate) fn of_bits(bits: u64) -> Option<RuntimeId> {
        NonZeroU32::new(bits as u32 & RuntimeId::MAX).map(RuntimeId)
    }

    /// Returns the number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// The runtime of the maintenance task.
///
/// Without an id there is only one runtime, or none was seen yet: nothing is ever silent or moves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Home {
    id: Option<RuntimeId>,
    /// The runtime that the pool was built on.
    original: Option<RuntimeId>,
    original_has_ended: bool,
    /// It dropped the maintenance task.
    has_ended: bool,
    /// Counts the maintenance tasks. One with an older number was replaced.
    pub(crate) epoch: u64,
    /// The maintenance task was notified, and has not run since.
    is_asked: bool,
    /// When a caller first noticed that.
    silent_since: Option<Instant>,
    answered_at: Option<Instant>,
    /// Whether a caller on another runtime ever had to do the work of the home.
    pub(crate) has_strangers: bool,
}

/// Where the maintenance task is to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Original(Option<RuntimeId>),
    /// On the runtime of the caller.
    Here(Option<RuntimeId>),
}

impl Place {
    pub(crate) fn runtime(self) -> Option<RuntimeId> {
        let (Place::Original(runtime) | Place::Here(runtime)) = self;
        runtime
    }
}

/// How a start of the maintenance task changes the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// Not at all, or it is the first.
    None,
    Over {
        ended: bool,
    },
    Back,
}

/// The work that a caller on another runtime does for the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing, or nothing until then.
    Wait(Option<Instant>),
    /// Begins the connects that the home has not begun, and looks again.
    Connect(Option<Instant>),
    TakeOver,
}

impl Home {
    pub(crate) fn new(original: Option<RuntimeId>) -> Self {
        Home { id: original, original, ..Home::default() }
    }

    pub(crate) fn id(&self) -> Option<RuntimeId> {
        self.id
    }

    /// Returns where a caller on `here` starts the maintenance task; `None` if nowhere.
    pub(crate) fn place(&self, here: Option<RuntimeId>) -> Option<Place> {
        match (self.original, here) {
            (Some(_), _) if !self.original_has_ended => Some(Place::Original(self.original)),
            (_, Some(_)) => Some(Place::Here(here)),
            (None, None) => Some(Place::Original(None)),
            (Some(_), None) => None,
        }
    }

    /// Starts another maintenance task on `runtime`.
    pub(crate) fn starts_on(&mut self, runtime: Option<RuntimeId>) -> Move {
        let was = (self.id, self.has_ended);
        self.id = runtime;
        self.epoch = self.epoch.saturating_add(1);
        (self.has_ended, self.is_asked, self.silent_since) = (false, false, None);
        match was {
            (None, _) => Move::None,
            (same, _) if same == runtime => Move::None,
            _ if runtime == self.original => Move::Back,
            (Some(_), ended) => Move::Over { ended },
        }
    }

    /// Returns whether a maintenance task on `runtime` that was replaced takes the pool back. That it runs
    /// shows that the pool's own runtime answers again.
    pub(crate) fn takes_back(&self, runtime: Option<RuntimeId>) -> bool {
        runtime == self.original && runtime != self.id
    }

    /// Records that the home dropped the maintenance task. Returns whether it is known to have ended.
    pub(crate) fn ended(&mut self) -> bool {
        self.has_ended = self.id.is_some();
        self.original_has_ended |= self.has_ended && self.id == self.original;
        self.has_ended
    }

    /// Returns whether a caller on `runtime` is elsewhere.
    pub(crate) fn is_away(&self, runtime: Option<RuntimeId>) -> bool {
        runtime.is_some() && runtime != self.id
    }

    /// Records that the maintenance task was notified.
    pub(crate) fn asked(&mut self) {
        self.is_asked = true;
    }

    /// Records that the maintenance task runs.
    pub(crate) fn answered(&mut self, now: Instant) {
        (self.is_asked, self.silent_since, self.answered_at) = (false, None, Some(now));
    }

    /// Returns whether the maintenance task has run lately.
    pub(crate) fn is_answering(&self, now: Instant) -> bool {
        self.answered_at.is_some_and(|at| !now.is_past(at, IMPATIENT_AFTER))
    }

    /// Returns whether something is left to be done by the home. `unbegun` says when the oldest connect
    /// was decided that has not begun.
    #[inline]
    pub(crate) fn owes(&self, unbegun: Option<Instant>) -> bool {
        self.id.is_some() && (self.is_asked || unbegun.is_some())
    }

    /// Returns what a caller on `runtime` does about that at `now`.
    pub(crate) fn duty(
        &mut self,
        runtime: Option<RuntimeId>,
        unbegun: Option<Instant>,
        now: Instant,
    ) -> Duty {
        if !self.is_away(runtime) || !self.owes(unbegun) {
            return Duty::Wait(None);
        }
        self.has_strangers = true;
        if self.is_asked {
            self.silent_since.get_or_insert(now);
        }
        let moves_at = self.silent_since.and_then(|since| since.checked_add(SILENT_AFTER));
        let since = earliest([self.silent_since, unbegun]);
        let connects_at = since.and_then(|since| since.checked_add(IMPATIENT_AFTER));
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match (is_due(moves_at), is_due(connects_at)) {
            (true, _) => Duty::TakeOver,
            (false, true) => Duty::Connect(moves_at),
            (false, false) => Duty::Wait(connects_at),
        }
    }
}

/// The home of a pool whose own has ended: no connection was opened there.
pub(crate) const NOWHERE: RuntimeId = RuntimeId::new(NonZeroU32::MAX);

/// Returns whether a connection must not be checked out, since its runtime is neither the pool's nor the
/// caller's.
pub(crate) fn is_stranded(
    opened_on: Option<RuntimeId>,
    home: Option<RuntimeId>,
    caller: impl FnOnce() -> Option<RuntimeId>,
) -> bool {
    opened_on.is_some() && home.is_some() && opened_on != home && opened_on != caller()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn runtime(number: u32) -> Option<RuntimeId> {
        NonZeroU32::new(number).map(RuntimeId::new)
    }

    #[test]
    fn callers_elsewhere_connect_after_100_ms_of_silence_and_take_over_after_2_s() {
        let mut home = Home::new(runtime(1));
        let elsewhere = runtime(2);
        assert_eq!(home.duty(elsewhere, None, at(0)), Duty::Wait(None), "it owes nothing");
        home.asked();
        for caller in [runtime(1), None] {
            assert_eq!(home.duty(caller, None, at(9_000)), Duty::Wait(None), "{caller:?}");
        }
        // Silence begins when a caller elsewhere notices it.
        assert_eq!(home.duty(elsewhere, None, at(9_000)), Duty::Wait(Some(at(9_100))));
        assert_eq!(home.duty(runtime(3), None, at(9_099)), Duty::Wait(Some(at(9_100))));
        assert_eq!(home.duty(elsewhere, None, at(9_100)), Duty::Connect(Some(at(11_000))));
        assert_eq!(home.duty(elsewhere, None, at(10_999)), Duty::Connect(Some(at(11_000))));
        assert_eq!(home.duty(elsewhere, None, at(11_000)), Duty::TakeOver);
        home.answered(at(11_000));
        assert_eq!(home.duty(elsewhere, None, at(99_000)), Duty::Wait(None));
    }

    #[test]
    fn connect_that_a_home_that_answers_has_not_begun_does_not_move_the_task() {
        let mut home = Home::new(runtime(1));
        assert_eq!(home.duty(runtime(2), Some(at(0)), at(99)), Duty::Wait(Some(at(100))));
        assert_eq!(home.duty(runtime(2), Some(at(0)), at(9_000)), Duty::Connect(None));
    }

    #[test]
    fn single_runtime_owes_nothing() {
        let mut home = Home::new(None);
        home.asked();
        assert!(!home.owes(Some(at(0))));
        assert_eq!(home.duty(None, Some(at(0)), at(9_000)), Duty::Wait(None));
    }

    #[test]
    fn every_task_has_its_epoch_and_only_another_runtime_is_a_move() {
        let mut home = Home::new(runtime(1));
        home.asked();
        assert_eq!(home.starts_on(runtime(1)), Move::None);
        assert_eq!(home.starts_on(runtime(2)), Move::Over { ended: false });
        assert_eq!((home.epoch, home.id()), (2, runtime(2)));
        assert!(!home.owes(None), "the new task was asked for nothing yet");
        assert!(home.takes_back(runtime(1)) && !home.takes_back(runtime(2)));
        assert_eq!(home.starts_on(runtime(1)), Move::Back);
        assert!(!home.takes_back(runtime(1)), "it is there already");
        assert!(home.ended());
        assert_eq!(home.starts_on(runtime(2)), Move::Over { ended: true });
        let mut nowhere = Home::new(None);
        assert_eq!(nowhere.starts_on(runtime(2)), Move::None, "the first");
    }

    #[test]
    fn task_starts_where_the_pool_was_built_until_that_runtime_has_ended() {
        let mut home = Home::new(runtime(1));
        for here in [runtime(1), runtime(2), None] {
            assert_eq!(home.place(here), Some(Place::Original(runtime(1))));
        }
        home.starts_on(runtime(2));
        home.ended();
        assert_eq!(home.place(runtime(3)), Some(Place::Original(runtime(1))), "it may answer");
        home.starts_on(runtime(1));
        home.ended();
        assert_eq!(home.place(runtime(3)), Some(Place::Here(runtime(3))));
        assert_eq!(home.place(None), None);
        let mut nowhere = Home::new(None);
        assert_eq!(nowhere.place(None), Some(Place::Original(None)));
        assert_eq!(nowhere.place(runtime(3)), Some(Place::Here(runtime(3))));
        assert!(!nowhere.ended(), "a single runtime may take tasks again");
    }

    #[test]
    fn connection_is_lent_at_its_home_or_on_its_own_runtime() {
        let [a, b, c] = [1, 2, 3].map(runtime);
        assert!(!is_stranded(a, a, || c));
        assert!(!is_stranded(b, a, || b));
        assert!(is_stranded(b, a, || c));
        assert!(is_stranded(b, a, || None));
        assert!(!is_stranded(None, a, || c), "made where no runtime is known");
        assert!(!is_stranded(b, None, || c), "the pool is at home nowhere yet");
    }
}
