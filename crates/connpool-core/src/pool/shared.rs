//! The state that the handles, guards and tasks of a pool share, and its one lock.
//!
//! Only [`Shared::with`] and its siblings here take the lock. They change the state, publish the
//! snapshot, unlock, and perform the [`Actions`]. No foreign code runs under the lock.

use std::collections::VecDeque;
use std::task::Waker;

use crate::config::PoolConfig;
use crate::error::connect_error::ConnectError;
use crate::error::failed_check::FailedChecks;
use crate::machine::capacity::SlotState;
use crate::machine::disposition::GuardFlags;
use crate::machine::pool::PoolMachine;
use crate::machine::wait_queue::{Place, Source};
use crate::manager::{Manager, Severity};
use crate::observe::close_reason::CloseReason;
use crate::observe::event::{Event, Observer};
use crate::observe::holders::{CallSite, LeaseIndex, LeaseIndexes, Leases};
use crate::observe::stats::{Counters, GetCounters};
use crate::pool::actions::{Actions, Signals, Spawns};
use crate::pool::conn::{Conn, SlotOwner};
use crate::pool::connecting::Connecting;
use crate::pool::events::EventSink;
use crate::pool::idle::IdleSet;
use crate::pool::snapshot::{self, Provides, Snapshot};
use crate::pool::timer_slot::TimerSlot;
use crate::pool::waiter::{Assigned, WaiterCell};
use crate::runtime::Runtime;
use crate::time::Instant;
use crate::util::fair_lock::FairLock;
use crate::util::per_thread::{Apart, PerThread};
use crate::util::sync::{Arc, AtomicU64, Mutex, Ordering, SHARDS, Weak};

mod clocks;
mod delivery;

/// An open connection of a pool.
pub(crate) type BoxConn<M> = Box<Conn<<M as Manager>::Connection, Shared<M>>>;

/// The waker and the answer of a waiter.
pub(crate) type Cell<M> = Arc<WaiterCell<BoxConn<M>, <M as Manager>::Error>>;

/// The number of cells that are kept to be used again.
const SPARE_CELLS: usize = 1_024;

/// What gets use beside the state, in a part of their thread.
struct Local<M: Manager> {
    counters: GetCounters,
    /// The number of callers that have left since they were answered.
    answered_left: AtomicU64,
    /// Empty cells, without a waker.
    spare_cells: Mutex<Vec<Cell<M>>>,
}

impl<M: Manager> Default for Local<M> {
    fn default() -> Self {
        let (counters, spare_cells) = Default::default();
        Local { counters, answered_left: AtomicU64::new(0), spare_cells }
    }
}

/// The number of connections that are handled under one lock, or before other tasks get the thread.
pub(crate) const BATCH: usize = 256;

pub(crate) struct Shared<M: Manager> {
    pub(crate) manager: M,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) events: EventSink,
    pub(crate) snapshot: Snapshot,
    pub(crate) idle: IdleSet<BoxConn<M>>,
    state: Apart<Mutex<State<M>>>,
    pub(crate) counters: Counters,
    pub(crate) leases: Leases<Weak<Shared<M>>>,
    pub(crate) signals: Signals,
    /// The number of [`Accepted`] callers.
    accepted: AtomicU64,
    locals: PerThread<Local<M>>,
    pub(crate) wait_timer: TimerSlot,
    /// Held by the caller that gathers several connections.
    pub(crate) batch_lock: FairLock,
    pub(crate) weak_self: Weak<Shared<M>>,
}

/// The state under the lock.
pub(crate) struct State<M: Manager> {
    pub(crate) machine: PoolMachine<Cell<M>>,
    lease_indexes: LeaseIndexes,
    pub(crate) connecting: Connecting<Shared<M>>,
    /// The connections that the maintenance task is to reset, each with the number of its reset.
    pub(crate) resetting: VecDeque<(u64, BoxConn<M>)>,
    /// The connections that the maintenance task is to close.
    pub(crate) closing: VecDeque<(BoxConn<M>, CloseReason)>,
    pub(crate) maintenance: TaskState,
    pub(crate) last_failure: Option<ConnectError<M::Error>>,
    pub(crate) failed_checks: FailedChecks,
    /// The last handle is gone.
    pub(crate) is_abandoned: bool,
    /// The pool itself, from then on while something is to be closed: the maintenance task closes it and
    /// then breaks this cycle.
    pub(crate) final_owner: Option<Arc<Shared<M>>>,
}

/// The state while it is locked, and what is to be done after unlocking.
pub(crate) struct Locked<'a, M: Manager> {
    shared: &'a Shared<M>,
    pub(crate) state: &'a mut State<M>,
    pub(crate) actions: &'a mut Actions<BoxConn<M>>,
}

