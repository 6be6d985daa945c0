//! The connects under way, by age, and how many more may start within a second.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::machine::count::Sequence;
use crate::time::{Instant, earliest};

/// A connect that takes longer hangs: it takes no place in slow start, and no waiter counts on it.
pub(crate) const HANGS_AFTER: Duration = Duration::from_millis(800);

/// The number of connects in any second of which none may have succeeded.
const MOST_IN_VAIN: usize = 20;
const A_SECOND: Duration = Duration::from_secs(1);

/// The connects under way, and the recent ones that were in vain.
#[derive(Debug, Default, Clone)]
pub(crate) struct Connects {
    ids: Sequence,
    /// When each began. Ids ascend with time.
    running: BTreeMap<u64, Instant>,
    /// The first id that is not known to hang, nor to be too old for a `clear`.
    first_fresh: u64,
    fresh: usize,
    /// The last id before the last `clear`.
    cleared: u64,
    /// When the connects of the last second began that failed or were abandoned.
    in_vain: VecDeque<Instant>,
}

impl Connects {
    pub(crate) fn start(&mut self, now: Instant) -> u64 {
        let id = self.ids.next();
        self.running.insert(id, now);
        self.fresh = self.fresh.saturating_add(1);
        id
    }

    /// Ends a connect. Returns when it began, unless it ended before or was abandoned.
    pub(crate) fn end(&mut self, id: u64) -> Option<Instant> {
        let began = self.running.remove(&id)?;
        if id >= self.first_fresh {
            self.fresh = self.fresh.saturating_sub(1);
        }
        Some(began)
    }

    /// Records that a connect that began at `began` brought no connection.
    pub(crate) fn was_in_vain(&mut self, began: Instant) {
        if self.in_vain.len() >= MOST_IN_VAIN {
            self.in_vain.pop_front();
        }
        self.in_vain.push_back(began);
    }

    /// Notes which connects hang by now, and forgets those in vain that are older than a second.
    #[inline]
    pub(crate) fn tick(&mut self, now: Instant) {
        if !self.running.is_empty() || !self.in_vain.is_empty() {
            self.forget_old(now);
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some((&id, &began)) = self.running.range(self.first_fresh..).next() {
            if !now.is_past(began, HANGS_AFTER) {
                break;
            }
            self.first_fresh = id.saturating_add(1);
            self.fresh = self.fresh.saturating_sub(1);
        }
        while self.in_vain.front().is_some_and(|began| now.is_past(*began, A_SECOND)) {
            self.in_vain.pop_front();
        }
    }

    /// Gives up the connects that a `clear` makes useless, and returns whether there are any. The
    /// last one goes on if it is the only one since the `clear` before: each of many would otherwise
    /// end the connect of the one before.
    pub(crate) fn abandon(&mut self) -> bool {
        let last = self.ids.last();
        let keep = last.saturating_sub(self.cleared) <= 1;
        let kept = if keep { self.running.remove(&last) } else { None };
        let mut abandoned = std::mem::take(&mut self.running);
        (self.cleared, self.first_fresh, self.fresh) = (last, last.saturating_add(1), 0);
        let any = !abandoned.is_empty();
        while let Some((_, began)) = abandoned.pop_first() {
            self.was_in_vain(began);
        }
        self.running.extend(kept.map(|began| (last, began)));
        any
    }

    #[inline]
    pub(crate) fn are_running(&self) -> bool {
        !self.running.is_empty()
    }

    pub(crate) fn is_running(&self, id: u64) -> bool {
        self.running.contains_key(&id)
    }

    /// Returns how many connects are under way that do not hang.
    pub(crate) fn fresh(&self) -> usize {
        self.fresh
    }

    /// Returns when the oldest connect under way began that a `clear` has not made useless.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let after = self.cleared.saturating_add(1);
        self.running.range(after..).next().map(|(_, began)| *began)
    }

    /// Returns how many connects may start within the limit per second.
    pub(crate) fn allowed(&self) -> usize {
        match self.in_vain.len() {
            0 => usize::MAX,
            recent => {
                let kept = self.running.range(..=self.cleared).count();
                MOST_IN_VAIN.saturating_sub(recent).saturating_sub(kept).saturating_sub(self.fresh)
            }
        }
    }

    /// Returns when the next connect begins to hang, or may start again within the limit per second.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let fresh = self.running.range(self.first_fresh..).next();
        let hangs = fresh.and_then(|(_, began)| began.checked_add(HANGS_AFTER));
        let exhausted = self.allowed() == 0;
        let oldest = self.in_vain.front().filter(|_| exhausted);
        earliest([hangs, oldest.and_then(|began| began.checked_add(A_SECOND))])
    }
}

#[cfg(test)]
impl Connects {
    /// Adds what later decisions can see.
    ///
    /// # Panics
    ///
    /// Panics near the limit per second: which connects were in vain, and when, is left out.
    pub(crate) fn project(&self, into: &mut crate::machine::projection::Projector) {
        let Connects { ids, running, first_fresh, fresh: _, cleared, in_vain } = self;
        assert!(in_vain.len() + running.len() < MOST_IN_VAIN / 2, "too many for this projection");
        into.number(usize::try_from(ids.last() - cleared).unwrap_or(2).min(2));
        into.number(running.len());
        for (id, began) in running {
            into.time(*began);
            into.flag(id >= first_fresh);
            into.flag(id <= cleared);
            into.flag(*id == ids.last());
        }
    }

    /// Returns the number of connects under way that began before this one, or more of them than
    /// there are if it is not under way.
    pub(crate) fn rank(&self, id: u64) -> usize {
        if self.is_running(id) { self.running.range(..id).count() } else { usize::MAX }
    }
}
