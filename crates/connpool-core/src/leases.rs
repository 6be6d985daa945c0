//! Who has what: a cell for each open connection, written when it is lent and when it comes back.
//!
//! Lending is a few stores and coming back is one, all of them to memory that no other connection
//! uses. Nothing of it is ordered with anything else, so that no model has to try it; whoever reads
//! a cell finds one lease, or none.

mod sites;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Duration;

use crate::Moment;
use crate::moment::{Brief, Span};
use crate::slab::{Spot, chunk_of, chunk_size};
use crate::sync::{Arc, Mutex};
use sites::Sites;

/// Who has a connection, and since when. Prints as `src/report.rs:41 "nightly" for 32.1 s`.
///
/// What [`Pool::holders`](crate::Pool::holders), a [`Diagnosis`](crate::Diagnosis) and a
/// [`CloseReport`](crate::CloseReport) tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The connection, as told by [`PooledConnection::id`](crate::PooledConnection::id).
    pub id: u64,
    /// The line that called `get` or its like; `None` if more than 256 different ones do.
    pub site: Option<&'static Location<'static>>,
    /// What the holder calls it, see [`PooledConnection::label`](crate::PooledConnection::label).
    pub label: Option<Arc<str>>,
    /// For how long it has been out; `None` if the pool reads no clock because no setting needs one.
    /// [`leak_warning`](crate::Builder::leak_warning) does.
    pub held: Option<Duration>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.site {
            Some(site) => write!(f, "{}:{}", site.file(), site.line())?,
            None => f.write_str("a line of many")?,
        }
        if let Some(label) = &self.label {
            write!(f, " {label:?}")?;
        }
        match self.held {
            Some(held) => write!(f, " for {}", Brief(held)),
            None => Ok(()),
        }
    }
}

/// Who asks for a connection: noted with what it gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Borrower {
    pub(crate) site: &'static Location<'static>,
    /// What its task is known by; zero if nobody wants to know.
    pub(crate) task: usize,
}

impl Borrower {
    pub(crate) fn at(site: &'static Location<'static>) -> Self {
        Borrower { site, task: 0 }
    }
}

/// All leases of a pool.
pub(crate) struct Leases {
    // Each twice as large as the one before it, so that growing moves nothing.
    chunks: [OnceLock<Box<[Cell]>>; CHUNKS],
    sites: Sites,
    labels: Mutex<BTreeMap<Spot, Arc<str>>>,
}

const CHUNKS: usize = 27;

/// Two of them to a cache line of 64 bytes.
#[derive(Debug, Default)]
#[repr(align(32))]
struct Cell {
    /// [`NOT_OUT`], or since when, see [`Since`].
    since: AtomicU64,
    id: AtomicU64,
    task: AtomicUsize,
    site: AtomicU32,
}

const NOT_OUT: u64 = 0;

/// Since when a connection has been out: the nanoseconds of a moment, or that it is not known, and in
/// the lowest bit whether there was a warning about it. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Since(u64);

impl Since {
    const UNKNOWN: Since = Since(!Since::WARNED);
    const WARNED: u64 = 1;

    fn new(moment: Option<Moment>) -> Self {
        let shifted = |moment: Moment| moment.as_nanos().checked_add(1)?.checked_mul(2);
        // What is too late to be told, in 292 years, is not known either.
        moment.and_then(shifted).map_or(Since::UNKNOWN, Since)
    }

    fn moment(self) -> Option<Moment> {
        let is_known = self.not_warned() != Since::UNKNOWN;
        is_known.then(|| Moment::from_nanos((self.0 >> 1).saturating_sub(1)))
    }

    fn is_warned(self) -> bool {
        self.0 & Since::WARNED != 0
    }

    fn warned(self) -> Self {
        Since(self.0 | Since::WARNED)
    }

    fn not_warned(self) -> Self {
        Since(self.0 & !Since::WARNED)
    }
}

/// The longest label that is kept, in characters.
const LONGEST_LABEL: usize = 64;

impl Leases {
    pub(crate) fn new() -> Self {
        Leases {
            chunks: [const { OnceLock::new() }; CHUNKS],
            sites: Sites::new(),
            labels: Mutex::new(BTreeMap::new()),
        }
    }

    /// Somebody gets the connection that has this spot, at `since` if that is known.
    #[inline]
    pub(crate) fn begin(&self, spot: Spot, id: u64, borrower: &Borrower, since: Option<Moment>) {
        let Some(cell) = self.cell(spot) else { return };
        let site = self.sites.index_of(borrower.site);
        // Whoever sees what comes now sees, too, that the lease before it is over.
        fence(Ordering::Release);
        cell.site.store(site, Ordering::Relaxed);
        cell.id.store(id, Ordering::Relaxed);
        cell.task.store(borrower.task, Ordering::Relaxed);
        cell.since.store(Since::new(since).0, Ordering::Release);
    }

