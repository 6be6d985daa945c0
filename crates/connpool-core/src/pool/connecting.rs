//! The connects of a pool that have not ended, with their slots.
//!
//! A connect is decided under the lock, then offered to a runtime as a task, and begins when that task is
//! first polled. If the runtime does not poll it, the connect is offered to another one as well, and
//! whichever polls first begins it. A slot is kept here and not in the task, since the task of a runtime
//! that does not answer cannot give it back.

use std::collections::BTreeMap;

use crate::machine::home::RuntimeId;
use crate::machine::pool::ConnectTicket;
use crate::pool::conn::{Slot, SlotOwner, StartedConnect};
use crate::time::Instant;

pub(crate) struct Connecting<P: SlotOwner> {
    unbegun: BTreeMap<u64, Unbegun<P>>,
    begun: BTreeMap<u64, Begun<P>>,
}

struct Unbegun<P: SlotOwner> {
    started: StartedConnect<P>,
    /// The runtime that has the last task for it, `Some(None)` if there is only one runtime.
    offered_to: Option<Option<RuntimeId>>,
}

struct Begun<P: SlotOwner> {
    slot: Slot<P>,
    ticket: ConnectTicket,
    on: Option<RuntimeId>,
}

impl<P: SlotOwner> Default for Connecting<P> {
    fn default() -> Self {
        Connecting { unbegun: BTreeMap::new(), begun: BTreeMap::new() }
    }
}

impl<P: SlotOwner> Connecting<P> {
    /// Adds a connect that has its slot. Returns its number.
    pub(crate) fn add(&mut self, started: StartedConnect<P>) -> u64 {
        let id = started.ticket.id();
        self.unbegun.insert(id, Unbegun { started, offered_to: None });
        id
    }

    /// Returns when the oldest connect was decided that has not begun.
    #[inline]
    pub(crate) fn unbegun_since(&self) -> Option<Instant> {
        self.unbegun.values().next().map(|oldest| oldest.started.at)
    }

    /// Offers what has not begun to `runtime`, `most` at a time, and returns the numbers for which it has
    /// no task yet.
    pub(crate) fn offer(&mut self, runtime: Option<RuntimeId>, most: usize) -> Vec<u64> {
        let is_new = |unbegun: &Unbegun<P>| unbegun.offered_to != Some(runtime);
        let new = self.unbegun.iter_mut().filter(|(_, unbegun)| is_new(unbegun));
        let offer = |(id, unbegun): (&u64, &mut Unbegun<P>)| {
            unbegun.offered_to = Some(runtime);
            *id
        };
        new.take(most).map(offer).collect()
    }

    /// Begins a connect on `runtime`, unless another task has begun it.
    pub(crate) fn begin(
        &mut self,
        id: u64,
        runtime: Option<RuntimeId>,
    ) -> Option<(ConnectTicket, Instant)> {
        let StartedConnect { slot, ticket, at } = self.unbegun.remove(&id)?.started;
        self.begun.insert(id, Begun { slot, ticket, on: runtime });
        Some((ticket, at))
    }

    /// Takes back a connect whose task `runtime` dropped, unless another runtime has a task as well.
    pub(crate) fn take_back(
        &mut self,
        id: u64,
        runtime: Option<RuntimeId>,
    ) -> Option<StartedConnect<P>> {
        let offered_to = self.unbegun.get(&id)?.offered_to;
        if offered_to != Some(runtime) {
            return None;
        }
        self.unbegun.remove(&id).map(|unbegun| unbegun.started)
    }

    /// Takes back the connects that were not offered to any runtime, or to none but `ended`.
    pub(crate) fn take_unoffered(&mut self, ended: Option<RuntimeId>) -> Vec<StartedConnect<P>> {
        let unoffered = |unbegun: &Unbegun<P>| unbegun.offered_to.is_none_or(|to| to == ended);
        let taken = take_where(&mut self.unbegun, unoffered);
        taken.into_iter().map(|unbegun| unbegun.started).collect()
    }

    /// Takes the slot of a connect that ends, if it still has it.
    pub(crate) fn end(&mut self, id: u64) -> Option<Slot<P>> {
        self.begun.remove(&id).map(|begun| begun.slot)
    }

    /// Takes the slots of all connects that began on `runtime`.
    pub(crate) fn take_from(
        &mut self,
        runtime: Option<RuntimeId>,
    ) -> Vec<(ConnectTicket, Slot<P>)> {
        let taken = take_where(&mut self.begun, |begun| begun.on == runtime);
        taken.into_iter().map(|Begun { slot, ticket, .. }| (ticket, slot)).collect()
    }
}

/// Removes the entries that match, and returns them.
fn take_where<V>(map: &mut BTreeMap<u64, V>, matches: impl Fn(&V) -> bool) -> Vec<V> {
    let ids: Vec<_> = map.iter().filter(|(_, entry)| matches(entry)).map(|(id, _)| *id).collect();
    ids.iter().filter_map(|id| map.remove(id)).collect()
}