/// The state of the maintenance task.
///
/// | from     | event                                     | to       |
/// |----------|-------------------------------------------|----------|
/// | Absent   | a polled future is about to spawn it      | Starting |
/// | Starting | `spawn` returned and the task still exists | Running |
/// | Starting | dropped: the runtime takes no tasks       | Absent   |
/// | Running  | dropped or ended                          | Absent   |
///
/// Only the fall from Running wakes the first waiter, whose poll then starts another task: a runtime
/// that takes no tasks would be asked again and again. A task that was replaced by one on another runtime
/// changes nothing when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskState {
    Absent,
    Starting,
    Running,
}

impl<M: Manager> Shared<M> {
    pub(crate) fn new(
        manager: M,
        runtime: Arc<dyn Runtime>,
        mut config: PoolConfig,
        observer: Option<Box<dyn Observer>>,
    ) -> Arc<Self> {
        let home = runtime.home();
        let mut machine = PoolMachine::new(&config);
        machine.built_on(home);
        let (now, wall) = (runtime.recent(), runtime.wall());
        machine.compare_clocks(now, wall);
        machine.resets.set_manager(manager.needs_reset(), manager.reset_when(), &config);
        let state = State {
            machine,
            lease_indexes: LeaseIndexes::default(),
            connecting: Connecting::default(),
            resetting: VecDeque::new(),
            closing: VecDeque::new(),
            maintenance: TaskState::Absent,
            last_failure: None,
            failed_checks: FailedChecks::default(),
            is_abandoned: false,
            final_owner: None,
        };
        let generated = || format!("pool-{:08}", runtime.random() % 100_000_000);
        let pool = Arc::from(config.name.get_or_insert_with(generated).as_str());
        let idle = IdleSet::new(config.idle_order, config.max_idle);
        let manager_has = Provides {
            reset: manager.needs_reset(),
            liveness: manager.has_liveness(),
            close: manager.has_close(),
        };
        let events = EventSink::new(pool, observer);
        let snapshot = Snapshot::new(config, home, manager_has, events.observes_gets());
        snapshot.set_wall(now, wall);
        Arc::new_cyclic(|weak_self| Shared {
            manager,
            runtime,
            events,
            snapshot,
            idle,
            state: Apart(Mutex::new(state)),
            counters: Counters::default(),
            leases: Leases::new(weak_self.clone()),
            signals: Signals::default(),
            accepted: AtomicU64::new(0),
            locals: PerThread::default(),
            wait_timer: TimerSlot::default(),
            batch_lock: FairLock::default(),
            weak_self: weak_self.clone(),
        })
    }

    // The lock.

