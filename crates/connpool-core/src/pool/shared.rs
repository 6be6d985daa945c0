//! What all handles, guards and tasks of a pool share, and the ways of a connection through it.

use std::collections::VecDeque;
use std::time::Duration;

use event_listener::Event as Signal;

use crate::config::PoolConfig;
use crate::machine::health::{self, Check, Clock, Era, Found, Purpose, Rules, Step};
use crate::machine::pool::{Figures, Hold, Ledger, Posture};
use crate::machine::slab::{Spot, Spots};
use crate::machine::wait_queue::Supply;
use crate::observe::holders::Leases;
use crate::observe::stats::{Counters, Stats};
use crate::pool::acquire::fast::Return;
use crate::pool::acquire::wait::Plight;
use crate::pool::actions::Effects;
use crate::pool::batch::Turnstile;
use crate::pool::conn::{Entry, Told};
use crate::pool::idle::{IdleSet, Stamped, Tally};
use crate::pool::seats::{Refusal, Seats};
use crate::pool::settings::Settings;
use crate::pool::snapshot::Gate;
use crate::pool::state::{DriverState, State, see_off};
use crate::util::sync::{Arc, Mutex, Weak};
use crate::{CloseReason, Diagnosis, Event, Instant, Manager, Observer, Phase, Runtime};

/// How many connections are dealt with under one lock, or before others get the thread.
pub(crate) const AT_ONCE: usize = 256;

pub(crate) struct Shared<M: Manager> {
    pub(crate) manager: M,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) observer: Option<Box<dyn Observer>>,
    pub(crate) settings: Settings,
    pub(crate) name: Arc<str>,
    pub(crate) gate: Gate,
    pub(crate) idle: IdleSet<Entry<M>>,
    state: Mutex<State<M>>,
    pub(crate) counters: Counters,
    pub(crate) leases: Leases<Weak<Shared<M>>>,
    /// For the driver.
    pub(crate) work: Signal,
    /// For `build` and `close`, and for those who gather more than there may be.
    pub(crate) progress: Signal,
    /// For connects under way.
    pub(crate) closing: Signal,
    /// For goodbyes under way.
    pub(crate) hurry: Signal,
    /// For those who gather several connections.
    pub(crate) turnstile: Turnstile,
    pub(crate) me: Weak<Shared<M>>,
}

impl<M: Manager> Shared<M> {
    pub(crate) fn new(
        manager: M,
        runtime: Arc<dyn Runtime>,
        mut config: PoolConfig,
        observer: Option<Box<dyn Observer>>,
    ) -> Arc<Self> {
        let state = State {
            ledger: Ledger::new(&config),
            seats: Seats::default(),
            spots: Spots::default(),
            farewell: VecDeque::new(),
            driver: DriverState::Absent,
            last_failure: None,
            legacy: None,
        };
        let name = match &config.name {
            Some(name) => Arc::from(name.as_str()),
            None => Arc::from(format!("pool-{:08}", runtime.random() % 100_000_000)),
        };
        config.name = Some(String::from(&*name));
        let idle = IdleSet::new(config.idle_order, config.max_idle);
        let (resets, looks) = (manager.needs_reset(), manager.has_liveness());
        Arc::new_cyclic(|me| Shared {
            manager,
            runtime,
            name,
            observer,
            settings: Settings::new(config, resets, looks),
            gate: Gate::new(),
            idle,
            state: Mutex::new(state),
            counters: Counters::default(),
            leases: Leases::new(me.clone()),
            work: Signal::new(),
            progress: Signal::new(),
            closing: Signal::new(),
            hurry: Signal::new(),
            turnstile: Turnstile::default(),
            me: me.clone(),
        })
    }

