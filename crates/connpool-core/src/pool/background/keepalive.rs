//! Pings of idle connections, so that neither a peer nor anything on the way forgets them.
//!
//! The sweep finds what is due; the ping is a task of its own, so that the driver has its hands
//! free meanwhile.

use crate::machine::health::{Check, Found, Step};
use crate::pool::conn::Entry;
use crate::pool::idle::Stamped;
use crate::pool::shared::Shared;
use crate::util::sync::Arc;
use crate::util::timeout::{End, bounded};
use crate::{CloseReason, Manager};

/// An idle connection whose ping is due. Dropped in the middle of it, the connection is destroyed:
/// nobody knows what is still under way on it.
pub(crate) struct Keepalive<M: Manager> {
    shared: Arc<Shared<M>>,
    entry: Option<Entry<M>>,
    check: Check,
}

impl<M: Manager> Keepalive<M> {
    /// The caller has told the ledger that a ping begins.
    pub(crate) fn new(shared: Arc<Shared<M>>, entry: Entry<M>, check: Check) -> Self {
        Keepalive {
            shared,
            entry: Some(entry),
            check,
        }
    }

    pub(crate) fn spawn(self) {
        let runtime = Arc::clone(&self.shared.runtime);
        runtime.spawn(Box::pin(self.run()));
    }

    async fn run(mut self) {
        let closing = self.shared.closing.listen();
        let Some(entry) = &mut self.entry else { return };
        let shared = &*self.shared;
        let step = if shared.is_closed() {
            Step::Pass
        } else {
            // Without a ping_timeout, no `get` is there whose time would be up some day.
            let config = shared.config();
            let limit = config.ping_timeout.or(config.keepalive);
            let conn = &mut entry.conn;
            let ping = async { shared.manager.ping(conn).await };
            let check = match bounded(&*shared.runtime, limit, closing, ping).await {
                End::Done(Ok(())) => {
                    let now = shared.moment();
                    let (era, rules) = (shared.era(), shared.settings.rules());
                    entry.stamps.proves_alive(now, era, &rules);
                    self.check.done(&entry.stamps, &rules)
                }
                End::Done(Err(_)) => self.check.found(Found::Failed),
                End::OutOfTime => self.check.found(Found::TimedOut),
                End::Panicked(message) => {
                    shared.panicked("ping", &message);
                    self.check.found(Found::Panicked)
                }
                // The pool is being closed.
                End::Interrupted => return,
            };
            match check.step() {
                Step::Look => check.found(shared.look(&mut entry.conn)).step(),
                step => step,
            }
        };
        if !entry.is_used() {
            shared.new_connection_is(step, entry.stamps.born);
        }
        self.finish(step);
    }

    fn finish(&mut self, step: Step) {
        let Some(entry) = self.entry.take() else {
            return;
        };
        let shared = &self.shared;
        let now = shared.runtime.now();
        shared.with(|state, effects| {
            state.ledger.ping_ends();
            // The sweep goes on.
            effects.rouse_driver = true;
            shared.put_away(state, effects, entry, step, now);
            shared.settle(state, effects, now);
        });
    }
}

impl<M: Manager> Drop for Keepalive<M> {
    fn drop(&mut self) {
        self.finish(Step::Close(CloseReason::Cancelled));
    }
}