    /// Changes the state and performs the actions that follow.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut Locked<'_, M>) -> R) -> R {
        self.with_spawns(change).0
    }

    /// Like [`with`](Shared::with), and returns the tasks to be spawned. For polled futures only.
    pub(crate) fn with_spawns<R>(
        &self,
        change: impl FnOnce(&mut Locked<'_, M>) -> R,
    ) -> (R, Spawns) {
        let observed = self.events.is_observed();
        let mut actions = Actions::new(observed);
        let result = {
            let state = &mut *self.state.0.lock();
            let before = observed.then(|| state.machine.gauges());
            let mut locked = Locked { shared: self, state, actions: &mut actions };
            let result = change(&mut locked);
            if let Some(before) = before {
                locked.tell_changes(before);
            }
            if locked.actions.notify_maintenance {
                locked.state.machine.home.asked();
            }
            self.publish(locked.state);
            result
        };
        (result, self.perform(actions))
    }

    /// Performs the actions, and returns the tasks to be spawned. Apart from `with_spawns`, which is
    /// compiled once for every change.
    #[inline]
    fn perform(&self, actions: Actions<BoxConn<M>>) -> Spawns {
        let discard = |conn, reason| self.discard(conn, reason);
        actions.perform(&self.events, &self.signals, discard)
    }

    /// Reads the state, or takes from it what changes no gauge and what no other task waits for.
    pub(crate) fn peek<R>(&self, read: impl FnOnce(&mut State<M>) -> R) -> R {
        read(&mut self.state.0.lock())
    }

    // Runs under the lock in every operation, and is inlined there no longer when it grows.
    #[inline(always)]
    fn publish(&self, state: &State<M>) {
        let machine = &state.machine;
        let flag = |holds: bool, flag: u64| if holds { flag } else { 0 };
        let flags = flag(machine.closed, snapshot::CLOSED)
            | flag(machine.queue.len() > 0, snapshot::WAITERS)
            | flag(machine.capacity.surplus() > 0, snapshot::SURPLUS)
            | flag(machine.paused, snapshot::PAUSED)
            | flag(state.maintenance == TaskState::Absent, snapshot::UNATTENDED)
            | flag(machine.backoff.is_unproven(), snapshot::FAILING)
            | flag(state.failed_checks.is_any(), snapshot::CHECKS_FAIL)
            | flag(machine.resets.are_on_return(), snapshot::RESETS)
            | flag(machine.is_draining(), snapshot::DRAINING)
            | self.snapshot.standing_flags();
        self.snapshot.publish(flags, machine.versions);
    }

    /// Drops a connection at once. Its slot is free when it is gone.
    pub(crate) fn discard(&self, conn: BoxConn<M>, reason: CloseReason) {
        self.counters.closed(reason);
        let (id, created_at) = (conn.meta.id(), conn.meta.created_at);
        // Catches what the connection's own drop may throw. Its slot is freed in any case.
        self.events.guarded("drop", move || drop(conn));
        self.events.tell(|| Event::Closed { id, reason, age: self.age(created_at) });
    }

    /// Makes all connections stale that were opened before.
    pub(crate) fn clear(&self) {
        self.with(|locked| {
            let connects_end = locked.state.machine.clear();
            locked.cleared(connects_end);
        });
        self.redistribute_idle();
    }

    /// Makes a connection stale, whose connect started under `version`, and all of its generation. They may
    /// be stale already: of several users that hear of a failover, one clears the pool.
    #[cold]
    pub(crate) fn condemn(&self, version: u64) {
        let clears = self.with(|locked| {
            let connects_end = locked.state.machine.condemn(version);
            connects_end.map(|connects_end| locked.cleared(connects_end)).is_some()
        });
        if clears {
            self.redistribute_idle();
        }
    }

    /// Returns what the manager says of an error; that it is about one connection if it panics.
    #[cold]
    pub(crate) fn judge(&self, error: &M::Error) -> Severity {
        self.events.guarded("severity", || self.manager.severity(error)).unwrap_or_default()
    }

    /// Puts everything that is idle where it belongs now.
    pub(crate) fn redistribute_idle(&self) {
        let now = self.runtime.now();
        let rest = self.with(|locked| {
            let mut all = self.idle.drain();
            for conn in all.by_ref().take(BATCH) {
                locked.deliver(conn, Source::Reused, now);
            }
            all
        });
        // The others one by one: work under the lock is bounded.
        for conn in rest {
            self.hand_over(conn, Source::Reused);
        }
    }

    /// Delivers a reusable connection like [`deliver`](Locked::deliver). The caller holds no lock.
    pub(crate) fn hand_over(&self, conn: BoxConn<M>, source: Source) {
        self.hand_over_at(conn, source, None);
    }

    /// Hands a connection over like [`hand_over`](Shared::hand_over), at `now` if that is known.
    pub(crate) fn hand_over_at(&self, conn: BoxConn<M>, source: Source, now: Option<Instant>) {
        let now = now.unwrap_or_else(|| self.coarse_now());
        match self.hand_to_first(conn, source, now) {
            Ok(waker) => waker.map_or((), |waker| self.events.wake(waker)),
            Err(conn) => self.with(|locked| locked.deliver(conn, source, now)),
        }
    }

    /// Hands a connection to the first waiter, if that is all there is to decide. Returns the waker, or the
    /// connection.
    fn hand_to_first(
        &self,
        mut conn: BoxConn<M>,
        source: Source,
        now: Instant,
    ) -> Result<Option<Waker>, BoxConn<M>> {
        loop {
            let first = self.peek(|state| {
                let machine = &mut state.machine;
                let is_stale = conn.meta.is_stale(machine.versions);
                let first = if is_stale { None } else { machine.assign_first(now) };
                if first.is_some() && machine.queue.len() == 0 {
                    self.snapshot.publish_waiters(false);
                }
                first
            });
            let Some(cell) = first else { return Err(conn) };
            // Without the lock, which others wait for. The waiter may give up meanwhile.
            match cell.answer(Ok(Assigned { conn, source })) {
                Ok(waker) => return Ok(waker),
                Err(Ok(rejected)) => conn = rejected.conn,
                Err(Err(_)) => return Ok(None),
            }
        }
    }

    /// Takes a waiter out of the queue, if that is all there is to decide, between a look `before` and one
    /// `after`. Returns what the latter does, unless the waiter was not queued, or `None` if more follows.
    pub(crate) fn leave_plainly<R>(
        &self,
        place: Place,
        before: impl FnOnce(&State<M>),
        after: impl FnOnce(&State<M>) -> R,
    ) -> Option<Option<R>> {
        self.peek(|state| {
            if state.maintenance == TaskState::Absent || state.machine.is_draining() {
                return None;
            }
            before(state);
            let left = state.machine.queue.remove(place);
            if state.machine.queue.len() == 0 {
                self.snapshot.publish_waiters(false);
            }
            Some(left.map(|_| after(state)))
        })
    }

    /// Returns the counters that a `get` of the calling thread adds to.
    #[inline]
    pub(crate) fn get_counters(&self) -> &GetCounters {
        &self.locals.local().counters
    }

    /// Returns the counters of the gets of all threads.
    pub(crate) fn all_get_counters(&self) -> impl Iterator<Item = &GetCounters> {
        self.locals.iter().map(|local| &local.counters)
    }

    fn successes(&self) -> u64 {
        self.all_get_counters().map(|gets| gets.success.get()).fold(0, u64::wrapping_add)
    }

    /// Returns an empty cell.
    pub(crate) fn cell(&self) -> Cell<M> {
        // A new one costs no more than a wait for this lock.
        let spare = self.locals.local().spare_cells.try_lock().and_then(|mut spares| spares.pop());
        spare.unwrap_or_default()
    }

    /// Keeps a cell, which is empty, for another waiter.
    pub(crate) fn recycle(&self, cell: Cell<M>) {
        if let Some(mut spares) = self.locals.local().spare_cells.try_lock() {
            if spares.len() < SPARE_CELLS / SHARDS {
                spares.push(cell);
            }
        }
    }

    /// Records that a caller leaves that was answered. The end of a drain waits for it.
    pub(crate) fn answered_leaves(&self) {
        self.locals.local().answered_left.fetch_add(1, Ordering::SeqCst);
        if self.snapshot.is_draining() {
            self.with(|locked| locked.caller_left());
        }
    }

    /// Records that `site` borrows a connection, at `since` if that is known.
    #[inline]
    pub(crate) fn check_out(&self, conn: &mut BoxConn<M>, site: CallSite, since: Option<Instant>) {
        conn.meta.uses = conn.meta.uses.saturating_add(1);
        let measures = self.snapshot.keeps_histograms() && self.get_counters().measures();
        let since = if measures { Some(self.measure(conn)) } else { since };
        if let Some(cell) = conn.slot.lease() {
            self.leases.begin(cell, site, since);
        }
    }

    /// Has the use of a connection measured from now on. Returns the time.
    #[cold]
    fn measure(&self, conn: &mut BoxConn<M>) -> Instant {
        conn.slot.flags = conn.slot.flags.with(GuardFlags::MEASURED);
        self.runtime.now()
    }

    /// Records how long a connection was borrowed whose use is measured.
    #[cold]
    pub(crate) fn measured(&self, conn: &BoxConn<M>) {
        let since = conn.slot.lease().and_then(|cell| cell.borrowed_at());
        if let Some(since) = since {
            self.get_counters().held(self.runtime.now().since(since));
        }
    }

    /// Does what a checkout has to do for `min_idle` and `leak_backtrace`.
    #[cold]
    pub(crate) fn checked_out_slowly(&self, conn: &mut BoxConn<M>) {
        if self.snapshot.takes_backtraces() {
            self.leases.trace(conn.slot.index);
            conn.slot.flags = conn.slot.flags.with(GuardFlags::NOTED);
        }
        self.with(|locked| {
            locked.note_idle();
            if locked.state.machine.keeps_idle() && locked.state.machine.missing() > 0 {
                locked.request_connects();
            }
        });
    }
}

