//! What all handles, guards and tasks of a pool share, and the ways of a connection through it.

use std::collections::VecDeque;

use event_listener::Event;

use crate::bounded::catch;
use crate::config::PoolConfig;
use crate::effects::Effects;
use crate::entry::Entry;
use crate::gate::Gate;
use crate::health::{self, Check, Conduct, Era, Found, Purpose, Rules, Step};
use crate::idle::IdleSet;
use crate::ledger::line::Supply;
use crate::ledger::{Figures, Hold, Ledger};
use crate::seats::{Refusal, Seats};
use crate::state::{DriverState, State, see_off};
use crate::stats::{Counters, Stats};
use crate::sync::{Arc, Mutex, Weak};
use crate::{CloseReason, Diagnosis, Manager, Moment, Phase, Runtime};

/// How many connections are dealt with under one lock, or before others get the thread.
pub(crate) const AT_ONCE: usize = 256;

pub(crate) struct Shared<M: Manager> {
    pub(crate) manager: M,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) config: PoolConfig,
    pub(crate) name: Arc<str>,
    rules: Rules,
    needs_clock: bool,
    gate: Gate,
    pub(crate) idle: IdleSet<Entry<M>>,
    state: Mutex<State<M>>,
    pub(crate) counters: Counters,
    /// For the driver.
    pub(crate) work: Event,
    /// For `build` and `close`.
    pub(crate) progress: Event,
    /// For connects under way.
    pub(crate) closing: Event,
    /// For goodbyes under way.
    pub(crate) hurry: Event,
    pub(crate) me: Weak<Shared<M>>,
}

impl<M: Manager> Shared<M> {
    pub(crate) fn new(manager: M, runtime: Arc<dyn Runtime>, config: PoolConfig) -> Arc<Self> {
        let rules = Rules {
            idle_timeout: config.idle_timeout,
            max_lifetime: config.max_lifetime,
            max_uses: config.max_uses,
            ping_after: config.ping_after,
            liveness_after: config.liveness_after,
            keepalive: config.keepalive,
            resets: manager.resets(),
        };
        let state = State {
            ledger: Ledger::new(&config),
            seats: Seats::default(),
            farewell: VecDeque::new(),
            driver: DriverState::Absent,
            last_failure: None,
            legacy: None,
        };
        let name = match &config.name {
            Some(name) => Arc::from(name.as_str()),
            None => Arc::from(format!("pool-{:08}", runtime.random() % 100_000_000)),
        };
        Arc::new_cyclic(|me| Shared {
            manager,
            runtime,
            name,
            needs_clock: rules.need_clock(),
            rules,
            gate: Gate::new(),
            idle: IdleSet::new(config.idle_order, config.max_idle),
            config,
            state: Mutex::new(state),
            counters: Counters::default(),
            work: Event::new(),
            progress: Event::new(),
            closing: Event::new(),
            hurry: Event::new(),
            me: me.clone(),
        })
    }

