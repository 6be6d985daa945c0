//! A connection of the pool, and the slot it takes.

use crate::Manager;
use crate::health::Stamps;
use crate::idle::Stamped;
use crate::ledger::{Hold, Ledger};
use crate::shared::Shared;
use crate::slab::Spot;
use crate::state::State;
use crate::sync::Weak;

/// An open connection, boxed once when it is opened so that it is cheap to move ever after.
pub(crate) type Entry<M> = Box<Live<M>>;

/// An open connection with its slot and its history.
pub(crate) struct Live<M: Manager> {
    // Dropped in this order: the socket first, then the slot.
    pub(crate) conn: M::Connection,
    pub(crate) slot: Slot<M>,
    pub(crate) stamps: Stamps,
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
    shared: Weak<Shared<M>>,
    held: Hold,
    /// Its number while it holds an open connection, among the leases.
    spot: Spot,
    /// Of the idle set, where it was last.
    lane: u8,
}

impl<M: Manager> Slot<M> {
    /// The slot that the ledger has just counted as connecting.
    pub(crate) fn connecting(shared: Weak<Shared<M>>) -> Self {
        Slot {
            shared,
            held: Hold::Connecting,
            spot: Spot::default(),
            lane: 0,
        }
    }

    /// Tells the ledger that the connect has succeeded. Says whether the driver has to look at it.
    pub(crate) fn opens(&mut self, state: &mut State<M>) -> bool {
        self.spot = state.spots.take();
        self.held = Hold::Open;
        state.ledger.connected()
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
        if let Some(shared) = self.shared.upgrade() {
            shared.slot_freed(self.held, self.spot);
        }
    }
}
