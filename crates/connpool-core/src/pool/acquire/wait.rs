//! The wait of one `get`, from its place in the queue to its result.

use std::mem;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::machine::pool::Rejected;
use crate::machine::wait_queue::{Accepts, Patience, Place, Source};
use crate::machine::wait_timer::DueTimer;
use crate::manager::Manager;
use crate::observe::event::Event;
use crate::pool::background::attend::Attendance;
use crate::pool::background::spawn;
use crate::pool::report::QueuePlace;
use crate::pool::shared::{BoxConn, Cell, Locked, Shared, State, TaskState};
use crate::pool::wait_timer;
use crate::pool::waiter::{Answer, Assigned, WaitError};
use crate::time::Instant;
use crate::util::timeout::Deadline;

/// How a wait ended.
pub(super) type WaitResult<M> = Answer<BoxConn<M>, <M as Manager>::Error>;

/// Waits for a connection. Takes a place in the queue when it is first polled, and can come back to it while
/// the connection it got is being checked. Dropped, it leaves the queue and passes its connection on.
pub(super) struct Wait<'a, M: Manager> {
    pub(super) shared: &'a Shared<M>,
    stage: Stage,
    /// Where the answer comes in.
    cell: Option<Cell<M>>,
    pub(super) accepts: Accepts,
    /// `true` if only a return could serve it when it was queued.
    depends_on_return: bool,
    /// `NEVER` while it does not count as waiting.
    waiting_since: Instant,
    /// How long it has waited before that, for the histogram.
    waited: Duration,
    has_waited: bool,
    is_announced: bool,
    /// Whether a pool that drains serves it although it has no place yet.
    pub(super) is_accepted: bool,
    attendance: Attendance,
    /// Whether the timer that waits share covers its place in the queue.
    is_covered: bool,
    /// Where it stood when its time was up.
    pub(super) place: QueuePlace,
}

/// The stage of a wait.
///
/// | from     | event                                               | to       |
/// |----------|-----------------------------------------------------|----------|
/// | Outside  | it is queued                                        | Queued   |
/// | Queued   | it collects its answer                              | Answered |
/// | Queued   | its deadline passes                                 | Outside  |
/// | Answered | the connection failed its check, it is queued again | Queued   |
/// | Answered | the answer is final                                 | Outside  |
#[derive(Debug, Clone, Copy)]
enum Stage {
    Outside,
    /// The answer may be in the cell.
    Queued(Place),
    /// The answer was collected, and the place is there to go back to.
    Answered(Place),
}

/// The result of the attempt to queue a caller.
enum Attempt<M: Manager> {
    Queued(Queued),
    Answered(WaitResult<M>),
}

/// The duties of a caller that was queued.
#[derive(Default)]
struct Queued {
    home_owes: bool,
    due_timer: Option<DueTimer>,
}

impl<'a, M: Manager> Wait<'a, M> {
    pub(super) fn new(shared: &'a Shared<M>) -> Self {
        Wait {
            shared,
            stage: Stage::Outside,
            cell: None,
            accepts: Accepts::Any,
            depends_on_return: false,
            waiting_since: Instant::NEVER,
            waited: Duration::ZERO,
            has_waited: false,
            is_announced: false,
            is_accepted: false,
            attendance: Attendance::default(),
            is_covered: false,
            place: QueuePlace::default(),
        }
    }

    /// Returns whether it is queued, or can go back to its place.
    pub(super) fn has_place(&self) -> bool {
        !matches!(self.stage, Stage::Outside)
    }

    /// Ends the wait for a connection that was collected. Returns when it was verified, if it needs no further
    /// check. There is then nothing to come back for.
    pub(super) fn verify(&mut self, assigned: &Assigned<BoxConn<M>>) -> Option<Instant> {
        let shared = self.shared;
        let now = self.stop_clock();
        if assigned.source != Source::Reused {
            return None;
        }
        let version = shared.snapshot.undisturbed()?;
        let now = match shared.snapshot.needs_clock() {
            true => now.unwrap_or_else(|| shared.clock()),
            false => Instant::ORIGIN,
        };
        let meta = &assigned.conn.meta;
        let probe_after = shared.snapshot.settings.liveness_after.get();
        let is_verified = meta.uses > 0
            && meta.is_fit(version, shared.snapshot.fresh_for(version, now), now)
            && !now.is_past(meta.idle_since, probe_after);
        if is_verified {
            self.quit();
        }
        is_verified.then_some(now)
    }

