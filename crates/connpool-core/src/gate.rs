//! What the fast paths must know of the state, without its lock.

use crate::Manager;
use crate::health::Era;
use crate::state::{DriverState, State};
use crate::sync::{AtomicU8, AtomicU64, Ordering, Setting};

/// A shadow of the state, written under its lock only. No flag raised: nothing is in the way.
///
/// Whoever raises a flag or the generation and then looks at the idle set sees what was put there
/// before, or is seen by the one who puts and then looks here: both go through the lock of the idle
/// set.
#[derive(Debug)]
pub(crate) struct Gate {
    flags: AtomicU8,
    generation: AtomicU64,
    /// In nobody's way, either: who reads an old one finds a connection less suspect than it is.
    /// A check that just misses a suspicion came a moment before it: ordered with nothing.
    epoch: Setting,
}

const CLOSED: u8 = 1;
const LINE: u8 = 2;
const SURPLUS: u8 = 4;
const DRIVERLESS: u8 = 8;
/// In nobody's way: only tells that it matters how a new connection does.
const TROUBLE: u8 = 16;
const PAUSED: u8 = 32;

impl Gate {
    /// The gate of a state in which nothing has happened yet.
    pub(crate) fn new() -> Self {
        Gate {
            flags: AtomicU8::new(DRIVERLESS),
            generation: AtomicU64::new(0),
            epoch: Setting::default(),
        }
    }

    /// Shows how things stand.
    pub(crate) fn publish<M: Manager>(&self, state: &State<M>) {
        let ledger = &state.ledger;
        let flag = |holds: bool, flag: u8| if holds { flag } else { 0 };
        let flags = flag(ledger.is_closed(), CLOSED)
            | flag(ledger.waiting() > 0, LINE)
            | flag(ledger.surplus() > 0, SURPLUS)
            | flag(ledger.is_paused(), PAUSED)
            | flag(state.driver == DriverState::Absent, DRIVERLESS)
            | flag(ledger.failures() > 0, TROUBLE);
        self.flags.store(flags, Ordering::SeqCst);
        self.generation.store(ledger.generation(), Ordering::SeqCst);
        self.epoch.set(ledger.epoch());
    }

    /// Whether a getter may take what is idle, and nothing else needs its help.
    #[inline]
    pub(crate) fn lets_getters_pass(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & !TROUBLE == 0
    }

    /// Whether what is idle may come and go.
    #[inline]
    pub(crate) fn lets_connections_pass(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & !(TROUBLE | DRIVERLESS) == 0
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & CLOSED != 0
    }

    /// Whether nothing is lent until the pool is resumed.
    #[inline]
    pub(crate) fn is_paused(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & PAUSED != 0
    }

    /// Whether the last connects failed and none has proved good since.
    #[inline]
    pub(crate) fn is_troubled(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & TROUBLE != 0
    }

    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    #[inline]
    pub(crate) fn era(&self) -> Era {
        Era {
            generation: self.generation(),
            epoch: self.epoch.get(),
        }
    }
}
