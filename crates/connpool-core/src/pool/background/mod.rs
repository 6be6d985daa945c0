//! The maintenance task: connects, sweeps, keepalive, leak reports and graceful closes.
//!
//! It holds the pool weakly while it sleeps, so a forgotten pool ends.

use std::mem;

use event_listener::EventListener;
use futures_lite::future::yield_now;

use crate::manager::Manager;
use crate::pool::actions::Spawns;
use crate::pool::background::graceful_close::close_connection;
use crate::pool::background::leaks::LeakWatch;
use crate::pool::background::sweep::Sweep;
use crate::pool::connect::ConnectTask;
use crate::pool::shared::{BATCH, Shared, TaskState};
use crate::runtime::Runtime;
use crate::time::{Instant, earliest};
use crate::util::sync::{Arc, Weak};
use crate::util::timeout::timed_out;

mod graceful_close;
mod keepalive;
mod leaks;
mod sweep;
pub(crate) mod warm_up;

/// Spawns what was decided under the lock. Called from polled futures only.
#[inline]
pub(crate) fn spawn<M: Manager>(shared: &Shared<M>, spawns: Spawns<Shared<M>>) {
    if spawns.maintenance || !spawns.connects.is_empty() {
        spawn_all(shared, spawns);
    }
}

#[cold]
fn spawn_all<M: Manager>(shared: &Shared<M>, spawns: Spawns<Shared<M>>) {
    if spawns.maintenance {
        start(shared);
    }
    for started in spawns.connects {
        if let Some(pool) = shared.weak_self.upgrade() {
            shared.runtime.spawn(Box::pin(ConnectTask::new(pool, started).run()));
        }
    }
}

/// Starts the tasks that are wanted now. Called from polled futures only.
pub(crate) fn spawn_wanted<M: Manager>(shared: &Shared<M>, now: Instant) {
    let ((), spawns) = shared.with_spawns(|locked| {
        locked.state.machine.tick(now);
        locked.give_up(now);
        locked.collect_spawns(now);
    });
    spawn(shared, spawns);
}

fn start<M: Manager>(shared: &Shared<M>) {
    let task = Maintenance {
        shared: shared.weak_self.clone(),
        runtime: Arc::clone(&shared.runtime),
        sweep: Sweep::default(),
        leaks: LeakWatch::default(),
    };
    shared.runtime.spawn(Box::pin(task.run()));
    shared.with(|locked| {
        if locked.state.maintenance == TaskState::Starting {
            locked.state.maintenance = TaskState::Running;
        }
    });
}

struct Maintenance<M: Manager> {
    shared: Weak<Shared<M>>,
    runtime: Arc<dyn Runtime>,
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

    /// Does what is due; `None` if the pool is gone, or closed and nothing is left to do.
    async fn step(&mut self, proven: Instant) -> Option<(EventListener, Next)> {
        let shared = self.shared.upgrade()?;
        let notified = shared.signals.maintenance.listen();
        let now = self.runtime.now().max(proven);
        let closing = shared.with_clocks(|locked, _| {
            let some = locked.state.closing.len().min(BATCH);
            locked.state.closing.drain(..some).collect::<Vec<_>>()
        });
        for (conn, reason) in closing {
            close_connection(&shared, conn, reason).await;
        }
        spawn_wanted(&shared, now);
        if shared.with(|locked| locked.state.machine.schedule.sweep_is_due(now)) {
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
            if machine.closed {
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

impl<M: Manager> Drop for Maintenance<M> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let final_owner = shared.with(|locked| {
            let was = mem::replace(&mut locked.state.maintenance, TaskState::Absent);
            for (conn, reason) in mem::take(&mut locked.state.closing) {
                locked.actions.discard(conn, reason);
            }
            if was == TaskState::Running {
                locked.request_connects();
                // A `build` may be waiting for what this task was to start.
                locked.actions.state_changed = true;
            }
            locked.state.final_owner.take()
        });
        // Breaks the cycle outside of the lock.
        drop(final_owner);
    }
}
