//! The end of a pool: with a report, or with its last handle.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_lite::future::or;

use crate::manager::Manager;
use crate::observe::holders::Holder;
use crate::pool::background::attend::attend;
use crate::pool::background::spawn;
use crate::pool::report::gauges;
use crate::pool::shared::{Shared, TaskState};
use crate::util::sync::Arc;
use crate::util::timeout::{Deadline, timed_out};

/// The result of [`Pool::close`](crate::Pool::close) and [`Pool::drain`](crate::Pool::drain). Prints as one
/// line.
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

/// The number of holders that a report prints.
const PRINTED_HOLDERS: usize = 3;

impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CloseReport { closed, still_out, timed_out } = self;
        let plural = |n| if n == 1 { "" } else { "s" };
        write!(f, "closed {closed} connection{}", plural(*closed))?;
        if *timed_out {
            f.write_str(", and the limit passed before everything was closed")?;
        }
        for (nth, holder) in still_out.iter().take(PRINTED_HOLDERS).enumerate() {
            f.write_str(if nth == 0 { "; still borrowed: " } else { ", " })?;
            write!(f, "{holder}")?;
        }
        match still_out.len().saturating_sub(PRINTED_HOLDERS) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

/// Closes the pool and waits, for `limit` at most, until everything is gone.
pub(crate) async fn close<M: Manager>(shared: &Shared<M>, limit: Duration) -> CloseReport {
    let before = shared.counters.closed_total();
    let mut deadline = Deadline::new(limit);
    deadline.begin(shared.runtime.now());
    shut(shared, true);
    until_closed(shared, before, &mut deadline).await
}

/// Refuses new callers, serves those that were accepted, and then closes the pool, within `limit` for all
/// of it.
pub(crate) async fn drain<M: Manager>(shared: &Shared<M>, limit: Duration) -> CloseReport {
    let before = shared.counters.closed_total();
    let mut deadline = Deadline::new(limit);
    let now = shared.runtime.now();
    let until = deadline.begin(now);
    let ((), spawns) = shared.with_spawns(|locked| {
        locked.actions.spawns.maintenance = locked.state.must_start_maintenance();
        locked.state.machine.drain(until);
        locked.rebalance(now);
        // The maintenance task closes the pool if this future is dropped.
        locked.caller_left();
    });
    spawn(shared, spawns);
    let mut attends = pin!(attend(shared));
    loop {
        let changed = shared.signals.state_changed.listen();
        let now = shared.runtime.now();
        if shared.with(|locked| locked.state.machine.closed || locked.drain_ends(now)) {
            break;
        }
        let time_is_up = deadline.passed(&*shared.runtime);
        if timed_out(or(changed, &mut attends), time_is_up).await {
            break;
        }
    }
    shut(shared, true);
    until_closed(shared, before, &mut deadline).await
}

/// Waits until everything is gone, or until the deadline. `before` is how many connections were closed when
/// the close began.
async fn until_closed<M: Manager>(
    shared: &Shared<M>,
    before: u64,
    deadline: &mut Deadline,
) -> CloseReport {
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

/// Closes the pool, unless it is closed. A polled future may spawn the maintenance task, a drop may not.
fn shut<M: Manager>(shared: &Shared<M>, may_spawn: bool) {
    let ((), spawns) = shared.with_spawns(|locked| {
        if locked.state.machine.closed {
            return;
        }
        locked.actions.spawns.maintenance = may_spawn && locked.state.must_start_maintenance();
        locked.shut();
    });
    spawn(shared, spawns);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_prints_the_holders_that_are_left() {
        let mut report = CloseReport { closed: 1, still_out: Vec::new(), timed_out: false };
        assert_eq!(report.to_string(), "closed 1 connection");
        let holder = Holder::labeled("nightly", Duration::from_secs(32));
        (report.closed, report.timed_out, report.still_out) = (2, true, vec![holder; 5]);
        let holder = "<unknown call site> \"nightly\" for 32.0 s";
        assert_eq!(
            report.to_string(),
            format!(
                "closed 2 connections, and the limit passed before everything was closed; still \
                 borrowed: {holder}, {holder}, {holder}, and 2 more"
            )
        );
    }
}
