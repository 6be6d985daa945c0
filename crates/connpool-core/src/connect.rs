//! Connects: tasks of the pool's own, whoever asked for them.

use event_listener::EventListener;

use crate::bounded::{End, bounded};
use crate::entry::{Live, Slot};
use crate::health::{Stamps, Step};
use crate::ledger::line::Supply;
use crate::moment::jittered;
use crate::seats::Refusal;
use crate::shared::Shared;
use crate::state::State;
use crate::sync::Arc;
use crate::{CloseReason, Manager, Moment};

/// A connect that has its slot. Dropped before it ended, it counts as failed and the slot is free.
pub(crate) struct Begun<M: Manager> {
    shared: Arc<Shared<M>>,
    slot: Option<Slot<M>>,
    generation: u64,
}

impl<M: Manager> Begun<M> {
    /// Takes a slot for a connect; `None` if the pool is just going.
    pub(crate) fn take_slot(shared: &Shared<M>, state: &mut State<M>) -> Option<Self> {
        let me = shared.me.upgrade()?;
        let generation = state.ledger.connect_begins();
        let slot = Slot::connecting(shared.me.clone());
        Some(Begun {
            shared: me,
            slot: Some(slot),
            generation,
        })
    }

    pub(crate) fn spawn(self) {
        let runtime = Arc::clone(&self.shared.runtime);
        runtime.spawn(Box::pin(self.run()));
    }

    async fn run(mut self) {
        let closing = self.shared.closing.listen();
        if self.shared.is_closed() {
            return;
        }
        let end = self.connect(closing).await;
        let Some(slot) = self.slot.take() else { return };
        match end {
            End::Done(Ok(conn)) => self.shared.connected(slot, conn, self.generation),
            End::Done(Err(error)) => {
                self.shared
                    .connect_failed(slot, Refusal::Connect(Arc::new(error)));
            }
            End::OutOfTime => self.shared.connect_failed(slot, Refusal::ConnectTimeout),
            End::Panicked(message) => {
                self.shared
                    .connect_failed(slot, Refusal::ConnectPanicked(message));
            }
            End::Interrupted => self.shared.connect_failed(slot, Refusal::ConnectDropped),
        }
    }

    async fn connect(&self, closing: EventListener) -> End<Result<M::Connection, M::Error>> {
        let limit = self.shared.config.connect_timeout;
        let connect = async { self.shared.manager.connect_within(limit).await };
        bounded(&*self.shared.runtime, limit, closing, connect).await
    }
}

impl<M: Manager> Drop for Begun<M> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.shared.connect_failed(slot, Refusal::ConnectDropped);
        }
    }
}

impl<M: Manager> Shared<M> {
    fn connected(&self, slot: Slot<M>, conn: M::Connection, generation: u64) {
        let now = self.runtime.now();
        let draw = self.runtime.random();
        let stamps = Stamps {
            id: self.counters.created.next(),
            born: now,
            expires: self.expiry(now, draw),
            idle_since: now,
            proven: now,
            uses: 0,
            generation,
        };
        let mut entry = Box::new(Live { conn, slot, stamps });
        self.with(|state, effects| {
            entry.slot.opens(&mut state.ledger);
            effects.progress = true;
            self.place(state, effects, entry, Supply::New, now);
            self.settle(state, effects, now);
        });
    }

    fn connect_failed(&self, slot: Slot<M>, refusal: Refusal<M::Error>) {
        self.counters.connect_failed.up();
        let now = self.runtime.now();
        let draw = self.runtime.random();
        let answers = self.config.fail_fast && !matches!(refusal, Refusal::ConnectDropped);
        let last = self.with(|state, effects| {
            state.ledger.connect_failed(now, draw);
            if answers {
                state.refuse_first(effects, refusal.clone(), now);
            }
            effects.progress = true;
            state.last_failure.replace(refusal)
        });
        drop(last);
        drop(slot);
    }

    /// Notes what the check of a connection that was never lent came to. One that is dead before it
    /// was of any use counts as a failed connect: a backend that accepts and hangs up must not be
    /// dialled without rest.
    pub(crate) fn new_connection_is(&self, step: Step) {
        if step == Step::Pass && !self.is_troubled() {
            return;
        }
        let now = self.runtime.now();
        let draw = self.runtime.random();
        let last = self.with(|state, effects| match step {
            Step::Pass => {
                state.ledger.connect_proved_good();
                // Others may have been waiting for the end of a pause that is over now.
                self.settle(state, effects, now);
                state.last_failure.take()
            }
            Step::Close(CloseReason::Dead | CloseReason::Unsolicited | CloseReason::Panicked) => {
                state.ledger.connect_failed(now, draw);
                None
            }
            Step::Look | Step::Ping | Step::Reset | Step::Close(_) => None,
        });
        drop(last);
    }

    fn expiry(&self, born: Moment, draw: u64) -> Option<Moment> {
        let lifetime = self.config.max_lifetime?;
        born.checked_add(jittered(lifetime, self.config.lifetime_jitter, draw))
    }
}
