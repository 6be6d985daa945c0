//! The end of a pool: with a report, or with its last handle.

use std::pin::pin;
use std::time::Duration;

use futures_lite::future::or;

use crate::manager::Manager;
use crate::observe::holders::Holder;
use crate::pool::background::attend::attend;
use crate::pool::background::spawn;
use crate::pool::report::gauges;
use crate::pool::shared::{Shared, TaskState};
use crate::pool::waiter::WaitError;
use crate::time::Instant;
use crate::util::sync::Arc;
use crate::util::timeout::{Deadline, timed_out};

/// The result of [`Pool::close`](crate::Pool::close).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// The number of connections that were closed while it waited.
    pub closed: u64,
    /// The holders that still have a connection. Each connection is destroyed when its guard is
    /// dropped.
    pub still_out: Vec<Holder>,
    /// `true` if the limit passed before everything was closed.
    pub timed_out: bool,
}

/// Closes the pool and waits, for `limit` at most, until everything is gone.
pub(crate) async fn close<M: Manager>(shared: &Shared<M>, limit: Duration) -> CloseReport {
    let before = shared.counters.closed_total();
    let mut deadline = Deadline::new(limit);
    deadline.begin(shared.runtime.now());
    shut(shared, true);
    let mut is_late = false;
    let mut attends = pin!(attend(shared));
    loop {
        let changed = shared.signals.state_changed.listen();
        let (gauges, _) = gauges(shared);
        let left = gauges.size.saturating_add(gauges.connecting);
        if left == 0 || is_late {
            return CloseReport {
                closed: shared.counters.closed_total().saturating_sub(before),
                still_out: shared.leases.longest(usize::MAX, shared.runtime.now()),
                timed_out: left > 0,
            };
        }
        let time_is_up = deadline.passed(&*shared.runtime);
        is_late = timed_out(or(changed, &mut attends), time_is_up).await;
    }
}

/// Closes the pool when its last handle is dropped, without waiting or spawning. A running
/// maintenance task becomes the owner and closes the connections gracefully.
pub(crate) fn abandon<M: Manager>(shared: &Arc<Shared<M>>) {
    shut(shared, false);
    shared.with(|locked| {
        locked.state.is_abandoned = true;
        if locked.state.maintenance != TaskState::Absent && !locked.state.closing.is_empty() {
            locked.state.final_owner = Some(Arc::clone(shared));
        }
    });
}

/// Refuses new callers, answers all waiters, and closes what is idle. A polled future may spawn the
/// maintenance task, a drop may not.
fn shut<M: Manager>(shared: &Shared<M>, may_spawn: bool) {
    let ((), spawns) = shared.with_spawns(|locked| {
        if locked.state.machine.closed {
            return;
        }
        locked.actions.spawns.maintenance = may_spawn && locked.state.must_start_maintenance();
        for key in locked.state.machine.close() {
            let waiter = locked.state.machine.queue.payload(key);
            locked.actions.wake(waiter.and_then(|waiter| waiter.resolve(Err(WaitError::Closed))));
        }
        // Any time will do: a closed machine consults no deadline.
        locked.serve(Instant::ORIGIN);
        locked.actions.closing = true;
        locked.actions.connects_end = true;
        locked.actions.notify_maintenance = true;
    });
    spawn(shared, spawns);
}
