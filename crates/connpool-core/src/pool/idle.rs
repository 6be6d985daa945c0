//! The idle set, sharded when threads contend for it.

use std::array;
use std::collections::VecDeque;

use crate::config::IdleOrder;
use crate::util::sync::{AtomicU64, Mutex, MutexGuard, Ordering, Relaxed, SHARDS, thread_index};

/// The idle connections, in the order in which they became idle. Bounded by `max_idle`.
///
/// The set starts with one shard. When threads contend for it, it opens more: each thread then prefers
/// a shard of its own, so what it returns is what it gets next, as with the thread-local list of
/// [HikariCP]'s bag. A set with a bound or with one order over all of it keeps one shard.
///
/// Each shard has a lock. While one is held, only locks of later shards are taken. The number of shards
/// changes under the pool's lock only, so a caller that holds it sees the whole set.
///
/// [HikariCP]: https://github.com/brettwooldridge/HikariCP
#[derive(Debug)]
pub(crate) struct IdleSet<T> {
    shards: [Shard<T>; SHARDS],
    /// A power of two.
    shards_in_use: AtomicU64,
    /// The largest number of shards in use so far.
    ever_in_use: AtomicU64,
    /// How often a thread found a shard locked.
    contention: Relaxed,
    /// The contention at which more shards are opened.
    contention_limit: Relaxed,
}

/// Aligned so that shards share no cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<T>(Mutex<ShardState<T>>);

/// Connections that need no reset, never borrowed or reset since, are kept apart: `try_get` must not search
/// for them.
#[derive(Debug)]
struct ShardState<T> {
    used: VecDeque<T>,
    unused: VecDeque<T>,
    order: IdleOrder,
    max: usize,
    is_open: bool,
    /// The number of checkouts that [`IdleSet::pop_if`] has counted.
    checked_out: u64,
    /// The number of gets up to the next that must ask, included.
    until_ask: u8,
}

/// What a `get` that asks for an idle connection is told instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// Nothing is idle, or the next connection is not fit.
    Nothing,
    /// A connection is idle, but first the runtime must be asked whether the task should yield.
    MustAsk,
}

/// An element of the idle set.
pub(crate) trait Stored {
    /// Returns whether it was borrowed, and not reset since.
    fn is_used(&self) -> bool;

    /// The shard it was in last.
    fn shard(&mut self) -> &mut u8;
}

/// A part of the set that is swept from its oldest to its newest element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    shard: usize,
    used: bool,
}

/// The counts of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdleCount {
    pub(crate) idle: usize,
    /// The number of checkouts that [`IdleSet::pop_if`] has counted.
    pub(crate) checked_out: u64,
}

/// How much contention each shard tolerates between two sweeps.
const CONTENTION_LIMIT: u64 = 32;

/// One of how many gets of a shard asks the runtime whether its task should yield.
///
/// The runtime takes that for one unit of work. On tokio, whose tasks have 128 of them, a loop of gets
/// yields after 4096, which take about a tenth of a millisecond.
const GETS_PER_ASK: u8 = 32;

impl<T: Stored> IdleSet<T> {
    pub(crate) fn new(order: IdleOrder, max_idle: Option<usize>) -> Self {
        let shard = |shard| {
            Shard(Mutex::new(ShardState {
                used: VecDeque::new(),
                unused: VecDeque::new(),
                order,
                max: max_idle.unwrap_or(usize::MAX),
                is_open: shard == 0,
                checked_out: 0,
                until_ask: GETS_PER_ASK,
            }))
        };
        let set = IdleSet {
            shards: array::from_fn(shard),
            shards_in_use: AtomicU64::new(1),
            ever_in_use: AtomicU64::new(1),
            contention: Relaxed::default(),
            contention_limit: Relaxed::default(),
        };
        set.limit_contention(may_widen(order, max_idle));
        set
    }

    // The fast paths.

    /// Adds a connection to the shard of this thread, or returns it if `max_idle` are idle.
    #[inline(always)]
    pub(crate) fn push_local(&self, mut conn: T) -> Result<(), T> {
        *conn.shard() = self.local_shard() as u8;
        self.push(conn)
    }

    /// Adds a connection to the shard it was in before, or returns it if `max_idle` are idle.
    // The fast path of every return is a single function.
    #[inline(always)]
    pub(crate) fn push(&self, mut conn: T) -> Result<(), T> {
        let mut state = self.lock_shard((*conn.shard()).into());
        if !state.is_open {
            // The shard was closed meanwhile and emptied into shard 0. All later sweeps and pops
            // read shard 0, so the connection is not lost there.
            drop(state);
            state = self.lock_shard(0);
        }
        // The bound holds per shard, and for the set since a bounded set has one shard.
        if state.len() >= state.max {
            return Err(conn);
        }
        state.segment(conn.is_used()).push_back(conn);
        Ok(())
    }

