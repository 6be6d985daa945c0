//! Observes one `get`, from its first poll to its end.

use crate::manager::Manager;
use crate::observe::event::Event;
use crate::pool::shared::Shared;
use crate::time::Instant;

/// Reports a `get` if events are delivered. Boxed, so that it weighs next to nothing if they are not.
pub(super) struct GetWatch<'a, M: Manager>(Option<Box<Observed<'a, M>>>);

struct Observed<'a, M: Manager> {
    shared: &'a Shared<M>,
    began: Instant,
    got: Option<u64>,
}

impl<'a, M: Manager> GetWatch<'a, M> {
    #[inline]
    pub(super) fn begin(shared: &'a Shared<M>) -> Self {
        if !shared.events.is_observed() {
            return GetWatch(None);
        }
        GetWatch(Some(Box::new(Observed { shared, began: shared.runtime.now(), got: None })))
    }

    /// Reports a checkout and returns its time; `None` if events are not delivered.
    #[inline]
    pub(super) fn checked_out(&mut self, id: u64) -> Option<Instant> {
        self.0.as_mut().map(|observed| observed.checked_out(id))
    }
}

impl<M: Manager> Observed<'_, M> {
    #[cold]
    fn checked_out(&mut self, id: u64) -> Instant {
        let now = self.shared.runtime.now();
        self.got = Some(id);
        let waited = now.since(self.began);
        self.shared.events.announce(&Event::Lent { id, waited });
        now
    }
}

impl<M: Manager> Drop for Observed<'_, M> {
    fn drop(&mut self) {
        let now = self.shared.runtime.now();
        if now.is_past(self.began, self.shared.snapshot.settings.slow_get_warning.get()) {
            self.shared
                .events
                .announce(&Event::SlowGet { waited: now.since(self.began), id: self.got });
        }
    }
}
