//! How the shell uses the machine: each method is a critical section of `pool`, or what the shell does
//! between two of them.

use crate::machine::capacity::SlotState;
use crate::machine::pool::Rejected;
use crate::machine::wait_queue::{Accepts, Source};
use crate::model_tests::every_state::defect::Defect;
use crate::model_tests::every_state::setup::Sight;
use crate::model_tests::every_state::state::{
    Caller, Conn, Connect, ConnectPhase, Phase, Place, Shell,
};
use crate::time::Instant;

impl Shell {
    pub(super) fn note(&self, sight: Sight) {
        self.setup.seen.note(sight);
    }

    // `Locked`.

    pub(super) fn deliver(&mut self, conn: Conn, source: Source) {
        let surplus = self.machine.capacity.surplus() > 0;
        if self.machine.closed || self.outdates(conn) || surplus {
            if surplus {
                self.note(Sight::Shrunk);
            }
            return self.close_later();
        }
        let mut expired = 0;
        let assigned = self.machine.assign(source, self.now, |_| expired += 1);
        if expired > 0 {
            self.note(Sight::ExpiredSkipped);
        }
        match assigned {
            Some(caller) => self.assign(caller, conn, source),
            None => self.idle.push(conn),
        }
    }

    fn assign(&mut self, caller: usize, conn: Conn, source: Source) {
        let accepts = self.callers[caller].accepts;
        self.note(match (source, accepts) {
            (Source::Fresh, _) => Sight::FreshAssigned,
            (Source::Reused, Accepts::Any) => Sight::HandedOver,
            (Source::Reused, Accepts::Fresh) => Sight::FreshTakesReused,
        });
        let arrival = |caller: &Caller| caller.place.map(|place| place.arrival);
        let mine = arrival(&self.callers[caller]);
        self.violations.overtaken |= self.callers.iter().any(|other| {
            let is_first = arrival(other) < mine;
            let takes = other.accepts == Accepts::Any || source == Source::Fresh;
            matches!(other.phase, Phase::Waiting)
                && is_first
                && takes
                && !other.is_expired(self.now)
        });
        self.callers[caller].phase = Phase::Assigned(conn, source);
    }

    pub(super) fn close_later(&mut self) {
        self.machine.close_started();
        self.closing += 1;
        self.notified = true;
    }

    fn serve(&mut self) {
        while self.machine.closed || self.machine.wants_reused(self.now) {
            let Some(conn) = self.idle.pop() else { return };
            self.deliver(conn, Source::Reused);
        }
        for _ in 0..self.machine.capacity.surplus() {
            if self.idle.is_empty() {
                break;
            }
            self.idle.remove(0);
            self.note(Sight::Shrunk);
            self.close_later();
        }
    }

    pub(super) fn rebalance(&mut self) {
        self.machine.tick(self.now);
        self.serve();
        self.give_up();
        if self.machine.missing() > 0 && !self.setup.has(Defect::ForgetsTheMaintenance) {
            self.notified = true;
        }
    }

    pub(super) fn give_up(&mut self) {
        self.count_lendings();
        for caller in self.machine.give_up(self.now) {
            self.tell(caller);
        }
    }

    /// Ends the wait of a caller with the last failure.
    pub(super) fn tell(&mut self, caller: usize) {
        self.callers[caller] = Caller::AWAY;
        self.judge(Accepts::Any);
    }

    /// Notes if a caller that is told of a failure should not be.
    fn judge(&mut self, accepts: Accepts) {
        let patience = self.setup.fail_fast_after;
        let lasts = |since| patience.is_none_or(|patience| !self.now.is_past(since, patience));
        // A connection under check counts from its checkout on.
        let is_held = self.callers.iter().any(|caller| match caller.phase {
            Phase::Borrowing(conn) => !self.outdates(conn) && lasts(caller.since),
            Phase::Assigned(conn, Source::Fresh) => !self.outdates(conn) && lasts(conn.created_at),
            _ => false,
        });
        // So does an idle one that a waiter is about to get.
        let is_free = !self.idle.is_empty() && !self.machine.wants_reused(self.now);
        let comes_back = is_held || (is_free && accepts == Accepts::Any) || self.probed.is_some();
        let under_way = self.connects.iter().filter(|connect| {
            let is_old = self.machine.versions.outdates(connect.ticket.version);
            connect.phase != ConnectPhase::Failed && !is_old
        });
        let oldest = under_way.map(|connect| connect.began).min();
        let history = &self.history;
        self.note(if self.machine.backoff.is_permanent() {
            Sight::ToldPermanent
        } else if history.has_connected {
            Sight::ToldOutage
        } else {
            Sight::ToldNeverConnected
        });
        let forbidden = history.forbids(patience, oldest, comes_back, self.now);
        self.violations.untimely = self.violations.untimely.or(forbidden);
    }

    fn count_lendings(&mut self) {
        if self.machine.counts_lendings() && !self.setup.has(Defect::IgnoresCheckouts) {
            self.machine.backoff.count_lendings(self.checkouts, self.now);
        }
    }

    /// Starts the connects that are wanted.
    fn collect_spawns(&mut self) {
        let wanted = match self.setup.has(Defect::ConnectsBeyondTheRoom) {
            true => self.machine.missing(),
            false => self.machine.connects_wanted(self.now),
        };
        for _ in 0..wanted {
            self.notified = true;
            let ticket = self.machine.connect_started(self.now);
            let phase = ConnectPhase::Spawned;
            self.connects.push(Connect { ticket, began: self.now, phase });
        }
    }

