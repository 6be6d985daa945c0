//! Composes the machines into the decisions of a whole pool.

use std::time::Duration;

use crate::config::PoolConfig;
use crate::machine::backoff::{BackoffState, CAUTIOUS_LIMIT, Failure};
use crate::machine::breaker::BreakerState;
use crate::machine::capacity::{Capacity, SlotState};
use crate::machine::clock_leap::LeapDetector;
use crate::machine::connects::Connects;
use crate::machine::contention::Contention;
use crate::machine::count::Count;
use crate::machine::failure_burst::BurstDetector;
use crate::machine::health::Versions;
use crate::machine::home::{Home, Move, NOWHERE, RuntimeId};
use crate::machine::resets::Resets;
use crate::machine::sweep_schedule::SweepSchedule;
use crate::machine::wait_queue::{Source, WaitQueue};
use crate::machine::wait_timer::WaitTimer;
use crate::time::{Instant, earliest};

mod waiting;

/// Identifies the state of the pool at the start of a connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectTicket {
    /// The pool's version, which decides whether a later `clear` discards the connection.
    pub(crate) version: u64,
    id: u64,
    limit_epoch: u64,
}

impl ConnectTicket {
    /// Returns the number of the connect. Later ones have larger numbers.
    pub(crate) fn id(self) -> u64 {
        self.id
    }
}

/// Why a caller is not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    Closed,
    Exhausted,
    /// Connects fail, and nothing is open that could come back.
    Unreachable,
}

/// The gauges of one moment, for statistics and for the events that report their changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gauges {
    pub(crate) max_size: usize,
    /// Open connections, including the closing ones.
    pub(crate) size: usize,
    pub(crate) closing: usize,
    pub(crate) resetting: usize,
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
    pub(crate) capacity: Capacity,
    pub(crate) queue: WaitQueue<W>,
    /// The number of waiters that were taken out of the queue and have not come back.
    answered: Count,
    pub(crate) wait_timer: WaitTimer,
    pub(crate) backoff: BackoffState,
    connects: Connects,
    contention: Contention,
    /// The number of futures, `build` among them, that wait for connections without a place in the
    /// queue.
    pub(crate) askers: Count,
    /// The number of gets that have a check run on an open connection.
    checking: Count,
    /// A caller was told of a failure and left, and no connect has started since.
    told: bool,
    /// Of the connections whose check failed.
    broken: BurstDetector,
    /// Of the connections that users returned broken.
    returned_broken: BurstDetector,
    leaps: LeapDetector,
    /// The number of idle connections when the shell last told it, those away for a ping included.
    idle: usize,
    /// The last idle connection expires soon, and its successor has not been opened.
    successor_due: bool,
    pub(crate) home: Home,
    pub(crate) resets: Resets,
    pub(crate) schedule: SweepSchedule,
    pub(crate) versions: Versions,
    pub(crate) closed: bool,
    pub(crate) paused: bool,
    /// No caller is accepted, and the pool is closed when those are served that were, or at this time.
    pub(crate) drain_until: Option<Instant>,
}

