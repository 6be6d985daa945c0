//! Decides when returned connections are reset, and how long callers count on them meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{PoolConfig, ResetWhen};
use crate::machine::count::{Count, Sequence};
use crate::time::{Instant, Nanos};

/// At most this part of the open connections is reset at once, and at least [`LEAST_AT_ONCE`].
const PART_AT_ONCE: usize = 4;
const LEAST_AT_ONCE: usize = 4;

/// A caller counts on a connection under reset for this many times as long as the last reset took.
const PATIENCE: u32 = 4;

/// And for this long at least: a busy machine delays a reset that takes microseconds.
const LEAST_PATIENCE: Duration = Duration::from_millis(20);

/// What is known of the resets of a manager.
///
/// | from    | event                    | to      |
/// |---------|--------------------------|---------|
/// | Unknown | one was ready at once    | Nothing |
/// | any     | one had to wait          | Waits   |
/// | Waits   | one was ready at once    | Waits   |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Cost {
    #[default]
    Unknown,
    /// They do nothing that takes time, and are left to `get`.
    Nothing,
    /// The last one took this long that had to wait.
    Waits(Duration),
}

/// The connections that came back and are reset in the background before they are idle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resets {
    /// What the manager wants.
    default_when: ResetWhen,
    when: ResetWhen,
    reset_timeout: Option<Duration>,
    cost: Cost,
    ids: Sequence,
    /// When those came back that callers count on. Ids ascend with time.
    coming: BTreeMap<u64, Instant>,
    /// The number of the others.
    late: Count,
    running: Count,
}

impl Resets {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        let mut resets = Resets::default();
        resets.reconfigure(config);
        resets
    }

    /// Sets what the manager says: whether it resets, and when, unless the settings say it.
    pub(crate) fn set_manager(&mut self, resets: bool, when: ResetWhen, config: &PoolConfig) {
        self.cost = if resets { Cost::Unknown } else { Cost::Nothing };
        self.default_when = when;
        self.reconfigure(config);
    }

    /// Applies new settings.
    pub(crate) fn reconfigure(&mut self, config: &PoolConfig) {
        self.when = config.reset_when.unwrap_or(self.default_when);
        self.reset_timeout = config.reset_timeout;
    }

    /// Returns whether a connection that comes back is reset before it becomes idle.
    pub(crate) fn are_on_return(&self) -> bool {
        self.when == ResetWhen::OnReturn && self.cost != Cost::Nothing
    }

    /// Records that a reset ended: after this long, or at once.
    pub(crate) fn took(&mut self, took: Option<Duration>) {
        self.cost = match (self.cost, took) {
            (_, Some(took)) => Cost::Waits(took),
            (Cost::Unknown, None) => Cost::Nothing,
            (cost, None) => cost,
        };
    }

    /// Records that a connection came back that is to be reset. Returns the number of the reset.
    pub(crate) fn add(&mut self, now: Instant) -> u64 {
        let id = self.ids.next();
        self.coming.insert(id, now);
        id
    }

    /// Returns whether another reset may start. `open` is the number of open connections.
    pub(crate) fn may_start(&self, open: usize) -> bool {
        let most = open.checked_div(PART_AT_ONCE).unwrap_or(0).max(LEAST_AT_ONCE);
        self.running.get() < most
    }

    pub(crate) fn started(&mut self) {
        self.running.inc();
    }

    /// Records that a reset ended that had started.
    pub(crate) fn ended(&mut self, id: u64) {
        self.running.dec();
        self.remove(id);
    }

    /// Records that a connection goes elsewhere before its reset has started.
    pub(crate) fn remove(&mut self, id: u64) {
        if self.coming.remove(&id).is_none() {
            self.late.dec();
        }
    }

    /// Notes which of them take too long by now.
    #[inline]
    pub(crate) fn tick(&mut self, now: Instant) {
        if !self.coming.is_empty() {
            self.find_late(now);
        }
    }

    fn find_late(&mut self, now: Instant) {
        let patience = self.patience();
        while let Some(first) = self.coming.first_entry() {
            if !now.is_past(*first.get(), patience) {
                return;
            }
            first.remove();
            self.late.inc();
        }
    }

    /// Returns when the next of them takes too long.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let (_, first) = self.coming.first_key_value()?;
        Nanos::from(self.patience()).after(*first)
    }

    fn patience(&self) -> Duration {
        let last = if let Cost::Waits(took) = self.cost { took } else { Duration::ZERO };
        last.saturating_mul(PATIENCE)
            .max(LEAST_PATIENCE)
            .min(self.reset_timeout.unwrap_or(Duration::MAX))
    }

    /// Returns how many of them callers count on.
    pub(crate) fn coming(&self) -> usize {
        self.coming.len()
    }

    /// Returns how many connections wait for their reset or are being reset.
    pub(crate) fn len(&self) -> usize {
        self.coming.len().saturating_add(self.late.get())
    }
}