    /// Takes the next connection if it was borrowed before and `is_fit`, which is called under a lock.
    /// If `may_ask`, a `get` that would take it may have to ask first.
    #[inline]
    pub(crate) fn pop_if(
        &self,
        is_fit: impl Fn(&T) -> bool,
        counts: bool,
        may_ask: bool,
    ) -> Result<T, NotTaken> {
        let (first, shards_in_use) = (self.local_shard(), self.shards_in_use());
        for nth in 0..shards_in_use {
            let mut state = self.lock_shard(nth_from(first, nth, shards_in_use));
            let newest = state.order == IdleOrder::LastUsedFirst;
            let next = match newest {
                true => state.used.back(),
                false => state.used.front().filter(|_| state.unused.is_empty()),
            };
            let Some(next) = next else { continue };
            if !is_fit(next) {
                return Err(NotTaken::Nothing);
            }
            if may_ask && state.must_ask() {
                return Err(NotTaken::MustAsk);
            }
            state.checked_out = state.checked_out.saturating_add(counts.into());
            let next = if newest { state.used.pop_back() } else { state.used.pop_front() };
            return next.ok_or(NotTaken::Nothing);
        }
        Err(NotTaken::Nothing)
    }

    /// Returns whether more shards should be opened.
    #[inline]
    pub(crate) fn is_contended(&self) -> bool {
        self.contention.get() >= self.contention_limit.get()
    }

    // One at a time.

    /// Takes the next connection.
    pub(crate) fn pop(&self) -> Option<T> {
        self.pop_for_get(false).ok()
    }

    /// Takes the next connection. If `may_ask`, a `get` that would take one may have to ask first.
    #[inline]
    pub(crate) fn pop_for_get(&self, may_ask: bool) -> Result<T, NotTaken> {
        let (first, shards_in_use) = (self.local_shard(), self.shards_in_use());
        if shards_in_use == 1 {
            let mut state = self.lock_shard(0);
            if may_ask && state.len() > 0 && state.must_ask() {
                return Err(NotTaken::MustAsk);
            }
            return state.pop_next().ok_or(NotTaken::Nothing);
        }
        let shards = || (0..shards_in_use).map(|nth| nth_from(first, nth, shards_in_use));
        // A set with several shards is always last used first.
        let newest = |used| {
            shards().find_map(|shard| {
                let mut state = self.lock_shard(shard);
                if may_ask && !state.segment(used).is_empty() && state.must_ask() {
                    return Some(Err(NotTaken::MustAsk));
                }
                state.segment(used).pop_back().map(Ok)
            })
        };
        newest(true).or_else(|| newest(false)).unwrap_or(Err(NotTaken::Nothing))
    }

    /// Takes the connection that is idle for longest in some shard, borrowed before or not.
    pub(crate) fn pop_oldest(&self, used: bool) -> Option<T> {
        (0..self.shards_in_use()).find_map(|shard| self.lock_shard(shard).segment(used).pop_front())
    }

    /// Takes the connection that is idle for longest in a segment.
    pub(crate) fn pop_oldest_in(&self, segment: Segment) -> Option<T> {
        self.lock_shard(segment.shard).segment(segment.used).pop_front()
    }

    // The whole set.

    /// Forgets the contention so far: a few collisions an hour are no reason to open shards.
    pub(crate) fn forget_contention(&self) {
        if self.contention_limit.get() != u64::MAX {
            self.limit_contention(true);
        }
    }