    /// Waits for the next connection, in the old place if there is one.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        deadline: &mut Deadline,
    ) -> Poll<WaitResult<M>> {
        if let Some(answer) = self.collect() {
            return Poll::Ready(self.conclude(answer));
        }
        let shared = self.shared;
        let now = shared.runtime.now();
        let until = deadline.begin(now);
        // Decided anew at each poll, since it depends on the runtime.
        let has_a_timer = now < until && until < Instant::NEVER;
        let may_share = has_a_timer && shared.runtime.shares_wait_timer();
        let is_queued = matches!(self.stage, Stage::Queued(_));
        if !is_queued {
            self.is_covered = may_share;
        }
        // A place that was taken on another runtime is not covered.
        let shares_timer = may_share && self.is_covered;
        let patience = Patience { until, shares_timer };
        let cell = self.cell.get_or_insert_with(|| shared.cell());
        drop(cell.set_waker(cx.waker().clone()));
        if is_queued && shares_timer && self.is_late() {
            return self.leave_at_deadline(now);
        }
        let attempt = self.queue_settled(patience);
        let Queued { home_owes, due_timer } =
            match attempt.unwrap_or_else(|| self.queue(patience, now)) {
                Attempt::Queued(queued) => queued,
                Attempt::Answered(answer) => return Poll::Ready(self.conclude(answer)),
            };
        if let Some(due) = due_timer {
            wait_timer::set(shared, due);
        }
        if home_owes || self.attendance.is_set() {
            self.attendance.poll(cx, shared, now);
        }
        let has_passed = match shares_timer {
            true => now >= until || self.is_late(),
            false => deadline.poll_passed(cx, &*shared.runtime, || now).is_ready(),
        };
        if has_passed {
            return self.leave_at_deadline(now);
        }
        if self.depends_on_return {
            self.start_clock(now);
        }
        if !mem::replace(&mut self.is_announced, true) {
            shared.events.tell(|| Event::Waiting);
        }
        Poll::Pending
    }

    /// Takes the answer out of the cell, if it has come.
    fn collect(&mut self) -> Option<WaitResult<M>> {
        let Stage::Queued(place) = self.stage else { return None };
        let answer = self.cell.as_ref()?.take_answer()?;
        self.stage = Stage::Answered(place);
        Some(answer)
    }

    /// Returns whether the timer that waits share has told it that its time is up.
    fn is_late(&self) -> bool {
        self.cell.as_ref().is_some_and(|cell| cell.is_late())
    }

    /// Does with an answer what is left to do. The caller holds no lock.
    fn conclude(&mut self, answer: WaitResult<M>) -> WaitResult<M> {
        let shared = self.shared;
        if matches!(self.stage, Stage::Outside) {
            return answer;
        }
        if shared.snapshot.is_unattended() || shared.snapshot.is_failing() {
            // It may have been woken to start the maintenance task. Or its connection is the first one after
            // failed connects: what may start now does so before the check of that connection paces it.
            let now = shared.runtime.now();
            let ((), spawns) = shared.with_spawns(|locked| locked.collect_spawns(now));
            spawn(shared, spawns);
        }
        match answer {
            Err(WaitError::TimedOut) => {
                self.quit();
                let now = shared.runtime.now();
                let (idle, is_connecting) = shared.peek(|state| {
                    (self.take_unwanted_idle(state, now), state.machine.is_connecting())
                });
                self.place.is_connecting = is_connecting;
                idle.ok_or(WaitError::TimedOut)
            }
            Err(error) => {
                self.quit();
                Err(error)
            }
            Ok(assigned) => Ok(assigned),
        }
    }

    /// Gives up the place to go back to.
    fn quit(&mut self) {
        if let Stage::Answered(_) = mem::replace(&mut self.stage, Stage::Outside) {
            self.shared.answered_leaves();
        }
    }

    /// Takes a place in the queue of a pool in which [only a return can serve it][settled], with nothing else
    /// to decide; `None` if that is not so.
    ///
    /// [settled]: crate::machine::pool::PoolMachine::enqueue_settled
    fn queue_settled(&mut self, patience: Patience) -> Option<Attempt<M>> {
        if self.has_place() {
            return None;
        }
        let (shared, accepts, cell) = (self.shared, self.accepts, self.cell.as_ref()?);
        let attempt = shared.peek(|state| {
            let machine = &mut state.machine;
            if state.maintenance == TaskState::Absent {
                return None;
            }
            let is_first = machine.queue.len() == 0;
            let place = machine.enqueue_settled(patience, accepts, cell)?;
            if is_first {
                // Published first, then the idle set is searched; a return does the opposite.
                shared.snapshot.publish_waiters(true);
                if let Some(conn) = shared.idle.pop() {
                    machine.queue.remove(place);
                    shared.snapshot.publish_waiters(false);
                    return Some(Err(conn));
                }
            }
            Some(Ok((place, machine.wait_timer.take_due())))
        })?;
        Some(match attempt {
            Ok((place, due_timer)) => {
                self.stage = Stage::Queued(place);
                self.depends_on_return = true;
                Attempt::Queued(Queued { home_owes: false, due_timer })
            }
            Err(conn) => Attempt::Answered(Ok(Assigned { conn, source: Source::Reused })),
        })
    }

    /// Takes the answer, or a place in the queue.
    fn queue(&mut self, patience: Patience, now: Instant) -> Attempt<M> {
        let shared = self.shared;
        let ((answer, queued), spawns) = shared.with_spawns(|locked| {
            let answer = self.queue_locked(locked, patience, now);
            locked.collect_spawns(now);
            let due_timer = locked.state.machine.wait_timer.take_due();
            (answer, Queued { home_owes: locked.home_owes(), due_timer })
        });
        // Foreign code runs after unlocking.
        spawn(shared, spawns);
        match answer {
            None => Attempt::Queued(queued),
            Some(answer) => {
                if let Some(due) = queued.due_timer {
                    wait_timer::set(shared, due);
                }
                Attempt::Answered(answer)
            }
        }
    }

    fn queue_locked(
        &mut self,
        locked: &mut Locked<'_, M>,
        patience: Patience,
        now: Instant,
    ) -> Option<WaitResult<M>> {
        if let Some(answer) = self.collect() {
            return Some(answer);
        }
        locked.state.machine.tick(now);
        locked.count_lendings(now);
        let machine = &mut locked.state.machine;
        let idle_is_searched = machine.wants_reused(now);
        let cell = self.cell.clone()?;
        let queued = match self.stage {
            Stage::Outside if machine.refuses(self.is_accepted) => Err(Rejected::Closed),
            Stage::Outside => {
                let queued = machine.enqueue(now, patience, self.accepts, cell);
                self.depends_on_return = machine.depends_on_returns();
                queued.map_err(|(rejected, _)| rejected)
            }
            Stage::Queued(place) => Ok(place),
            Stage::Answered(place) => machine.requeue(place, patience, self.accepts, cell),
        };
        let place = match queued {
            Ok(place) => place,
            Err(rejected) => {
                // A caller that leaves with an error is one more reason to probe.
                locked.actions.notify_maintenance |= rejected == Rejected::Unreachable;
                return Some(self.rejected(locked.state, rejected, now));
            }
        };
        self.stage = Stage::Queued(place);
        // Queued first, then the idle set is searched; a return does the opposite. If another waiter
        // wants a reused connection, the set was searched since it was queued.
        if !idle_is_searched {
            locked.serve(now);
        }
        locked.give_up(now);
        locked.actions.expedite_close = locked.state.machine.held_up_by_closing();
        // The maintenance task may sleep for longer than what this waiter waits for: a pause, or a reset that
        // takes too long.
        let machine = &locked.state.machine;
        locked.actions.notify_maintenance |= machine.is_held_up(now)
            || machine.tells_at(now).is_some()
            || machine.resets.coming() > 0;
        self.collect()
    }

    fn rejected(&self, state: &State<M>, rejected: Rejected, now: Instant) -> WaitResult<M> {
        match rejected {
            Rejected::Closed => Err(WaitError::Closed),
            // A connection may have come back since the idle set was searched.
            Rejected::Unreachable => self
                .take_unwanted_idle(state, now)
                .ok_or_else(|| WaitError::Connect(state.last_failure())),
            Rejected::Exhausted => self.take_unwanted_idle(state, now).ok_or(WaitError::Exhausted),
        }
    }

    /// Leaves the queue at the deadline. A connection that has come counts, however late the timer.
    fn leave_at_deadline(&mut self, now: Instant) -> Poll<WaitResult<M>> {
        let Stage::Queued(place) = self.stage else { return Poll::Ready(Err(WaitError::TimedOut)) };
        let shared = self.shared;
        let mut stood = QueuePlace::default();
        let idle =
            |state: &State<M>| self.take_unwanted_idle(state, now).ok_or(WaitError::TimedOut);
        let mut note = |state: &State<M>| {
            let position = state.machine.queue.position(place);
            let is_connecting = state.machine.is_connecting();
            stood = QueuePlace { queued: true, is_connecting, position };
        };
        let left = shared.leave_plainly(place, &mut note, idle);
        let result = left.unwrap_or_else(|| {
            shared.with(|locked| {
                note(locked.state);
                leave_locked(locked, place)?;
                Some(idle(locked.state))
            })
        });
        if result.is_some() {
            self.place = stood;
            self.stage = Stage::Outside;
        }
        match result.or_else(|| self.collect()) {
            Some(result) => Poll::Ready(self.conclude(result)),
            // It was taken out of the queue, and the answer is about to come.
            None => Poll::Pending,
        }
    }

    /// Takes an idle connection if no waiter wants it.
    fn take_unwanted_idle(&self, state: &State<M>, now: Instant) -> Option<Assigned<BoxConn<M>>> {
        let machine = &state.machine;
        let free = self.accepts == Accepts::Any
            && !machine.wants_reused(now)
            && !machine.closed
            && !machine.paused;
        let conn = if free { self.shared.idle.pop() } else { None };
        conn.map(|conn| Assigned { conn, source: Source::Reused })
    }

    fn start_clock(&mut self, now: Instant) {
        self.waiting_since = self.waiting_since.min(now);
        if !mem::replace(&mut self.has_waited, true) {
            self.shared.get_counters().wait_count.inc();
        }
    }

    /// Counts the time that it has waited. Returns the time if it had to be read.
    pub(super) fn stop_clock(&mut self) -> Option<Instant> {
        let since = mem::replace(&mut self.waiting_since, Instant::NEVER);
        if since == Instant::NEVER {
            return None;
        }
        let now = self.shared.runtime.now();
        let waited = now.since(since);
        self.shared.get_counters().waited(waited);
        self.waited = self.waited.saturating_add(waited);
        Some(now)
    }

    /// Ends the wait. What it was given and did not collect goes to the next waiter.
    fn leave(&mut self) {
        self.stop_clock();
        // Once, like its count: it may have waited again after a check that failed.
        if self.has_waited && self.shared.snapshot.keeps_histograms() {
            self.shared.get_counters().record_wait(self.waited);
        }
        if let Stage::Queued(place) = self.stage {
            self.leave_queue(place);
        }
        self.quit();
        if let Some(cell) = self.cell.take() {
            // Its drop is foreign code.
            let (is_empty, waker) = cell.clear();
            drop(waker);
            if is_empty {
                self.shared.recycle(cell);
            }
        }
    }

    fn leave_queue(&mut self, place: Place) {
        let shared = self.shared;
        let has_left = shared
            .leave_plainly(place, |_| (), |_| ())
            .unwrap_or_else(|| shared.with(|locked| leave_locked(locked, place)));
        if has_left.is_some() {
            self.stage = Stage::Outside;
            return;
        }
        self.stage = Stage::Answered(place);
        if let Some(Ok(assigned)) = self.cell.as_ref().and_then(|cell| cell.abandon()) {
            shared.hand_over(assigned.conn, assigned.source);
        }
    }
}

/// Takes a waiter out of the queue, with all that may follow. Returns `None` if it was not queued.
fn leave_locked<M: Manager>(locked: &mut Locked<'_, M>, place: Place) -> Option<()> {
    locked.state.machine.queue.remove(place)?;
    locked.caller_left();
    let is_absent = locked.state.maintenance == TaskState::Absent;
    if is_absent && locked.state.machine.missing() > 0 {
        // It may have been woken to start connects: the next waiter is woken instead.
        locked.request_connects();
    }
    Some(())
}

impl<M: Manager> Drop for Wait<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if self.cell.is_some() {
            self.leave();
        }
    }
}
