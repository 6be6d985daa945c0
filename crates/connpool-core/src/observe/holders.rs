//! The holders of connections, with the time of each checkout.
//!
//! Each open connection has a [`LeaseCell`], written when it is borrowed and when it is returned. A
//! checkout is three stores at most, a return is one, all of them to memory that no other connection
//! uses. The cells are ordered with nothing else, so the models leave them out: a reader sees a whole
//! lease, or none.

use std::backtrace::Backtrace;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::panic::Location;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize, fence};
use std::time::Duration;

use crate::time::{HumanDuration, Instant, Nanos, earliest};
use crate::util::sync::{Arc, Mutex};

/// The line that called `get` or its like.
pub(crate) type CallSite = &'static Location<'static>;

/// The holder of a connection. Prints as `src/report.rs:41 "nightly" for 32.1 s`.
///
/// Returned by [`Pool::holders`](crate::Pool::holders), and part of a
/// [`Diagnosis`](crate::Diagnosis) and a [`CloseReport`](crate::CloseReport).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The connection's [`id`](crate::PooledConnection::id).
    pub id: u64,
    /// The call site of the `get`; `None` if more than 256 different call sites use the pool.
    pub site: Option<&'static Location<'static>>,
    /// The connection's [`label`](crate::PooledConnection::label), if the holder set one.
    pub label: Option<Arc<str>>,
    /// How long the connection has been borrowed; `None` if no setting makes the pool read a clock.
    /// [`leak_warning`](crate::PoolConfig::leak_warning) does.
    pub held: Option<Duration>,
    trace: Option<Trace>,
}

impl Holder {
    /// Returns the backtrace of the checkout, if [`leak_backtrace`](crate::PoolConfig::leak_backtrace) was
    /// set. It is resolved when it is first printed.
    pub fn backtrace(&self) -> Option<&Backtrace> {
        self.trace.as_ref().map(|Trace(backtrace)| &**backtrace)
    }
}

/// The backtrace of one checkout. Equal to itself only.
#[derive(Debug, Clone)]
struct Trace(Arc<Backtrace>);

impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Trace {}

#[cfg(test)]
impl Holder {
    pub(crate) fn labeled(label: &str, held: Duration) -> Holder {
        Holder { id: 1, site: None, label: Some(Arc::from(label)), held: Some(held), trace: None }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.site {
            Some(site) => write!(f, "{}:{}", site.file(), site.line())?,
            None => f.write_str("<unknown call site>")?,
        }
        if let Some(label) = &self.label {
            write!(f, " {label:?}")?;
        }
        match self.held {
            Some(held) => write!(f, " for {}", HumanDuration(held)),
            None => Ok(()),
        }
    }
}

/// The leases of a pool. `P` is the way to that pool for owners of a [`Block`].
pub(crate) struct Leases<P> {
    pool: P,
    /// Only ever added to. std's lock, not the models': it orders nothing between threads.
    blocks: std::sync::Mutex<Vec<Arc<Block<P>>>>,
    sites: CallSites,
    labels: Mutex<BTreeMap<LeaseIndex, Arc<str>>>,
    traces: Mutex<BTreeMap<LeaseIndex, Trace>>,
}

/// The number of cells in a block.
const BLOCK: usize = 64;

/// The cells of up to 64 connections, and the way to their pool: one pointer in a slot leads to both.
#[derive(Debug)]
pub(crate) struct Block<P> {
    pub(crate) pool: P,
    cells: [LeaseCell; BLOCK],
}

impl<P> Block<P> {
    #[inline]
    pub(crate) fn cell(&self, place: u8) -> Option<&LeaseCell> {
        self.cells.get(usize::from(place))
    }
}

/// The number of a slot's cell for as long as the slot is taken.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeaseIndex(u32);

impl LeaseIndex {
    /// Returns the cell's place in its block. Consecutive numbers lie four apart, so that they share
    /// no cache line.
    #[inline]
    pub(crate) fn place(self) -> u8 {
        // The lowest six bits, rotated: abcdef becomes cdefab.
        (((self.0 & 0xF) << 2) | ((self.0 >> 4) & 0x3)) as u8
    }

    fn block(self) -> usize {
        (self.0 >> 6) as usize
    }
}

/// Hands out [`LeaseIndex`]es, those given back first. Kept under the pool's lock.
#[derive(Debug, Default)]
pub(crate) struct LeaseIndexes {
    pub(crate) free: Vec<LeaseIndex>,
    next: u32,
}

impl LeaseIndexes {
    /// Takes an index; `None` if all of `u32` are taken.
    pub(crate) fn take(&mut self) -> Option<LeaseIndex> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        let index = LeaseIndex(self.next);
        self.next = self.next.checked_add(1)?;
        Some(index)
    }
}

