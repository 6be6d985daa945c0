//! Where connections go, and what follows from a change of the state: everything under the lock.

use std::mem;

use crate::machine::capacity::SlotState;
use crate::machine::disposition::Disposition;
use crate::machine::home::{Move, RuntimeId};
use crate::machine::pool::Gauges;
use crate::machine::wait_queue::Source;
use crate::manager::Manager;
use crate::observe::close_reason::CloseReason;
use crate::observe::event::Event;
use crate::pool::conn::{Slot, StartedConnect};
use crate::pool::idle::Stored;
use crate::pool::shared::{BATCH, BoxConn, Cell, Local, Locked, Shared, State, TaskState};
use crate::pool::waiter::{Assigned, WaitError};
use crate::time::Instant;
use crate::util::sync::Ordering;

impl<M: Manager> Locked<'_, M> {
    /// Puts a connection where its disposition says.
    pub(crate) fn place(&mut self, conn: BoxConn<M>, disposition: Disposition, now: Instant) {
        match disposition {
            Disposition::Reuse => self.deliver(conn, Source::Reused, now),
            Disposition::Close(reason) => {
                if reason.is_breakage() {
                    self.state.machine.found_broken(now);
                }
                self.close_later(conn, reason);
            }
            Disposition::Discard(reason) => {
                self.state.machine.returned_broken(now);
                if self.shared.snapshot.provides.close {
                    self.close_later(conn, reason);
                } else {
                    self.actions.discard(conn, reason);
                }
            }
        }
    }

    /// Delivers a reusable connection to the first waiter, or else to the idle set.
    pub(crate) fn deliver(&mut self, conn: BoxConn<M>, source: Source, now: Instant) {
        if let Some(reason) = self.unwanted(&conn) {
            return self.close_later(conn, reason);
        }
        let Locked { state: State { machine, .. }, actions, .. } = self;
        let expired = |cell: Cell<M>| actions.wake(cell.answer_queued(Err(WaitError::TimedOut)));
        match machine.assign(source, now, expired) {
            Some(cell) => actions.wake(cell.answer_queued(Ok(Assigned { conn, source }))),
            None => self.keep(conn, now),
        }
    }

    /// Returns why the pool does not keep a connection in good order.
    fn unwanted(&self, conn: &BoxConn<M>) -> Option<CloseReason> {
        let machine = &self.state.machine;
        if machine.closed {
            Some(CloseReason::PoolClosed)
        } else if conn.meta.is_stale(machine.versions) {
            Some(CloseReason::Cleared)
        } else if machine.capacity.surplus() > 0 {
            Some(CloseReason::Shrunk)
        } else {
            None
        }
    }

    /// Keeps a connection that no waiter wants.
    fn keep(&mut self, conn: BoxConn<M>, now: Instant) {
        if self.resets_later(&conn) {
            self.reset_later(conn, now);
        } else {
            self.make_idle(conn);
        }
    }

    fn make_idle(&mut self, conn: BoxConn<M>) {
        if let Err(conn) = self.shared.idle.push(conn) {
            self.close_later(conn, CloseReason::Overflow);
        }
    }

    /// Returns whether a connection that no waiter wants is reset before it becomes idle.
    fn resets_later(&self, conn: &BoxConn<M>) -> bool {
        conn.is_used()
            && self.state.machine.resets.are_on_return()
            && self.state.maintenance != TaskState::Absent
            && !self.shared.idle.is_full()
    }

    /// Leaves a connection to the maintenance task, to be reset.
    fn reset_later(&mut self, conn: BoxConn<M>, now: Instant) {
        let id = self.state.machine.resets.add(now);
        self.state.resetting.push_back((id, conn));
        self.actions.notify_maintenance = true;
    }

    /// Takes the connections whose reset may start now, each with its number.
    pub(crate) fn start_resets(&mut self) -> Vec<(u64, BoxConn<M>)> {
        let mut started = Vec::new();
        while started.len() < BATCH
            && self.state.machine.resets.may_start(self.state.machine.capacity.open.get())
        {
            let Some((id, conn)) = self.state.resetting.pop_front() else { break };
            match self.unwanted(&conn) {
                Some(reason) => {
                    self.state.machine.resets.remove(id);
                    self.close_later(conn, reason);
                }
                None => {
                    self.state.machine.resets.started();
                    started.push((id, conn));
                }
            }
        }
        started
    }

    /// Takes the connection that has waited longest for its reset. The caller has it reset.
    fn take_unreset(&mut self) -> Option<BoxConn<M>> {
        let (id, conn) = self.state.resetting.pop_front()?;
        self.state.machine.resets.remove(id);
        Some(conn)
    }

    /// Publishes the snapshot, then hands idle connections to waiters and closes what is surplus.
    ///
    /// The snapshot comes first: a return that has not seen the flags adds to the idle set before
    /// this searches it.
    pub(crate) fn serve(&mut self, now: Instant) {
        let shared = self.shared;
        shared.publish(self.state);
        // Each once: what no waiter takes waits for its reset again.
        let mut unreset = self.state.resetting.len();
        while self.state.machine.closed || self.state.machine.wants_reused(now) {
            let conn = shared.idle.pop().or_else(|| {
                unreset = unreset.checked_sub(1)?;
                self.take_unreset()
            });
            let Some(conn) = conn else { return };
            self.deliver(conn, Source::Reused, now);
        }
        let surplus = self.state.machine.capacity.surplus();
        let oldest = |_| [false, true].into_iter().find_map(|used| shared.idle.pop_oldest(used));
        for conn in (0..surplus).map_while(oldest) {
            self.close_later(conn, CloseReason::Shrunk);
        }
    }

    /// Serves the queue. Every event that frees capacity comes through here.
    pub(crate) fn rebalance(&mut self, now: Instant) {
        self.state.machine.tick(now);
        self.serve(now);
        self.give_up(now);
        self.note_idle();
        if self.state.machine.missing() > 0 {
            self.request_connects();
        }
        let is_drained = self.state.machine.is_drained();
        self.actions.state_changed |= is_drained;
        // The maintenance task ends.
        self.actions.notify_maintenance |= is_drained;
    }

    /// Tells the machine how many connections are idle, if it matters.
    #[inline]
    pub(super) fn note_idle(&mut self) {
        if self.state.machine.keeps_idle() {
            let idle = self.shared.idle.count().idle;
            self.state.machine.note_idle(idle);
        }
    }

    /// Decides a connect, which takes a slot. Returns its number.
    pub(crate) fn start_connect(&mut self, now: Instant) -> Option<u64> {
        // The block before the index: without one, no index may be lost.
        let index = self.state.lease_indexes.take()?;
        let Some(block) = self.shared.leases.block(index) else {
            self.state.lease_indexes.free.push(index);
            return None;
        };
        let ticket = self.state.machine.connect_started(now);
        let slot = Slot::connecting(index, block);
        Some(self.state.connecting.add(StartedConnect { slot, ticket, at: now }))
    }

    /// Collects the tasks that are wanted: the maintenance task, and connects.
    pub(crate) fn collect_spawns(&mut self, now: Instant) {
        self.actions.spawns.maintenance = self.state.must_start_maintenance();
        self.note_idle();
        let wanted = self.state.machine.connects_wanted(now);
        if wanted > 0 {
            // The maintenance task has to know when they hang; and work under the lock is bounded.
            self.actions.notify_maintenance = true;
            let wanted = wanted.min(BATCH);
            let started = (0..wanted).map_while(|_| self.start_connect(now)).count();
            self.actions.spawns.connects = started > 0;
        }
    }

    /// Does without a maintenance task: closes what it was to close, and withdraws the connects that only
    /// the home could begin. Returns their slots, to be dropped after unlocking.
    pub(crate) fn maintenance_is_gone(&mut self) -> Vec<StartedConnect<Shared<M>>> {
        self.state.maintenance = TaskState::Absent;
        while let Some(conn) = self.take_unreset() {
            self.make_idle(conn);
        }
        let State { machine, connecting, closing, .. } = &mut *self.state;
        for (conn, reason) in mem::take(closing) {
            self.actions.discard(conn, reason);
        }
        let home = machine.home.id();
        if home.is_none() {
            // Each is dropped with its task.
            return Vec::new();
        }
        let withdrawn = connecting.take_unoffered(home);
        for started in &withdrawn {
            machine.connect_withdrawn(started.ticket);
        }
        withdrawn
    }

    /// Has another maintenance task run on `runtime`, in place of the one there was. Returns its epoch.
    pub(crate) fn install_maintenance(
        &mut self,
        runtime: Option<RuntimeId>,
        state: TaskState,
        now: Instant,
    ) -> u64 {
        self.state.maintenance = state;
        match self.state.machine.maintenance_starts_on(runtime, now) {
            Move::None => {}
            Move::Over { ended } => self.actions.tell(Event::TakenOver { ended }),
            Move::Back => self.actions.tell(Event::MovedBack),
        }
        // Something is to be done on every start, and the task that was replaced ends.
        self.actions.notify_maintenance = true;
        self.state.machine.home.epoch
    }

    /// Returns whether the home has something to do that a caller elsewhere may have to see to.
    #[inline]
    pub(crate) fn home_owes(&self) -> bool {
        let asks = self.actions.notify_maintenance;
        let home = &self.state.machine.home;
        home.id().is_some() && (asks || home.owes(self.state.connecting.unbegun_since()))
    }

    /// Leaves a connection to the maintenance task, or discards it if there is none.
    pub(crate) fn close_later(&mut self, mut conn: BoxConn<M>, reason: CloseReason) {
        if conn.slot.state == SlotState::Open {
            self.state.machine.close_started();
            conn.slot.state = SlotState::Closing;
        }
        match self.state.maintenance {
            // The task may be on the runtime that does not answer, and the slot is needed.
            _ if reason == CloseReason::RuntimeGone => self.actions.discard(conn, reason),
            TaskState::Absent => self.actions.discard(conn, reason),
            TaskState::Starting | TaskState::Running => {
                self.state.closing.push_back((conn, reason));
                self.actions.notify_maintenance = true;
                if self.state.is_abandoned && self.state.final_owner.is_none() {
                    self.state.final_owner = self.shared.weak_self.upgrade();
                }
            }
        }
    }

    /// Returns whether a pool that is drained is to be closed now.
    pub(crate) fn drain_ends(&self, now: Instant) -> bool {
        let others = self.shared.accepted.load(Ordering::SeqCst);
        let left = |local: &Local<M>| local.answered_left.load(Ordering::SeqCst);
        let left = self.shared.locals.iter().map(left).fold(0, u64::wrapping_add);
        self.state.machine.drain_ends(others, left, now)
    }

    /// Has the end of a drain looked at, after a caller left.
    pub(crate) fn caller_left(&mut self) {
        let drains = self.state.machine.is_draining();
        self.actions.state_changed |= drains;
        self.actions.notify_maintenance |= drains;
        // Any time will do: the limit is up to the task. Without one, the last caller closes the pool.
        let is_last =
            || self.state.maintenance == TaskState::Absent && self.drain_ends(Instant::ORIGIN);
        if drains && is_last() {
            self.shut();
        }
    }

    /// Closes the pool: refuses new callers, answers all waiters, and closes what is idle.
    pub(crate) fn shut(&mut self) {
        for cell in self.state.machine.close() {
            self.actions.wake(cell.answer_queued(Err(WaitError::Closed)));
        }
        // Any time will do: a closed machine consults no deadline.
        self.serve(Instant::ORIGIN);
        self.actions.closing = true;
        self.actions.connects_end = true;
        self.actions.notify_maintenance = true;
        self.actions.state_changed = true;
    }

    /// Reports the last failure to all waiters if they are to hear of it.
    pub(crate) fn give_up(&mut self, now: Instant) {
        self.count_lendings(now);
        for cell in self.state.machine.give_up(now) {
            let error = WaitError::Connect(self.state.last_failure());
            self.actions.wake(cell.answer_queued(Err(error)));
        }
    }

    /// Notes whether a connection was checked out lately, if it matters.
    #[inline]
    pub(crate) fn count_lendings(&mut self, now: Instant) {
        let Locked { shared, state: State { machine, .. }, .. } = self;
        if machine.counts_lendings() {
            let checked_out = shared.idle.count().checked_out;
            let lendings = checked_out.saturating_add(shared.successes());
            machine.backoff.count_lendings(lendings, now);
        }
    }

    /// Has missing connects started by a task that may spawn: the maintenance task, or else the
    /// first waiter.
    pub(crate) fn request_connects(&mut self) {
        let is_absent = self.state.maintenance == TaskState::Absent;
        self.actions.notify_maintenance |= !is_absent;
        // A waiter on another runtime sees to it that the connects begin.
        if is_absent || self.state.machine.home.has_strangers {
            let first = self.state.machine.queue.head();
            self.actions.wake(first.and_then(|cell| cell.take_waker()));
        }
    }

    /// Tells of a `clear`, after which the next connect is due at once.
    pub(super) fn cleared(&mut self, connects_end: bool) {
        self.actions.connects_end = connects_end;
        self.actions.tell(Event::Cleared);
        self.actions.notify_maintenance = true;
    }

    pub(super) fn tell_changes(&mut self, before: Gauges) {
        let now = self.state.machine.gauges();
        if before.breaker != now.breaker {
            self.actions.tell(Event::Breaker { from: before.breaker, to: now.breaker });
        }
        if before.suspect != now.suspect {
            self.actions.tell(Event::Burst);
        }
        if before.paused != now.paused {
            self.actions.tell(if now.paused { Event::Paused } else { Event::Resumed });
        }
    }
}
