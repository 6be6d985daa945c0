//! The idle set: connections that nobody has, behind an interface narrow enough to be replaced.

use std::collections::VecDeque;

use crate::config::IdleOrder;
use crate::sync::Mutex;

/// What is idle, in the order in which it became so. Bounded by `max_idle`.
///
/// Has a lock of its own, which is never held while anything else is locked or called.
#[derive(Debug)]
pub(crate) struct IdleSet<T> {
    entries: Mutex<Entries<T>>,
}

/// Those never lent stand apart: `try_get` must not search for them.
#[derive(Debug)]
struct Entries<T> {
    used: VecDeque<T>,
    unused: VecDeque<T>,
    order: IdleOrder,
    most: usize,
}

/// What the idle set must know of what it keeps.
pub(crate) trait Stamped {
    /// Whether it was ever lent.
    fn is_used(&self) -> bool;
}

impl<T: Stamped> IdleSet<T> {
    pub(crate) fn new(order: IdleOrder, max_idle: Option<usize>) -> Self {
        let entries = Entries {
            used: VecDeque::new(),
            unused: VecDeque::new(),
            order,
            most: max_idle.unwrap_or(usize::MAX),
        };
        IdleSet {
            entries: Mutex::new(entries),
        }
    }

    /// Another order and another bound. What is idle beyond it comes back, the oldest first.
    pub(crate) fn reconfigure(&self, order: IdleOrder, max_idle: Option<usize>) -> Vec<T> {
        let entries = &mut *self.entries.lock();
        entries.order = order;
        entries.most = max_idle.unwrap_or(usize::MAX);
        let beyond = entries.len().saturating_sub(entries.most);
        let Entries { used, unused, .. } = entries;
        (0..beyond)
            .map_while(|_| unused.pop_front().or_else(|| used.pop_front()))
            .collect()
    }

    /// Changes each of those that are idle. `change` is called under the lock.
    pub(crate) fn for_each(&self, change: impl FnMut(&mut T)) {
        let Entries { used, unused, .. } = &mut *self.entries.lock();
        used.iter_mut().chain(unused).for_each(change);
    }

    /// Makes `entry` idle, or gives it back if enough are.
    pub(crate) fn put(&self, entry: T) -> Result<(), T> {
        let mut entries = self.entries.lock();
        if entries.len() >= entries.most {
            return Err(entry);
        }
        match entry.is_used() {
            true => entries.used.push_back(entry),
            false => entries.unused.push_back(entry),
        }
        Ok(())
    }

    /// The one to be lent next.
    pub(crate) fn take(&self) -> Option<T> {
        let entries = &mut *self.entries.lock();
        let Entries { used, unused, .. } = entries;
        match entries.order {
            IdleOrder::LastUsedFirst => used.pop_back().or_else(|| unused.pop_back()),
            IdleOrder::RoundRobin => unused.pop_front().or_else(|| used.pop_front()),
        }
    }

    /// The one idle for longest, of those that were lent before or of those that were not.
    pub(crate) fn take_oldest(&self, used: bool) -> Option<T> {
        let mut entries = self.entries.lock();
        match used {
            true => entries.used.pop_front(),
            false => entries.unused.pop_front(),
        }
    }

    /// Everything.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = T> + use<T> {
        let entries = &mut *self.entries.lock();
        let used = std::mem::take(&mut entries.used);
        let unused = std::mem::take(&mut entries.unused);
        unused.into_iter().chain(used)
    }

    /// Whether no more are kept.
    pub(crate) fn is_full(&self) -> bool {
        let entries = self.entries.lock();
        entries.len() >= entries.most
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// How many there are that were lent before, or that were not.
    pub(crate) fn count(&self, used: bool) -> usize {
        let entries = self.entries.lock();
        if used {
            entries.used.len()
        } else {
            entries.unused.len()
        }
    }
}

impl<T> Entries<T> {
    fn len(&self) -> usize {
        self.used.len().saturating_add(self.unused.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Odd numbers were lent before.
    impl Stamped for u32 {
        fn is_used(&self) -> bool {
            self % 2 == 1
        }
    }

    fn filled(order: IdleOrder, entries: &[u32]) -> IdleSet<u32> {
        let set = IdleSet::new(order, None);
        entries.iter().for_each(|entry| set.put(*entry).unwrap());
        set
    }

    fn drained(set: &IdleSet<u32>) -> Vec<u32> {
        std::iter::from_fn(|| set.take()).collect()
    }

    #[test]
    fn the_last_used_comes_first_and_the_unused_last() {
        let set = filled(IdleOrder::LastUsedFirst, &[1, 2, 3, 4, 5]);
        assert_eq!(drained(&set), [5, 3, 1, 4, 2]);
    }

    #[test]
    fn round_robin_leaves_nobody_out() {
        let set = filled(IdleOrder::RoundRobin, &[1, 2, 3, 4, 5]);
        assert_eq!(drained(&set), [2, 4, 1, 3, 5]);
    }

    #[test]
    fn no_more_are_kept_than_allowed() {
        let set = IdleSet::new(IdleOrder::LastUsedFirst, Some(2));
        assert_eq!(
            [1, 2, 3].map(|entry| set.put(entry)),
            [Ok(()), Ok(()), Err(3)]
        );
        assert_eq!((set.len(), set.count(true), set.count(false)), (2, 1, 1));
        assert_eq!(
            IdleSet::new(IdleOrder::LastUsedFirst, Some(0)).put(1),
            Err(1)
        );
    }

    #[test]
    fn another_order_and_another_bound_count_from_now_on() {
        let set = filled(IdleOrder::LastUsedFirst, &[1, 2, 3, 4, 5]);
        assert_eq!(set.reconfigure(IdleOrder::RoundRobin, Some(2)), [2, 4, 1]);
        assert_eq!(set.put(7), Err(7));
        assert_eq!(drained(&set), [3, 5]);
        assert_eq!(set.reconfigure(IdleOrder::LastUsedFirst, None), [0; 0]);
        for entry in [1, 3, 5] {
            set.put(entry).unwrap();
        }
        set.for_each(|entry| *entry += 10);
        assert_eq!(drained(&set), [15, 13, 11]);
    }

    #[test]
    fn each_kind_can_be_had_apart() {
        let set = filled(IdleOrder::LastUsedFirst, &[1, 2, 3, 4]);
        assert_eq!(set.take_oldest(false), Some(2));
        assert_eq!(set.take_oldest(true), Some(1));
        assert_eq!(set.take_oldest(false), Some(4));
        assert_eq!(set.take_oldest(false), None);
        assert_eq!(set.take_all().collect::<Vec<_>>(), [3]);
        assert_eq!(set.len(), 0);
    }
}