/// The lease of one connection. A seqlock whose sequence is `since`.
#[derive(Debug, Default)]
pub(crate) struct LeaseCell {
    /// [`NOT_BORROWED`], or a [`LeaseStart`].
    since: AtomicU64,
    id: AtomicU64,
    /// The address of the last call site.
    site: AtomicUsize,
}

const NOT_BORROWED: u64 = 0;

impl LeaseCell {
    /// Records that a connection was opened that owns this cell until it is gone.
    pub(crate) fn opened(&self, id: u64) {
        self.id.store(id, Relaxed);
    }

    /// Records the return of the connection, or that it was taken out of the pool.
    #[inline]
    pub(crate) fn end(&self) {
        self.since.store(NOT_BORROWED, Relaxed);
    }

    /// Returns when the connection was borrowed, if it is and the time is known.
    pub(crate) fn borrowed_at(&self) -> Option<Instant> {
        self.since()?.instant()
    }

    fn since(&self) -> Option<LeaseStart> {
        let since = self.since.load(Acquire);
        (since != NOT_BORROWED).then_some(LeaseStart(since))
    }
}

/// When a lease started, as nanoseconds shifted by one, or that the time is unknown. The lowest bit
/// tells whether a leak was reported. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LeaseStart(u64);

impl LeaseStart {
    const UNKNOWN: LeaseStart = LeaseStart(!LeaseStart::REPORTED);
    const REPORTED: u64 = 1;

    #[inline]
    fn new(at: Option<Instant>) -> Self {
        // An instant that does not fit, after 292 years, is unknown as well.
        let shifted = |at: Instant| at.as_nanos().checked_add(1)?.checked_mul(2);
        at.and_then(shifted).map_or(LeaseStart::UNKNOWN, LeaseStart)
    }

    fn instant(self) -> Option<Instant> {
        let is_known = self.unreported() != LeaseStart::UNKNOWN;
        is_known.then(|| Instant::from_nanos((self.0 >> 1).saturating_sub(1)))
    }

    fn is_reported(self) -> bool {
        self.0 & LeaseStart::REPORTED != 0
    }

    fn reported(self) -> Self {
        LeaseStart(self.0 | LeaseStart::REPORTED)
    }

    fn unreported(self) -> Self {
        LeaseStart(self.0 & !LeaseStart::REPORTED)
    }
}

/// The longest label that is kept, in characters.
const LONGEST_LABEL: usize = 64;

impl<P: Clone> Leases<P> {
    pub(crate) fn new(pool: P) -> Self {
        Leases {
            pool,
            blocks: std::sync::Mutex::default(),
            sites: CallSites::default(),
            labels: Mutex::new(BTreeMap::new()),
            traces: Mutex::new(BTreeMap::new()),
        }
    }

    /// Returns the block with the cell of `index`.
    pub(crate) fn block(&self, index: LeaseIndex) -> Option<Arc<Block<P>>> {
        let mut blocks = self.blocks();
        // Indexes are handed out in order, so at most one block is missing.
        if index.block() >= blocks.len() {
            blocks.push(Arc::new(Block {
                pool: self.pool.clone(),
                cells: std::array::from_fn(|_| LeaseCell::default()),
            }));
        }
        blocks.get(index.block()).map(Arc::clone)
    }

    /// Records a checkout by `site`, at `since` if that is known.
    #[inline]
    pub(crate) fn begin(&self, cell: &LeaseCell, site: CallSite, since: Option<Instant>) {
        // Write side of the seqlock: orders the end of the previous lease before the fields below.
        // Pairs with the acquire fence in `read`.
        fence(Release);
        if cell.site.load(Relaxed) != address_of(site) {
            self.set_site(cell, site);
        }
        cell.since.store(LeaseStart::new(since).0, Release);
    }

    #[cold]
    fn set_site(&self, cell: &LeaseCell, site: CallSite) {
        self.sites.insert(site);
        cell.site.store(address_of(site), Relaxed);
    }

    /// Records a return. Returns the holder if it was reported as a leak.
    pub(crate) fn end(&self, index: LeaseIndex, cell: &LeaseCell, now: Instant) -> Option<Holder> {
        let since = LeaseStart(cell.since.swap(NOT_BORROWED, Relaxed));
        since.is_reported().then(|| self.holder(index, cell, since, now))
    }

    pub(crate) fn label(&self, index: LeaseIndex, text: &str) {
        let text: String = text.chars().take(LONGEST_LABEL).collect();
        self.labels.lock().insert(index, Arc::from(text));
    }

    /// Records the backtrace of the caller, which is taking the connection.
    pub(crate) fn trace(&self, index: LeaseIndex) {
        let trace = Trace(Arc::new(Backtrace::force_capture()));
        let old = self.traces.lock().insert(index, trace);
        drop(old);
    }

    /// Forgets the label and the backtrace of a lease.
    pub(crate) fn forget_notes(&self, index: LeaseIndex) {
        // Statements of their own: what was recorded is dropped after the lock.
        let label = self.labels.lock().remove(&index);
        drop(label);
        let trace = self.traces.lock().remove(&index);
        drop(trace);
    }

