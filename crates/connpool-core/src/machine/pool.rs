//! Composes the machines into the decisions of a whole pool.

use crate::config::PoolConfig;
use crate::machine::backoff::{BackoffState, CAUTIOUS_LIMIT};
use crate::machine::breaker::BreakerState;
use crate::machine::capacity::{Capacity, SlotState};
use crate::machine::failure_burst::BurstDetector;
use crate::machine::health::Versions;
use crate::machine::sweep_schedule::SweepSchedule;
use crate::machine::wait_queue::{Accepts, Key, Source, WaitQueue, WaiterState};
use crate::time::{Instant, earliest};

/// Identifies the state of the pool at the start of a connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectTicket {
    /// The pool's version, which decides whether a later `clear` discards the connection.
    pub(crate) version: u64,
    limit_epoch: u64,
}

/// Why a caller is not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    Closed,
    Exhausted,
    /// The breaker is open, and nothing is open that could come back.
    BreakerOpen,
}

/// The gauges of one moment, for statistics and for the events that report their changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gauges {
    pub(crate) max_size: usize,
    /// Open connections, including the closing ones.
    pub(crate) size: usize,
    pub(crate) closing: usize,
    pub(crate) connecting: usize,
    pub(crate) waiting: usize,
    pub(crate) breaker: BreakerState,
    pub(crate) paused: bool,
    /// The version of the last burst.
    pub(crate) suspect: u64,
}

/// The decisions of a pool. Its methods take what they need, time and random draws included, and
/// return what the shell has to do.
///
/// `W` is what the shell keeps for each waiter. The machine never looks into it.
#[derive(Debug, Clone)]
pub(crate) struct PoolMachine<W> {
    max_connecting: usize,
    max_waiters: Option<usize>,
    /// A failed connect is reported to a waiter.
    pub(crate) fail_fast: bool,
    pub(crate) capacity: Capacity,
    pub(crate) queue: WaitQueue<W>,
    pub(crate) backoff: BackoffState,
    /// Of the connections whose check failed.
    broken: BurstDetector,
    /// Of the connections that users returned broken.
    returned_broken: BurstDetector,
    pub(crate) schedule: SweepSchedule,
    pub(crate) versions: Versions,
    pub(crate) closed: bool,
    pub(crate) paused: bool,
}

