//! The maintenance task: connects, sweeps, keepalive, resets, leak reports and closes.
//!
//! It holds the pool weakly while it sleeps, so a forgotten pool ends.

use event_listener::EventListener;
use futures_lite::future::yield_now;

use crate::machine::home::{Duty, Place, RuntimeId};
use crate::manager::Manager;
use crate::pool::actions::Spawns;
use crate::pool::background::closing::close_connection;
use crate::pool::background::leaks::LeakWatch;
use crate::pool::background::reset::reset_connection;
use crate::pool::background::sweep::Sweep;
use crate::pool::connect::ConnectTask;
use crate::pool::shared::{BATCH, Locked, Shared, State, TaskState};
use crate::runtime::Runtime;
use crate::time::{Instant, earliest};
use crate::util::sync::{Arc, Weak};
use crate::util::timeout::timed_out;

pub(crate) mod attend;
mod closing;

mod keepalive;
mod leaks;
mod reset;
mod run_or_spawn;
mod sweep;
pub(crate) mod warm_up;

/// Spawns what was decided under the lock. Called from polled futures only.
#[inline]
pub(crate) fn spawn<M: Manager>(shared: &Shared<M>, spawns: Spawns) {
    if spawns.maintenance || spawns.connects {
        spawn_all(shared, spawns);
    }
}

#[cold]
fn spawn_all<M: Manager>(shared: &Shared<M>, spawns: Spawns) {
    let here = shared.runtime.current();
    if spawns.maintenance {
        start(shared, here);
    }
    // Elsewhere it is left to the maintenance task, which was notified.
    if spawns.connects && shared.peek(|state| state.machine.home.id() == here) {
        begin_connects(shared, here);
    }
}

/// Begins the connects that were decided, on the runtime of the caller. Called from polled futures only.
pub(crate) fn begin_connects<M: Manager>(shared: &Shared<M>, here: Option<RuntimeId>) {
    let offered = shared.peek(|state| state.connecting.offer(here, BATCH));
    for id in offered {
        if let Some(pool) = shared.weak_self.upgrade() {
            shared.runtime.spawn(Box::pin(ConnectTask::new(pool, id, here).run()));
        }
    }
}

/// Starts the tasks that are wanted now. Called from polled futures only.
pub(crate) fn spawn_wanted<M: Manager>(shared: &Shared<M>, now: Instant) {
    let ((), spawns) = shared.with_spawns(|locked| {
        locked.state.machine.tick(now);
        // For a connect that hangs by now, a waiter may take an idle connection instead.
        locked.serve(now);
        locked.give_up(now);
        locked.collect_spawns(now);
    });
    spawn(shared, spawns);
}

/// Starts the maintenance task at home, or here if the home has ended.
fn start<M: Manager>(shared: &Shared<M>, here: Option<RuntimeId>) {
    let now = shared.runtime.now();
    let mut tried = None;
    loop {
        let install = |locked: &mut Locked<'_, M>| {
            let place = locked.state.machine.home.place(here);
            // A runtime that has just dropped the task is not asked again.
            let Some(place) = place.filter(|place| tried != Some(*place)) else {
                let absent = locked.state.maintenance != TaskState::Running;
                return Err(absent.then(|| locked.maintenance_is_gone()));
            };
            let epoch = locked.install_maintenance(place.runtime(), TaskState::Starting, now);
            Ok((place, epoch))
        };
        let (place, epoch) = match shared.with(install) {
            Ok(installed) => installed,
            // Their slots are freed without the lock.
            Err(withdrawn) => return drop(withdrawn),
        };
        if launch(shared, place, epoch) {
            return;
        }
        tried = Some(place);
    }
}

/// Moves the maintenance task to the runtime of the caller, since the home does not answer.
fn take_over<M: Manager>(shared: &Shared<M>, here: Option<RuntimeId>, now: Instant) {
    let moved = shared.with(|locked| {
        let unbegun = locked.state.connecting.unbegun_since();
        if locked.state.machine.home.duty(here, unbegun, now) != Duty::TakeOver {
            return None;
        }
        let old = locked.state.machine.home.id();
        let stuck = locked.state.connecting.take_from(old);
        for (ticket, _) in &stuck {
            locked.state.machine.connect_stuck(*ticket);
        }
        locked.actions.connects_end = true;
        let epoch = locked.install_maintenance(here, TaskState::Starting, now);
        Some((stuck, epoch))
    });
    if let Some((stuck, epoch)) = moved {
        // Their slots are freed without the lock.
        drop(stuck);
        launch(shared, Place::Here(here), epoch);
    }
}

/// Spawns the maintenance task that was installed. Returns whether its runtime has taken it.
fn launch<M: Manager>(shared: &Shared<M>, place: Place, epoch: u64) -> bool {
    let task = Box::pin(
        Maintenance {
            shared: shared.weak_self.clone(),
            runtime: Arc::clone(&shared.runtime),
            at: place.runtime(),
            epoch,
            sweep: Sweep::default(),
            leaks: LeakWatch::default(),
        }
        .run(),
    );
    match place {
        Place::Original(_) => shared.runtime.spawn_at_home(task),
        Place::Here(_) => shared.runtime.spawn(task),
    }
    shared.with(|locked| {
        let is_current = locked.state.machine.home.epoch == epoch;
        if is_current && locked.state.maintenance == TaskState::Starting {
            locked.state.maintenance = TaskState::Running;
        }
        !is_current || locked.state.maintenance != TaskState::Absent
    })
}