    pub(super) fn slot_freed(&mut self, slot: SlotState) {
        self.machine.slot_freed(slot);
        if !self.setup.has(Defect::FreesWithoutServing) {
            self.rebalance();
        }
    }

    pub(super) fn outdates(&self, conn: Conn) -> bool {
        self.machine.versions.outdates(conn.version)
    }

    // `Wait`.

    /// Queues a caller, or polls one that waits.
    pub(super) fn queue(&mut self, caller: usize) {
        self.machine.tick(self.now);
        self.count_lendings();
        let idle_is_searched = self.machine.wants_reused(self.now);
        let Caller { accepts, deadline, place, .. } = self.callers[caller];
        let failed = matches!(self.callers[caller].phase, Phase::Retrying);
        let loses_its_place = failed && self.setup.has(Defect::LosesItsPlace);
        let queued = match place {
            None => {
                let queued = self.machine.enqueue(self.now, deadline, accepts, caller);
                self.arrivals += 1;
                let arrival = self.arrivals;
                let queued = queued.map(|queued| Place { queued, arrival });
                queued.map_err(|(rejected, _)| rejected)
            }
            Some(place) if self.machine.queue.is_queued(place.queued) => Ok(place),
            Some(place) => {
                self.note(Sight::Requeued);
                let requeued = match loses_its_place {
                    false => self.machine.requeue(place.queued, deadline, accepts, caller),
                    true => Ok(self.machine.queue.push(accepts, deadline, caller)),
                };
                requeued.map(|queued| Place { queued, ..place })
            }
        };
        match queued {
            Ok(place) => {
                self.callers[caller].place = Some(place);
                self.callers[caller].phase = Phase::Waiting;
                if !idle_is_searched {
                    self.serve();
                }
                self.give_up();
                let (machine, now) = (&self.machine, self.now);
                self.notified |= machine.is_held_up(now) || machine.tells_at(now).is_some();
            }
            Err(rejected) => {
                self.notified |= rejected == Rejected::Unreachable;
                self.leave(caller);
                if rejected == Rejected::Unreachable && !self.take_unwanted_idle(caller, accepts) {
                    self.judge(accepts);
                }
            }
        }
        self.collect_spawns();
    }

    /// Gives a caller that leaves the queue an idle connection, if no waiter wants it.
    pub(super) fn take_unwanted_idle(&mut self, caller: usize, accepts: Accepts) -> bool {
        let is_free = accepts == Accepts::Any
            && !self.machine.wants_reused(self.now)
            && !self.machine.closed
            && !self.machine.paused;
        let conn = if is_free { self.idle.pop() } else { None };
        conn.into_iter().for_each(|conn| self.begin_check(caller, conn));
        conn.is_some()
    }

    /// Gives up the place of a caller, if it has one.
    pub(super) fn leave(&mut self, caller: usize) {
        if let Some(place) = self.callers[caller].place {
            self.machine.queue.remove(place.queued);
        }
        self.callers[caller] = Caller::AWAY;
    }

    // `acquire` and `release`.

    /// Starts the check of a connection, whose limits are judged at once.
    pub(super) fn begin_check(&mut self, caller: usize, conn: Conn) {
        self.callers[caller].phase = Phase::Checking(conn);
        if self.outdates(conn) {
            self.close_later();
            self.callers[caller].phase = Phase::Retrying;
        }
    }

    pub(super) fn check_out(&mut self, caller: usize, conn: Conn) {
        self.leave(caller);
        self.checkouts += 1;
        self.violations.borrowed_after_close |= self.machine.closed;
        self.callers[caller].phase = Phase::Borrowing(Conn { is_used: true, ..conn });
        self.callers[caller].since = self.now;
    }

    /// Puts a connection in good order back.
    pub(super) fn keep(&mut self, conn: Conn) {
        let obstructed = self.machine.closed
            || self.machine.queue.len() > 0
            || self.machine.capacity.surplus() > 0
            || self.machine.paused;
        if self.outdates(conn) {
            self.close_later();
        } else if obstructed && !self.setup.has(Defect::ReturnsPastTheQueue) {
            self.deliver(conn, Source::Reused);
        } else {
            self.idle.push(conn);
        }
    }

    /// Records the outcome of the first check of a connection.
    pub(super) fn report_first_check(&mut self, conn: Conn, passed: bool) {
        if conn.is_used {
            return;
        }
        if passed {
            self.history.succeeded(conn.created_at);
            if self.machine.backoff.is_unproven()
                && self.machine.succeeded(conn.created_at, self.now)
            {
                self.rebalance();
            }
        } else if self.now.since(conn.created_at).as_secs() < 1 {
            self.note(Sight::DeadOnArrival);
            self.history.failed(conn.created_at, false, false, self.now);
            self.machine.dead_on_arrival(conn.created_at, self.now, 0);
        }
    }

    // The maintenance task.

    pub(super) fn maintain(&mut self) {
        self.notified = false;
        self.machine.tick(self.now);
        self.serve();
        self.give_up();
        self.collect_spawns();
        if self.machine.schedule.sweep_is_due(self.now) {
            self.to_sweep = self.idle.len();
        }
        let next = self.machine.next_deadline(self.now);
        self.wakes_at = next.filter(|at| *at < Instant::NEVER);
        self.notified |= self.to_sweep > 0 || self.wakes_at.is_some_and(|at| at <= self.now);
    }
}
