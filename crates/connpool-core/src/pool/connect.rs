//! One connect: a task of the pool, whichever caller asked for it.

use std::time::Duration;

use crate::error::connect_error::ConnectError;
use crate::machine::capacity::SlotState;
use crate::machine::check_limit::RoundTrips;
use crate::machine::disposition::Disposition;
use crate::machine::health::{ConnId, ConnMeta, VerifiedAt};
use crate::machine::pool::ConnectTicket;
use crate::machine::wait_queue::Source;
use crate::manager::{Manager, Severity};
use crate::observe::close_reason::CloseReason;
use crate::observe::event::Event;
use crate::pool::conn::{Conn, Slot, StartedConnect};
use crate::pool::shared::{Shared, State};
use crate::time::{Instant, jittered};
use crate::util::sync::Arc;
use crate::util::timeout::{Completion, run_guarded};

/// A new connection that fails its first check later than this has lived.
const DEAD_ON_ARRIVAL_WITHIN: Duration = Duration::from_secs(1);

/// A connect that owns its slot. Dropped before it ends, it counts as failed and frees the slot.
pub(crate) struct ConnectTask<M: Manager> {
    shared: Arc<Shared<M>>,
    slot: Option<Slot<Shared<M>>>,
    ticket: ConnectTicket,
    /// A coarse clock may lag behind the time that a timer proved when this began.
    began: Instant,
    /// Drawn at the start: in a drop, the runtime's random numbers may be gone.
    draw: u64,
}

impl<M: Manager> ConnectTask<M> {
    pub(crate) fn new(shared: Arc<Shared<M>>, started: StartedConnect<Shared<M>>) -> Self {
        let draw = shared.runtime.random();
        ConnectTask {
            shared,
            slot: Some(started.slot),
            ticket: started.ticket,
            began: started.at,
            draw,
        }
    }

    pub(crate) async fn run(mut self) {
        if self.shared.snapshot.is_closed() {
            return;
        }
        let now = self.now();
        let should_abort = self.shared.peek(|state| state.machine.should_abort(self.ticket, now));
        if should_abort {
            // The slot alone: nothing was tried, so nothing failed.
            self.shared.with(|locked| locked.state.machine.connect_withdrawn(self.ticket));
            drop(self.slot.take());
            return;
        }
        let shared = &self.shared;
        let limit = shared.snapshot.config().connect_timeout;
        let connect = async { shared.manager.connect_within(limit).await };
        let is_useless = self.is_useless();
        let completion = run_guarded(&*shared.runtime, || limit, is_useless, connect).await;
        let failure = match completion {
            Completion::Done(Ok(inner)) => return self.succeed(inner),
            Completion::Done(Err(error)) => ConnectError::Failed(Arc::new(error)),
            Completion::TimedOut => ConnectError::TimedOut,
            Completion::Panicked(message) => {
                self.shared.events.panicked("connect", &message);
                ConnectError::Panicked
            }
            Completion::Interrupted => ConnectError::Dropped,
        };
        self.fail(failure);
    }

    /// Waits until the pool is closed, or a `clear` abandons this connect.
    async fn is_useless(&self) {
        let shared = &self.shared;
        loop {
            let ends = shared.signals.connects_end.listen();
            let abandoned = || shared.peek(|state| state.machine.is_abandoned(self.ticket));
            if shared.snapshot.is_closed() || abandoned() {
                return;
            }
            ends.await;
        }
    }

    fn now(&self) -> Instant {
        self.shared.runtime.now().max(self.began)
    }

