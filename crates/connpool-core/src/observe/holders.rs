//! Who has what: a cell for each slot that is taken, written when it is lent and when it comes back.
//!
//! Lending is a few stores and coming back is one, all of them to memory that no other connection
//! uses. Nothing of it is ordered with anything else, so that no model has to try it; whoever reads
//! a cell finds one lease, or none.

mod sites;

use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;
use std::panic::Location;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Duration;

use crate::Instant;
use crate::machine::slab::{BLOCK, DIRECTORIES, Shelf, Spot, blocks_of};
use crate::time::{HumanDuration, Nanos, earliest};
use crate::util::sync::{Arc, Mutex};
use sites::{Sites, address_of};

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
            Some(held) => write!(f, " for {}", HumanDuration(held)),
            None => Ok(()),
        }
    }
}

/// Who asks for a connection: noted with what it gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Borrower {
    pub(crate) site: &'static Location<'static>,
}

impl Borrower {
    pub(crate) fn at(site: &'static Location<'static>) -> Self {
        Borrower { site }
    }
}

/// All leases of a pool, which is at `P` for those who have a part of them.
pub(crate) struct Leases<P> {
    pool: P,
    directories: [OnceLock<Directory<P>>; DIRECTORIES],
    sites: Sites,
    labels: Mutex<BTreeMap<Spot, Arc<str>>>,
}

type Directory<P> = Box<[OnceLock<Arc<Block<P>>>]>;

/// The cells of some connections, and the way to their pool: what each of them holds on to, so that it finds
/// both in one step.
#[derive(Debug)]
pub(crate) struct Block<P> {
    pub(crate) pool: P,
    cells: [Cell; BLOCK],
}

impl<P> Block<P> {
    /// The cell of the connection with this spot, which lies here.
    #[inline]
    pub(crate) fn cell(&self, nth: u8) -> Option<&Cell> {
        self.cells.get(usize::from(nth))
    }
}

/// What is known of one connection.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    /// [`NOT_OUT`], or since when, see [`Since`].
    since: AtomicU64,
    id: AtomicU64,
    /// The address of the line that asked last.
    site: AtomicUsize,
}

const NOT_OUT: u64 = 0;

impl Cell {
    /// A connection was opened that has this cell until it is gone.
    pub(crate) fn opened(&self, id: u64) {
        self.id.store(id, Ordering::Relaxed);
    }

    /// The connection comes back, or is taken out.
    #[inline]
    pub(crate) fn end(&self) {
        self.since.store(NOT_OUT, Ordering::Relaxed);
    }

    /// Since when it is out, if it is.
    fn since(&self) -> Option<Since> {
        let since = self.since.load(Ordering::Acquire);
        (since != NOT_OUT).then_some(Since(since))
    }
}

/// Since when a connection has been out: the nanoseconds of a moment, or that it is not known, and in
/// the lowest bit whether there was a warning about it. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Since(u64);

impl Since {
    const UNKNOWN: Since = Since(!Since::WARNED);
    const WARNED: u64 = 1;

    #[inline]
    fn new(moment: Option<Instant>) -> Self {
        let shifted = |moment: Instant| moment.as_nanos().checked_add(1)?.checked_mul(2);
        // What is too late to be told, in 292 years, is not known either.
        moment.and_then(shifted).map_or(Since::UNKNOWN, Since)
    }

