//! Resets a connection after its return, so that what its user left behind is gone soon and the next `get`
//! pays no round trip.

use crate::machine::disposition::Disposition;
use crate::machine::health::Check;
use crate::manager::Manager;
use crate::observe::close_reason::CloseReason;
use crate::pool::acquire::verify::run_check_unless_closed;
use crate::pool::background::run_or_spawn::run_or_spawn;
use crate::pool::shared::{BoxConn, Shared};
use crate::util::sync::Arc;

/// Resets a connection, in the background if that takes time. The machine knows that the reset starts.
pub(super) async fn reset_connection<M: Manager>(
    shared: &Arc<Shared<M>>,
    (id, conn): (u64, BoxConn<M>),
) {
    let reset = Reset { shared: Arc::clone(shared), conn: Some(conn), id };
    run_or_spawn(&*shared.runtime, Box::pin(reset.run())).await;
}

/// The reset of a connection. Dropped in the middle of it, it destroys the connection, whose state is then
/// unknown.
struct Reset<M: Manager> {
    shared: Arc<Shared<M>>,
    conn: Option<BoxConn<M>>,
    id: u64,
}

impl<M: Manager> Reset<M> {
    async fn run(mut self) {
        let Some(conn) = &mut self.conn else { return };
        let (_, rules) = self.shared.snapshot.versions_and_rules();
        let check = Check::of_returned(&rules);
        let check = run_check_unless_closed(&self.shared, conn, check, None);
        let Some(disposition) = check.await else { return };
        self.finish(disposition);
    }

    fn finish(&mut self, disposition: Disposition) {
        let Some(conn) = self.conn.take() else { return };
        let shared = &self.shared;
        let now = shared.runtime.now();
        shared.with(|locked| {
            locked.state.machine.resets.ended(self.id);
            // The next one may start.
            locked.actions.notify_maintenance |= !locked.state.resetting.is_empty();
            locked.place(conn, disposition, now);
            locked.rebalance(now);
        });
    }
}

impl<M: Manager> Drop for Reset<M> {
    fn drop(&mut self) {
        self.finish(Disposition::Close(CloseReason::Cancelled));
    }
}
