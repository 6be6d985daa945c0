//! The idle set: connections that nobody has, behind an interface narrow enough to be replaced.

use std::array;
use std::collections::VecDeque;

use crate::config::IdleOrder;
use crate::util::sync::{
    AtomicU64, Counter, LANES, Mutex, MutexGuard, Ordering, Setting, this_thread,
};

/// What is idle, in the order in which it became so. Bounded by `max_idle`.
///
/// It begins as one lane. If threads that run at once get in each other's way there, it is made wider:
/// each of them then keeps to a lane of its own as long as it finds anything there, and what it gives
/// back is what it is lent next, as with the thread-local list of [HikariCP]'s bag. Where all of the set
/// has one order or one bound it stays narrow.
///
/// Each lane has a lock, which is held while no other but those of further lanes is taken. The set
/// becomes wider or narrow under the pool's lock only: who looks at it under that one sees all of it.
///
/// [HikariCP]: https://github.com/brettwooldridge/HikariCP
#[derive(Debug)]
pub(crate) struct IdleSet<T> {
    lanes: [Lane<T>; LANES],
    /// How many lanes are in use: a power of two.
    width: AtomicU64,
    collisions: Counter,
    /// At how many collisions it is to become wider.
    bearable: Setting,
}

/// Apart from its neighbours: what one core changes is not in the cache lines of another.
#[derive(Debug)]
#[repr(align(128))]
struct Lane<T>(Mutex<Entries<T>>);

/// Those never lent stand apart: `try_get` must not search for them.
#[derive(Debug)]
struct Entries<T> {
    used: VecDeque<T>,
    unused: VecDeque<T>,
    order: IdleOrder,
    most: usize,
    is_open: bool,
    lent: u64,
}

/// What the idle set must know of what it keeps.
pub(crate) trait Stamped {
    /// Whether it was ever lent.
    fn is_used(&self) -> bool;

    /// The lane that it was in, or is to be in.
    fn lane(&self) -> u8;

    fn moves_to(&mut self, lane: u8);
}

/// A part of the set, to be gone through from its oldest to its newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    lane: usize,
    used: bool,
}

/// What was counted in one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// How many are idle.
    pub(crate) idle: usize,
    /// How many were counted when [`IdleSet::take_if`] took them.
    pub(crate) lent: u64,
}

/// So many collisions in each lane are borne, between two rounds of the driver.
const BEARABLE: u64 = 32;

impl<T: Stamped> IdleSet<T> {
    pub(crate) fn new(order: IdleOrder, max_idle: Option<usize>) -> Self {
        let lane = |lane| {
            Lane(Mutex::new(Entries {
                used: VecDeque::new(),
                unused: VecDeque::new(),
                order,
                most: max_idle.unwrap_or(usize::MAX),
                is_open: lane == 0,
                lent: 0,
            }))
        };
        let set = IdleSet {
            lanes: array::from_fn(lane),
            width: AtomicU64::new(1),
            collisions: Counter::default(),
            bearable: Setting::default(),
        };
        set.bear(may_be_wide(order, max_idle));
        set
    }

    // ---- on the fast paths

    /// Makes `entry` idle where this thread looks first, or gives it back if enough are.
    #[inline]
    pub(crate) fn put_here(&self, mut entry: T) -> Result<(), T> {
        entry.moves_to(self.here() as u8);
        self.put(entry)
    }

    /// Makes `entry` idle where it was before, or gives it back if enough are.
    #[inline]
    pub(crate) fn put(&self, entry: T) -> Result<(), T> {
        let mut entries = self.enter(entry.lane().into());
        if !entries.is_open {
            drop(entries);
            entries = self.enter(0);
        }
        if entries.len() >= entries.most {
            return Err(entry);
        }
        entries.part(entry.is_used()).push_back(entry);
        Ok(())
    }

