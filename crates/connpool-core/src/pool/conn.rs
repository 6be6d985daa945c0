//! A connection of the pool, and the slot it takes.

use crate::Manager;
use crate::machine::health::Stamps;
use crate::machine::pool::{Hold, Ledger};
use crate::machine::slab::Spot;
use crate::observe::holders::{Block, Cell};
use crate::pool::idle::Stamped;
use crate::pool::shared::Shared;
use crate::pool::state::State;
use crate::util::sync::{Arc, Weak};

/// An open connection, boxed once when it is opened so that it is cheap to move ever after.
pub(crate) type Entry<M> = Box<Live<M>>;

/// An open connection with its slot and its history.
pub(crate) struct Live<M: Manager> {
    // Dropped in this order: the socket first, then the slot.
    pub(crate) conn: M::Connection,
    pub(crate) slot: Slot<M>,
    pub(crate) stamps: Stamps,
    /// While an owned guard has it: what keeps the pool's state alive for that long.
    pub(crate) keeper: Option<Arc<Shared<M>>>,
}

impl<M: Manager> Stamped for Entry<M> {
    fn is_used(&self) -> bool {
        self.stamps.uses > 0
    }

    #[inline]
    fn lane(&self) -> u8 {
        self.slot.lane
    }

    #[inline]
    fn moves_to(&mut self, lane: u8) {
        self.slot.lane = lane;
    }
}

/// One of the `max_size` places of a pool. Taken before anything is opened, given back by its drop
/// after everything is closed; the ledger counts nothing else.
pub(crate) struct Slot<M: Manager> {
    leases: Arc<Block<Weak<Shared<M>>>>,
    /// Its number, among the leases.
    spot: Spot,
    /// Where that is among those of its block.
    nth: u8,
    held: Hold,
    /// Of the idle set, where it was last.
    lane: u8,
    /// What its guard was told; nothing while there is none.
    pub(crate) told: Told,
}

/// What a guard was told of its connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Told(u8);

impl Told {
    pub(crate) const NOTHING: Told = Told(0);
    pub(crate) const UNUSABLE: Told = Told(1);
    pub(crate) const UNFINISHED: Told = Told(2);
    pub(crate) const LABEL: Told = Told(4);

    pub(crate) fn has(self, one: Told) -> bool {
        self.0 & one.0 != 0
    }

    pub(crate) fn and(self, one: Told) -> Told {
        Told(self.0 | one.0)
    }
}

impl<M: Manager> Slot<M> {
    /// The slot that the ledger counts as connecting once it is told.
    pub(crate) fn connecting(spot: Spot, leases: Arc<Block<Weak<Shared<M>>>>) -> Self {
        Slot {
            leases,
            spot,
            nth: spot.shelf().nth as u8,
            held: Hold::Connecting,
            lane: 0,
            told: Told::NOTHING,
        }
    }

    /// Tells the ledger that the connect has succeeded. Says whether the driver has to look at it.
    pub(crate) fn opens(&mut self, state: &mut State<M>, id: u64) -> bool {
        if let Some(cell) = self.lease() {
            cell.opened(id);
        }
        self.held = Hold::Open;
        state.ledger.connected()
    }

    /// Where it is noted who has it.
    #[inline]
    pub(crate) fn lease(&self) -> Option<&Cell> {
        self.leases.cell(self.nth)
    }

    #[inline]
    pub(crate) fn spot(&self) -> Spot {
        self.spot
    }

    /// Tells the ledger that the connection is being closed.
    pub(crate) fn leaves(&mut self, ledger: &mut Ledger) {
        if self.held == Hold::Open {
            ledger.leaves();
            self.held = Hold::Leaving;
        }
    }
}

impl<M: Manager> Drop for Slot<M> {
    fn drop(&mut self) {
        if let Some(shared) = self.leases.pool.upgrade() {
            shared.slot_freed(self.held, self.spot);
        }
    }
}