/// A caller that was accepted, and that a pool which drains serves. Queued callers are counted by the queue.
pub(crate) struct Accepted<'a, M: Manager>(&'a Shared<M>);

impl<'a, M: Manager> Accepted<'a, M> {
    pub(crate) fn new(shared: &'a Shared<M>) -> Self {
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        Accepted(shared)
    }
}

impl<M: Manager> Drop for Accepted<'_, M> {
    #[inline]
    fn drop(&mut self) {
        let Accepted(shared) = self;
        shared.accepted.fetch_sub(1, Ordering::SeqCst);
        if shared.snapshot.is_draining() {
            shared.with(|locked| locked.caller_left());
        }
    }
}

impl<M: Manager> SlotOwner for Shared<M> {
    fn slot_freed(&self, slot: SlotState, lease: LeaseIndex) {
        let now = self.runtime.now();
        self.with(|locked| {
            locked.state.machine.slot_freed(slot);
            locked.state.lease_indexes.free.push(lease);
            locked.rebalance(now);
        });
    }
}

impl<M: Manager> State<M> {
    pub(crate) fn last_failure(&self) -> ConnectError<M::Error> {
        self.last_failure.clone().unwrap_or(ConnectError::TimedOut)
    }

    /// Returns whether the caller has to start the maintenance task, which then counts as starting.
    pub(crate) fn must_start_maintenance(&mut self) -> bool {
        let must = self.maintenance == TaskState::Absent && !self.machine.closed;
        if must {
            self.maintenance = TaskState::Starting;
        }
        must
    }
}