impl<W> PoolMachine<W> {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        let mut capacity = Capacity::default();
        capacity.configure(config);
        PoolMachine {
            max_connecting: config.max_connecting.unwrap_or(usize::MAX),
            max_waiters: config.max_waiters,
            capacity,
            queue: WaitQueue::default(),
            answered: Count::default(),
            wait_timer: WaitTimer::default(),
            backoff: BackoffState::new(config),
            connects: Connects::default(),
            contention: Contention::default(),
            askers: Count::default(),
            checking: Count::default(),
            told: false,
            broken: BurstDetector::default(),
            returned_broken: BurstDetector::default(),
            leaps: LeapDetector::new(config),
            idle: 0,
            successor_due: false,
            home: Home::default(),
            resets: Resets::new(config),
            schedule: SweepSchedule::new(config),
            versions: Versions::default(),
            closed: false,
            paused: false,
            drain_until: None,
        }
    }

    /// Returns how many connects should start now.
    pub(crate) fn connects_wanted(&self, now: Instant) -> usize {
        self.wanted_with(self.capacity.room(), now)
    }

    #[inline]
    fn wanted_with(&self, room: usize, now: Instant) -> usize {
        let missing = if room == 0 { 0 } else { self.missing() };
        if missing == 0 || self.backoff.backing_off(now, self.is_asked()) {
            return 0;
        }
        missing.min(room).min(self.connects_allowed()).min(self.paced(now))
    }

    /// Returns how many connects contention allows. While nothing is open, it allows any number.
    fn paced(&self, now: Instant) -> usize {
        if self.capacity.open.get() == 0 { usize::MAX } else { self.contention.allowed(now) }
    }

    fn paced_until(&self) -> Option<Instant> {
        self.contention.due_at().filter(|_| self.capacity.open.get() > 0)
    }

    fn connects_allowed(&self) -> usize {
        let unlimited = self.max_connecting.saturating_sub(self.capacity.connecting.get());
        let slow_start = self.backoff.connect_limit().saturating_sub(self.connects.fresh());
        unlimited.min(slow_start).min(self.connects.allowed())
    }

    /// Returns whether a caller waits for a connect, or was told of a failure since the last one.
    fn is_asked(&self) -> bool {
        self.queue.len() > 0 || self.askers.get() > 0 || self.told
    }

    /// Notes what has changed by the clock alone.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.connects.tick(now);
        self.resets.tick(now);
    }

    /// Returns how many connections are missing, whatever forbids to open them: for waiters for
    /// whom none is on its way, and up to `min_size`.
    pub(crate) fn missing(&self) -> usize {
        if self.closed || self.paused {
            return 0;
        }
        let callers = self.queue.len().max(usize::from(self.told));
        let unserved = callers.saturating_sub(self.on_their_way());
        if self.is_draining() {
            // Nothing is opened ahead of need.
            return unserved;
        }
        let missing = self.capacity.missing(unserved, self.connects.fresh());
        if self.keeps_idle() { missing.max(self.missing_idle(callers)) } else { missing }
    }

    /// Returns whether [`missing`](PoolMachine::missing) depends on how many connections are idle.
    #[inline]
    pub(crate) fn keeps_idle(&self) -> bool {
        self.capacity.min_idle > 0 || self.successor_due
    }

    /// Notes how many connections are idle.
    pub(crate) fn note_idle(&mut self, idle: usize) {
        let pinging = self.schedule.pinging.get();
        let away = pinging.saturating_add(usize::from(self.schedule.probing));
        self.idle = idle.saturating_add(away);
    }

    /// Returns how many connections are missing for `callers` and to be idle beside them.
    fn missing_idle(&self, callers: usize) -> usize {
        let successor = usize::from(self.successor_due);
        let wanted = self.capacity.min_idle.max(self.idle.saturating_add(successor));
        let there = self.idle.saturating_add(self.connects.fresh());
        callers.saturating_add(wanted).saturating_sub(there)
    }

    /// Decides whether the last idle connection gets a successor. `latest` is when one is due for the idle
    /// connection that expires last, `None` if nothing is idle.
    pub(crate) fn plan_successor(&mut self, latest: Option<Instant>, now: Instant) {
        self.successor_due = latest.is_some_and(|at| at <= now);
        let later = latest.filter(|at| *at > now && *at < Instant::NEVER);
        self.schedule.successor_at = later;
    }

    /// Returns whether a missing connection has to wait, for the end of a backoff pause or in contention.
    pub(crate) fn is_held_up(&self, now: Instant) -> bool {
        let is_backing_off =
            || self.backoff.retry_at.is_some() && self.backoff.backing_off(now, self.is_asked());
        (is_backing_off() || self.paced(now) == 0) && self.missing() > 0
    }

    /// Takes a slot for a connect that starts now.
    pub(crate) fn connect_started(&mut self, now: Instant) -> ConnectTicket {
        // The clock may have been read before a success that was recorded meanwhile.
        let now = self.backoff.after_success(now);
        self.capacity.connecting.inc();
        self.backoff.connect_started(now);
        self.contention.connect_started(now);
        self.told = false;
        ConnectTicket {
            version: self.versions.current,
            id: self.connects.start(now),
            limit_epoch: self.backoff.limit_epochs.last(),
        }
    }

    /// Returns whether a connect that has not dialled yet gives its slot back, because another one
    /// failed meanwhile. A thousand connects that start at once must not all meet a dead backend.
    pub(crate) fn should_abort(&self, ticket: ConnectTicket, now: Instant) -> bool {
        ticket.limit_epoch != self.backoff.limit_epochs.last()
            && (self.backoff.backing_off(now, self.is_asked())
                || self.connects.fresh() > self.backoff.connect_limit())
    }

    /// Records a successful connect. Returns whether the maintenance task has to check the
    /// connection: it came from a probe, and no caller may want it.
    pub(crate) fn connected(&mut self, ticket: ConnectTicket, now: Instant) -> bool {
        let began = self.connects.end(ticket.id);
        if let Some(began) = began.filter(|_| self.versions.outdates(ticket.version)) {
            self.connects.was_in_vain(began);
        }
        self.capacity.connected();
        self.successor_due = false;
        self.backoff.connected(now, self.capacity.max_size);
        if !self.backoff.is_unproven() {
            self.contention.succeeded(now);
        }
        let check_by = self.probe_check_at();
        self.schedule.sweep_by(check_by);
        check_by.is_some()
    }

    /// Returns whether a connect is to end: a `clear` has made it useless.
    pub(crate) fn is_abandoned(&self, ticket: ConnectTicket) -> bool {
        !self.connects.is_running(ticket.id)
    }

    /// Records a failed connect. Returns whether it counts, which it does not if it started before a
    /// `clear`, perhaps with an old password.
    pub(crate) fn connect_failed(
        &mut self,
        ticket: ConnectTicket,
        is_permanent: bool,
        was_dropped: bool,
        now: Instant,
        draw: u64,
    ) -> bool {
        let Some(began) = self.connects.end(ticket.id) else { return false };
        self.connects.was_in_vain(began);
        let counts = !self.versions.outdates(ticket.version);
        if counts {
            let beside_open = self.capacity.open.get() > 0;
            let failure = Failure { began, is_permanent, beside_open, was_dropped, draw };
            self.failed(failure, now);
        }
        counts
    }

    /// Records that a connection opened at `created_at` failed its first check.
    pub(crate) fn dead_on_arrival(&mut self, created_at: Instant, now: Instant, draw: u64) {
        self.connects.was_in_vain(created_at);
        self.failed(Failure { began: created_at, draw, ..Failure::default() }, now);
    }

    fn failed(&mut self, failure: Failure, now: Instant) {
        if self.backoff.failed(failure, now) {
            self.contention.failed(now, failure.draw);
        }
    }

    /// Records that the user was told that `min_size` connections are open.
    pub(crate) fn warmed_up(&mut self) {
        if self.capacity.open.get() > 0 {
            self.backoff.has_warmed_up();
        }
    }

    /// Records that a connect gave its slot back without having dialled.
    pub(crate) fn connect_withdrawn(&mut self, ticket: ConnectTicket) {
        self.connects.end(ticket.id);
    }

    /// Returns by when a sweep must have checked the connection that a probe opened.
    fn probe_check_at(&self) -> Option<Instant> {
        let probed = self.backoff.breaker == BreakerState::HalfOpen;
        self.backoff.retry_at.filter(|_| probed)
    }

    /// Records that a connection opened at `created_at` passed a check. Returns whether no failure
    /// is left.
    pub(crate) fn succeeded(&mut self, created_at: Instant, now: Instant) -> bool {
        let was_unproven = self.backoff.is_unproven();
        self.backoff.succeeded(created_at);
        let is_proven = !self.backoff.is_unproven();
        if was_unproven && is_proven {
            self.contention.succeeded(now);
        }
        is_proven
    }

    /// Records that a check found a connection broken. A burst makes all others suspect and starts
    /// slow start; returns whether this one completes a burst.
    pub(crate) fn found_broken(&mut self, now: Instant) -> bool {
        let burst = self.broken.record(now);
        if burst {
            self.versions.advance();
            self.versions.suspect = self.versions.current;
            self.backoff.narrow_to(1);
            self.contention.forget();
        }
        burst
    }

    /// Takes readings of the monotonic clock and of the wall clock. If the latter has leapt ahead, puts all
    /// connections without a later sign of life in doubt, and returns by how much it leapt.
    pub(crate) fn compare_clocks(&mut self, now: Instant, wall: Instant) -> Option<Duration> {
        let leap = self.leaps.compare(now, wall);
        if leap.is_some() {
            self.versions.advance();
            self.versions.leapt = self.versions.current;
        }
        leap
    }

    /// Sets the runtime that the pool is built on.
    pub(crate) fn built_on(&mut self, runtime: Option<RuntimeId>) {
        self.home = Home::new(runtime);
        self.versions.home = runtime;
    }

    /// Starts another maintenance task on `runtime`. After a move, connections of the old home are checked
    /// soon, and closed.
    pub(crate) fn maintenance_starts_on(
        &mut self,
        runtime: Option<RuntimeId>,
        now: Instant,
    ) -> Move {
        let moved = self.home.starts_on(runtime);
        if self.versions.home != runtime {
            self.versions.advance();
            self.versions.home = runtime;
        }
        if moved != Move::None {
            self.schedule.sweep_by(Some(now));
        }
        moved
    }

    /// Records that the maintenance task was dropped by its runtime, which has ended if there can be
    /// several.
    pub(crate) fn maintenance_dropped(&mut self) {
        if self.home.ended() {
            self.versions.advance();
            self.versions.home = Some(NOWHERE);
        }
    }

    /// Gives up a connect whose runtime does not answer.
    pub(crate) fn connect_stuck(&mut self, ticket: ConnectTicket) {
        if let Some(began) = self.connects.end(ticket.id) {
            self.connects.was_in_vain(began);
        }
    }

    /// Records that a user returned a connection that cannot be used again.
    ///
    /// Users have reasons of their own, so this makes no other connection suspect. But a busy pool
    /// that loses its backend hears of it from its users, and must not dial once for each.
    pub(crate) fn returned_broken(&mut self, now: Instant) {
        if self.returned_broken.record(now) {
            self.backoff.narrow_to(CAUTIOUS_LIMIT);
            self.contention.forget();
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

    /// Returns whether more callers wait than the free slots and what is on its way can serve.
    pub(crate) fn needs_closing_slots(&self) -> bool {
        self.queue.len() > self.on_their_way().saturating_add(self.capacity.room())
    }

    /// Returns the number of connects in progress plus those allowed to start now, counting slots
    /// that are being freed.
    fn coming(&self, now: Instant) -> usize {
        let wanted = self.wanted_with(self.capacity.room_after_closing(), now);
        self.connects.fresh().saturating_add(wanted)
    }

    /// Returns what is [`coming`](PoolMachine::coming), if a waiter depends on it.
    #[inline]
    fn coming_for_the_picky(&self, now: Instant) -> usize {
        if self.queue.has_picky() { self.coming(now) } else { 0 }
    }

    /// Returns how many connections reach the queue without a return.
    fn on_their_way(&self) -> usize {
        let checked = usize::from(self.schedule.probing).saturating_add(self.resets.coming());
        self.connects.fresh().saturating_add(checked)
    }

    /// Returns whether callers are told now that connects fail, and notes that they are.
    fn tells(&mut self, now: Instant) -> bool {
        let tells = self.tells_at(now).is_some_and(|at| at <= now);
        if tells {
            self.told = !self.backoff.is_permanent();
        }
        tells
    }

    /// Returns when callers are told that connects fail, if nothing changes until then.
    #[inline]
    pub(crate) fn tells_at(&self, now: Instant) -> Option<Instant> {
        if self.counts_lendings() { self.outage_tells_at(now) } else { None }
    }

    /// Records that a `get` has a check run on an open connection, which may take some time.
    pub(crate) fn check_started(&mut self) {
        self.checking.inc();
    }

    /// Records that such a check ended. If it passed, the connection is checked out now.
    pub(crate) fn check_ended(&mut self, passed: bool, now: Instant) {
        self.checking.dec();
        if passed {
            self.backoff.lent(now);
        }
    }

    fn outage_tells_at(&self, now: Instant) -> Option<Instant> {
        let checking = self.schedule.probing
            || self.schedule.pinging.get() > 0
            || self.checking.get() > 0
            || self.resets.len() > 0;
        if self.paused || self.closed || checking {
            return None;
        }
        let something_is_open = self.capacity.open.get() > 0;
        self.backoff.tells_at(self.connects.oldest(), something_is_open, now)
    }

    /// Returns whether [`tells_at`](PoolMachine::tells_at) depends on when a connection was checked out.
    #[inline]
    pub(crate) fn counts_lendings(&self) -> bool {
        self.backoff.failures.get() > 0 || self.connects.are_running()
    }

    /// Returns whether there are more waiters than can be served before a connection is returned.
    pub(crate) fn depends_on_returns(&self) -> bool {
        let others = self.on_their_way().saturating_add(self.capacity.room_after_closing());
        self.queue.len() > others
    }

    /// Returns whether some waiter accepts a reused connection.
    pub(crate) fn wants_reused(&self, now: Instant) -> bool {
        !self.paused && self.queue.accepts(Source::Reused, self.coming_for_the_picky(now))
    }

    /// Returns whether a connect is, or as soon as the backoff allows will be, under way for the
    /// waiters.
    pub(crate) fn is_connecting(&self) -> bool {
        let retrying = self.backoff.failures.get() > 0 && self.capacity.room() > 0;
        !self.paused && (self.capacity.connecting.get() > 0 || retrying)
    }

    /// Returns when the maintenance task has something to do by the clock: the end of a pause that
    /// holds up a connect, the time to tell waiters of a failure, or the next sweep.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let missing = self.missing() > 0 && self.capacity.room() > 0;
        let can_connect = missing && self.connects_allowed() > 0;
        let due_at = self.backoff.due_at(self.is_asked()).max(self.paced_until());
        let due_at = due_at.filter(|_| can_connect);
        let waiting = self.queue.len() > 0;
        let tells_at = self.tells_at(now).filter(|at| waiting && *at > now);
        let connects = self.connects.next_deadline();
        let resets = self.resets.next_deadline().filter(|_| waiting);
        let drain_until = self.drain_until.filter(|until| *until < Instant::NEVER);
        let SweepSchedule { sweep_at, successor_at, .. } = self.schedule;
        earliest([due_at, tells_at, connects, resets, sweep_at, successor_at, drain_until])
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

    /// Makes all connections stale that were opened, or whose connect started, before, and forgets
    /// that connects failed. Returns whether connects under way are to end.
    pub(crate) fn clear(&mut self) -> bool {
        self.versions.advance();
        self.versions.cleared = self.versions.current;
        self.backoff.clear();
        self.contention.forget();
        self.connects.abandon()
    }

    /// Clears the pool, unless it was cleared after `version`, that of a condemned connection. Returns
    /// what [`clear`](PoolMachine::clear) does, or `None` if there is nothing left to clear.
    pub(crate) fn condemn(&mut self, version: u64) -> Option<bool> {
        (!self.versions.outdates(version)).then(|| self.clear())
    }

    /// Closes the pool and takes all waiters out of the queue.
    pub(crate) fn close(&mut self) -> Vec<W> {
        self.closed = true;
        self.paused = false;
        self.drain_until = None;
        self.answer_all()
    }

    /// From now on accepts no caller, and lasts until those are served that were accepted, or until `until`.
    /// Ends a pause.
    pub(crate) fn drain(&mut self, until: Instant) {
        if !self.closed {
            self.resume();
            self.drain_until = Some(self.drain_until.map_or(until, |before| before.min(until)));
        }
    }

    #[inline]
    pub(crate) fn is_draining(&self) -> bool {
        self.drain_until.is_some()
    }

    /// Returns whether a caller that is not queued yet is refused. `accepted` says that it came before the
    /// pool began to drain.
    #[inline]
    pub(crate) fn refuses(&self, accepted: bool) -> bool {
        self.is_draining() && !accepted
    }

    /// Returns whether a pool that is drained is to be closed now. `others` counts the callers that were
    /// accepted and never queued, `left` those that were answered and have left since.
    pub(crate) fn drain_ends(&self, others: u64, left: u64, now: Instant) -> bool {
        let is_served =
            || others == 0 && self.queue.len() == 0 && left >= self.answered.get() as u64;
        self.drain_until.is_some_and(|until| is_served() || now >= until)
    }

    /// From now on assigns nothing, and opens nothing for waiters. A pool that is closed or drained is never
    /// paused.
    pub(crate) fn pause(&mut self) {
        self.paused = !self.closed && !self.is_draining();
    }

    /// Ends a pause, and forgets that connects failed.
    pub(crate) fn resume(&mut self) {
        self.paused = false;
        self.backoff.forget();
        self.contention.forget();
    }

    /// Applies new settings from now on. A sweep that was scheduled by an old interval is scheduled
    /// anew.
    pub(crate) fn reconfigure(&mut self, config: &PoolConfig) {
        self.capacity.configure(config);
        self.max_connecting = config.max_connecting.unwrap_or(usize::MAX);
        self.max_waiters = config.max_waiters;
        self.versions.advance();
        self.backoff.reconfigure(config);
        self.leaps.reconfigure(config);
        self.resets.reconfigure(config);
        let probe_check_at = self.probe_check_at();
        self.schedule.reconfigure(config, probe_check_at);
    }

    pub(crate) fn gauges(&self) -> Gauges {
        Gauges {
            max_size: self.capacity.max_size,
            size: self.capacity.open.get().saturating_add(self.capacity.closing.get()),
            closing: self.capacity.closing.get(),
            resetting: self.resets.len(),
            connecting: self.capacity.connecting.get(),
            waiting: self.queue.len(),
            breaker: self.backoff.breaker,
            paused: self.paused,
            suspect: self.versions.suspect,
        }
    }
}

#[cfg(test)]
mod projection;
#[cfg(test)]
mod tests;