    /// Ends with a connection, opened here or made elsewhere.
    pub(crate) fn succeed(&mut self, inner: M::Connection) {
        let Some(slot) = self.slot.take() else { return };
        let shared = &self.shared;
        let now = self.now();
        // Read before the settings: under the same version, they are the same.
        let version = shared.snapshot.versions().current;
        let config = shared.snapshot.config();
        let took = now.since(self.began);
        let shorten = |limit| jittered(limit, config.lifetime_jitter, self.draw);
        let lifetime = config.max_lifetime.map(shorten);
        let id = shared.counters.created.inc();
        let meta = ConnMeta {
            id: ConnId::new(id),
            created_at: now,
            expires_at: lifetime.and_then(|span| now.checked_add(span)).unwrap_or(Instant::NEVER),
            idle_since: now,
            last_alive: now,
            uses: 0,
            version: self.ticket.version,
            verified: VerifiedAt::new(version, true),
            round_trips: RoundTrips::connected(took),
        };
        let mut conn = Box::new(Conn { inner, slot, meta, pool_ref: None });
        shared.events.tell(|| Event::Opened { id, took });
        shared.with(|locked| {
            if let Some(cell) = conn.slot.lease() {
                cell.opened(id);
            }
            conn.slot.state = SlotState::Open;
            locked.actions.notify_maintenance |= locked.state.machine.connected(self.ticket, now);
            locked.actions.state_changed = true;
            locked.deliver(conn, Source::Fresh, now);
            locked.rebalance(now);
        });
    }

    fn fail(&mut self, failure: ConnectError<M::Error>) {
        let Some(slot) = self.slot.take() else { return };
        let shared = &self.shared;
        let dropped = matches!(failure, ConnectError::Dropped);
        let is_permanent = match &failure {
            ConnectError::Failed(error) => {
                let judged = || shared.manager.severity(error) == Severity::Permanent;
                shared.events.guarded("severity", judged).unwrap_or(false)
            }
            _ => false,
        };
        let told = shared.events.is_observed().then(|| failure.clone());
        let now = self.now();
        let (abandoned, failures, last) = shared.with(|locked| {
            let State { machine, last_failure, .. } = &mut *locked.state;
            locked.actions.state_changed = true;
            let abandoned = dropped && (machine.closed || machine.is_abandoned(self.ticket));
            let counts = machine.connect_failed(self.ticket, is_permanent, dropped, now, self.draw);
            let last = if counts { last_failure.replace(failure) } else { Some(failure) };
            let failures = machine.backoff.failures.get();
            if !abandoned {
                // Before the waiters hear of it.
                shared.counters.connect_failed.inc();
            }
            if counts {
                locked.give_up(now);
            }
            (abandoned, failures, last)
        });
        // Errors are foreign: dropped after unlocking, before the slot is freed.
        drop(last);
        drop(slot);
        if abandoned {
            return;
        }
        if let Some(error) = told {
            shared.events.tell(|| Event::ConnectFailed {
                error: &error,
                took: now.since(self.began),
                failures,
            });
        }
    }
}

impl<M: Manager> Drop for ConnectTask<M> {
    fn drop(&mut self) {
        self.fail(ConnectError::Dropped);
    }
}

/// Records the outcome of a check, if the connection was never borrowed.
///
/// A connection that fails it soon after its connect counts as a failed connect: a backend that
/// accepts and hangs up must not be dialled without rest. One that its peer closed after a longer
/// idle time does not count.
pub(crate) fn report_first_check<M: Manager>(
    shared: &Shared<M>,
    meta: &ConnMeta,
    disposition: Disposition,
) {
    use CloseReason::{Dead, Panicked, Unsolicited};
    let fault = match disposition {
        _ if meta.uses > 0 => return,
        Disposition::Reuse => None,
        Disposition::Close(reason @ (Dead | Unsolicited | Panicked)) => Some(reason),
        Disposition::Close(_) | Disposition::Discard(_) => return,
    };
    if fault.is_none() && !shared.snapshot.is_failing() {
        return;
    }
    let now = shared.runtime.now();
    if fault.is_some() && now.is_past(meta.created_at, DEAD_ON_ARRIVAL_WITHIN) {
        return;
    }
    let draw = shared.runtime.random();
    let last = shared.with(|locked| {
        if let Some(reason) = fault {
            locked.state.machine.dead_on_arrival(meta.created_at, now, draw);
            return locked.state.last_failure.replace(ConnectError::DeadOnArrival(reason));
        }
        if !locked.state.machine.succeeded(meta.created_at) {
            return None;
        }
        // Other waiters may have been waiting for the end of the pause that is over now.
        locked.rebalance(now);
        locked.state.last_failure.take()
    });
    drop(last);
}
