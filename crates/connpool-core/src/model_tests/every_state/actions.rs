//! The steps that lead from one state to others.

use std::time::Duration;

use crate::machine::capacity::SlotState;
use crate::machine::wait_queue::{Accepts, Source};
use crate::model_tests::every_state::defect::Defect;
use crate::model_tests::every_state::setup::Sight;
use crate::model_tests::every_state::state::{Caller, Conn, ConnectPhase, Phase, SLOTS, Shell};
use crate::time::Instant;

/// One step of a caller, a connect, the maintenance task, an administrator or time. The numbers are
/// those of the caller or the connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Takes an idle connection.
    TakeIdle(usize),
    /// Finds nothing idle.
    Miss(usize),
    /// Waits, after it found nothing idle.
    Queue(usize),
    /// Waits until a deadline.
    QueueHasty(usize),
    /// Takes the result of the wait, or waits on.
    Poll(usize),
    Pass(usize),
    Fail(usize, Fault),
    Return(usize),
    ReturnBroken(usize),
    Cancel(usize),
    Expire(usize),

    Dial(usize),
    Connected(usize),
    Refused(usize, Refusal),
    FreeSlot(usize),
    /// A connection that was being closed is gone.
    Closed,

    Maintain,
    SweepNext,
    SweepProbed {
        passed: bool,
    },

    Clear,
    Pause,
    Resume,
    Resize(usize),
    Close,

    /// Time passes until the next moment at which something may change by itself.
    Wait,
    /// Time passes, for longer than the pool is patient.
    WaitLong,
}

/// How a check fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Dead,
    /// The peer does not answer: the caller accepts only a fresh connection next.
    Silent,
}

/// How a connect fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Transient,
    Permanent,
    /// The pool was closed, or a `clear` made it useless.
    Useless,
}

/// The time that a hasty caller has.
const HASTE: Duration = Duration::from_millis(1);

const LONG: Duration = Duration::from_millis(3_500);

impl Shell {
    /// Lists what may happen next.
    pub(super) fn actions(&self, actions: &mut Vec<Action>) {
        let limits = &self.setup.limits;
        let mut newcomers = 0;
        for (number, caller) in self.callers.iter().enumerate() {
            if matches!(caller.phase, Phase::Away) {
                // Callers are interchangeable.
                newcomers += 1;
                if newcomers > 1 {
                    continue;
                }
            }
            self.actions_of(number, caller, actions);
        }
        for (number, connect) in self.connects.iter().enumerate() {
            match connect.phase {
                ConnectPhase::Spawned => actions.push(Action::Dial(number)),
                ConnectPhase::Failed => actions.push(Action::FreeSlot(number)),
                ConnectPhase::Dialling => {
                    actions.push(Action::Connected(number));
                    if self.machine.closed || self.machine.is_abandoned(connect.ticket) {
                        actions.push(Action::Refused(number, Refusal::Useless));
                    } else if self.used.failures < limits.failures {
                        actions.push(Action::Refused(number, Refusal::Transient));
                        actions.push(Action::Refused(number, Refusal::Permanent));
                    }
                }
            }
        }
        if self.closing > 0 {
            actions.push(Action::Closed);
        }
        self.actions_of_maintenance(actions);
        if !self.machine.closed {
            self.actions_of_administrators(actions);
        }
        if self.used.waits < limits.waits {
            actions.extend(self.next_moment().map(|_| Action::Wait));
            actions.push(Action::WaitLong);
        }
    }

