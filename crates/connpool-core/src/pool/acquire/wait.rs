//! The wait of one `get`, from its place in the queue to its result.

use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll};

use crate::machine::pool::Rejected;
use crate::machine::wait_queue::{Accepts, Place, Source};
use crate::manager::Manager;
use crate::observe::event::Event;
use crate::pool::background::attend::Attendance;
use crate::pool::background::spawn;
use crate::pool::report::QueuePlace;
use crate::pool::shared::{BoxConn, Cell, Locked, Shared, State, TaskState};
use crate::pool::waiter::{Answer, Assigned, WaitError};
use crate::time::Instant;
use crate::util::sync::Arc;
use crate::util::timeout::Deadline;

/// How a wait ended.
pub(super) type WaitResult<M> = Answer<BoxConn<M>, <M as Manager>::Error>;

/// Waits for a connection. Takes a place in the queue when it is first polled, and can come back to it while
/// the connection it got is being checked. Dropped, it leaves the queue and passes its connection on.
pub(super) struct Wait<'a, M: Manager> {
    shared: &'a Shared<M>,
    stage: Stage,
    /// Where the answer comes in.
    cell: Option<Cell<M>>,
    pub(super) accepts: Accepts,
    /// `true` if only a return could serve it when it was queued.
    depends_on_return: bool,
    waiting_since: Option<Instant>,
    has_waited: bool,
    is_announced: bool,
    /// Whether a pool that drains serves it although it has no place yet.
    pub(super) is_accepted: bool,
    attendance: Attendance,
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

/// What a wait found that was queued by [`Wait::queue_settled`].
enum Settled<C> {
    Queued(Place),
    /// A connection became idle just before.
    Idle(C),
}

impl<'a, M: Manager> Wait<'a, M> {
    pub(super) fn new(shared: &'a Shared<M>) -> Self {
        Wait {
            shared,
            stage: Stage::Outside,
            cell: None,
            accepts: Accepts::Any,
            depends_on_return: false,
            waiting_since: None,
            has_waited: false,
            is_announced: false,
            is_accepted: false,
            attendance: Attendance::default(),
            place: QueuePlace::default(),
        }
    }

    /// Returns whether it is queued, or can go back to its place.
    pub(super) fn has_place(&self) -> bool {
        !matches!(self.stage, Stage::Outside)
    }

    /// Waits for the next connection, in the old place if there is one.
    pub(super) async fn next(&mut self, deadline: &mut Deadline) -> WaitResult<M> {
        let result = poll_fn(|cx| self.poll_next(cx, deadline)).await;
        self.stop_clock();
        result
    }

