//! The clocks of a pool, and the limits that peers announce.

use std::time::Duration;

use crate::machine::clock_leap::COMPARED_AFTER;
use crate::machine::health::Clock;
use crate::manager::Manager;
use crate::observe::event::Event;
use crate::pool::shared::{Locked, Shared};
use crate::time::Instant;

impl<M: Manager> Shared<M> {
    /// Returns the time, if some setting depends on it.
    ///
    /// `ORIGIN` is a sentinel that flows into the connections' metadata, until
    /// [`date_idle`](Shared::date_idle) replaces it.
    #[inline]
    pub(crate) fn clock(&self) -> Instant {
        match self.snapshot.clock() {
            Clock::Recent => self.runtime.recent(),
            Clock::None => Instant::ORIGIN,
            Clock::Precise => self.runtime.now(),
        }
    }

    /// Like [`clock`](Shared::clock), for an idle connection that is checked out without a look at both clocks. Told
    /// by the wall clock, so that no connection looks fresh that was idle while the monotonic clock stood
    /// still; `None` if that is so for all of them.
    #[inline]
    pub(crate) fn clock_through_leaps(&self) -> Option<Instant> {
        match self.snapshot.clock() {
            Clock::Recent => Some(self.snapshot.time_by_wall(self.runtime.wall())),
            Clock::None => Some(Instant::ORIGIN),
            Clock::Precise => Some(self.runtime.now()).filter(|now| !self.have_clocks_parted(*now)),
        }
    }

    /// Returns whether one of the clocks has leapt since they were last compared, however little.
    pub(crate) fn have_clocks_parted(&self, now: Instant) -> bool {
        let by_wall = self.snapshot.time_by_wall(self.runtime.wall());
        now.is_past(by_wall, COMPARED_AFTER) || by_wall.is_past(now, COMPARED_AFTER)
    }

    /// Returns the time, as precisely as the settings need it.
    pub(crate) fn coarse_now(&self) -> Instant {
        match self.snapshot.clock() {
            Clock::Precise => self.runtime.now(),
            Clock::Recent | Clock::None => self.runtime.recent(),
        }
    }

    /// Compares the monotonic clock with the wall clock, for a `get` at `now`, unless another one did lately
    /// and nothing has happened since. After a leap, connections that are idle are checked before they are
    /// checked out.
    #[cold]
    #[inline(never)]
    pub(crate) fn compare_clocks(&self, now: Instant) {
        if now >= self.snapshot.compared_until() || self.have_clocks_parted(now) {
            let now = self.with_clocks(|_, now| now);
            self.snapshot.compared(now);
        }
    }

    /// Like [`with`](Shared::with), after a comparison of the clocks. Passes on the time.
    #[cold]
    pub(crate) fn with_clocks<R>(
        &self,
        change: impl FnOnce(&mut Locked<'_, M>, Instant) -> R,
    ) -> R {
        // One right after the other, and not under the lock.
        let (now, wall) = (self.runtime.recent(), self.runtime.wall());
        self.with(|locked| {
            if let Some(by) = locked.state.machine.compare_clocks(now, wall) {
                locked.actions.tell(Event::ClockLeap { by });
            }
            self.snapshot.set_wall(now, wall);
            change(locked, now)
        })
    }

    /// Asks the manager for a limit that the peer has announced; `None` if it panics.
    #[inline]
    pub(crate) fn announced_limit(&self, conn: &M::Connection) -> Option<Option<Duration>> {
        let announced = self.events.guarded("expires_in", || self.manager.expires_in(conn))?;
        if let Some(left) = announced {
            self.read_clock_for(left);
        }
        Some(announced)
    }

    /// Has the clock read that a limit of this length needs.
    #[cold]
    fn read_clock_for(&self, limit: Duration) {
        if self.snapshot.clock() >= Clock::for_limit(limit.into()) {
            return;
        }
        let now = self.runtime.now();
        self.with(|_| {
            let needed_clock = self.snapshot.needs_clock();
            self.snapshot.announced(limit.into());
            self.date_idle(needed_clock, now);
        });
    }

    /// Replaces the sentinel that returns recorded while no clock was read, if one is read from now on. The
    /// caller holds the lock.
    pub(crate) fn date_idle(&self, needed_clock: bool, now: Instant) {
        if !needed_clock && self.snapshot.needs_clock() {
            self.idle.for_each(|conn| conn.meta.idle_since = conn.meta.idle_since.max(now));
        }
    }

    /// Returns how long ago `then` was. For events only: reads the clock.
    pub(crate) fn age(&self, then: Instant) -> Duration {
        self.runtime.now().since(then)
    }
}
