//! Closes connections through their manager.

use std::future::pending;

use crate::manager::Manager;
use crate::observe::close_reason::CloseReason;
use crate::observe::event::Event;
use crate::pool::background::run_or_spawn::run_or_spawn;
use crate::pool::conn::Slot;
use crate::pool::shared::{BoxConn, Shared};
use crate::time::Instant;
use crate::util::sync::Arc;
use crate::util::timeout::{Completion, run_guarded};

/// Closes a connection, in the background if that takes time.
pub(super) async fn close_connection<M: Manager>(
    shared: &Arc<Shared<M>>,
    conn: BoxConn<M>,
    reason: CloseReason,
) {
    run_or_spawn(&*shared.runtime, Box::pin(close(Arc::clone(shared), conn, reason))).await;
}

async fn close<M: Manager>(shared: Arc<Shared<M>>, conn: BoxConn<M>, reason: CloseReason) {
    let conn = *conn;
    let id = conn.meta.id();
    // Declared first, dropped last: counted, and its slot freed, when the connection is gone.
    let _closing = Closing {
        shared: Arc::clone(&shared),
        reason,
        id,
        created_at: conn.meta.created_at,
        _slot: conn.slot,
    };
    let close = async { shared.manager.close(conn.inner, reason).await };
    let limit = || {
        let config = shared.snapshot.config();
        if reason.is_unfinished() { config.abandon_timeout } else { config.close_timeout }
    };
    let is_in_the_way = is_in_the_way(&shared, reason);
    let timed_out = match run_guarded(&*shared.runtime, limit, is_in_the_way, close).await {
        Completion::Done(()) => return,
        Completion::Panicked(message) => return shared.events.panicked("close", &message),
        Completion::TimedOut => true,
        Completion::Interrupted => false,
    };
    if timed_out || reason.is_healthy() {
        shared.events.tell(|| Event::CloseCutShort { id, reason, timed_out });
    }
}

/// Waits until a caller waits for the slot, and no other is free. The slot of unfinished work is in nobody's
/// way: it stands for what still goes on at the server.
async fn is_in_the_way<M: Manager>(shared: &Shared<M>, reason: CloseReason) {
    if reason.is_unfinished() {
        return pending().await;
    }
    let expedited = shared.signals.expedite_close.listen();
    if shared.peek(|state| !state.machine.needs_closing_slots()) {
        expedited.await;
    }
}

/// The slot of a connection that is being closed.
struct Closing<M: Manager> {
    shared: Arc<Shared<M>>,
    reason: CloseReason,
    id: u64,
    created_at: Instant,
    _slot: Slot<Shared<M>>,
}

impl<M: Manager> Drop for Closing<M> {
    fn drop(&mut self) {
        let Closing { shared, reason, .. } = self;
        shared.counters.closed(*reason);
        shared.events.tell(|| Event::Closed {
            id: self.id,
            reason: *reason,
            age: shared.age(self.created_at),
        });
    }
}
