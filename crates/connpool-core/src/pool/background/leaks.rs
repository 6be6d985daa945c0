//! Reports connections that are borrowed for longer than `leak_warning`.

use std::time::Duration;

use crate::manager::Manager;
use crate::observe::event::Event;
use crate::pool::shared::Shared;
use crate::time::{Instant, Nanos};

/// With a shorter interval the maintenance task would do nothing else.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// When to look for leaks again, and the limit by which that was computed.
#[derive(Default)]
pub(super) struct LeakWatch {
    limit: Option<Nanos>,
    pub(super) next: Option<Instant>,
}

impl LeakWatch {
    /// Reports leaks, if it is time or the limit has changed.
    pub(super) fn step<M: Manager>(&mut self, shared: &Shared<M>, now: Instant) {
        let limit = shared.snapshot.settings.leak_warning.get();
        let changed = self.limit.replace(limit) != Some(limit);
        if !changed && self.next.is_none_or(|next| now < next) {
            return;
        }
        let (overdue, next) = shared.leases.overdue(limit, now);
        for holder in overdue {
            shared.counters.leaked.inc();
            shared.events.tell(|| Event::LeakSuspected { holder });
        }
        self.next = next.and_then(|at| Some(at.max(now.checked_add(SHORTEST_INTERVAL)?)));
    }
}