    fn actions_of(&self, number: usize, caller: &Caller, actions: &mut Vec<Action>) {
        let limits = &self.setup.limits;
        match caller.phase {
            Phase::Away => {
                if self.may_take_idle() {
                    actions.push(Action::TakeIdle(number));
                } else if !self.machine.closed {
                    actions.push(Action::Queue(number));
                    if self.used.hasty < limits.hasty {
                        actions.push(Action::QueueHasty(number));
                    }
                    if self.used.misses < limits.misses {
                        actions.push(Action::Miss(number));
                    }
                }
            }
            Phase::Missed => actions.push(Action::Queue(number)),
            Phase::Waiting => {
                actions.push(Action::Poll(number));
                if caller.is_expired(self.now) {
                    actions.push(Action::Expire(number));
                }
            }
            Phase::Assigned(..) => actions.push(Action::Poll(number)),
            Phase::Checking(_) => {
                actions.push(Action::Pass(number));
                if self.used.faults < limits.faults {
                    actions.push(Action::Fail(number, Fault::Dead));
                    actions.push(Action::Fail(number, Fault::Silent));
                }
            }
            Phase::Retrying => {
                let may_search = caller.place.is_none() && caller.accepts == Accepts::Any;
                actions.push(match may_search && self.may_take_idle() {
                    true => Action::TakeIdle(number),
                    false => Action::Queue(number),
                });
            }
            Phase::Borrowing(_) => {
                actions.push(Action::Return(number));
                if self.used.faults < limits.faults {
                    actions.push(Action::ReturnBroken(number));
                }
                return;
            }
        }
        let is_under_way = !matches!(caller.phase, Phase::Away);
        if is_under_way && self.used.cancels < limits.cancels {
            actions.push(Action::Cancel(number));
        }
    }

    fn actions_of_maintenance(&self, actions: &mut Vec<Action>) {
        if self.probed.is_some() {
            actions.push(Action::SweepProbed { passed: true });
            if self.used.faults < self.setup.limits.faults {
                actions.push(Action::SweepProbed { passed: false });
            }
        } else if self.to_sweep > 0 {
            actions.push(Action::SweepNext);
        } else if self.notified || self.wakes_at.is_some_and(|at| at <= self.now) {
            actions.push(Action::Maintain);
        }
    }

    fn actions_of_administrators(&self, actions: &mut Vec<Action>) {
        let limits = &self.setup.limits;
        if self.machine.paused {
            actions.push(Action::Resume);
        }
        if self.used.changes < limits.changes {
            actions.push(Action::Clear);
            if !self.machine.paused {
                actions.push(Action::Pause);
            }
            let other = if self.machine.capacity.max_size == SLOTS { 1 } else { SLOTS };
            actions.push(Action::Resize(other));
        }
        if self.used.closes < limits.closes {
            actions.push(Action::Close);
        }
    }

    fn may_take_idle(&self) -> bool {
        let others_wait = self.machine.queue.len() > 0 && !self.setup.has(Defect::BargesIn);
        let obstructed = self.machine.closed
            || others_wait
            || self.machine.capacity.surplus() > 0
            || self.machine.paused;
        !obstructed && !self.idle.is_empty()
    }

    /// Returns the next time at which a deadline passes or a decision may change.
    fn next_moment(&self) -> Option<Instant> {
        let deadlines = self.callers.iter().filter_map(|caller| caller.deadline);
        let machine = self.machine.next_deadline(self.now);
        let moments = deadlines.chain(machine).chain(self.wakes_at);
        moments.filter(|at| *at > self.now && *at < Instant::NEVER).min()
    }