    /// Changes the state, shows the gate what came of it, and does outside of the lock what was
    /// decided under it.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State<M>, &mut Effects<M>) -> R) -> R {
        let watched = self.is_watched();
        let mut effects = Effects::new(watched);
        let result = {
            let mut state = self.state.lock();
            let before = watched.then(|| state.ledger.posture());
            let result = change(&mut state, &mut effects);
            if let Some(before) = before {
                tell_what_changed(&mut effects, before, state.ledger.posture());
            }
            self.publish(&state);
            result
        };
        effects.perform(self);
        result
    }

    /// Looks at the state, or takes from it what no figure counts and nobody else may wait for.
    pub(crate) fn inside<R>(&self, look: impl FnOnce(&mut State<M>) -> R) -> R {
        look(&mut self.state.lock())
    }

    /// Shows the gate how things stand. To be called before a look at the idle set that must not
    /// miss what is put there on the fast path.
    pub(crate) fn publish(&self, state: &State<M>) {
        let detour = self.observer.is_some();
        self.gate.publish(state, detour);
    }

    // ---- taking out

    /// An idle connection, if nobody stands in line and nothing else is in the way.
    #[inline]
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
        if self.settings.needs_reset() {
            self.idle.take_oldest(false)
        } else {
            self.idle.take()
        }
    }

    /// The time, if any rule asks for it.
    #[inline]
    pub(crate) fn moment(&self) -> Instant {
        match self.settings.clock() {
            Clock::Recent => self.runtime.recent(),
            Clock::None => Instant::ORIGIN,
            Clock::Precise => self.runtime.now(),
        }
    }

    /// The time, as precisely as the settings want it.
    pub(crate) fn about_now(&self) -> Instant {
        match self.settings.clock() {
            Clock::Precise => self.runtime.now(),
            Clock::Recent | Clock::None => self.runtime.recent(),
        }
    }

    /// Begins a check and takes it as far as it goes without waiting.
    #[inline]
    pub(crate) fn check(&self, entry: &mut Entry<M>, purpose: Purpose, now: Instant) -> Check {
        let era = self.era();
        let rules = self.settings.rules();
        let begin = |spare| Check::begin(purpose, &entry.stamps, &rules, era, spare, now);
        let mut check = begin(true);
        if check.step() == Step::Close(CloseReason::Idle) && !self.can_spare_one() {
            check = begin(false);
        }
        if check.step() == Step::Look {
            check = check.found(self.look(&mut entry.conn));
        } else if check.is_over_a_limit() && !entry.is_used() && self.is_troubled() {
            self.learn_from(entry, &rules, era, now);
        }
        check
    }

    /// A new connection that is over a limit says all the same whether the backend is well again: if
    /// none lived long enough to be lent, nothing else would end the trouble.
    #[cold]
    fn learn_from(&self, entry: &mut Entry<M>, rules: &Rules, era: Era, now: Instant) {
        let check = Check::begin(Purpose::LendNew, &entry.stamps, rules, era, true, now);
        let found = self.look(&mut entry.conn);
        self.new_connection_is(check.found(found).step(), entry.stamps.born);
    }

    /// Why a connection must not be lent that has just passed its checks.
    #[inline]
    pub(crate) fn unwanted(&self, entry: &Entry<M>) -> Option<CloseReason> {
        if self.gate.is_closed() {
            Some(CloseReason::PoolClosed)
        } else if entry.stamps.generation != self.gate.generation() {
            Some(CloseReason::Cleared)
        } else {
            None
        }
    }

    #[inline]
    pub(crate) fn look(&self, conn: &mut M::Connection) -> Found {
        let mut found = Found::Panicked;
        let looked = self.catch("liveness", || {
            self.runtime
                .unconstrained(&mut || found = self.manager.liveness(conn).into());
        });
        looked.map_or(Found::Panicked, |()| found)
    }

    fn can_spare_one(&self) -> bool {
        self.state.lock().ledger.can_spare_one()
    }

    // ---- bringing back

    /// A guard was dropped, and its lease is over.
    #[inline]
    pub(crate) fn take_back(&self, mut entry: Entry<M>) {
        self.lease_ends(&entry);
        let panicking = std::thread::panicking();
        self.tell(|| Event::Returned {
            id: entry.stamps.id,
            held: Some(self.age(entry.stamps.idle_since)),
        });
        if panicking || entry.slot.told != Told::NOTHING {
            if let Some(reason) = self.forget_what_was_told(&mut entry, panicking) {
                return self.lose(entry, reason);
            }
        }
        match self.catch("is_reusable", || self.manager.is_reusable(&mut entry.conn)) {
            Some(true) => {}
            Some(false) => return self.lose(entry, CloseReason::NotReusable),
            None => return self.lose(entry, CloseReason::Panicked),
        }
        let now = self.moment();
        match self.lets_return(&entry.stamps, now) {
            Some(Return::ToTheIdle) => {
                entry.stamps.comes_back(now);
                self.make_idle(entry);
            }
            Some(Return::ToTheLine) => {
                entry.stamps.comes_back(now);
                self.pass_on(entry, Supply::Used);
            }
            None => self.judge_return(entry, now),
        }
    }

    /// What comes back in good order, as far as it can tell, and not on the shortest way.
    fn judge_return(&self, mut entry: Entry<M>, now: Instant) {
        let (era, rules) = (self.era(), self.settings.rules());
        entry.stamps.comes_back(now);
        entry.stamps.proves_alive(now, era, &rules);
        match health::on_return(&entry.stamps, &rules, era.generation, now) {
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
    #[inline]
    pub(crate) fn give_back(&self, entry: Entry<M>) {
        if !self.gate.lets_connections_pass() {
            return self.pass_on(entry, Supply::Used);
        }
        self.make_idle(entry);
    }

    #[inline]
    fn make_idle(&self, entry: Entry<M>) {
        let generation = entry.stamps.generation;
        if let Err(entry) = self.idle.put_here(entry) {
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
        if self.idle.is_crowded() {
            self.with(|_, _| self.idle.widen_if_crowded());
        }
    }

    /// A connection goes to whom it serves, or to where it belongs.
    pub(crate) fn pass_on(&self, entry: Entry<M>, supply: Supply) {
        let now = self.about_now();
        self.with(|state, effects| self.place(state, effects, entry, supply, now));
    }

    /// A connection that must not be lent again is closed off the caller's path, by the driver if
    /// there is one.
    pub(crate) fn retire(&self, entry: Entry<M>, reason: CloseReason) {
        let now = self.runtime.now();
        self.with(|state, effects| self.put_away(state, effects, entry, Step::Close(reason), now));
    }

    /// Closes a connection here and now. The slot is free when it is gone.
    pub(crate) fn destroy(&self, entry: Entry<M>, reason: CloseReason) {
        self.counters.closed(reason);
        let (id, born) = (entry.stamps.id, entry.stamps.born);
        // Catches what the connection's own drop may throw; its slot is freed in any case.
        self.catch("drop", move || drop(entry));
        self.tell(|| Event::Closed {
            id,
            reason,
            age: self.age(born),
        });
    }

    // ---- under the lock

    /// Puts one connection where it belongs now.
    pub(crate) fn place(
        &self,
        state: &mut State<M>,
        effects: &mut Effects<M>,
        entry: Entry<M>,
        supply: Supply,
        now: Instant,
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

    /// Puts a connection where it belongs whose check came to this.
    pub(crate) fn put_away(
        &self,
        state: &mut State<M>,
        effects: &mut Effects<M>,
        entry: Entry<M>,
        step: Step,
        now: Instant,
    ) {
        match step {
            Step::Close(reason) => {
                if reason.is_breakage() {
                    state.ledger.found_broken(now);
                }
                see_off(state, effects, entry, reason);
            }
            Step::Look | Step::Ping | Step::Reset | Step::Pass => {
                self.place(state, effects, entry, Supply::Used, now);
            }
        }
    }

    /// Serves the line: every event that frees capacity comes through here.
    pub(crate) fn settle(&self, state: &mut State<M>, effects: &mut Effects<M>, now: Instant) {
        self.serve_idle(state, effects, now);
        state.give_up_if_broken(effects, now);
        if state.ledger.lacking() > 0 {
            state.call_for_connects(effects);
        }
        effects.progress |= state.ledger.is_vacant();
    }

    /// Brings the idle set in line with the rest: gives it to the line, and empties it of what
    /// there must not be.
    pub(crate) fn serve_idle(&self, state: &mut State<M>, effects: &mut Effects<M>, now: Instant) {
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
    pub(crate) fn slot_freed(&self, held: Hold, spot: Spot) {
        let now = self.runtime.now();
        self.with(|state, effects| {
            state.ledger.slot_freed(held);
            state.spots.give_back(spot);
            self.settle(state, effects, now);
        });
    }

    // ---- the whole

    #[inline]
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

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    #[inline]
    pub(crate) fn era(&self) -> Era {
        self.gate.era()
    }

    pub(crate) fn is_troubled(&self) -> bool {
        self.gate.is_troubled()
    }

    pub(crate) fn clear(&self) {
        self.with(|state, effects| {
            state.ledger.next_generation();
            effects.tell(Event::Cleared);
        });
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
    pub(crate) fn figures(&self) -> (Figures, Tally) {
        let state = self.state.lock();
        // Under the lock no slot can be freed, so that nothing idle goes uncounted.
        (state.ledger.figures(), self.idle.tally())
    }

    pub(crate) fn stats(&self) -> Stats {
        let (figures, tally) = self.figures();
        self.counters.snapshot(figures, tally)
    }

    /// How the pool stands, for somebody who waited for so long and fared like this.
    pub(crate) fn diagnosis(&self, waited: Duration, plight: Plight) -> Box<Diagnosis> {
        let now = self.runtime.now();
        let (figures, available, last_error, failed_at) = {
            let state = self.state.lock();
            (
                state.ledger.figures(),
                self.idle.len(),
                state.last_failure.as_ref().and_then(Refusal::as_error),
                state.ledger.last_failure_at(),
            )
        };
        let himself = usize::from(plight.stood_in_line);
        Box::new(Diagnosis {
            pool: Arc::clone(&self.name),
            waited,
            queue_position: plight.place,
            max_size: figures.max_size,
            size: figures.size,
            active: figures.size.saturating_sub(available),
            available,
            connecting: figures.connecting,
            waiting: figures.waiting.saturating_add(himself),
            paused: figures.paused,
            breaker: figures.breaker,
            last_error_ago: last_error.as_ref().and(failed_at).map(|at| now.since(at)),
            last_error,
            longest_held: self.leases.longest(3, now),
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

fn tell_what_changed<M: Manager>(effects: &mut Effects<M>, before: Posture, now: Posture) {
    if before.breaker != now.breaker {
        effects.tell(Event::Breaker {
            from: before.breaker,
            to: now.breaker,
        });
    }
    if before.epoch != now.epoch {
        effects.tell(Event::Burst);
    }
    match (before.paused, now.paused) {
        (false, true) => effects.tell(Event::Paused),
        (true, false) => effects.tell(Event::Resumed),
        (false, false) | (true, true) => {}
    }
}