    /// Returns the `most` longest holders, the longest first. Those whose time is unknown come last.
    pub(crate) fn longest(&self, most: usize, now: Instant) -> Vec<Holder> {
        let mut longest = BinaryHeap::new();
        self.for_each_cell(|index, cell| {
            if let Some(since) = cell.since() {
                let id = cell.id.load(Relaxed);
                longest.push((since.unreported().0, id, index));
                if longest.len() > most {
                    longest.pop();
                }
            }
        });
        let longest = longest.into_sorted_vec().into_iter();
        longest
            .filter_map(|(.., index)| {
                let block = self.nth_block(index.block())?;
                self.read(index, block.cell(index.place())?, now)
            })
            .map(|(_, holder)| holder)
            .collect()
    }

    /// Returns the holders that reached `limit` and were not reported before, and when to look
    /// again.
    pub(crate) fn overdue(&self, limit: Nanos, now: Instant) -> (Vec<Holder>, Option<Instant>) {
        let mut overdue = Vec::new();
        let mut next = limit.after(now);
        self.for_each_cell(|index, cell| {
            let unreported = cell.since().filter(|since| !since.is_reported());
            let Some(began) = unreported.and_then(LeaseStart::instant) else { return };
            if !now.is_past(began, limit) {
                next = earliest([limit.after(began), next]);
                return;
            }
            let Some((since, holder)) = self.read(index, cell, now) else { return };
            // The connection may have been returned meanwhile, and then there is no leak.
            let reported =
                cell.since.compare_exchange(since.0, since.reported().0, Relaxed, Relaxed);
            if reported.is_ok() {
                overdue.push(holder);
            }
        });
        (overdue, next)
    }

    fn read(
        &self,
        index: LeaseIndex,
        cell: &LeaseCell,
        now: Instant,
    ) -> Option<(LeaseStart, Holder)> {
        let since = cell.since()?;
        let holder = self.holder(index, cell, since, now);
        // Read side of the seqlock: the fields belong together only if the lease is still the same.
        fence(Acquire);
        let again = LeaseStart(cell.since.load(Relaxed));
        (again.unreported() == since.unreported()).then_some((since, holder))
    }

    fn holder(
        &self,
        index: LeaseIndex,
        cell: &LeaseCell,
        since: LeaseStart,
        now: Instant,
    ) -> Holder {
        Holder {
            id: cell.id.load(Relaxed),
            site: self.sites.find(cell.site.load(Relaxed)),
            label: self.labels.lock().get(&index).cloned(),
            held: since.instant().map(|began| now.since(began)),
            trace: self.traces.lock().get(&index).cloned(),
        }
    }

    fn for_each_cell(&self, mut visit: impl FnMut(LeaseIndex, &LeaseCell)) {
        // Block by block, so that no connect waits for a reader of all cells.
        let blocks = (0..).map_while(|nth| self.nth_block(nth));
        let mut indexes = (0..).map(LeaseIndex);
        for block in blocks {
            for index in indexes.by_ref().take(BLOCK) {
                if let Some(cell) = block.cell(index.place()) {
                    visit(index, cell);
                }
            }
        }
    }

    fn nth_block(&self, nth: usize) -> Option<Arc<Block<P>>> {
        self.blocks().get(nth).map(Arc::clone)
    }

    fn blocks(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Block<P>>>> {
        self.blocks.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The call sites of a pool, found by their addresses: a hash table that only ever grows, up to
/// [`SITES`]. Allocated by the first checkout.
#[derive(Default)]
struct CallSites(OnceLock<Box<[OnceLock<CallSite>]>>);

const SITES: usize = 256;

#[inline]
fn address_of(site: CallSite) -> usize {
    ptr::from_ref(site).addr()
}

impl CallSites {
    /// Inserts a call site, if there is a free entry.
    fn insert(&self, site: CallSite) {
        let entries = self.0.get_or_init(|| (0..SITES).map(|_| OnceLock::new()).collect());
        // Of two that meet at a free entry, one takes it and the other goes on.
        probe(entries, address_of(site)).find(|entry| ptr::eq(*entry.get_or_init(|| site), site));
    }

    fn find(&self, address: usize) -> Option<CallSite> {
        probe(self.0.get()?, address)
            .map_while(OnceLock::get)
            .find(|site| address_of(site) == address)
            .copied()
    }
}

/// Returns all entries, in the order in which one address probes them.
fn probe(
    entries: &[OnceLock<CallSite>],
    address: usize,
) -> impl Iterator<Item = &OnceLock<CallSite>> {
    // Locations lie a few words apart.
    let start = (address >> 3) & SITES.wrapping_sub(1);
    entries.iter().cycle().skip(start).take(SITES)
}

#[cfg(test)]
mod tests;
