//! A connection on loan: who has it is noted when it goes, and what its guard was told when it comes back.

use crate::machine::health::Conduct;
use crate::observe::holders::{Borrower, Cell};
use crate::pool::conn::{Entry, Told};
use crate::pool::shared::Shared;
use crate::time::Nanos;
use crate::{CloseReason, Event, Instant, Manager};

impl<M: Manager> Shared<M> {
    /// A checked connection goes to whoever asked for it.
    #[inline]
    pub(crate) fn lease_begins(&self, entry: &Entry<M>, borrower: &Borrower) {
        let timed = self.settings.need_clock() || self.is_watched();
        let since = timed.then_some(entry.stamps.idle_since);
        if let Some(cell) = entry.slot.lease() {
            self.leases.begin(cell, borrower.site, since);
        }
    }

    /// It is given back, or taken out for good.
    #[inline]
    pub(crate) fn lease_ends(&self, entry: &Entry<M>) {
        if self.settings.watches_leases() {
            self.watched_lease_ends(entry);
        } else if let Some(cell) = entry.slot.lease() {
            cell.end();
        }
    }

    #[cold]
    fn watched_lease_ends(&self, entry: &Entry<M>) {
        let spot = entry.slot.spot();
        if self.settings.leak_warning() == Nanos::NEVER {
            return entry.slot.lease().map_or((), Cell::end);
        }
        if let Some(holder) = self.leases.end_watched(spot, self.runtime.now()) {
            self.tell(|| Event::LeakReturned { holder });
        }
    }

    /// Looks for those who have had theirs for `leak_warning`, and says when to look again.
    pub(crate) fn look_for_leaks(&self, now: Instant) -> Option<Instant> {
        let limit = self.settings.leak_warning();
        let (overdue, next) = self.leases.overdue(limit, now);
        for holder in overdue {
            self.counters.leaked.up();
            self.tell(|| Event::LeakSuspected { holder });
        }
        next
    }

    /// Why its guard was no good to it, if so.
    #[cold]
    pub(crate) fn forget_what_was_told(
        &self,
        entry: &mut Entry<M>,
        panicking: bool,
    ) -> Option<CloseReason> {
        let told = std::mem::take(&mut entry.slot.told);
        if told.has(Told::LABEL) {
            self.leases.forget_label(entry.slot.spot());
        }
        let conduct = Conduct {
            marked: told.has(Told::UNUSABLE),
            unfinished: told.has(Told::UNFINISHED),
            panicking,
        };
        conduct.spoiled()
    }
}