    /// Changes the state, shows the gate what came of it, and does outside of the lock what was
    /// decided under it.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State<M>, &mut Effects<M>) -> R) -> R {
        let mut effects = Effects::new();
        let result = {
            let mut state = self.state.lock();
            let result = change(&mut state, &mut effects);
            self.publish(&state);
            result
        };
        effects.perform(self);
        result
    }

    /// Shows the gate how things stand. To be called before a look at the idle set that must not
    /// miss what is put there on the fast path.
    pub(crate) fn publish(&self, state: &State<M>) {
        self.gate.publish(state);
    }

    // ---- taking out

    /// An idle connection, if nobody stands in line and nothing else is in the way.
    pub(crate) fn take_idle(&self) -> Option<Entry<M>> {
        if self.gate.lets_getters_pass() {
            self.idle.take()
        } else {
            None
        }
    }

    /// The same for those who neither wait nor reset, and for whom there need be no driver.
    pub(crate) fn take_idle_as_is(&self) -> Option<Entry<M>> {
        if !self.gate.lets_connections_pass() {
            return None;
        }
        if self.rules.resets {
            self.idle.take_oldest(false)
        } else {
            self.idle.take()
        }
    }

    /// The time, if any rule asks for it.
    pub(crate) fn moment(&self) -> Moment {
        if self.needs_clock {
            self.runtime.now()
        } else {
            Moment::ORIGIN
        }
    }

    /// Begins a check and takes it as far as it goes without waiting.
    pub(crate) fn check(&self, entry: &mut Entry<M>, purpose: Purpose) -> Check {
        let now = self.moment();
        let era = self.era();
        let begin = |spare| Check::begin(purpose, &entry.stamps, &self.rules, era, spare, now);
        let mut check = begin(true);
        if check.step() == Step::Close(CloseReason::Idle) && !self.can_spare_one() {
            check = begin(false);
        }
        if check.step() == Step::Look {
            check = check.found(self.look(&mut entry.conn));
        }
        check
    }

    /// Why a connection must not be lent that has just passed its checks.
    pub(crate) fn unwanted(&self, entry: &Entry<M>) -> Option<CloseReason> {
        if self.gate.is_closed() {
            Some(CloseReason::PoolClosed)
        } else if entry.stamps.generation != self.gate.generation() {
            Some(CloseReason::Cleared)
        } else {
            None
        }
    }

    pub(crate) fn look(&self, conn: &mut M::Connection) -> Found {
        let mut found = Found::Panicked;
        let looked = catch(|| {
            self.runtime
                .unconstrained(&mut || found = self.manager.liveness(conn).into());
        });
        looked.map_or(Found::Panicked, |()| found)
    }

    fn can_spare_one(&self) -> bool {
        self.state.lock().ledger.can_spare_one()
    }

    // ---- bringing back

    /// A guard was dropped.
    pub(crate) fn take_back(&self, mut entry: Entry<M>, conduct: Conduct) {
        if let Some(reason) = conduct.spoiled() {
            return self.lose(entry, reason);
        }
        match catch(|| self.manager.is_reusable(&mut entry.conn)) {
            Ok(true) => {}
            Ok(false) => return self.lose(entry, CloseReason::NotReusable),
            Err(_) => return self.lose(entry, CloseReason::Panicked),
        }
        let now = self.moment();
        let era = self.era();
        entry.stamps.idle_since = now;
        entry.stamps.proves_alive(now, era);
        match health::on_return(&entry.stamps, &self.rules, era.generation, now) {
            Some(reason) => self.retire(entry, reason),
            None => self.give_back(entry),
        }
    }

    /// What a user brought back cannot be lent again.
    #[cold]
    fn lose(&self, entry: Entry<M>, reason: CloseReason) {
        let now = self.runtime.now();
        self.with(|state, _| state.ledger.lost_by_user(now));
        self.destroy(entry, reason);
    }

    /// A connection in good order becomes idle, or goes to the first in line.
    pub(crate) fn give_back(&self, entry: Entry<M>) {
        if !self.gate.lets_connections_pass() {
            return self.pass_on(entry, Supply::Used);
        }
        let generation = entry.stamps.generation;
        if let Err(entry) = self.idle.put(entry) {
            return self.retire(entry, CloseReason::Overflow);
        }
        // Somebody may have come into line, or the pool may have been closed or cleared, after the
        // first look at the gate and before the put.
        if !self.gate.lets_connections_pass() {
            let now = self.runtime.now();
            self.with(|state, effects| self.settle(state, effects, now));
        }
        if self.gate.generation() != generation {
            self.sort_out_idle();
        }
    }

    /// A connection goes to whom it serves, or to where it belongs.
    pub(crate) fn pass_on(&self, entry: Entry<M>, supply: Supply) {
        let now = self.runtime.now();
        self.with(|state, effects| self.place(state, effects, entry, supply, now));
    }

    /// A connection that must not be lent again is closed off the caller's path, by the driver if
    /// there is one.
    pub(crate) fn retire(&self, entry: Entry<M>, reason: CloseReason) {
        let broken_at = reason.is_breakage().then(|| self.runtime.now());
        self.with(|state, effects| {
            if let Some(now) = broken_at {
                state.ledger.found_broken(now);
            }
            see_off(state, effects, entry, reason);
        });
    }

    /// Closes a connection here and now. The slot is free when it is gone.
    pub(crate) fn destroy(&self, entry: Entry<M>, reason: CloseReason) {
        self.counters.closed(reason);
        // Catches what the connection's own drop may throw; its slot is freed in any case.
        let _ = catch(move || drop(entry));
    }

    // ---- under the lock

    /// Puts one connection where it belongs now.
    pub(crate) fn place(
        &self,
        state: &mut State<M>,
        effects: &mut Effects<M>,
        entry: Entry<M>,
        supply: Supply,
        now: Moment,
    ) {
        let ledger = &state.ledger;
        let unwanted = if ledger.is_closed() {
            Some(CloseReason::PoolClosed)
        } else if entry.stamps.generation != ledger.generation() {
            Some(CloseReason::Cleared)
        } else if ledger.surplus() > 0 {
            Some(CloseReason::Shrunk)
        } else {
            None
        };
        if let Some(reason) = unwanted {
            return see_off(state, effects, entry, reason);
        }
        let Some(entry) = state.hand_over(effects, entry, supply, now) else {
            return;
        };
        if let Err(entry) = self.idle.put(entry) {
            see_off(state, effects, entry, CloseReason::Overflow);
        }
    }

    /// Serves the line: every event that frees capacity comes through here.
    pub(crate) fn settle(&self, state: &mut State<M>, effects: &mut Effects<M>, now: Moment) {
        self.serve_idle(state, effects, now);
        state.give_up_if_broken(effects, now);
        if state.ledger.lacking() > 0 {
            state.call_for_connects(effects);
        }
        effects.progress |= state.ledger.is_vacant();
    }

    /// Brings the idle set in line with the rest: gives it to the line, and empties it of what
    /// there must not be.
    pub(crate) fn serve_idle(&self, state: &mut State<M>, effects: &mut Effects<M>, now: Moment) {
        while state.ledger.is_closed() || state.ledger.wants_used(now) {
            let Some(entry) = self.idle.take() else {
                return;
            };
            self.place(state, effects, entry, Supply::Used, now);
        }
        let surplus = state.ledger.surplus();
        for entry in (0..surplus).map_while(|_| self.take_any_oldest()) {
            see_off(state, effects, entry, CloseReason::Shrunk);
        }
    }

    fn take_any_oldest(&self) -> Option<Entry<M>> {
        self.idle
            .take_oldest(false)
            .or_else(|| self.idle.take_oldest(true))
    }

    /// A slot is empty: whatever was in it is gone.
    pub(crate) fn slot_freed(&self, held: Hold) {
        let now = self.runtime.now();
        self.with(|state, effects| {
            state.ledger.slot_freed(held);
            self.settle(state, effects, now);
        });
    }

    // ---- the whole

    pub(crate) fn is_paused(&self) -> bool {
        self.gate.is_paused()
    }

    pub(crate) fn pause(&self) {
        self.with(|state, _| state.ledger.pause());
    }

    pub(crate) fn resume(&self) {
        let now = self.runtime.now();
        self.with(|state, effects| {
            state.ledger.resume();
            // The gate first: what comes back on the fast path is then found by whoever puts it.
            self.publish(state);
            self.settle(state, effects, now);
        });
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    pub(crate) fn era(&self) -> Era {
        self.gate.era()
    }

    pub(crate) fn is_troubled(&self) -> bool {
        self.gate.is_troubled()
    }

    pub(crate) fn clear(&self) {
        self.with(|state, _| state.ledger.next_generation());
        self.sort_out_idle();
    }

    /// Puts everything that is idle where it belongs now.
    fn sort_out_idle(&self) {
        let now = self.runtime.now();
        let rest = self.with(|state, effects| {
            let mut all = self.idle.take_all();
            for entry in all.by_ref().take(AT_ONCE) {
                self.place(state, effects, entry, Supply::Used, now);
            }
            all
        });
        // The others not under the lock: there may be many.
        for entry in rest {
            self.pass_on(entry, Supply::Used);
        }
    }

    /// The ledger's figures and how many are idle, of one moment.
    pub(crate) fn figures(&self) -> (Figures, usize) {
        let state = self.state.lock();
        // Under the lock no slot can be freed, so that nothing idle goes uncounted.
        (state.ledger.figures(), self.idle.len())
    }

    pub(crate) fn stats(&self) -> Stats {
        let (figures, available) = self.figures();
        self.counters.snapshot(figures, available)
    }

    pub(crate) fn diagnosis(&self, waited: std::time::Duration) -> Box<Diagnosis> {
        let (figures, available) = self.figures();
        let last_error = self
            .state
            .lock()
            .last_failure
            .as_ref()
            .and_then(Refusal::as_error);
        Box::new(Diagnosis {
            pool: Arc::clone(&self.name),
            waited,
            max_size: figures.max_size,
            size: figures.size,
            active: figures.size.saturating_sub(available),
            available,
            connecting: figures.connecting,
            waiting: figures.waiting,
            last_error,
        })
    }

    /// What a wait that is over was for.
    pub(crate) fn wait_phase(&self) -> Phase {
        if self.state.lock().ledger.is_connecting() {
            Phase::Connect
        } else {
            Phase::Wait
        }
    }
}
