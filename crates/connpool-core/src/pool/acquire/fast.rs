//! The shortest way of a connection out and back: what a get and the drop of a guard come to when nothing
//! is in the way. Whatever is decided here, the long way decides the same.

use crate::machine::health::{Check, Stamps, Step};
use crate::observe::tracing;
use crate::pool::acquire::find;
use crate::pool::conn::Entry;
use crate::pool::shared::Shared;
use crate::time::Nanos;
use crate::util::timeout::Deadline;
use crate::{GetError, Instant, Manager};

/// What came of a try to lend one at once.
pub(crate) enum AtOnce<M: Manager> {
    Lent(Entry<M>),
    Not(Tried),
}

/// What there is to know for whoever tries on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tried {
    /// How many were found to be of no use.
    pub(crate) failed: u32,
    /// What time it just was, if that was asked.
    pub(crate) now: Option<Instant>,
}

/// Where one that comes back goes.
pub(crate) enum Return {
    ToTheIdle,
    /// To whoever is first there, or wherever the long way leads.
    ToTheLine,
}

impl<M: Manager> Shared<M> {
    /// Lends what is idle if nothing is in the way and nothing but a look is due.
    #[inline]
    pub(crate) fn lend_at_once(&self) -> AtOnce<M> {
        let Some(seal) = self.gate.shortest_way().filter(|_| !tracing::is_on()) else {
            return AtOnce::Not(Tried::default());
        };
        let now = self.moment();
        let fresh_for = self.settings.fresh_for();
        let fit = |entry: &Entry<M>| entry.stamps.is_fit(seal, fresh_for, now);
        let look_after = self.settings.liveness_after();
        let looks = look_after != Nanos::NEVER;
        // Counted where it is taken, unless it may be of no use yet.
        let Some(mut entry) = self.idle.take_if(fit, !looks) else {
            let now = Some(now);
            return AtOnce::Not(Tried { failed: 0, now });
        };
        if looks {
            if now.is_past(entry.stamps.idle_since, look_after) {
                if let Step::Close(reason) = Check::only_a_look(self.look(&mut entry.conn)) {
                    self.retire(entry, reason);
                    let now = None;
                    return AtOnce::Not(Tried { failed: 1, now });
                }
            }
            self.counters.request.up();
            self.counters.success.up();
        }
        entry.stamps.is_lent(now);
        AtOnce::Lent(entry)
    }

    /// Lends what can be had within `limit`, the long way.
    // An error in a box, and the result is passed on in two registers. Otherwise it has a place in
    // memory, which the shortest way would have to share and to copy from.
    pub(crate) async fn lend_some_time(
        &self,
        tried: Tried,
        limit: Nanos,
    ) -> Result<Entry<M>, Box<GetError<M::Error>>> {
        let mut deadline = Deadline::new(limit);
        let lent = if tracing::is_on() {
            tracing::get(&self.name, find(self, tried, &mut deadline)).await
        } else {
            // Not by the way of a function, through which it would be moved.
            find(self, tried, &mut deadline).await
        };
        lent.map_err(Box::new)
    }

    /// Whether one that came back passes every check, and none of them has to look at it.
    pub(crate) fn needs_no_look(&self, entry: &Entry<M>, seal: u64, now: Instant) -> bool {
        let stamps = &entry.stamps;
        let look_after = self.settings.liveness_after();
        stamps.uses > 0
            && stamps.is_fit(seal, self.settings.fresh_for(), now)
            && !now.is_past(stamps.idle_since, look_after)
    }

    /// Where one that comes back may simply go, if it need not be judged.
    #[inline]
    pub(crate) fn lets_return(&self, stamps: &Stamps, now: Instant) -> Option<Return> {
        let (seal, is_free) = self.gate.way_back();
        match (
            stamps.may_return(seal, self.settings.max_uses(), now),
            is_free,
        ) {
            (true, true) => Some(Return::ToTheIdle),
            (true, false) => Some(Return::ToTheLine),
            (false, _) => None,
        }
    }
}
