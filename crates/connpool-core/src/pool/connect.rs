//! Connects: tasks of the pool's own, whoever asked for them.

use std::time::Duration;

use event_listener::EventListener;

use crate::machine::health::{Proof, Stamps, Step};
use crate::machine::pool::Start;
use crate::machine::wait_queue::Supply;
use crate::pool::conn::{Live, Slot};
use crate::pool::seats::Refusal;
use crate::pool::shared::Shared;
use crate::pool::state::State;
use crate::time::jittered;
use crate::util::sync::Arc;
use crate::util::timeout::{End, bounded};
use crate::{CloseReason, Event, Instant, Manager};

/// A new connection that is dead after so long has lived.
const STILLBORN_WITHIN: Duration = Duration::from_secs(1);

/// A connect that has its slot. Dropped before it ended, it counts as failed and the slot is free.
pub(crate) struct Begun<M: Manager> {
    shared: Arc<Shared<M>>,
    slot: Option<Slot<M>>,
    start: Start,
    /// A coarse clock may lag behind the moment that a timer proved when this began.
    began: Instant,
    /// Drawn before anything can go wrong: where chance comes from may be gone in a drop.
    draw: u64,
}

impl<M: Manager> Begun<M> {
    /// Takes a slot for a connect; `None` if the pool is just going.
    pub(crate) fn take_slot(
        shared: &Shared<M>,
        state: &mut State<M>,
        now: Instant,
    ) -> Option<Self> {
        let me = shared.me.upgrade()?;
        let spot = state.spots.take();
        let slot = Slot::connecting(spot, shared.leases.block(spot)?);
        let start = state.ledger.connect_begins(now);
        Some(Begun {
            shared: me,
            slot: Some(slot),
            start,
            began: now,
            draw: 0,
        })
    }

    pub(crate) fn spawn(mut self) {
        let runtime = Arc::clone(&self.shared.runtime);
        self.draw = runtime.random();
        runtime.spawn(Box::pin(self.run()));
    }

    /// There is no need to connect: somebody brings this one.
    pub(crate) fn adopt(mut self, conn: M::Connection) {
        self.draw = self.shared.runtime.random();
        self.succeed(conn);
    }

    async fn run(mut self) {
        let closing = self.shared.closing.listen();
        if self.shared.is_closed() {
            return;
        }
        let now = self.now();
        let stands_back = self
            .shared
            .with(|state, _| state.ledger.stands_back(self.start, now));
        if stands_back {
            // The slot alone: nothing was tried, and nothing has failed.
            drop(self.slot.take());
            return;
        }
        let refusal = match self.connect(closing).await {
            End::Done(Ok(conn)) => return self.succeed(conn),
            End::Done(Err(error)) => Refusal::Connect(Arc::new(error)),
            End::OutOfTime => Refusal::ConnectTimeout,
            End::Panicked(message) => Refusal::ConnectPanicked(message),
            End::Interrupted => Refusal::ConnectDropped,
        };
        self.fail(refusal);
    }

    async fn connect(&self, closing: EventListener) -> End<Result<M::Connection, M::Error>> {
        let limit = self.shared.config().connect_timeout;
        let connect = async { self.shared.manager.connect_within(limit).await };
        bounded(&*self.shared.runtime, limit, closing, connect).await
    }

    fn now(&self) -> Instant {
        self.shared.runtime.now().max(self.began)
    }

    fn succeed(&mut self, conn: M::Connection) {
        let Some(slot) = self.slot.take() else { return };
        let shared = &self.shared;
        let now = self.now();
        // Read before the settings: under the same seal, they are the same.
        let seal = shared.era().seal;
        let stamps = Stamps {
            id: shared.counters.created.next(),
            born: now,
            expires: shared.expiry(now, self.draw),
            idle_since: now,
            proven: now,
            uses: 0,
            generation: self.start.generation,
            proof: Proof::new(seal, true),
        };
        let id = stamps.id;
        let mut entry = Box::new(Live {
            conn,
            slot,
            stamps,
            keeper: None,
        });
        shared.tell(|| Event::Opened {
            id,
            took: now.since(self.began),
        });
        shared.with(|state, effects| {
            effects.rouse_driver |= entry.slot.opens(state, id);
            effects.progress = true;
            shared.place(state, effects, entry, Supply::New, now);
            shared.settle(state, effects, now);
        });
    }

    fn fail(&mut self, refusal: Refusal<M::Error>) {
        let Some(slot) = self.slot.take() else { return };
        let shared = &self.shared;
        let given_up = matches!(refusal, Refusal::ConnectDropped);
        let counts = !given_up || !shared.is_closed();
        if counts {
            shared.counters.connect_failed.up();
        }
        if let Refusal::ConnectPanicked(message) = &refusal {
            shared.panicked("connect", message);
        }
        let error = (counts && shared.is_watched()).then(|| refusal.as_error());
        let now = self.now();
        let mut failures = 0;
        let last = shared.with(|state, effects| {
            failures = state.ledger.failures();
            effects.progress = true;
            if self.start.generation != state.ledger.generation() {
                // Begun before a `clear`, with an old password perhaps: it says nothing of how the
                // backend is now.
                return Some(refusal);
            }
            state.ledger.connect_failed(now, self.draw);
            failures = state.ledger.failures();
            if state.ledger.fails_fast() && !given_up {
                state.refuse_first(effects, refusal.clone(), now);
            }
            state.last_failure.replace(refusal)
        });
        drop(last);
        drop(slot);
        if let Some(error) = error.flatten() {
            shared.tell(|| Event::ConnectFailed {
                error: &*error,
                took: now.since(self.began),
                failures,
            });
        }
    }
}

impl<M: Manager> Drop for Begun<M> {
    fn drop(&mut self) {
        self.fail(Refusal::ConnectDropped);
    }
}

impl<M: Manager> Shared<M> {
    /// Notes what the check of a connection that was never lent, opened at `born`, came to. One
    /// that is dead so soon counts as a failed connect: a backend that accepts and hangs up must not
    /// be dialled without rest. One that has sat idle until its peer had enough of it does not.
    pub(crate) fn new_connection_is(&self, step: Step, born: Instant) {
        let useless = match step {
            Step::Pass => None,
            Step::Close(
                reason @ (CloseReason::Dead | CloseReason::Unsolicited | CloseReason::Panicked),
            ) => Some(reason),
            Step::Look | Step::Ping | Step::Reset | Step::Close(_) => return,
        };
        if useless.is_none() && !self.is_troubled() {
            return;
        }
        let now = self.runtime.now();
        if useless.is_some() && now.is_past(born, STILLBORN_WITHIN) {
            return;
        }
        let draw = self.runtime.random();
        let last = self.with(|state, effects| {
            if let Some(reason) = useless {
                state.ledger.connect_failed(now, draw);
                return state.last_failure.replace(Refusal::Stillborn(reason));
            }
            if !state.ledger.proved_good(born) {
                return None;
            }
            // Others may have been waiting for the end of a pause that is over now.
            self.settle(state, effects, now);
            state.last_failure.take()
        });
        drop(last);
    }

    fn expiry(&self, born: Instant, draw: u64) -> Instant {
        let config = self.config();
        let jitter = config.lifetime_jitter;
        let lifetime = config.max_lifetime;
        let expires = lifetime.and_then(|limit| born.checked_add(jittered(limit, jitter, draw)));
        expires.unwrap_or(Instant::NEVER)
    }
}
