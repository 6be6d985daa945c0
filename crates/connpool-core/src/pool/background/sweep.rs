//! Sweeps the idle set: checks limits and liveness, and finds connections whose keepalive is due.

use crate::machine::disposition::Disposition;
use crate::machine::health::{Check, CheckKind};
use crate::manager::Manager;
use crate::pool::acquire::verify::begin_check;
use crate::pool::background::keepalive::Keepalive;
use crate::pool::connect::report_first_check;
use crate::pool::idle::Segment;
use crate::pool::shared::{BATCH, BoxConn, Shared};
use crate::util::sync::Arc;

/// The rest of a sweep: the number of connections of each segment, the last segment first.
#[derive(Default)]
pub(super) struct Sweep(Vec<(Segment, usize)>);

/// Why a sweep stops, or leaves a segment.
enum Interrupted {
    /// Enough connections are away for a ping. The sweep goes on when one of them is back.
    Pinging,
    SegmentEmpty,
    CallerWaits,
}

impl Sweep {
    pub(super) fn of(mut segments: Vec<(Segment, usize)>) -> Self {
        segments.reverse();
        Sweep(segments)
    }

    /// Probes some of the idle connections, one at a time. A caller never finds more than that one
    /// missing beside those being pinged, and if it has to wait for it the sweep ends. Returns whether
    /// the sweep can go on now.
    pub(super) fn step<M: Manager>(&mut self, shared: &Arc<Shared<M>>) -> bool {
        for _ in 0..BATCH {
            let Some((segment, left)) = self.0.last_mut() else { return false };
            let step = sweep_one(shared, *segment);
            if matches!(step, Err(Interrupted::Pinging)) {
                return false;
            }
            *left = left.saturating_sub(1);
            if *left == 0 || matches!(step, Err(Interrupted::SegmentEmpty)) {
                self.0.pop();
            }
            if matches!(step, Err(Interrupted::CallerWaits)) {
                self.0.clear();
            }
        }
        !self.0.is_empty()
    }
}

/// Checks the connection of a segment that is idle for longest.
fn sweep_one<M: Manager>(shared: &Arc<Shared<M>>, segment: Segment) -> Result<(), Interrupted> {
    let mut conn = shared.with(|locked| {
        if !locked.state.machine.may_ping(|| shared.idle.count().idle) {
            return Err(Interrupted::Pinging);
        }
        if !locked.state.machine.sweep_probe_started() {
            return Err(Interrupted::CallerWaits);
        }
        let conn = shared.idle.pop_oldest_in(segment);
        if conn.is_none() {
            locked.state.machine.schedule.probing = false;
        }
        conn.ok_or(Interrupted::SegmentEmpty)
    })?;
    let check = begin_check(shared, &mut conn, CheckKind::Sweep, shared.clock());
    let Some(disposition) = Disposition::after(check.step) else {
        ping(shared, conn, check);
        return Ok(());
    };
    report_first_check(shared, &conn.meta, disposition);
    let now = shared.runtime.now();
    shared.with(|locked| {
        locked.state.machine.schedule.probing = false;
        locked.place(conn, disposition, now);
        locked.rebalance(now);
    });
    Ok(())
}

fn ping<M: Manager>(shared: &Arc<Shared<M>>, conn: BoxConn<M>, check: Check) {
    let now = shared.runtime.now();
    shared.with(|locked| {
        locked.state.machine.schedule.probing = false;
        locked.state.machine.schedule.pinging.inc();
        // A caller that came during the probe has nothing to wait for.
        locked.rebalance(now);
    });
    let keepalive = Keepalive { shared: Arc::clone(shared), conn: Some(conn), check, began: now };
    shared.runtime.spawn(Box::pin(keepalive.run()));
}