impl<W> PoolMachine<W> {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        let mut capacity = Capacity::default();
        capacity.configure(config);
        PoolMachine {
            max_connecting: config.max_connecting.unwrap_or(usize::MAX),
            max_waiters: config.max_waiters,
            fail_fast: config.fail_fast,
            capacity,
            queue: WaitQueue::default(),
            backoff: BackoffState::new(config.backoff, config.breaker),
            broken: BurstDetector::default(),
            returned_broken: BurstDetector::default(),
            schedule: SweepSchedule::new(config),
            versions: Versions::default(),
            closed: false,
            paused: false,
        }
    }

    /// Returns how many connects should start now.
    pub(crate) fn connects_wanted(&self, now: Instant) -> usize {
        self.wanted_with(self.capacity.room(), now)
    }

    fn wanted_with(&self, room: usize, now: Instant) -> usize {
        if room == 0 || self.backoff.backing_off(now) {
            return 0;
        }
        self.missing().min(room).min(self.connects_allowed())
    }

    fn connects_allowed(&self) -> usize {
        let limit = self.max_connecting.min(self.backoff.connect_limit());
        limit.saturating_sub(self.capacity.connecting.get())
    }

    /// Returns how many connections are missing, whatever forbids to open them: for waiters for
    /// whom none is on its way, and up to `min_size`.
    pub(crate) fn missing(&self) -> usize {
        if self.closed {
            return 0;
        }
        let waiting =
            if self.paused { 0 } else { self.queue.len().saturating_sub(self.on_their_way()) };
        self.capacity.missing(waiting)
    }

    /// Returns whether a missing connection has to wait for the end of a backoff pause.
    pub(crate) fn is_held_up_by_backoff(&self, now: Instant) -> bool {
        self.backoff.backing_off(now) && self.missing() > 0
    }

    /// Takes a slot for a connect that starts now.
    pub(crate) fn connect_started(&mut self, now: Instant) -> ConnectTicket {
        self.capacity.connecting.inc();
        self.backoff.connect_started(now);
        ConnectTicket {
            version: self.versions.current,
            limit_epoch: self.backoff.limit_epochs.last(),
        }
    }

    /// Returns whether a connect that has not dialled yet gives its slot back, because another one
    /// failed meanwhile. A thousand connects that start at once must not all meet a dead backend.
    pub(crate) fn should_abort(&self, ticket: ConnectTicket, now: Instant) -> bool {
        ticket.limit_epoch != self.backoff.limit_epochs.last()
            && (self.backoff.backing_off(now)
                || self.capacity.connecting.get() > self.backoff.connect_limit())
    }

    /// Records a successful connect. Returns whether the maintenance task has to check the
    /// connection: it came from a probe, and no caller may want it.
    pub(crate) fn connected(&mut self) -> bool {
        self.capacity.connected();
        self.backoff.connected(self.capacity.max_size);
        let check_by = self.probe_check_at();
        self.schedule.sweep_by(check_by);
        check_by.is_some()
    }

    /// Returns by when a sweep must have checked the connection that a probe opened.
    fn probe_check_at(&self) -> Option<Instant> {
        let probed = self.backoff.breaker == BreakerState::HalfOpen;
        self.backoff.retry_at.filter(|_| probed)
    }

    /// Records that a connection opened at `created_at` passed a check. Returns whether no failure
    /// is left.
    pub(crate) fn succeeded(&mut self, created_at: Instant) -> bool {
        self.backoff.succeeded(created_at);
        self.backoff.failures.get() == 0
    }

    /// Records that a check found a connection broken. A burst makes all others suspect and starts
    /// slow start; returns whether this one completes a burst.
    pub(crate) fn found_broken(&mut self, now: Instant) -> bool {
        let burst = self.broken.record(now);
        if burst {
            self.versions.advance();
            self.versions.suspect = self.versions.current;
            self.backoff.narrow_to(1);
        }
        burst
    }

    /// Records that a user returned a connection that cannot be used again.
    ///
    /// Users have reasons of their own, so this makes no other connection suspect. But a busy pool
    /// that loses its backend hears of it from its users, and must not dial once for each.
    pub(crate) fn returned_broken(&mut self, now: Instant) {
        if self.returned_broken.record(now) {
            self.backoff.narrow_to(CAUTIOUS_LIMIT);
        }
    }

    pub(crate) fn close_started(&mut self) {
        self.capacity.close_started();
        self.release_lost_probe();
    }

    pub(crate) fn slot_freed(&mut self, slot: SlotState) {
        self.capacity.freed(slot);
        self.release_lost_probe();
    }

    /// The connection of a probe may be closed, for its age perhaps, before it is checked. Its
    /// outcome is then unknown for good, so the next probe must not wait for it.
    fn release_lost_probe(&mut self) {
        if self.capacity.staying() == 0 {
            self.backoff.probe_lost();
        }
    }

    /// Returns whether the pool is closed and everything is gone.
    pub(crate) fn is_drained(&self) -> bool {
        self.closed && self.capacity.taken() == 0
    }

    /// Returns how many waiters a graceful close holds up, since it holds the slot they need.
    pub(crate) fn held_up_by_closing(&self) -> usize {
        if self.capacity.closing.get() > 0 && self.capacity.room() == 0 {
            self.queue.len()
        } else {
            0
        }
    }

    /// Returns the number of connects in progress plus those allowed to start now, counting slots
    /// that are being freed.
    fn coming(&self, now: Instant) -> usize {
        self.capacity
            .connecting
            .get()
            .saturating_add(self.wanted_with(self.capacity.room_after_closing(), now))
    }

    /// Returns how many connections reach the queue without a return.
    fn on_their_way(&self) -> usize {
        self.capacity.connecting.get().saturating_add(usize::from(self.schedule.probing))
    }

    /// Queues a caller, unless the pool is closed, the breaker leaves it nothing to wait for, or
    /// `max_waiters` are queued beyond those for whom a connect is, or now will be, under way.
    pub(crate) fn enqueue(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        accepts: Accepts,
        payload: W,
    ) -> Result<Key, (Rejected, Option<W>)> {
        if self.closed {
            return Err((Rejected::Closed, Some(payload)));
        }
        // Queued first: what is coming depends on the length of the queue.
        let key = self.queue.push(accepts, deadline, payload);
        match self.rejection(now) {
            None => Ok(key),
            Some(rejected) => Err((rejected, self.queue.remove(key))),
        }
    }

    fn rejection(&self, now: Instant) -> Option<Rejected> {
        if self.depends_on_probe() && self.queue.len() > self.probes(now) {
            return Some(Rejected::BreakerOpen);
        }
        let max_waiters = self.max_waiters?;
        let coming = self.coming(now).saturating_add(usize::from(self.schedule.probing));
        (self.queue.len().saturating_sub(coming) > max_waiters).then_some(Rejected::Exhausted)
    }

    /// Puts a waiter back into its old place, after what it was assigned failed its check.
    pub(crate) fn requeue(&mut self, key: Key, accepts: Accepts) -> Result<(), Rejected> {
        if self.closed {
            return Err(Rejected::Closed);
        }
        self.queue.requeue(key, accepts);
        Ok(())
    }

    /// Returns the first waiter that accepts a connection from `source` and whose deadline has not
    /// passed. Each waiter that is skipped for its deadline is handed to `expired`, once.
    pub(crate) fn assign(
        &mut self,
        source: Source,
        now: Instant,
        mut expired: impl FnMut(&mut W),
    ) -> Option<&mut W> {
        if self.paused {
            return None;
        }
        let key = loop {
            // Computed again each time: with fewer waiters, less is coming for them.
            let (key, state) = self.queue.pop(source, self.coming(now), now)?;
            if state != WaiterState::Expired {
                break key;
            }
            if let Some(waiter) = self.queue.payload(key) {
                expired(waiter);
            }
        };
        self.queue.payload(key)
    }

    /// Takes all waiters out of the queue if the breaker is open, nothing is open that could come
    /// back, and no probe starts for the first of them. They are to hear the last error.
    pub(crate) fn give_up(&mut self, now: Instant) -> Vec<Key> {
        let hopeless = self.depends_on_probe()
            && self.backoff.breaker == BreakerState::Open
            && self.probes(now) == 0;
        if hopeless { self.queue.drain() } else { Vec::new() }
    }

    /// Returns whether only a probe can bring a connection, so that a caller without one fails at
    /// once.
    fn depends_on_probe(&self) -> bool {
        self.fail_fast
            && !self.paused
            && self.capacity.open.get() == 0
            && self.backoff.breaker != BreakerState::Closed
    }

    /// Returns how many probes there are to wait for. A connect that started before the breaker
    /// opened is none.
    fn probes(&self, now: Instant) -> usize {
        match self.backoff.breaker {
            BreakerState::Open => self.wanted_with(self.capacity.room_after_closing(), now),
            BreakerState::HalfOpen | BreakerState::Closed => self.coming(now),
        }
    }

    /// Returns whether there are more waiters than can be served before a connection is returned.
    pub(crate) fn depends_on_returns(&self) -> bool {
        let others = self.on_their_way().saturating_add(self.capacity.room_after_closing());
        self.queue.len() > others
    }

    /// Returns whether some waiter accepts a reused connection.
    pub(crate) fn wants_reused(&self, now: Instant) -> bool {
        !self.paused && self.queue.first(Source::Reused, self.coming(now)).is_some()
    }

    /// Returns whether a connect is, or as soon as the backoff allows will be, under way for the
    /// waiters.
    pub(crate) fn is_connecting(&self) -> bool {
        let retrying = self.backoff.failures.get() > 0 && self.capacity.room() > 0;
        !self.paused && (self.capacity.connecting.get() > 0 || retrying)
    }

    /// Returns when the maintenance task has something to do by the clock: the end of a pause that
    /// holds up a connect, or the next sweep.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let can_connect =
            self.missing() > 0 && self.capacity.room() > 0 && self.connects_allowed() > 0;
        let retry = self.backoff.retry_at.filter(|_| can_connect);
        earliest([retry, self.schedule.sweep_at])
    }

    /// Returns whether the sweep may take an idle connection out of the set to probe it: not while
    /// a caller waits for one, unless the pool is paused and no caller gets one.
    pub(crate) fn sweep_probe_started(&mut self) -> bool {
        let allowed = !self.closed && (self.paused || self.queue.len() == 0);
        self.schedule.probing = allowed;
        allowed
    }

    /// Returns whether another one of the idle connections may be pinged. `idle` counts those that are
    /// not being pinged, and is asked only if it matters.
    pub(crate) fn may_ping(&self, idle: impl FnOnce() -> usize) -> bool {
        let pinging = self.schedule.pinging.get();
        pinging == 0 || pinging < self.schedule.max_pinging(idle().saturating_add(pinging))
    }

    // The pool as a whole.

    /// Makes all connections stale that were opened, or whose connect started, before.
    pub(crate) fn clear(&mut self) {
        self.versions.advance();
        self.versions.cleared = self.versions.current;
    }

    /// Closes the pool and takes all waiters out of the queue.
    pub(crate) fn close(&mut self) -> Vec<Key> {
        self.closed = true;
        self.paused = false;
        self.queue.drain()
    }

    /// From now on assigns nothing, and opens nothing for waiters. A closed pool is never paused.
    pub(crate) fn pause(&mut self) {
        self.paused = !self.closed;
    }

    pub(crate) fn resume(&mut self) {
        self.paused = false;
    }

    /// Applies new settings from now on. A sweep that was scheduled by an old interval is scheduled
    /// anew.
    pub(crate) fn reconfigure(&mut self, config: &PoolConfig) {
        self.capacity.configure(config);
        self.max_connecting = config.max_connecting.unwrap_or(usize::MAX);
        self.max_waiters = config.max_waiters;
        self.fail_fast = config.fail_fast;
        self.versions.advance();
        self.backoff.reconfigure(config.backoff, config.breaker);
        let probe_check_at = self.probe_check_at();
        self.schedule.reconfigure(config, probe_check_at);
    }

    pub(crate) fn gauges(&self) -> Gauges {
        Gauges {
            max_size: self.capacity.max_size,
            size: self.capacity.open.get().saturating_add(self.capacity.closing.get()),
            closing: self.capacity.closing.get(),
            connecting: self.capacity.connecting.get(),
            waiting: self.queue.len(),
            breaker: self.backoff.breaker,
            paused: self.paused,
            suspect: self.versions.suspect,
        }
    }
}

#[cfg(test)]
mod tests;