    /// Performs an action that [`actions`](Shell::actions) listed.
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::TakeIdle(caller) => self.take_idle(caller),
            Action::Miss(caller) => {
                self.used.misses += 1;
                self.callers[caller].phase = Phase::Missed;
            }
            Action::Queue(caller) => self.queue(caller),
            Action::QueueHasty(caller) => {
                self.used.hasty += 1;
                self.callers[caller].deadline = self.now.checked_add(HASTE);
                self.queue(caller);
            }
            Action::Poll(caller) => match self.callers[caller].phase {
                Phase::Assigned(conn, _) => self.begin_check(caller, conn),
                _ => self.queue(caller),
            },
            Action::Pass(caller) => self.pass(caller),
            Action::Fail(caller, fault) => self.fail(caller, fault),
            Action::Return(caller) => {
                if let Some(conn) = self.take_conn(caller) {
                    self.leave(caller);
                    self.keep(conn);
                }
            }
            Action::ReturnBroken(caller) => {
                self.used.faults += 1;
                self.leave(caller);
                self.machine.returned_broken(self.now);
                self.slot_freed(SlotState::Open);
            }
            Action::Cancel(caller) => self.cancel(caller),
            Action::Expire(caller) => self.expire(caller),
            Action::Dial(connect) => self.dial(connect),
            Action::Connected(connect) => self.connected(connect),
            Action::Refused(connect, refusal) => self.refused(connect, refusal),
            Action::FreeSlot(connect) => {
                self.connects.remove(connect);
                if !self.setup.has(Defect::KeepsTheSlot) {
                    self.slot_freed(SlotState::Connecting);
                }
            }
            Action::Closed => {
                self.closing -= 1;
                self.slot_freed(SlotState::Closing);
            }
            Action::Maintain => self.maintain(),
            Action::SweepNext => self.sweep_next(),
            Action::SweepProbed { passed } => self.sweep_probed(passed),
            Action::Clear | Action::Pause | Action::Resume | Action::Resize(_) | Action::Close => {
                self.administrate(action);
            }
            Action::Wait => {
                self.used.waits += 1;
                self.now = self.next_moment().unwrap_or(self.now);
            }
            Action::WaitLong => {
                self.used.waits += 1;
                self.now = self.now.checked_add(LONG).unwrap_or(self.now);
            }
        }
        let taken = self.machine.capacity.taken();
        self.most_taken = self.most_taken.min(taken).max(self.machine.capacity.max_size);
        if self.machine.is_drained() {
            self.note(Sight::Drained);
        }
    }

    fn take_idle(&mut self, caller: usize) {
        let Some(conn) = self.idle.pop() else { return };
        self.violations.overtaken |= self.callers.iter().any(|other| {
            let takes = other.accepts == Accepts::Any && !other.is_expired(self.now);
            matches!(other.phase, Phase::Waiting) && takes
        });
        self.begin_check(caller, conn);
    }

    fn take_conn(&mut self, caller: usize) -> Option<Conn> {
        let conn = self.callers[caller].conn();
        self.callers[caller].phase = Phase::Retrying;
        conn
    }

    fn pass(&mut self, caller: usize) {
        let Some(conn) = self.take_conn(caller) else { return };
        self.report_first_check(conn, true);
        if self.machine.paused {
            self.note(Sight::BackAtPause);
            self.keep(conn);
        } else if self.machine.closed && !self.setup.has(Defect::IgnoresTheClose) {
            self.note(Sight::ClosedUnderCheck);
            self.close_later();
            self.leave(caller);
        } else if self.outdates(conn) {
            self.close_later();
        } else {
            self.check_out(caller, conn);
        }
    }

    fn fail(&mut self, caller: usize, fault: Fault) {
        self.used.faults += 1;
        let Some(conn) = self.take_conn(caller) else { return };
        if fault == Fault::Dead {
            self.report_first_check(conn, false);
        } else {
            self.callers[caller].accepts = Accepts::Fresh;
        }
        self.machine.found_broken(self.now);
        self.close_later();
    }

    fn cancel(&mut self, caller: usize) {
        self.used.cancels += 1;
        let phase = self.callers[caller].phase;
        if matches!(phase, Phase::Checking(_)) {
            self.close_later();
        }
        self.leave(caller);
        if let Phase::Assigned(conn, source) = phase {
            self.deliver(conn, source);
        }
    }

    fn expire(&mut self, caller: usize) {
        let accepts = self.callers[caller].accepts;
        self.leave(caller);
        if self.take_unwanted_idle(caller, accepts) {
            self.note(Sight::TookIdleAtDeadline);
        }
    }

    // `ConnectTask`.

    fn dial(&mut self, number: usize) {
        let connect = self.connects[number];
        if self.machine.closed {
            self.refused(number, Refusal::Useless);
        } else if self.machine.should_abort(connect.ticket, self.now) {
            self.note(Sight::Withdrawn);
            self.machine.connect_withdrawn(connect.ticket);
            self.connects[number].phase = ConnectPhase::Failed;
        } else {
            self.connects[number].phase = ConnectPhase::Dialling;
        }
    }

    fn connected(&mut self, number: usize) {
        let connect = self.connects.remove(number);
        let conn = Conn { version: connect.ticket.version, created_at: self.now, is_used: false };
        self.notified |= self.machine.connected(connect.ticket, self.now);
        self.deliver(conn, Source::Fresh);
        self.rebalance();
    }

    fn refused(&mut self, number: usize, refusal: Refusal) {
        let connect = &mut self.connects[number];
        connect.phase = ConnectPhase::Failed;
        let (ticket, began) = (connect.ticket, connect.began);
        let is_useless = refusal == Refusal::Useless;
        if is_useless && self.machine.is_abandoned(ticket) {
            self.note(Sight::Abandoned);
        }
        if !is_useless {
            self.used.failures += 1;
        }
        let is_permanent = refusal == Refusal::Permanent;
        let beside_open = self.machine.capacity.open.get() > 0;
        let counts = self.machine.connect_failed(ticket, is_permanent, is_useless, self.now, 0);
        if counts {
            self.history.failed(began, is_permanent, beside_open, self.now);
            if self.setup.has(Defect::TellsEachFailure) {
                let waiting = self.machine.queue.drain();
                waiting.into_iter().for_each(|caller| self.tell(caller));
            }
            self.give_up();
        }
    }

    // The sweep.

    fn sweep_next(&mut self) {
        self.to_sweep -= 1;
        if !self.machine.sweep_probe_started() {
            self.to_sweep = 0;
        } else if self.idle.is_empty() {
            self.machine.schedule.probing = false;
        } else {
            self.probed = Some(self.idle.remove(0));
        }
        self.notified |= self.to_sweep == 0;
    }

    fn sweep_probed(&mut self, passed: bool) {
        let Some(conn) = self.probed.take() else { return };
        self.report_first_check(conn, passed);
        self.machine.schedule.probing = false;
        if passed {
            self.deliver(conn, Source::Reused);
        } else {
            self.used.faults += 1;
            self.machine.found_broken(self.now);
            self.close_later();
        }
        self.rebalance();
        self.notified |= self.to_sweep == 0;
    }

    // `admin` and `close`.

    fn administrate(&mut self, action: Action) {
        match action {
            Action::Clear => {
                self.used.changes += 1;
                self.machine.clear();
                self.history.forget();
                self.notified = true;
                for conn in std::mem::take(&mut self.idle) {
                    self.deliver(conn, Source::Reused);
                }
            }
            Action::Pause => {
                self.used.changes += 1;
                self.machine.pause();
            }
            Action::Resume => {
                let waiting = self.machine.queue.len();
                self.machine.resume();
                self.history.forget();
                self.rebalance();
                self.notified = true;
                if self.machine.queue.len() < waiting {
                    self.note(Sight::ServedByResume);
                }
            }
            Action::Resize(max_size) => {
                self.used.changes += 1;
                self.machine.reconfigure(&self.setup.config(max_size));
                self.most_taken = max_size.max(self.machine.capacity.taken());
                self.rebalance();
                self.notified = true;
            }
            Action::Close => {
                self.used.closes += 1;
                for caller in self.machine.close() {
                    self.note(Sight::AnsweredAtClose);
                    self.leave(caller);
                }
                // `serve`, with any time.
                while let Some(conn) = self.idle.pop() {
                    self.deliver(conn, Source::Reused);
                }
                self.notified = true;
            }
            _ => {}
        }
    }
}
