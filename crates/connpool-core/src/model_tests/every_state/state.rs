//! The state of a pool under the checker, and its projection.

use std::sync::Arc;
use std::time::Duration;

use crate::machine::pool::{ConnectTicket, PoolMachine};
use crate::machine::projection::Projector;
use crate::machine::wait_queue::{self, Accepts, Source};
use crate::model_tests::every_state::history::{History, Untimely};
use crate::model_tests::every_state::setup::{Limits, Setup};
use crate::time::Instant;

/// The number of callers, and of slots at the start.
pub(super) const CALLERS: usize = 3;
pub(super) const SLOTS: usize = 2;

/// The state of a pool: the machine, and what the shell holds beside it.
#[derive(Debug, Clone)]
pub(super) struct Shell {
    pub(super) setup: Arc<Setup>,
    pub(super) machine: PoolMachine<usize>,
    pub(super) now: Instant,
    pub(super) callers: [Caller; CALLERS],
    pub(super) idle: Vec<Conn>,
    /// The connections that are being closed.
    pub(super) closing: usize,
    pub(super) connects: Vec<Connect>,
    /// The connection that the sweep probes, and the number of those that it has yet to probe.
    pub(super) probed: Option<Conn>,
    pub(super) to_sweep: usize,
    /// The maintenance task was notified, or sleeps until then.
    pub(super) notified: bool,
    pub(super) wakes_at: Option<Instant>,
    /// The number of connections borrowed so far, and of callers queued.
    pub(super) checkouts: u64,
    pub(super) arrivals: u64,
    /// `max_size`, or more if more slots were taken when it was lowered and still are.
    pub(super) most_taken: usize,
    pub(super) history: History,
    pub(super) violations: Violations,
    pub(super) used: Limits,
}

/// The violations on the way to a state.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violations {
    pub(super) overtaken: bool,
    pub(super) borrowed_after_close: bool,
    pub(super) untimely: Option<Untimely>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Conn {
    pub(super) version: u64,
    pub(super) created_at: Instant,
    pub(super) is_used: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Connect {
    pub(super) ticket: ConnectTicket,
    pub(super) began: Instant,
    pub(super) phase: ConnectPhase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectPhase {
    Spawned,
    Dialling,
    /// It failed, and its slot is not free yet.
    Failed,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) phase: Phase,
    pub(super) place: Option<Place>,
    pub(super) accepts: Accepts,
    pub(super) deadline: Option<Instant>,
    /// When it borrowed its connection.
    pub(super) since: Instant,
}

/// The place of a caller in the queue, which it keeps during a check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) queued: wait_queue::Place,
    pub(super) arrival: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    Away,
    /// It found nothing idle, and is about to wait.
    Missed,
    Waiting,
    Assigned(Conn, Source),
    Checking(Conn),
    /// The check failed.
    Retrying,
    Borrowing(Conn),
}

impl Phase {
    fn number(self) -> usize {
        match self {
            Phase::Away => 0,
            Phase::Waiting => 1,
            Phase::Assigned(_, source) => 2 + source as usize,
            Phase::Checking(_) => 4,
            Phase::Retrying => 5,
            Phase::Borrowing(_) => 6,
            Phase::Missed => 7,
        }
    }
}

impl Caller {
    pub(super) const AWAY: Caller = Caller {
        phase: Phase::Away,
        place: None,
        accepts: Accepts::Any,
        deadline: None,
        since: Instant::ORIGIN,
    };

    pub(super) fn conn(&self) -> Option<Conn> {
        match self.phase {
            Phase::Assigned(conn, _) | Phase::Checking(conn) | Phase::Borrowing(conn) => Some(conn),
            Phase::Away | Phase::Missed | Phase::Waiting | Phase::Retrying => None,
        }
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|at| now >= at)
    }
}

impl Shell {
    pub(super) fn new(setup: Arc<Setup>) -> Self {
        Shell {
            machine: PoolMachine::new(&setup.config(SLOTS)),
            setup,
            // Not the origin, which the machine takes for "never failed".
            now: Instant::from_nanos(1_000_000_000_000),
            callers: [Caller::AWAY; CALLERS],
            idle: Vec::new(),
            closing: 0,
            connects: Vec::new(),
            probed: None,
            to_sweep: 0,
            notified: true,
            wakes_at: None,
            checkouts: 0,
            arrivals: 0,
            most_taken: SLOTS,
            history: History::default(),
            violations: Violations::default(),
            used: Limits::default(),
        }
    }
}

impl Shell {
    /// Projects this state: callers are interchangeable, so they are named by their order.
    pub(super) fn project(&self) -> Vec<u64> {
        let mut into = Projector::new(self.now);
        let mut order: [usize; CALLERS] = std::array::from_fn(|caller| caller);
        order.sort_by_key(|caller| {
            let caller = self.callers[*caller];
            let conn = caller.conn().map(|conn| {
                let created_at = Some(conn.created_at).filter(|_| !conn.is_used);
                (self.borrowed_for(&caller), self.outdates(conn), created_at)
            });
            let arrival = caller.place.map_or(u64::MAX, |place| place.arrival);
            let time_left = caller.deadline.map(|at| at.since(self.now));
            (arrival, caller.phase.number(), conn, caller.accepts == Accepts::Fresh, time_left)
        });
        let name =
            |caller: &usize| order.iter().position(|other| other == caller).unwrap_or(CALLERS);
        self.machine.project(&mut into, self.checkouts, name);
        for caller in order.map(|caller| self.callers[caller]) {
            self.project_caller(caller, &mut into);
        }
        into.number(self.idle.len());
        self.idle.iter().chain(&self.probed).for_each(|conn| self.project_conn(*conn, &mut into));
        into.flag(self.probed.is_some());
        into.number(self.to_sweep);
        into.number(self.closing);
        into.number(self.connects.len());
        for connect in &self.connects {
            into.number(connect.phase as usize);
            into.time(connect.began);
            self.machine.project_ticket(connect.ticket, &mut into);
        }
        into.flag(self.notified);
        into.due(self.wakes_at);
        into.number(self.most_taken);
        self.history.project(&mut into);
        let Violations { overtaken, borrowed_after_close, untimely } = self.violations;
        into.flag(overtaken);
        into.flag(borrowed_after_close);
        into.number(untimely.map_or(0, |why| 1 + why as usize));
        let Limits { failures, faults, cancels, hasty, misses, changes, closes, waits } = self.used;
        for used in [failures, faults, cancels, hasty, misses, changes, closes, waits] {
            into.number(usize::from(used));
        }
        into.finish()
    }

    fn project_caller(&self, caller: Caller, into: &mut Projector) {
        into.number(caller.phase.number());
        into.flag(caller.place.is_some());
        into.flag(caller.accepts == Accepts::Fresh);
        into.due(caller.deadline);
        if let Some(conn) = caller.conn() {
            self.project_conn(conn, into);
        }
        self.borrowed_for(&caller).into_iter().for_each(|span| into.length(span));
    }

    /// Returns for how long a caller has borrowed its connection; not longer than that matters.
    fn borrowed_for(&self, caller: &Caller) -> Option<Duration> {
        let longest = self.setup.fail_fast_after.unwrap_or_default();
        let is_borrowing = matches!(caller.phase, Phase::Borrowing(_));
        is_borrowing.then(|| self.now.since(caller.since).min(longest))
    }

    fn project_conn(&self, conn: Conn, into: &mut Projector) {
        into.flag(self.outdates(conn));
        into.flag(conn.is_used);
        // Only the first check of a connection depends on its age.
        if !conn.is_used {
            into.time(conn.created_at);
        }
    }
}