struct Maintenance<M: Manager> {
    shared: Weak<Shared<M>>,
    runtime: Arc<dyn Runtime>,
    /// The runtime that it runs on.
    at: Option<RuntimeId>,
    epoch: u64,
    sweep: Sweep,
    leaks: LeakWatch,
}

/// The continuation after a step of the task.
enum Next {
    /// Another step, after other tasks had the thread.
    Again,
    /// Sleep until this time, or until a notification.
    Sleep(Option<Instant>),
}

impl<M: Manager> Maintenance<M> {
    async fn run(mut self) {
        let mut proven = Instant::ORIGIN;
        loop {
            // The listener is created before the step: what happens after the step is heard.
            let Some((notified, next)) = self.step(proven).await else { return };
            match next {
                Next::Again => yield_now().await,
                Next::Sleep(None) => notified.await,
                Next::Sleep(Some(at)) => {
                    let timer = self.runtime.sleep_until(at);
                    if timed_out(notified, timer).await {
                        // A timer that fires proves its time. With a coarse clock that lags behind,
                        // the task would set the same timer again and again.
                        proven = at;
                    }
                }
            }
        }
    }

    /// Does what is due; `None` if the pool is gone, or closed and everything else is, or if another task has
    /// taken over.
    async fn step(&mut self, proven: Instant) -> Option<(EventListener, Next)> {
        let shared = self.shared.upgrade()?;
        let notified = shared.signals.maintenance.listen();
        let now = self.runtime.now().max(proven);
        let (closing, resetting, unbegun) = shared.with_clocks(|locked, _| {
            let home = &mut locked.state.machine.home;
            if home.epoch != self.epoch {
                if !home.takes_back(self.at) {
                    return None;
                }
                self.epoch = locked.install_maintenance(self.at, TaskState::Running, now);
            }
            let State { machine, closing, connecting, .. } = &mut *locked.state;
            machine.home.answered(now);
            let some = closing.len().min(BATCH);
            let closing = closing.drain(..some).collect::<Vec<_>>();
            let unbegun = connecting.unbegun_since().is_some();
            Some((closing, locked.start_resets(), unbegun))
        })?;
        shared.signals.answered.notify(usize::MAX);
        for (conn, reason) in closing {
            close_connection(&shared, conn, reason).await;
        }
        for reset in resetting {
            reset_connection(&shared, reset).await;
        }
        if unbegun {
            begin_connects(&shared, self.at);
        }
        // Closes and resets may have taken some time.
        let now = self.runtime.now().max(now);
        spawn_wanted(&shared, now);
        if shared.snapshot.is_draining() {
            shared.with(|locked| {
                if locked.drain_ends(now) {
                    locked.shut();
                }
            });
        }
        let sweeps = shared.with(|locked| locked.state.machine.schedule.sweep_is_due(now));
        plan_successor(&shared, sweeps, now);
        if sweeps {
            shared.idle.forget_contention();
            self.sweep = Sweep::of(shared.idle.segments());
        }
        let sweeping = self.sweep.step(&shared);
        let now = self.runtime.now().max(proven);
        self.leaks.step(&shared, now);
        let next = shared.peek(|state| {
            let machine = &state.machine;
            if !state.closing.is_empty() || sweeping {
                return Some(Next::Again);
            }
            // What is still borrowed then needs this task for its close, if there is one.
            let is_done = match shared.snapshot.provides.close {
                true => machine.is_drained(),
                false => machine.closed,
            };
            if is_done {
                return None;
            }
            Some(match earliest([machine.next_deadline(now), self.leaks.next]) {
                // A timer in the past is ready at once, and no other task would get the thread.
                Some(at) if at <= now => Next::Again,
                deadline => Next::Sleep(deadline),
            })
        })?;
        Some((notified, next))
    }
}

/// A pool with more idle connections is not left without any: their lifetimes are spread.
const MOST_COMPARED: usize = 64;

/// Has a successor opened for the last idle connection, if it is time to look or the pool is swept.
fn plan_successor<M: Manager>(shared: &Shared<M>, sweeps: bool, now: Instant) {
    let (is_due, keeps_any) = shared.peek(|state| {
        let machine = &state.machine;
        let is_time = machine.schedule.successor_at.is_some_and(|at| at <= now);
        let keeps_any = machine.capacity.keeps_any() && !machine.is_draining();
        (is_time || sweeps && keeps_any, keeps_any)
    });
    if !is_due {
        return;
    }
    let mut latest = None;
    if keeps_any && shared.idle.count().idle <= MOST_COMPARED {
        shared.idle.for_each(|conn| latest = latest.max(Some(conn.meta.successor_due_at())));
    }
    shared.with(|locked| locked.state.machine.plan_successor(latest, now));
    spawn_wanted(shared, now);
}

impl<M: Manager> Drop for Maintenance<M> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let (final_owner, withdrawn) = shared.with(|locked| {
            if locked.state.machine.home.epoch != self.epoch {
                return (None, Vec::new());
            }
            let was = locked.state.maintenance;
            locked.state.machine.maintenance_dropped();
            let withdrawn = locked.maintenance_is_gone();
            if was == TaskState::Running {
                locked.request_connects();
                // A `build` may be waiting for what this task was to start.
                locked.actions.state_changed = true;
            }
            (locked.state.final_owner.take(), withdrawn)
        });
        // Breaks the cycle, and frees slots, outside of the lock.
        drop(withdrawn);
        drop(final_owner);
    }
}
