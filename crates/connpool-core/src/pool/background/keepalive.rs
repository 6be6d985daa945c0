//! Pings an idle connection, so that neither its peer nor a firewall forgets it.
//!
//! The sweep finds what is due. The ping is a task of its own, so the maintenance task goes on.

use crate::machine::disposition::Disposition;
use crate::machine::health::Check;
use crate::manager::Manager;
use crate::observe::close_reason::CloseReason;
use crate::pool::acquire::verify::run_check_unless_closed;
use crate::pool::connect::report_first_check;
use crate::pool::shared::{BoxConn, Shared};
use crate::time::Instant;
use crate::util::sync::Arc;

/// The ping of an idle connection. Dropped in the middle of it, it destroys the connection, whose
/// state is then unknown.
pub(super) struct Keepalive<M: Manager> {
    pub(super) shared: Arc<Shared<M>>,
    pub(super) conn: Option<BoxConn<M>>,
    pub(super) check: Check,
    pub(super) began: Instant,
}

impl<M: Manager> Keepalive<M> {
    /// Pings the connection, then puts it where it belongs. The caller has told the machine that a ping
    /// starts.
    pub(super) async fn run(mut self) {
        let Some(conn) = &mut self.conn else { return };
        // There is no deadline of a `get` that would end a ping without `ping_timeout`.
        let limit = self.shared.snapshot.config().keepalive;
        let check = run_check_unless_closed(&self.shared, conn, self.check, limit);
        let Some(disposition) = check.await else { return };
        report_first_check(&self.shared, &conn.meta, disposition);
        self.finish(disposition);
    }

    fn finish(&mut self, disposition: Disposition) {
        let Some(conn) = self.conn.take() else { return };
        let shared = &self.shared;
        let now = shared.runtime.now();
        shared.with(|locked| {
            locked.state.machine.schedule.pinged(now.since(self.began));
            // The sweep goes on.
            locked.actions.notify_maintenance = true;
            locked.place(conn, disposition, now);
            locked.rebalance(now);
        });
    }
}

impl<M: Manager> Drop for Keepalive<M> {
    fn drop(&mut self) {
        self.finish(Disposition::Close(CloseReason::Cancelled));
    }
}
