//! Counts slots: how many are taken and for what, and how many more may be.
//!
//! Invariant: `open + connecting + closing <= max_size`, except for what is open when `max_size` is
//! lowered.

use crate::config::PoolConfig;
use crate::machine::count::{Count, round_up};

/// The content of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotState {
    Connecting,
    /// An open connection, idle or borrowed.
    Open,
    /// A connection that is being closed.
    Closing,
}

/// The slots of a pool and the settings that limit them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Capacity {
    pub(crate) max_size: usize,
    min_size: usize,
    pub(crate) min_idle: usize,
    increment: usize,
    pub(crate) open: Count,
    pub(crate) connecting: Count,
    pub(crate) closing: Count,
}

impl Capacity {
    /// Applies the settings that limit the slots.
    pub(crate) fn configure(&mut self, config: &PoolConfig) {
        self.max_size = config.max_size;
        self.min_size = config.min_size;
        self.min_idle = config.min_idle;
        self.increment = config.increment;
    }

    pub(crate) fn connected(&mut self) {
        self.connecting.dec();
        self.open.inc();
    }

    /// Counts an open connection as closing: it is gone from the gauges but holds its slot.
    pub(crate) fn close_started(&mut self) {
        self.open.dec();
        self.closing.inc();
    }

    pub(crate) fn freed(&mut self, slot: SlotState) {
        match slot {
            SlotState::Connecting => self.connecting.dec(),
            SlotState::Open => self.open.dec(),
            SlotState::Closing => self.closing.dec(),
        }
    }

    /// Returns how many connects are missing, whatever forbids to start them: those for `waiting`
    /// callers in whole increments, or those up to `min_size`. `coming` connects are under way that
    /// do not hang.
    pub(crate) fn missing(&self, waiting: usize, coming: usize) -> usize {
        let there = self.open.get().saturating_add(coming);
        let up_to_min_size = self.min_size.saturating_sub(there);
        round_up(waiting, self.increment).max(up_to_min_size)
    }

    /// Returns how many connections there are, or are being opened, beyond `max_size`.
    pub(crate) fn surplus(&self) -> usize {
        self.staying().saturating_sub(self.max_size)
    }

    pub(crate) fn has_min_size(&self) -> bool {
        self.open.get() >= self.min_size
    }

    pub(crate) fn is_above_min_size(&self) -> bool {
        self.open.get() > self.min_size
    }

    /// Returns whether some connections are kept open without a caller.
    pub(crate) fn keeps_any(&self) -> bool {
        self.min_size > 0 || self.min_idle > 0
    }

    /// Returns how many slots are free.
    pub(crate) fn room(&self) -> usize {
        self.max_size.saturating_sub(self.taken())
    }

    /// Returns how many slots are free, counting those whose connection is being closed.
    pub(crate) fn room_after_closing(&self) -> usize {
        self.max_size.saturating_sub(self.staying())
    }

    /// Returns how many connections there are, or are being opened.
    pub(crate) fn staying(&self) -> usize {
        self.open.get().saturating_add(self.connecting.get())
    }

    pub(crate) fn taken(&self) -> usize {
        self.staying().saturating_add(self.closing.get())
    }
}
