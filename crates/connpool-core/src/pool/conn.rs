//! A connection with its slot and its metadata.

use crate::machine::capacity::SlotState;
use crate::machine::disposition::GuardFlags;
use crate::machine::health::ConnMeta;
use crate::machine::pool::ConnectTicket;
use crate::observe::holders::{Block, LeaseCell, LeaseIndex};
use crate::pool::idle::Stored;
use crate::time::Instant;
use crate::util::sync::{Arc, Weak};

/// An open connection. Boxed once when it is opened, so that it is cheap to move.
pub(crate) struct Conn<C, P: SlotOwner> {
    // Dropped in this order: the socket first, then the slot.
    pub(crate) inner: C,
    pub(crate) slot: Slot<P>,
    pub(crate) meta: ConnMeta,
    /// The pool, while an owned guard has the connection. A pooled connection with this set would be
    /// a reference cycle: whatever ends the guard takes it out first.
    pub(crate) pool_ref: Option<Arc<P>>,
}

impl<C, P: SlotOwner> Stored for Box<Conn<C, P>> {
    fn is_used(&self) -> bool {
        self.meta.uses > 0 && !self.slot.flags.has(GuardFlags::RESET)
    }

    #[inline]
    fn shard(&mut self) -> &mut u8 {
        &mut self.slot.shard
    }
}

/// The pool, as far as a slot needs it.
pub(crate) trait SlotOwner {
    /// Called by the drop of a slot, after its connection is gone.
    fn slot_freed(&self, state: SlotState, lease: LeaseIndex);
}

/// A share of `max_size`. Taken before anything is opened and given back by its drop, after
/// everything is closed. Nothing else is counted.
pub(crate) struct Slot<P: SlotOwner> {
    leases: Arc<Block<Weak<P>>>,
    pub(crate) index: LeaseIndex,
    /// The place of its cell in the block, derived from `index` once.
    place: u8,
    pub(crate) state: SlotState,
    /// The shard of the idle set where the connection was last.
    shard: u8,
    /// The flags of the guard. Without a guard, only whether it was reset.
    pub(crate) flags: GuardFlags,
}

impl<P: SlotOwner> Slot<P> {
    pub(crate) fn connecting(index: LeaseIndex, leases: Arc<Block<Weak<P>>>) -> Self {
        Slot {
            leases,
            index,
            place: index.place(),
            state: SlotState::Connecting,
            shard: 0,
            flags: GuardFlags::NONE,
        }
    }

    /// Returns the cell that records the holder of the connection.
    #[inline]
    pub(crate) fn lease(&self) -> Option<&LeaseCell> {
        self.leases.cell(self.place)
    }
}

impl<P: SlotOwner> Drop for Slot<P> {
    fn drop(&mut self) {
        if let Some(pool) = self.leases.pool.upgrade() {
            pool.slot_freed(self.state, self.index);
        }
    }
}

/// A connect that has its slot and is to be spawned.
pub(crate) struct StartedConnect<P: SlotOwner> {
    pub(crate) slot: Slot<P>,
    pub(crate) ticket: ConnectTicket,
    pub(crate) at: Instant,
}