    /// Returns the segments that are not empty with their lengths, those never borrowed first.
    pub(crate) fn segments(&self) -> Vec<(Segment, usize)> {
        let segments = [false, true].into_iter().flat_map(|used| {
            let shards = 0..self.shards_in_use();
            shards.map(move |shard| Segment { shard, used })
        });
        let count = |segment: Segment| self.lock_shard(segment.shard).segment(segment.used).len();
        let counted = segments.map(|segment| (segment, count(segment)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// Takes all connections.
    pub(crate) fn drain(&self) -> impl Iterator<Item = T> + use<T> {
        let mut all = [VecDeque::new(), VecDeque::new()];
        for mut state in self.lock_all() {
            let ShardState { used, unused, .. } = &mut *state;
            let [all_unused, all_used] = &mut all;
            all_unused.append(unused);
            all_used.append(used);
        }
        all.into_iter().flatten()
    }

    /// Calls `change` for every idle connection, under the locks.
    pub(crate) fn for_each(&self, mut change: impl FnMut(&mut T)) {
        for mut state in self.lock_all() {
            let ShardState { used, unused, .. } = &mut *state;
            used.iter_mut().chain(unused).for_each(&mut change);
        }
    }

    /// Returns whether `max_idle` connections are idle.
    pub(crate) fn is_full(&self) -> bool {
        let state = self.lock_shard(0);
        state.len() >= state.max
    }

    pub(crate) fn count(&self) -> IdleCount {
        // Those that were never in use are empty, and have counted nothing.
        let ever_in_use = self.ever_in_use.load(Ordering::Acquire) as usize;
        let mut shards = self.shards.iter().take(ever_in_use);
        let all: [_; SHARDS] = array::from_fn(|_| shards.next().map(|Shard(shard)| shard.lock()));
        let all = || all.iter().flatten();
        IdleCount {
            idle: all().map(|state| state.len()).sum(),
            checked_out: all().map(|state| state.checked_out).sum(),
        }
    }

    // Under the pool's lock.

    /// Doubles the number of shards if they are still contended.
    pub(crate) fn widen_if_contended(&self) {
        if self.is_contended() {
            self.widen();
        }
    }

    /// Doubles the number of shards, if there may be more.
    pub(crate) fn widen(&self) {
        let mut all = self.lock_all();
        let shards_in_use = self.shards_in_use().saturating_mul(2).min(SHARDS);
        let [first, ..] = &all;
        let may = may_widen(first.order, (first.max != usize::MAX).then_some(first.max));
        if may {
            self.open(&mut all, shards_in_use);
        }
        self.limit_contention(may);
    }

    /// Applies another order and bound. Returns the connections beyond the bound, oldest first.
    pub(crate) fn reconfigure(&self, order: IdleOrder, max_idle: Option<usize>) -> Vec<T> {
        let mut all = self.lock_all();
        for state in &mut all {
            state.order = order;
            state.max = max_idle.unwrap_or(usize::MAX);
        }
        let may = may_widen(order, max_idle);
        if !may {
            let [first, others @ ..] = &mut all;
            for state in others {
                first.used.append(&mut state.used);
                first.unused.append(&mut state.unused);
            }
            self.open(&mut all, 1);
        }
        self.limit_contention(may);
        let [first, ..] = &mut all;
        let beyond = first.len().saturating_sub(first.max);
        let ShardState { used, unused, .. } = &mut **first;
        (0..beyond).map_while(|_| unused.pop_front().or_else(|| used.pop_front())).collect()
    }

    fn open(&self, all: &mut [MutexGuard<'_, ShardState<T>>; SHARDS], shards_in_use: usize) {
        for (shard, state) in all.iter_mut().enumerate() {
            state.is_open = shard < shards_in_use;
        }
        self.ever_in_use.fetch_max(shards_in_use as u64, Ordering::AcqRel);
        self.shards_in_use.store(shards_in_use as u64, Ordering::Release);
    }

    /// Sets how much more contention is tolerated: any, if there can or may be no more shards.
    fn limit_contention(&self, may_widen: bool) {
        let shards_in_use = self.shards_in_use();
        let more = CONTENTION_LIMIT.saturating_mul(shards_in_use as u64);
        let contention_limit = match may_widen && shards_in_use < SHARDS {
            true => self.contention.get().saturating_add(more),
            false => u64::MAX,
        };
        self.contention_limit.set(contention_limit);
    }

    // Shards.

    #[inline]
    fn shards_in_use(&self) -> usize {
        self.shards_in_use.load(Ordering::Acquire) as usize
    }

    /// Returns the shard of this thread.
    #[inline]
    fn local_shard(&self) -> usize {
        match self.shards_in_use() {
            1 => 0,
            shards_in_use => thread_index() & shards_in_use.wrapping_sub(1),
        }
    }

    #[inline]
    fn lock_shard(&self, shard: usize) -> MutexGuard<'_, ShardState<T>> {
        let [first, ..] = &self.shards;
        let Shard(shard) = self.shards.get(shard).unwrap_or(first);
        shard.try_lock().unwrap_or_else(|| {
            self.contention.inc();
            shard.lock()
        })
    }

    fn lock_all(&self) -> [MutexGuard<'_, ShardState<T>>; SHARDS] {
        self.shards.each_ref().map(|Shard(shard)| shard.lock())
    }
}

#[inline]
fn nth_from(first: usize, nth: usize, shards_in_use: usize) -> usize {
    first.wrapping_add(nth) & shards_in_use.wrapping_sub(1)
}

fn may_widen(order: IdleOrder, max_idle: Option<usize>) -> bool {
    order == IdleOrder::LastUsedFirst && max_idle.is_none()
}

impl<T> ShardState<T> {
    #[inline]
    fn segment(&mut self, used: bool) -> &mut VecDeque<T> {
        if used { &mut self.used } else { &mut self.unused }
    }

    /// Counts a `get` that is about to take a connection, and returns whether it must ask first.
    #[inline]
    fn must_ask(&mut self) -> bool {
        self.until_ask = self.until_ask.wrapping_sub(1);
        let must_ask = self.until_ask == 0;
        if must_ask {
            self.until_ask = GETS_PER_ASK;
        }
        must_ask
    }

    fn pop_next(&mut self) -> Option<T> {
        let ShardState { used, unused, .. } = self;
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