    fn moment(self) -> Option<Instant> {
        let is_known = self.not_warned() != Since::UNKNOWN;
        is_known.then(|| Instant::from_nanos((self.0 >> 1).saturating_sub(1)))
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

impl<P: Clone> Leases<P> {
    pub(crate) fn new(pool: P) -> Self {
        Leases {
            pool,
            directories: [const { OnceLock::new() }; DIRECTORIES],
            sites: Sites::new(),
            labels: Mutex::new(BTreeMap::new()),
        }
    }

    /// Where the connection that has this spot finds its cell, as long as there is one.
    pub(crate) fn block(&self, spot: Spot) -> Option<Arc<Block<P>>> {
        let Shelf {
            directory, block, ..
        } = spot.shelf();
        let blocks = self
            .directories
            .get(directory)?
            .get_or_init(|| (0..blocks_of(directory)).map(|_| OnceLock::new()).collect());
        let block = blocks.get(block)?.get_or_init(|| {
            Arc::new(Block {
                pool: self.pool.clone(),
                cells: std::array::from_fn(|_| Cell::default()),
            })
        });
        Some(Arc::clone(block))
    }

    /// Somebody gets the connection of this cell, at `since` if that is known.
    #[inline]
    pub(crate) fn begin(
        &self,
        cell: &Cell,
        site: &'static Location<'static>,
        since: Option<Instant>,
    ) {
        // Whoever sees what comes now sees, too, that the lease before it is over.
        fence(Ordering::Release);
        if cell.site.load(Ordering::Relaxed) != address_of(site) {
            self.moves_to(cell, site);
        }
        cell.since.store(Since::new(since).0, Ordering::Release);
    }

    #[cold]
    fn moves_to(&self, cell: &Cell, site: &'static Location<'static>) {
        self.sites.note(site);
        cell.site.store(address_of(site), Ordering::Relaxed);
    }

    /// The connection comes back where warnings are given: tells who had it if there was one about it.
    pub(crate) fn end_watched(&self, spot: Spot, now: Instant) -> Option<Holder> {
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
    pub(crate) fn holders(&self, now: Instant) -> Vec<Holder> {
        self.longest(usize::MAX, now)
    }

    /// The first `most` of them, which costs what they do, and a look at each of the others.
    pub(crate) fn longest(&self, most: usize, now: Instant) -> Vec<Holder> {
        let mut longest = BinaryHeap::new();
        for (spot, cell) in self.cells() {
            if let Some(since) = cell.since() {
                longest.push((since.not_warned().0, cell.id.load(Ordering::Relaxed), spot));
                if longest.len() > most {
                    longest.pop();
                }
            }
        }
        let longest = longest.into_sorted_vec().into_iter();
        longest
            .filter_map(|(.., spot)| self.read(spot, self.cell(spot)?, now))
            .map(|(_, holder)| holder)
            .collect()
    }

    /// Those who have had one for `limit` now and were not told before, and when to look again.
    pub(crate) fn overdue(&self, limit: Nanos, now: Instant) -> (Vec<Holder>, Option<Instant>) {
        let mut overdue = Vec::new();
        let mut next = limit.after(now);
        for (spot, cell) in self.cells() {
            let not_told = cell.since().filter(|since| !since.is_warned());
            let Some(began) = not_told.and_then(Since::moment) else {
                continue;
            };
            if !now.is_past(began, limit) {
                next = earliest([limit.after(began), next]);
                continue;
            }
            let Some((since, holder)) = self.read(spot, cell, now) else {
                continue;
            };
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

    fn read(&self, spot: Spot, cell: &Cell, now: Instant) -> Option<(Since, Holder)> {
        let since = cell.since()?;
        let holder = self.holder(spot, cell, since, now);
        // What was read belongs together only if the lease is still the same.
        fence(Ordering::Acquire);
        let now = Since(cell.since.load(Ordering::Relaxed));
        (now.not_warned() == since.not_warned()).then_some((since, holder))
    }

    fn holder(&self, spot: Spot, cell: &Cell, since: Since, now: Instant) -> Holder {
        Holder {
            id: cell.id.load(Ordering::Relaxed),
            site: self.sites.find(cell.site.load(Ordering::Relaxed)),
            label: self.labels.lock().get(&spot).cloned(),
            held: since.moment().map(|began| now.since(began)),
        }
    }

    #[inline]
    fn cell(&self, spot: Spot) -> Option<&Cell> {
        let shelf = spot.shelf();
        let directory = self.directories.get(shelf.directory)?.get()?;
        let block = directory.get(shelf.block)?.get()?;
        block.cells.get(shelf.nth)
    }

    fn cells(&self) -> impl Iterator<Item = (Spot, &Cell)> {
        let directories = self.directories.iter().map_while(OnceLock::get).zip(0..);
        let blocks = directories.flat_map(|(blocks, directory)| {
            let blocks = blocks.iter().zip(0..);
            blocks.filter_map(move |(block, nth)| Some((block.get()?, directory, nth)))
        });
        blocks.flat_map(|(cells, directory, block)| {
            (0..).zip(cells.cells.iter()).map(move |(nth, cell)| {
                let shelf = Shelf {
                    directory,
                    block,
                    nth,
                };
                (Spot::at(shelf), cell)
            })
        })
    }
}

#[cfg(test)]
mod tests;