    /// The one to be lent next if it was lent before and `is_fit`, which is called under a lock.
    #[inline]
    pub(crate) fn take_if(&self, is_fit: impl Fn(&T) -> bool, counts: bool) -> Option<T> {
        let (first, width) = (self.here(), self.width());
        for nth in 0..width {
            let mut entries = self.enter(nth_from(first, nth, width));
            let newest = entries.order == IdleOrder::LastUsedFirst;
            let next = match newest {
                true => entries.used.back(),
                false => entries.used.front().filter(|_| entries.unused.is_empty()),
            };
            let Some(next) = next else { continue };
            if !is_fit(next) {
                return None;
            }
            entries.lent = entries.lent.saturating_add(counts.into());
            return match newest {
                true => entries.used.pop_back(),
                false => entries.used.pop_front(),
            };
        }
        None
    }

    /// Whether threads got in each other's way so often that the set should be made wider.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.collisions.get() >= self.bearable.get()
    }

    // ---- one at a time

    /// The one to be lent next.
    pub(crate) fn take(&self) -> Option<T> {
        let (first, width) = (self.here(), self.width());
        if width == 1 {
            return self.enter(0).take_next();
        }
        let lanes = || (0..width).map(|nth| nth_from(first, nth, width));
        // All that are wide are last used first.
        let newest = |used| lanes().find_map(|lane| self.enter(lane).part(used).pop_back());
        newest(true).or_else(|| newest(false))
    }

    /// One that is idle for longest in its lane, of those that were lent before or of those that were not.
    pub(crate) fn take_oldest(&self, used: bool) -> Option<T> {
        (0..self.width()).find_map(|lane| self.enter(lane).part(used).pop_front())
    }

    /// The one that is idle for longest in this part.
    pub(crate) fn take_oldest_of(&self, part: Part) -> Option<T> {
        self.enter(part.lane).part(part.used).pop_front()
    }

    // ---- all of it

    /// Collisions until now count no more: a few each hour are nothing to grow for.
    pub(crate) fn forget_collisions(&self) {
        if self.bearable.get() != u64::MAX {
            self.bear(true);
        }
    }

    /// The parts in which anything is, and how much, those never lent first.
    pub(crate) fn parts(&self) -> Vec<(Part, usize)> {
        let parts = [false, true].into_iter().flat_map(|used| {
            let lanes = 0..self.width();
            lanes.map(move |lane| Part { lane, used })
        });
        let count = |part: Part| self.enter(part.lane).part(part.used).len();
        let counted = parts.map(|part| (part, count(part)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// Everything.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = T> + use<T> {
        let mut all = [VecDeque::new(), VecDeque::new()];
        for mut entries in self.enter_all() {
            let Entries { used, unused, .. } = &mut *entries;
            let [all_unused, all_used] = &mut all;
            all_unused.append(unused);
            all_used.append(used);
        }
        all.into_iter().flatten()
    }

    /// Changes each of those that are idle. `change` is called under the locks.
    pub(crate) fn for_each(&self, mut change: impl FnMut(&mut T)) {
        for mut entries in self.enter_all() {
            let Entries { used, unused, .. } = &mut *entries;
            used.iter_mut().chain(unused).for_each(&mut change);
        }
    }

    /// Whether no more are kept.
    pub(crate) fn is_full(&self) -> bool {
        let entries = self.enter(0);
        entries.len() >= entries.most
    }

    /// How many there are, and how many were lent and counted.
    pub(crate) fn tally(&self) -> Tally {
        let all = self.enter_all();
        Tally {
            idle: all.iter().map(|entries| entries.len()).sum(),
            lent: all.iter().map(|entries| entries.lent).sum(),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tally().idle
    }

    // ---- under the pool's lock

    /// Makes it twice as wide, if it may be wider and nobody has done so meanwhile.
    pub(crate) fn widen_if_crowded(&self) {
        if self.is_crowded() {
            self.widen();
        }
    }

    /// Makes it twice as wide, if it may be wider.
    pub(crate) fn widen(&self) {
        let mut all = self.enter_all();
        let width = self.width().saturating_mul(2).min(LANES);
        let [first, ..] = &all;
        let may = may_be_wide(
            first.order,
            (first.most != usize::MAX).then_some(first.most),
        );
        if may {
            self.open(&mut all, width);
        }
        self.bear(may);
    }

    /// Another order and another bound. What is idle beyond it comes back, the oldest first.
    pub(crate) fn reconfigure(&self, order: IdleOrder, max_idle: Option<usize>) -> Vec<T> {
        let mut all = self.enter_all();
        for entries in &mut all {
            entries.order = order;
            entries.most = max_idle.unwrap_or(usize::MAX);
        }
        let may = may_be_wide(order, max_idle);
        if !may {
            let [first, others @ ..] = &mut all;
            for entries in others {
                first.used.append(&mut entries.used);
                first.unused.append(&mut entries.unused);
            }
            self.open(&mut all, 1);
        }
        self.bear(may);
        let [first, ..] = &mut all;
        let beyond = first.len().saturating_sub(first.most);
        let Entries { used, unused, .. } = &mut **first;
        (0..beyond)
            .map_while(|_| unused.pop_front().or_else(|| used.pop_front()))
            .collect()
    }

    fn open(&self, all: &mut [MutexGuard<'_, Entries<T>>; LANES], width: usize) {
        for (lane, entries) in all.iter_mut().enumerate() {
            entries.is_open = lane < width;
        }
        self.width.store(width as u64, Ordering::Release);
    }

    /// How many more collisions are borne, for ever if it cannot or may not be wider.
    fn bear(&self, may_be_wide: bool) {
        let width = self.width();
        let more = BEARABLE.saturating_mul(width as u64);
        let bearable = match may_be_wide && width < LANES {
            true => self.collisions.get().saturating_add(more),
            false => u64::MAX,
        };
        self.bearable.set(bearable);
    }

    // ---- lanes

    #[inline]
    fn width(&self) -> usize {
        self.width.load(Ordering::Acquire) as usize
    }

    /// The lane of this thread.
    #[inline]
    fn here(&self) -> usize {
        match self.width() {
            1 => 0,
            width => this_thread() & width.wrapping_sub(1),
        }
    }

    #[inline]
    fn enter(&self, lane: usize) -> MutexGuard<'_, Entries<T>> {
        let [first, ..] = &self.lanes;
        let Lane(lane) = self.lanes.get(lane).unwrap_or(first);
        lane.try_lock().unwrap_or_else(|| {
            self.collisions.up();
            lane.lock()
        })
    }

    fn enter_all(&self) -> [MutexGuard<'_, Entries<T>>; LANES] {
        self.lanes.each_ref().map(|Lane(lane)| lane.lock())
    }
}

#[inline]
fn nth_from(first: usize, nth: usize, width: usize) -> usize {
    first.wrapping_add(nth) & width.wrapping_sub(1)
}

fn may_be_wide(order: IdleOrder, max_idle: Option<usize>) -> bool {
    order == IdleOrder::LastUsedFirst && max_idle.is_none()
}

impl<T> Entries<T> {
    #[inline]
    fn part(&mut self, used: bool) -> &mut VecDeque<T> {
        match used {
            true => &mut self.used,
            false => &mut self.unused,
        }
    }

    fn take_next(&mut self) -> Option<T> {
        let Entries { used, unused, .. } = self;
        match self.order {
            IdleOrder::LastUsedFirst => used.pop_back().or_else(|| unused.pop_back()),
            IdleOrder::RoundRobin => unused.pop_front().or_else(|| used.pop_front()),
        }
    }

    #[inline]
    fn len(&self) -> usize {
        self.used.len().saturating_add(self.unused.len())
    }
}

#[cfg(test)]
mod tests;
