//! The wait of one `get`, from its place in the queue to its result.

use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll, Waker};

use crate::machine::pool::Rejected;
use crate::machine::wait_queue::{Accepts, Key, Source, WaiterState};
use crate::manager::Manager;
use crate::observe::event::Event;
use crate::pool::background::attend::Attendance;
use crate::pool::background::spawn;
use crate::pool::report::QueuePlace;
use crate::pool::shared::{BoxConn, Locked, Shared, State, TaskState};
use crate::pool::waiter::{Assigned, WaitError, Waiter};
use crate::time::Instant;
use crate::util::timeout::Deadline;

/// How a wait ended.
pub(super) type WaitResult<M> = Result<Assigned<BoxConn<M>>, WaitError<<M as Manager>::Error>>;

/// Waits for a connection. Takes a place in the queue when it is first polled, and keeps it while the
/// connection it got is being checked. Dropped, it leaves the queue and passes its connection on.
pub(super) struct Wait<'a, M: Manager> {
    shared: &'a Shared<M>,
    /// The place to go back to.
    pub(super) key: Option<Key>,
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

impl<'a, M: Manager> Wait<'a, M> {
    pub(super) fn new(shared: &'a Shared<M>) -> Self {
        Wait {
            shared,
            key: None,
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

    /// Waits for the next connection, in the old place if there is one.
    pub(super) async fn next(&mut self, deadline: &mut Deadline) -> WaitResult<M> {
        let result = poll_fn(|cx| self.poll_next(cx, deadline)).await;
        self.stop_clock();
        result
    }

    /// Takes a connection that needs no further check. There is nothing to come back for, so it
    /// leaves the queue at the same time.
    fn take_verified(&mut self) -> Option<Assigned<BoxConn<M>>> {
        let (key, shared) = (self.key?, self.shared);
        let now = shared.clock();
        let settings = &shared.snapshot.settings;
        let probe_after = settings.liveness_after.get();
        let waiter = shared.peek(|state| {
            let machine = &mut state.machine;
            // Without a maintenance task, a waiter that leaves may have to wake the next one to start
            // it: that takes the slow way, which can wake.
            // So does one that the end of a drain waits for.
            let is_absent = state.maintenance == TaskState::Absent;
            if is_absent || machine.closed || machine.paused || machine.is_draining() {
                return None;
            }
            let version = machine.versions.current;
            let result = machine.queue.payload(key)?.result.as_ref()?;
            let assigned =
                result.as_ref().ok().filter(|assigned| assigned.source == Source::Reused)?;
            let meta = &assigned.conn.meta;
            let needs_no_probe = meta.uses > 0
                && meta.is_fit(version, shared.snapshot.fresh_for(version, now), now)
                && !now.is_past(meta.idle_since, probe_after);
            if needs_no_probe { machine.queue.remove(key) } else { None }
        })?;
        self.key = None;
        // The waker is dropped here, not under the lock.
        let assigned = waiter.result?.ok()?;
        Some(Assigned { verified_at: Some(now), ..assigned })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, deadline: &mut Deadline) -> Poll<WaitResult<M>> {
        if let Some(assigned) = self.take_verified() {
            return Poll::Ready(Ok(assigned));
        }
        let shared = self.shared;
        let now = shared.runtime.now();
        deadline.begin(now);
        let mut waker = Some(cx.waker().clone());
        let ((result, owes), spawns) = shared.with_spawns(|locked| {
            let result = self.queue(locked, deadline, now, &mut waker);
            locked.collect_spawns(now);
            (result, locked.home_owes())
        });
        // Foreign code runs after unlocking, and the waker is dropped last, since its drop may panic.
        spawn(shared, spawns);
        drop(waker);
        if let Some(result) = result {
            return Poll::Ready(result);
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

    /// Takes the result, or a place in the queue.
    fn queue(
        &mut self,
        locked: &mut Locked<'_, M>,
        deadline: &mut Deadline,
        now: Instant,
        waker: &mut Option<Waker>,
    ) -> Option<WaitResult<M>> {
        let taken = |state: &mut State<M>, key| state.machine.queue.payload(key)?.result.take();
        if let Some(result) = self.key.and_then(|key| taken(locked.state, key)) {
            return Some(result);
        }
        locked.state.machine.tick(now);
        locked.count_lendings(now);
        let machine = &mut locked.state.machine;
        let idle_is_searched = machine.wants_reused(now);
        let queued = match self.key {
            None if machine.refuses(self.is_accepted) => Err(Rejected::Closed),
            None => {
                let waiter = Waiter { waker: waker.take(), result: None };
                let queued = machine.enqueue(now, deadline.begin(now), self.accepts, waiter);
                self.depends_on_return = machine.depends_on_returns();
                queued.map_err(|(rejected, waiter)| {
                    *waker = waiter.and_then(|waiter| waiter.waker);
                    rejected
                })
            }
            Some(key) => {
                let assigned = machine.queue.state(key) == Some(WaiterState::Assigned);
                let requeued = if assigned { machine.requeue(key, self.accepts) } else { Ok(()) };
                if let (Some(waiter), Some(mine)) = (machine.queue.payload(key), waker.take()) {
                    *waker = waiter.set_waker(mine);
                }
                requeued.map(|()| key)
            }
        };
        let key = match queued {
            Ok(key) => key,
            Err(rejected) => {
                // A caller that leaves with an error is one more reason to probe.
                locked.actions.notify_maintenance |= rejected == Rejected::Unreachable;
                return Some(self.rejected(locked.state, rejected, now));
            }
        };
        self.key = Some(key);
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
        taken(locked.state, key)
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
        let (waker, result) = self.shared.with(|locked| {
            let Some(key) = self.key.take() else {
                return (None, Err(WaitError::TimedOut));
            };
            let queue = &mut locked.state.machine.queue;
            let queued = queue.state(key) == Some(WaiterState::Queued);
            self.place = QueuePlace { queued, position: queue.position(key) };
            let left = queue.remove(key);
            locked.caller_left();
            let (waker, result) = left.map_or((None, None), |left| (left.waker, left.result));
            let result = result.unwrap_or_else(|| {
                self.take_unwanted_idle(locked.state, now).ok_or(WaitError::TimedOut)
            });
            (waker, result)
        });
        drop(waker);
        result
    }

    /// Takes an idle connection if no waiter wants it.
    fn take_unwanted_idle(&self, state: &State<M>, now: Instant) -> Option<Assigned<BoxConn<M>>> {
        let machine = &state.machine;
        let free = self.accepts == Accepts::Any
            && !machine.wants_reused(now)
            && !machine.closed
            && !machine.paused;
        let conn = if free { self.shared.idle.pop() } else { None };
        conn.map(|conn| Assigned::unverified(conn, Source::Reused))
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

    #[cold]
    fn leave(&mut self) {
        self.stop_clock();
        let Some(key) = self.key.take() else { return };
        let shared = self.shared;
        let left = shared.with(|locked| {
            let left = locked.state.machine.queue.remove(key);
            locked.caller_left();
            if locked.state.maintenance == TaskState::Absent && locked.state.machine.missing() > 0 {
                // It may have been woken to start connects: the next waiter is woken instead.
                locked.request_connects();
            }
            left
        });
        if let Some(Ok(assigned)) = left.and_then(|left| left.result) {
            shared.hand_over(assigned.conn, assigned.source);
        }
    }
}

impl<M: Manager> Drop for Wait<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if self.key.is_some() || self.waiting_since.is_some() {
            self.leave();
        }
    }
}
