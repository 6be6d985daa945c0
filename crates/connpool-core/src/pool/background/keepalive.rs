//! Pings an idle connection, so that neither its peer nor a firewall forgets it.
//!
//! The sweep finds what is due. The ping is a task of its own, so the maintenance task goes on.

use crate::machine::disposition::Disposition;
use crate::machine::health::{Check, Step};
use crate::manager::Manager;
use crate::observe::close_reason::CloseReason;
use crate::pool::acquire::verify::{after_step, probe, run_step};
use crate::pool::connect::report_first_check;
use crate::pool::shared::{BoxConn, Shared};
use crate::util::sync::Arc;

/// The ping of an idle connection. Dropped in the middle of it, it destroys the connection, whose
/// state is then unknown.
pub(super) struct Keepalive<M: Manager> {
    shared: Arc<Shared<M>>,
    conn: Option<BoxConn<M>>,
    check: Check,
}

impl<M: Manager> Keepalive<M> {
    /// The caller has told the machine that a ping starts.
    pub(super) fn new(shared: Arc<Shared<M>>, conn: BoxConn<M>, check: Check) -> Self {
        Keepalive { shared, conn: Some(conn), check }
    }

    pub(super) fn spawn(self) {
        let runtime = Arc::clone(&self.shared.runtime);
        runtime.spawn(Box::pin(self.run()));
    }

    async fn run(mut self) {
        let closing = self.shared.signals.closing.listen();
        let Some(conn) = &mut self.conn else { return };
        let shared = &*self.shared;
        let step = if shared.is_closed() {
            Step::Pass
        } else {
            // Without `ping_timeout` there is no deadline of a `get` that would end the ping.
            let config = shared.snapshot.config();
            let limit = config.ping_timeout.or(config.keepalive);
            let inner = &mut conn.inner;
            let ping = async { shared.manager.ping(inner).await };
            let Some(result) = run_step(shared, "ping", limit, closing, ping).await else {
                // The pool is being closed.
                return;
            };
            let check = after_step(shared, conn, self.check, result);
            match check.step() {
                Step::Probe => check.after(probe(shared, &mut conn.inner)).step(),
                step => step,
            }
        };
        if conn.meta.uses == 0 {
            report_first_check(shared, step, conn.meta.created_at);
        }
        self.finish(step);
    }

    fn finish(&mut self, step: Step) {
        let Some(conn) = self.conn.take() else { return };
        let shared = &self.shared;
        let now = shared.runtime.now();
        shared.with(|locked| {
            locked.state.machine.schedule.pinging = false;
            // The sweep goes on.
            locked.actions.notify_maintenance = true;
            locked.place(conn, Disposition::from(step), now);
            locked.rebalance(now);
        });
    }
}

impl<M: Manager> Drop for Keepalive<M> {
    fn drop(&mut self) {
        self.finish(Step::Close(CloseReason::Cancelled));
    }
}
