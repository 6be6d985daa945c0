//! The way of callers into the queue and out of it.

use crate::machine::pool::{PoolMachine, Rejected};
use crate::machine::wait_queue::{Accepts, Patience, Place, Source, Taken};
use crate::time::Instant;

impl<W> PoolMachine<W> {
    /// Queues a caller, unless the pool is closed, connects fail and nothing can come back, or
    /// `max_waiters` are queued beyond those for whom a connect is, or now will be, under way.
    pub(crate) fn enqueue(
        &mut self,
        now: Instant,
        patience: impl Into<Patience>,
        accepts: Accepts,
        payload: W,
    ) -> Result<Place, (Rejected, Option<W>)> {
        if self.closed {
            return Err((Rejected::Closed, Some(payload)));
        }
        // Queued first: what is coming depends on the length of the queue.
        let patience = patience.into();
        let place = self.queue.push(accepts, patience, payload);
        match self.rejection(now) {
            None => {
                self.cover(patience);
                Ok(place)
            }
            Some(rejected) => Err((rejected, self.queue.remove(place))),
        }
    }

    fn rejection(&mut self, now: Instant) -> Option<Rejected> {
        if self.tells(now) {
            return Some(Rejected::Unreachable);
        }
        let max_waiters = self.max_waiters?;
        // One that hangs is on its way to nobody, but a caller may still wait in its place.
        let hanging = self.capacity.connecting.get().saturating_sub(self.connects.fresh());
        let checked = usize::from(self.schedule.probing).saturating_add(self.resets.coming());
        let served = self.coming(now).saturating_add(checked).saturating_add(hanging);
        (self.queue.len().saturating_sub(served) > max_waiters).then_some(Rejected::Exhausted)
    }

    /// Returns whether only a return can serve a caller: every slot has an open connection, and nothing is under
    /// way.
    fn is_settled(&self) -> bool {
        let has_work = self.closed || self.paused || self.is_draining() || self.counts_lendings();
        // A caller elsewhere may have to see to what the home owes.
        let is_owed = self.home.owes(None);
        !has_work
            && !is_owed
            && self.capacity.staying() == self.capacity.max_size
            && self.capacity.closing.get() == 0
            && self.resets.len() == 0
            && !self.schedule.probing
    }

    /// Queues a caller like [`enqueue`](PoolMachine::enqueue) if only a return can serve it. Then nothing else
    /// follows from it. `None` if that is not so, or if too many wait.
    #[inline]
    pub(crate) fn enqueue_settled(
        &mut self,
        patience: Patience,
        accepts: Accepts,
        payload: &W,
    ) -> Option<Place>
    where
        W: Clone,
    {
        let fits = self.max_waiters.is_none_or(|most| self.queue.len() < most);
        if !fits || !self.is_settled() {
            return None;
        }
        self.cover(patience);
        Some(self.queue.push(accepts, patience, payload.clone()))
    }

    #[inline]
    fn cover(&mut self, patience: Patience) {
        if patience.shares_timer {
            self.wait_timer.cover(patience.until);
        }
    }

    /// Records that the timer that waits share has fired. Returns the waiters to be told that their time is
    /// up, and has the timer set again for the others.
    pub(crate) fn wait_timer_fired(&mut self, number: u64, now: Instant) -> Vec<W>
    where
        W: Clone,
    {
        if !self.wait_timer.fired(number) {
            return Vec::new();
        }
        let (overdue, next) = self.queue.overdue(now);
        let overdue = overdue.into_iter().cloned().collect();
        self.wait_timer.cover(next);
        overdue
    }

    /// Puts a waiter back into its old place, after what it was assigned failed its check.
    pub(crate) fn requeue(
        &mut self,
        place: Place,
        patience: impl Into<Patience>,
        accepts: Accepts,
        payload: W,
    ) -> Result<Place, Rejected> {
        if self.closed {
            return Err(Rejected::Closed);
        }
        self.answered.dec();
        let patience = patience.into();
        self.cover(patience);
        Ok(self.queue.requeue(place, accepts, patience, payload))
    }

    /// Takes the first waiter out of the queue that accepts a connection from `source` and whose deadline has
    /// not passed. Each waiter that is skipped for its deadline is handed to `expired`.
    pub(crate) fn assign(
        &mut self,
        source: Source,
        now: Instant,
        mut expired: impl FnMut(W),
    ) -> Option<W> {
        if self.paused {
            return None;
        }
        loop {
            // Computed again each time: with fewer waiters, less is coming for them.
            let coming = self.coming_for_the_picky(now);
            let taken = self.queue.pop(source, coming, now)?;
            self.answered.inc();
            match taken {
                Taken::Served(waiter) => return Some(waiter),
                Taken::Expired(waiter) => expired(waiter),
            }
        }
    }

    /// Takes the first waiter out of the queue like [`assign`](PoolMachine::assign), for a connection in good
    /// order, if there is nothing else to decide.
    #[inline]
    pub(crate) fn assign_first(&mut self, now: Instant) -> Option<W> {
        if self.closed || self.paused || self.capacity.surplus() > 0 {
            return None;
        }
        let first = self.queue.pop_plainly(now)?;
        self.answered.inc();
        Some(first)
    }

    /// Takes all waiters out of the queue if they are to hear the last error.
    pub(crate) fn give_up(&mut self, now: Instant) -> Vec<W> {
        let any = self.queue.len() > 0;
        if any && self.tells(now) { self.answer_all() } else { Vec::new() }
    }

    pub(super) fn answer_all(&mut self) -> Vec<W> {
        let all = self.queue.drain();
        all.iter().for_each(|_| self.answered.inc());
        all
    }
}
