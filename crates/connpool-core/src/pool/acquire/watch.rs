//! Observes one `get`, from its first poll to its end.

use crate::manager::Manager;
use crate::observe::event::Event;
use crate::pool::shared::Shared;
use crate::time::{Instant, Nanos};

/// Reports a `get`.
pub(super) struct GetWatch<'a, M: Manager> {
    shared: &'a Shared<M>,
    began: Instant,
    got: Option<u64>,
}

impl<'a, M: Manager> GetWatch<'a, M> {
    /// Starts to observe a `get`; `None` if events are not delivered. Boxed, so that it then weighs
    /// next to nothing.
    #[inline]
    pub(super) fn begin(shared: &'a Shared<M>) -> Option<Box<Self>> {
        let warns = || {
            shared.events.is_observed()
                && shared.snapshot.settings.slow_get_warning.get() != Nanos::NEVER
        };
        let observed = shared.events.tells_of_gets() || warns();
        observed.then(|| Box::new(GetWatch { shared, began: shared.runtime.now(), got: None }))
    }

    /// Reports a checkout and returns its time.
    #[cold]
    pub(super) fn checked_out(&mut self, id: u64) -> Instant {
        let now = self.shared.runtime.now();
        self.got = Some(id);
        let waited = now.since(self.began);
        self.shared.events.announce(&Event::Lent { id, waited });
        now
    }
}

impl<M: Manager> Drop for GetWatch<'_, M> {
    fn drop(&mut self) {
        let (shared, now) = (self.shared, self.shared.runtime.now());
        if now.is_past(self.began, shared.snapshot.settings.slow_get_warning.get()) {
            let waited = now.since(self.began);
            shared.events.announce(&Event::SlowGet { waited, id: self.got });
        }
    }
}