#[cfg(test)]
impl Resets {
    /// Adds what later decisions can see.
    pub(crate) fn project(&self, into: &mut crate::machine::projection::Projector) {
        let Resets {
            default_when: _,
            when: _,
            reset_timeout: _,
            cost,
            ids: _,
            coming,
            late,
            running,
        } = self;
        into.number(match cost {
            Cost::Unknown => 0,
            Cost::Nothing => 1,
            Cost::Waits(_) => 2,
        });
        into.number(coming.len());
        coming.values().for_each(|at| into.time(*at));
        into.number(late.get());
        into.number(running.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn resets_are_left_to_get_if_they_are_ready_at_once_until_one_has_to_wait() {
        let mut resets = Resets::new(&PoolConfig::default());
        assert!(resets.are_on_return(), "the first one tells");
        resets.took(None);
        assert!(!resets.are_on_return());
        resets.took(Some(Duration::ZERO));
        assert!(resets.are_on_return());
        resets.took(None);
        assert!(resets.are_on_return());
    }

    #[test]
    fn manager_that_does_not_reset_never_resets_on_return() {
        let mut resets = Resets::new(&PoolConfig::default());
        resets.set_manager(false, ResetWhen::OnReturn, &PoolConfig::default());
        assert!(!resets.are_on_return());
    }

    #[test]
    fn setting_overrides_the_manager() {
        let mut config = PoolConfig::default();
        let mut resets = Resets::new(&config);
        resets.took(Some(MILLI));
        resets.set_manager(true, ResetWhen::OnGet, &config);
        assert!(!resets.are_on_return());
        config.reset_when = Some(ResetWhen::OnReturn);
        resets.reconfigure(&config);
        assert!(resets.are_on_return());
        config.reset_when = None;
        resets.reconfigure(&config);
        assert!(!resets.are_on_return());
    }

    #[test]
    fn callers_count_on_a_reset_for_four_times_as_long_as_the_last_one_took() {
        let mut resets = Resets::new(&PoolConfig::default());
        resets.took(Some(50 * MILLI));
        let (first, second) = (resets.add(at(0)), resets.add(at(100)));
        assert_eq!(resets.next_deadline(), Some(at(200)));
        resets.tick(at(199));
        assert_eq!((resets.coming(), resets.len()), (2, 2));
        resets.tick(at(200));
        assert_eq!((resets.coming(), resets.len()), (1, 2));
        assert_eq!(resets.next_deadline(), Some(at(300)));
        resets.remove(first);
        resets.remove(second);
        assert_eq!((resets.coming(), resets.len(), resets.next_deadline()), (0, 0, None));
    }

    #[test]
    fn callers_count_on_a_reset_for_20_ms_at_least_and_reset_timeout_at_most() {
        let late_at = |took: Duration, reset_timeout: Option<Duration>| {
            let config = PoolConfig { reset_timeout, ..PoolConfig::default() };
            let mut resets = Resets::new(&config);
            resets.took(Some(took));
            resets.add(at(0));
            resets.next_deadline()
        };
        assert_eq!(late_at(Duration::ZERO, None), Some(at(20)));
        assert_eq!(late_at(400 * MILLI, Some(1_000 * MILLI)), Some(at(1_000)));
        assert_eq!(late_at(Duration::ZERO, Some(Duration::ZERO)), Some(at(0)));
        assert_eq!(late_at(Duration::MAX, None), None);
    }

    #[test]
    fn quarter_of_the_pool_is_reset_at_once_and_at_least_four() {
        for (open, most) in [(0, 4), (1, 4), (16, 4), (40, 10)] {
            let mut resets = Resets::new(&PoolConfig::default());
            let mut started = 0;
            while resets.may_start(open) {
                resets.started();
                started += 1;
            }
            assert_eq!(started, most, "{open} open");
        }
    }
}