    /// Returns when a connection that was collected is verified, if it needs no further check. There is then
    /// nothing to come back for.
    pub(super) fn verify(&mut self, assigned: &Assigned<BoxConn<M>>) -> Option<Instant> {
        let shared = self.shared;
        if assigned.source != Source::Reused {
            return None;
        }
        let version = shared.snapshot.undisturbed()?;
        let now = shared.clock();
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

    fn poll_next(&mut self, cx: &mut Context<'_>, deadline: &mut Deadline) -> Poll<WaitResult<M>> {
        if let Some(answer) = self.collect() {
            return Poll::Ready(self.conclude(answer));
        }
        let shared = self.shared;
        let now = shared.runtime.now();
        deadline.begin(now);
        let cell = Arc::clone(self.cell.get_or_insert_with(|| shared.cell()));
        drop(cell.set_waker(cx.waker().clone()));
        let mut owes = false;
        match self.queue_settled(&cell, deadline, now) {
            Some(Settled::Queued(place)) => {
                self.stage = Stage::Queued(place);
                self.depends_on_return = true;
            }
            Some(Settled::Idle(conn)) => {
                return Poll::Ready(Ok(Assigned { conn, source: Source::Reused }));
            }
            None => {
                let ((answer, home_owes), spawns) = shared.with_spawns(|locked| {
                    let answer = self.queue(locked, deadline, now, &cell);
                    locked.collect_spawns(now);
                    (answer, locked.home_owes())
                });
                // Foreign code runs after unlocking.
                spawn(shared, spawns);
                if let Some(answer) = answer {
                    return Poll::Ready(self.conclude(answer));
                }
                owes = home_owes;
            }
        }
        if owes || self.attendance.is_set() {
            self.attendance.poll(cx, shared, now);
        }
        let passed = deadline.poll_passed(cx, &*shared.runtime, || now);
        if passed.is_ready() {
            return Poll::Ready(self.leave_at_deadline(now));
        }
        if self.depends_on_return {
            self.start_clock();
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
                let idle = shared.peek(|state| self.take_unwanted_idle(state, now));
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

    /// Takes a place in the queue of a pool that is [settled](PoolMachine::is_settled), with nothing else to
    /// decide. `None` if it is not, or if too many wait: [`queue`](Wait::queue) does the rest.
    ///
    /// [`PoolMachine::is_settled`]: crate::machine::pool::PoolMachine::is_settled
    fn queue_settled(
        &mut self,
        cell: &Cell<M>,
        deadline: &mut Deadline,
        now: Instant,
    ) -> Option<Settled<BoxConn<M>>> {
        if self.has_place() {
            return None;
        }
        let (shared, accepts) = (self.shared, self.accepts);
        let deadline = deadline.begin(now);
        shared.peek(|state| {
            if state.maintenance == TaskState::Absent {
                return None;
            }
            let queue_was_empty = state.machine.queue.len() == 0;
            let place = state.machine.enqueue_settled(deadline, accepts, cell)?;
            if queue_was_empty {
                // Published first, then the idle set is searched; a return does the opposite.
                shared.snapshot.publish_waiters(true);
                if let Some(conn) = shared.idle.pop() {
                    state.machine.queue.remove(place);
                    shared.snapshot.publish_waiters(false);
                    return Some(Settled::Idle(conn));
                }
            }
            Some(Settled::Queued(place))
        })
    }

    /// Takes the answer, or a place in the queue.
    fn queue(
        &mut self,
        locked: &mut Locked<'_, M>,
        deadline: &mut Deadline,
        now: Instant,
        cell: &Cell<M>,
    ) -> Option<WaitResult<M>> {
        if let Some(answer) = self.collect() {
            return Some(answer);
        }
        locked.state.machine.tick(now);
        locked.count_lendings(now);
        let machine = &mut locked.state.machine;
        let idle_is_searched = machine.wants_reused(now);
        let until = deadline.begin(now);
        let queued = match self.stage {
            Stage::Outside if machine.refuses(self.is_accepted) => Err(Rejected::Closed),
            Stage::Outside => {
                let queued = machine.enqueue(now, until, self.accepts, Arc::clone(cell));
                self.depends_on_return = machine.depends_on_returns();
                queued.map_err(|(rejected, _)| rejected)
            }
            Stage::Queued(place) => Ok(place),
            Stage::Answered(place) => {
                machine.requeue(place, until, self.accepts, Arc::clone(cell))
            }
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
    fn leave_at_deadline(&mut self, now: Instant) -> WaitResult<M> {
        let Stage::Queued(place) = self.stage else { return Err(WaitError::TimedOut) };
        let result = self.shared.with(|locked| {
            let queue = &mut locked.state.machine.queue;
            let position = queue.position(place);
            queue.remove(place)?;
            self.place = QueuePlace { queued: true, position };
            self.stage = Stage::Outside;
            locked.caller_left();
            Some(self.take_unwanted_idle(locked.state, now).ok_or(WaitError::TimedOut))
        });
        match result.or_else(|| self.collect()) {
            Some(result) => self.conclude(result),
            // Whoever took it out of the queue has answered.
            None => Err(WaitError::TimedOut),
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

    fn start_clock(&mut self) {
        let shared = self.shared;
        self.waiting_since.get_or_insert_with(|| shared.coarse_now());
        if !mem::replace(&mut self.has_waited, true) {
            shared.counters.wait_count.inc();
        }
    }

    fn stop_clock(&mut self) {
        if let Some(since) = self.waiting_since.take() {
            let waited = self.shared.coarse_now().since(since);
            self.shared.counters.waited(waited);
        }
    }

    /// Ends the wait. What it was given and did not collect goes to the next waiter.
    fn leave(&mut self) {
        self.stop_clock();
        if let Stage::Queued(place) = self.stage {
            self.leave_queue(place);
        }
        self.quit();
        if let Some(cell) = self.cell.take() {
            // Its drop is foreign code.
            drop(cell.take_waker());
            self.shared.recycle(cell);
        }
    }

    fn leave_queue(&mut self, place: Place) {
        let shared = self.shared;
        let left = shared.with(|locked| {
            let left = locked.state.machine.queue.remove(place);
            if left.is_some() {
                locked.caller_left();
                let is_absent = locked.state.maintenance == TaskState::Absent;
                if is_absent && locked.state.machine.missing() > 0 {
                    // It may have been woken to start connects: the next waiter is woken instead.
                    locked.request_connects();
                }
            }
            left
        });
        if left.is_some() {
            self.stage = Stage::Outside;
        } else if let Some(Ok(assigned)) = self.collect() {
            shared.hand_over(assigned.conn, assigned.source);
        }
    }
}

impl<M: Manager> Drop for Wait<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if self.cell.is_some() {
            self.leave();
        }
    }
}