    /// The connection comes back, or is taken out.
    #[inline]
    pub(crate) fn end(&self, spot: Spot) {
        if let Some(cell) = self.cell(spot) {
            cell.since.store(NOT_OUT, Ordering::Relaxed);
        }
    }

    /// The same where warnings are given: tells who had it if there was one about it.
    pub(crate) fn end_watched(&self, spot: Spot, now: Moment) -> Option<Holder> {
        let cell = self.cell(spot)?;
        let since = Since(cell.since.swap(NOT_OUT, Ordering::Relaxed));
        since
            .is_warned()
            .then(|| self.holder(spot, cell, since, now))
    }

    pub(crate) fn label(&self, spot: Spot, text: &str) {
        let text: String = text.chars().take(LONGEST_LABEL).collect();
        self.labels.lock().insert(spot, Arc::from(text));
    }

    pub(crate) fn forget_label(&self, spot: Spot) {
        let label = self.labels.lock().remove(&spot);
        drop(label);
    }

    /// Everybody who has one, longest first; those of whom it is not known for how long come last.
    pub(crate) fn holders(&self, now: Moment) -> Vec<Holder> {
        let mut holders: Vec<Holder> = self
            .cells()
            .filter_map(|(spot, cell)| self.read(spot, cell, now))
            .map(|(_, holder)| holder)
            .collect();
        holders.sort_by(|a, b| b.held.cmp(&a.held).then(a.id.cmp(&b.id)));
        holders
    }

    /// What this task has already, if it has anything.
    pub(crate) fn held_by(&self, task: usize, now: Moment) -> Option<Holder> {
        let mut cells = self.cells();
        cells.find_map(|(spot, cell)| {
            let (_, holder) = self.read(spot, cell, now)?;
            (cell.task.load(Ordering::Relaxed) == task).then_some(holder)
        })
    }

    /// Those who have had one for `limit` now and were not told before, and when to look again.
    pub(crate) fn overdue(&self, limit: Span, now: Moment) -> (Vec<Holder>, Option<Moment>) {
        let mut overdue = Vec::new();
        let mut next = limit.after(now);
        for (spot, cell) in self.cells() {
            let Some((since, holder)) = self.read(spot, cell, now) else {
                continue;
            };
            let Some(began) = since.moment().filter(|_| !since.is_warned()) else {
                continue;
            };
            if !now.is_past(began, limit) {
                next = match (limit.after(began), next) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
                continue;
            }
            // It may have come back meanwhile; then there is nothing to warn of.
            let warned = cell.since.compare_exchange(
                since.0,
                since.warned().0,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if warned.is_ok() {
                overdue.push(holder);
            }
        }
        (overdue, next)
    }

    fn read(&self, spot: Spot, cell: &Cell, now: Moment) -> Option<(Since, Holder)> {
        let since = Some(cell.since.load(Ordering::Acquire));
        let since = since.filter(|since| *since != NOT_OUT).map(Since)?;
        let holder = self.holder(spot, cell, since, now);
        // What was read belongs together only if the lease is still the same.
        fence(Ordering::Acquire);
        let now = Since(cell.since.load(Ordering::Relaxed));
        (now.not_warned() == since.not_warned()).then_some((since, holder))
    }

    fn holder(&self, spot: Spot, cell: &Cell, since: Since, now: Moment) -> Holder {
        Holder {
            id: cell.id.load(Ordering::Relaxed),
            site: self.sites.get(cell.site.load(Ordering::Relaxed)),
            label: self.labels.lock().get(&spot).cloned(),
            held: since.moment().map(|began| now.since(began)),
        }
    }

    #[inline]
    fn cell(&self, spot: Spot) -> Option<&Cell> {
        let (chunk, index) = chunk_of(spot);
        let cells = self.chunks.get(chunk)?.get_or_init(|| {
            let cells = (0..chunk_size(chunk)).map(|_| Cell::default());
            cells.collect()
        });
        cells.get(index)
    }

    fn cells(&self) -> impl Iterator<Item = (Spot, &Cell)> {
        let chunks = self.chunks.iter().map_while(OnceLock::get);
        let many = chunks.map(|chunk| chunk.len()).sum();
        Spot::first(many).filter_map(|spot| Some((spot, self.cell(spot)?)))
    }
}

#[cfg(test)]
mod tests;
