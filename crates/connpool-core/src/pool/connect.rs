//! One connect: a task of the pool, whichever caller asked for it.

use std::time::Duration;

use crate::error::connect_error::ConnectError;
use crate::machine::capacity::SlotState;
use crate::machine::check_limit::RoundTrips;
use crate::machine::disposition::Disposition;
use crate::machine::health::{ConnId, ConnMeta, Origin, VerifiedAt, Versions};
use crate::machine::home::RuntimeId;
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

/// A connect, as a task that was offered to a runtime. Dropped before it ends, it counts as failed and
/// frees the slot.
pub(crate) struct ConnectTask<M: Manager> {
    shared: Arc<Shared<M>>,
    id: u64,
    /// The runtime that it was offered to.
    runtime: Option<RuntimeId>,
    begun: Option<Begun>,
    /// Drawn at the start: in a drop, the runtime's random numbers may be gone.
    draw: u64,
}

#[derive(Clone, Copy)]
struct Begun {
    ticket: ConnectTicket,
    /// A coarse clock may lag behind the time that a timer proved when this was decided.
    at: Instant,
}

impl<M: Manager> ConnectTask<M> {
    pub(crate) fn new(shared: Arc<Shared<M>>, id: u64, runtime: Option<RuntimeId>) -> Self {
        let draw = shared.runtime.random();
        ConnectTask { shared, id, runtime, begun: None, draw }
    }

    /// Creates a connect that was begun already.
    pub(crate) fn begun(
        shared: Arc<Shared<M>>,
        (id, (ticket, at)): (u64, (ConnectTicket, Instant)),
        runtime: Option<RuntimeId>,
    ) -> Self {
        let mut connect = ConnectTask::new(shared, id, runtime);
        connect.begun = Some(Begun { ticket, at });
        connect
    }

    /// Begins the connect, unless another task has, or the pool does without it.
    fn begin(&mut self) -> bool {
        let (id, runtime) = (self.id, self.runtime);
        let now = self.shared.runtime.now();
        let begins = |state: &mut State<M>| {
            let (ticket, at) = state.connecting.begin(id, runtime)?;
            let withdrawn = state.machine.should_abort(ticket, now.max(at));
            Some((Begun { ticket, at }, withdrawn))
        };
        let Some((begun, withdrawn)) = self.shared.peek(begins) else { return false };
        if withdrawn {
            // The slot alone: nothing was tried, so nothing failed.
            let slot = self.shared.with(|locked| {
                locked.state.machine.connect_withdrawn(begun.ticket);
                locked.state.connecting.end(id)
            });
            drop(slot);
            return false;
        }
        self.begun = Some(begun);
        true
    }

    pub(crate) async fn run(mut self) {
        if !self.begin() || self.shared.snapshot.is_closed() {
            return;
        }
        let Some(begun) = self.begun else { return };
        let shared = &self.shared;
        let limit = shared.snapshot.config().connect_timeout;
        let connect = async { shared.manager.connect_within(limit).await };
        let is_useless = self.is_useless(begun.ticket);
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
    async fn is_useless(&self, ticket: ConnectTicket) {
        let shared = &self.shared;
        loop {
            let ends = shared.signals.connects_end.listen();
            let abandoned = || shared.peek(|state| state.machine.is_abandoned(ticket));
            if shared.snapshot.is_closed() || abandoned() {
                return;
            }
            ends.await;
        }
    }

    /// Ends with a connection, opened here or made elsewhere.
    pub(crate) fn succeed(&mut self, inner: M::Connection) {
        let Some((slot, Begun { ticket, at: began })) = self.end() else { return };
        let shared = &self.shared;
        let now = shared.runtime.now().max(began);
        // Read before the settings: under the same version, they are the same.
        let Versions { current: version, home, .. } = shared.snapshot.versions();
        let config = shared.snapshot.config();
        let took = now.since(began);
        let shorten = |limit| jittered(limit, config.lifetime_jitter, self.draw);
        let lifetime = config.max_lifetime.map(shorten);
        let id = shared.counters.created.inc();
        if config.histograms {
            shared.counters.connected(took);
        }
        let announced = shared.announced_limit(&inner).flatten();
        let mut meta = ConnMeta {
            id: ConnId::new(id),
            created_at: now,
            expires_at: lifetime.and_then(|span| now.checked_add(span)).unwrap_or(Instant::NEVER),
            idle_since: now,
            last_alive: now,
            uses: 0,
            origin: Origin::new(ticket.version, self.runtime),
            verified: VerifiedAt::new(version, self.runtime == home),
            round_trips: RoundTrips::connected(took),
        };
        if let Some(left) = announced {
            meta.announced(left, now, (config.max_lifetime, config.lifetime_jitter));
        }
        let successor_due_at = meta.successor_due_at();
        let mut conn = Box::new(Conn { inner, slot, meta, pool_ref: None });
        shared.events.tell(|| Event::Opened { id, took });
        shared.with(|locked| {
            if let Some(cell) = conn.slot.lease() {
                cell.opened(id);
            }
            conn.slot.state = SlotState::Open;
            locked.actions.notify_maintenance |= locked.state.machine.connected(ticket, now);
            if locked.state.machine.capacity.keeps_any() && successor_due_at < Instant::NEVER {
                locked.state.machine.schedule.plan_successor_by(successor_due_at);
                locked.actions.notify_maintenance = true;
            }
            locked.actions.state_changed = true;
            locked.deliver(conn, Source::Fresh, now);
            locked.rebalance(now);
        });
    }

    /// Takes the slot, from which on this has ended. There is none if another task began the connect, or
    /// if the pool moved away from the runtime of this one.
    fn end(&mut self) -> Option<(Slot<Shared<M>>, Begun)> {
        let (id, runtime) = (self.id, self.runtime);
        match self.begun.take() {
            Some(begun) => {
                let slot = self.shared.peek(|state| state.connecting.end(id))?;
                Some((slot, begun))
            }
            None => {
                let unbegun = self.shared.peek(|state| state.connecting.take_back(id, runtime))?;
                let StartedConnect { slot, ticket, at } = unbegun;
                Some((slot, Begun { ticket, at }))
            }
        }
    }

    fn fail(&mut self, failure: ConnectError<M::Error>) {
        let Some((slot, Begun { ticket, at: began })) = self.end() else { return };
        let shared = &self.shared;
        let dropped = matches!(failure, ConnectError::Dropped);
        let is_permanent = match &failure {
            ConnectError::Failed(error) => shared.judge(error) == Severity::Permanent,
            _ => false,
        };
        let told = shared.events.is_observed().then(|| failure.clone());
        let now = shared.runtime.now().max(began);
        let (abandoned, failures, last) = shared.with(|locked| {
            let State { machine, last_failure, .. } = &mut *locked.state;
            locked.actions.state_changed = true;
            let abandoned = dropped && (machine.closed || machine.is_abandoned(ticket));
            let counts = machine.connect_failed(ticket, is_permanent, dropped, now, self.draw);
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
                took: now.since(began),
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
        if !locked.state.machine.succeeded(meta.created_at, now) {
            return None;
        }
        // Other waiters may have been waiting for the end of the pause that is over now.
        locked.rebalance(now);
        locked.state.last_failure.take()
    });
    drop(last);
}
