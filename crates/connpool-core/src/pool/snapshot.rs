//! What the fast paths must know of the state, without its lock.

use crate::Manager;
use crate::machine::health::Era;
use crate::pool::state::{DriverState, State};
use crate::util::sync::{AtomicU64, Ordering, Setting};

/// A shadow of the state, written under its lock only. Its flags tell what is in the way.
///
/// Whoever raises a flag or the generation and then looks at the idle set sees what was put there
/// before, or is seen by the one who puts and then looks here: both go through the lock of the idle
/// set.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The seal, shifted, and the flags.
    word: AtomicU64,
    generation: AtomicU64,
    /// In nobody's way, either: who reads an old one finds a connection less suspect than it is.
    /// A check that just misses a suspicion came a moment before it: ordered with nothing.
    suspicion: Setting,
}

const CLOSED: u64 = 1;
const LINE: u64 = 2;
const SURPLUS: u64 = 4;
const DRIVERLESS: u64 = 8;
/// In nobody's way: only tells that it matters how a new connection does.
const TROUBLE: u64 = 16;
const PAUSED: u64 = 32;
/// In nobody's way, either, but for the shortest one: somebody watches, or must be asked.
const DETOUR: u64 = 64;

/// What keeps a getter from what is idle, or needs its help.
const IN_THE_WAY_OUT: u64 = IN_THE_WAY_BACK | DRIVERLESS;
/// What keeps from the idle set what comes back.
const IN_THE_WAY_BACK: u64 = CLOSED | LINE | SURPLUS | PAUSED;

/// So many bits are for flags.
const FLAGS: u32 = 8;

impl Gate {
    /// The gate of a state in which nothing has happened yet.
    pub(crate) fn new() -> Self {
        Gate {
            word: AtomicU64::new(DRIVERLESS | DETOUR),
            generation: AtomicU64::new(0),
            suspicion: Setting::default(),
        }
    }

    /// Shows how things stand, and whether everybody has to take the long way.
    pub(crate) fn publish<M: Manager>(&self, state: &State<M>, detour: bool) {
        let ledger = &state.ledger;
        let flag = |holds: bool, flag: u64| if holds { flag } else { 0 };
        let flags = flag(ledger.is_closed(), CLOSED)
            | flag(ledger.waiting() > 0, LINE)
            | flag(ledger.surplus() > 0, SURPLUS)
            | flag(ledger.is_paused(), PAUSED)
            | flag(state.driver == DriverState::Absent, DRIVERLESS)
            | flag(ledger.failures() > 0, TROUBLE)
            | flag(detour, DETOUR);
        let era = ledger.era();
        let word = era.seal << FLAGS | flags;
        // Only what is written under the lock is read here: nobody else has to hear of it twice.
        if self.word.load(Ordering::Relaxed) == word {
            return;
        }
        // The seal last: who has seen it finds the rest of its era, or of a later one.
        self.suspicion.set(era.suspicion);
        self.generation.store(era.generation, Ordering::SeqCst);
        self.word.store(word, Ordering::SeqCst);
    }

    /// The pool's seal.
    #[inline]
    pub(crate) fn seal(&self) -> u64 {
        self.word.load(Ordering::SeqCst) >> FLAGS
    }

    /// The pool's seal, if nothing at all is in the way.
    #[inline]
    pub(crate) fn shortest_way(&self) -> Option<u64> {
        let word = self.word.load(Ordering::SeqCst);
        (word & (IN_THE_WAY_OUT | DETOUR) == 0).then_some(word >> FLAGS)
    }

    /// The pool's seal, and whether nothing is in the way of what comes back. Nobody needs a driver for
    /// that.
    #[inline]
    pub(crate) fn way_back(&self) -> (u64, bool) {
        let word = self.word.load(Ordering::SeqCst);
        (word >> FLAGS, word & IN_THE_WAY_BACK == 0)
    }

    /// Whether a getter may take what is idle, and nothing else needs its help.
    #[inline]
    pub(crate) fn lets_getters_pass(&self) -> bool {
        self.raised(IN_THE_WAY_OUT) == 0
    }

    /// Whether what is idle may come and go.
    #[inline]
    pub(crate) fn lets_connections_pass(&self) -> bool {
        self.raised(IN_THE_WAY_BACK) == 0
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.raised(CLOSED) != 0
    }

    /// Whether nothing is lent until the pool is resumed.
    #[inline]
    pub(crate) fn is_paused(&self) -> bool {
        self.raised(PAUSED) != 0
    }

    /// Whether the last connects failed and none has proved good since.
    #[inline]
    pub(crate) fn is_troubled(&self) -> bool {
        self.raised(TROUBLE) != 0
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    #[inline]
    fn raised(&self, flags: u64) -> u64 {
        self.word.load(Ordering::SeqCst) & flags
    }

    #[inline]
    pub(crate) fn era(&self) -> Era {
        let seal = self.seal();
        Era {
            seal,
            generation: self.generation(),
            suspicion: self.suspicion.get(),
        }
    }
}
