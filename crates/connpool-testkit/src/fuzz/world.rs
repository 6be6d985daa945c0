//! The run itself: callers, a backend, a pool, and what must be true of them.

mod checks;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use connpool_core::{Instant, Pool, PooledConnection, Runtime};
use futures_lite::AsyncReadExt;
use futures_lite::future::{block_on, poll_once};

use super::callers::{Caller, Guard, Kind, Polled, assert_fit};
use super::history::{Exchange, History, Keep, Label, Move};
use super::settings::{Ground, Settings};
use super::witness::Witness;
use crate::{FaultyConn, FaultyManager, SimRuntime};

pub(crate) struct World {
    sim: SimRuntime,
    backend: FaultyManager,
    pool: Pool<FaultyManager>,
    witness: Option<Witness>,
    ground: Ground,
    settings: Settings,
    /// How often the settings were changed.
    version: usize,
    /// How often there may have been another driver, or other settings for it.
    era: usize,
    callers: Vec<Caller>,
    out: Vec<Out>,
    detached: Vec<FaultyConn>,
    /// The largest `max_size` so far, and the largest `max_connecting`.
    most: usize,
    most_connecting: usize,
    /// How often the pool was cleared; connects up to this number began before the last time.
    clears: u64,
    stale: usize,
    /// How many connections were added, and what `clears` was when each of them last was.
    added: u64,
    added_at: BTreeMap<u64, u64>,
    /// Connections with which an exchange did not end well.
    spoiled: Rc<RefCell<BTreeSet<u64>>>,
    requests: u64,
    successes: u64,
    slow_gets: u64,
    /// What makes the pool pause before it connects, so far, and when that number last grew.
    troubles: u64,
    trouble_at: Option<Instant>,
    /// The runtime takes no tasks.
    refusing: bool,
}

/// A connection that somebody has.
struct Out {
    guard: Guard,
    label: Option<String>,
    since: Instant,
    era: usize,
}

impl World {
    pub(crate) fn new(history: &History) -> Self {
        let sim = SimRuntime::new(history.seed);
        let backend = FaultyManager::new(sim.clone());
        let History {
            ground, settings, ..
        } = *history;
        if ground.resets {
            backend.with_resets();
        }
        let witness = ground.watch.map(|watch| Witness::new(watch, &ground));
        let builder = backend.pool().config(settings.config());
        let builder = match &witness {
            Some(witness) => builder.observer(witness.clone()),
            None => builder,
        };
        let pool = match builder.build_lazy() {
            Ok(pool) => pool,
            Err(error) => panic!("settings that make no sense were drawn: {error}"),
        };
        if let Some(witness) = &witness {
            witness.observes(&pool);
        }
        World {
            sim,
            backend,
            pool,
            witness,
            ground,
            settings,
            version: 0,
            era: 0,
            callers: Vec::new(),
            out: Vec::new(),
            detached: Vec::new(),
            most: settings.max_size,
            most_connecting: settings.max_connecting.unwrap_or(usize::MAX),
            clears: 0,
            stale: 0,
            added: 0,
            added_at: BTreeMap::new(),
            spoiled: Rc::default(),
            requests: 0,
            successes: 0,
            slow_gets: 0,
            troubles: 0,
            trouble_at: None,
            refusing: false,
        }
    }

    pub(crate) fn make(&mut self, step: &Move) {
        match *step {
            Move::Get(limit) => self.get(limit),
            Move::GetMany(n, limit) => {
                let caller = Caller::many(self.pool.clone(), n, limit, self.accept());
                self.comes(caller);
            }
            Move::GetForExchange(ends) => {
                let caller = Caller::exchange(self.pool.clone(), ends, self.accept());
                self.comes(caller);
            }
            Move::TryGet => self.try_get(),
            Move::Poll(index) => {
                if let Some(index) = pick(index, &self.callers) {
                    self.poll(index);
                }
            }
            Move::Cancel(index) => {
                if let Some(index) = pick(index, &self.callers) {
                    self.goes(index);
                }
            }
            Move::Return(index) => drop(take(index, &mut self.out)),
            Move::Mark(index) => {
                if let Some(mut out) = take(index, &mut self.out) {
                    out.guard.mark_unusable();
                }
            }
            Move::Label(index, label) => self.label(index, label),
            Move::Detach(index) => {
                let out = take(index, &mut self.out);
                let conn = out.map(|out| PooledConnection::detach(out.guard));
                self.detached.extend(conn);
            }
            Move::DropDetached(index) => drop(take(index, &mut self.detached)),
            Move::Add(index) => self.add(index),
            Move::Exchange { guard, ends } => self.exchange(guard, ends),
            Move::ReadAndGiveUp(index) => {
                if let Some(index) = pick(index, &self.out) {
                    let mut byte = [0];
                    let _ = block_on(poll_once(self.out[index].guard.read(&mut byte)));
                }
            }
            Move::Speak(index) => self.to_one(index, |backend, id| backend.speak(id, b"psst")),
            Move::HangUp(index) => self.to_one(index, FaultyManager::hang_up),
            Move::BreakOff(index) => self.to_one(index, FaultyManager::break_off),
            Move::Restart => self.backend.hang_up_all(),
            Move::Clear => self.clear(),
            Move::Resize(max_size) => {
                if self.pool.resize(max_size).is_ok() {
                    let mut settings = self.settings;
                    settings.max_size = max_size;
                    self.are_in_force(settings);
                }
            }
            Move::Reconfigure(ref settings) => {
                let changed = self.pool.reconfigure(settings.config());
                assert_eq!(changed, Ok(()), "legal settings");
                self.version += 1;
                self.are_in_force(**settings);
            }
            Move::Pause => self.pool.pause(),
            Move::Resume => self.pool.resume(),
            Move::Retain(keep) => self.retain(keep),
            Move::Close => self.close(),
            Move::Turns(times) => {
                for _ in 0..times {
                    self.sim.run_one();
                }
            }
            Move::Round => self.round(),
            Move::Leap(time) => self.sim.advance(time),
            Move::ShutDown => {
                self.refusing = true;
                self.era += 1;
                self.sim.shut_down();
            }
            Move::StartAgain => self.start_again(),
            Move::Next(op, act) => {
                self.backend.next(op, [act]);
            }
            Move::Always(op, act) => {
                self.backend.always(op, act);
            }
            Move::Calm => {
                self.backend.calm();
            }
        }
        self.check();
    }

    /// The backend is well again, the pool goes on and is as large as anybody needs, and everybody
    /// gives back what he has: now everybody must be served, and in the end there is nothing left.
    pub(crate) fn end(mut self) -> u64 {
        self.backend.calm();
        self.start_again();
        self.pool.resume();
        let max_size = self.settings.max_size.max(MANY);
        self.make(&Move::Resize(max_size));
        self.detached.clear();
        for _ in 0..40 {
            self.out.clear();
            while let Some(had) = self.callers.iter().position(|caller| caller.has() > 0) {
                self.goes(had);
            }
            self.sim.advance(Duration::from_secs(5));
            self.round();
        }
        self.check();
        let stats = self.pool.stats();
        assert_eq!(self.callers.len(), 0, "nobody was left out: {stats}");
        self.out.clear();
        self.sim.advance(Duration::from_secs(60));
        self.round();
        checks::assert_at_rest_or_closed(&self.pool, &self.backend);
        if !self.pool.is_closed() {
            self.lend_all();
        }
        let World {
            sim, backend, pool, ..
        } = self;
        drop(pool);
        sim.advance(Duration::from_secs(60));
        assert_eq!(backend.alive(), 0, "a connection outlives its pool");
        assert_eq!(sim.tasks(), 0, "a task outlives its pool");
        sim.trace_hash()
    }

    /// Tasks are taken again. Whoever waits moves to the new runtime, which polls him: the pool has
    /// nobody who could have tried again for him meanwhile.
    fn start_again(&mut self) {
        self.refusing = false;
        self.era += 1;
        self.sim.start_again();
        self.callers.iter().for_each(|caller| caller.woken.raise());
    }

    fn lend_all(&mut self) {
        let all = self.settings.max_size;
        for _ in 0..all {
            self.get(Some(Duration::from_secs(60)));
            let last = self.callers.len() - 1;
            self.poll(last);
            self.round();
            self.sim.advance(Duration::from_secs(1));
            self.round();
        }
        let lent = self.out.len();
        assert_eq!(lent, all, "capacity was lost: {}", self.pool.stats());
        self.out.clear();
        self.round();
    }

    // ---- who comes and goes

    fn get(&mut self, limit: Option<Duration>) {
        let caller = Caller::get(&self.pool, limit);
        self.comes(caller);
    }

    fn comes(&mut self, mut caller: Caller) {
        // The others ask the pool only when they are polled.
        if caller.kind == Kind::Get {
            caller.limit = caller.limit.or(self.settings.get_timeout);
        }
        caller.version = self.version;
        self.callers.push(caller);
    }

    fn try_get(&mut self) {
        self.requests += 1;
        // It borrows the pool, which the others do not.
        let pool = self.pool.clone();
        if let Ok(guard) = pool.try_get() {
            self.successes += 1;
            assert!(!pool.is_closed(), "a closed pool has lent");
            assert!(!pool.is_paused(), "a paused pool has lent");
            assert!(
                guard.uses() == 1 || !self.ground.resets,
                "lent by try_get without a reset"
            );
        }
    }

    fn poll(&mut self, index: usize) {
        let now = self.sim.now();
        let caller = &mut self.callers[index];
        if caller.began.is_none() {
            caller.began = Some(now);
            if caller.kind != Kind::Get {
                caller.limit = caller.limit.or(self.settings.get_timeout);
            }
            caller.deadline = caller.limit.and_then(|limit| now.checked_add(limit));
            self.requests += 1;
        }
        let before = caller.has();
        let polled = caller.poll();
        let (began, has, version) = (caller.began, caller.has(), caller.version);
        if has > before {
            // What it got it keeps to itself.
            self.successes += has as u64;
            self.get_ends(began);
        }
        match polled {
            Polled::Waits => return,
            Polled::Ended | Polled::Panicked if has > 0 => {
                let well = self.callers[index].kind == Kind::Exchange(Exchange::Well);
                if !well {
                    self.is_spoiled(index);
                }
            }
            Polled::Ended | Polled::Panicked => self.get_ends(began),
            Polled::Lent(guard) => {
                self.get_ends(began);
                self.lent(guard, version);
            }
        }
        drop(self.callers.remove(index));
    }

    /// A caller gives up, or gives back what he has.
    fn goes(&mut self, index: usize) {
        if self.callers[index].has() == 0 {
            let began = self.callers[index].began;
            drop(self.callers.remove(index));
            self.get_ends(began);
        } else {
            self.is_spoiled(index);
            drop(self.callers.remove(index));
        }
    }

    /// Counts it as slow if it was.
    fn get_ends(&mut self, began: Option<Instant>) {
        let took = began.map(|began| self.sim.now().since(began));
        let slow = self.settings.slow_get_warning;
        self.slow_gets += u64::from(slow.is_some_and(|slow| took.is_some_and(|took| took >= slow)));
    }

    fn is_spoiled(&mut self, index: usize) {
        let conn = self.callers[index].had().conn;
        self.spoiled.borrow_mut().extend(conn);
    }

    /// What everybody does first with what he gets.
    fn accept(&self) -> impl Fn(&mut FaultyConn) + use<> {
        let resets = self.ground.resets;
        let spoiled = Rc::clone(&self.spoiled);
        move |conn| {
            let is_spoiled = spoiled.borrow().contains(&conn.id());
            assert!(!is_spoiled, "lent after a spoiled exchange: {conn:?}");
            if resets {
                conn.used_by(1);
            }
        }
    }

    fn lent(&mut self, mut guard: Guard, version: usize) {
        self.successes += 1;
        assert!(!self.pool.is_closed(), "a closed pool has lent {guard:?}");
        assert!(!self.pool.is_paused(), "a paused pool has lent {guard:?}");
        let (id, connect) = ((*guard).id(), guard.connect());
        match self.added_at.get(&id) {
            Some(clears) => assert_eq!(*clears, self.clears, "added before a clear: {guard:?}"),
            None => assert!(
                connect > self.stale,
                "lent after a clear, though its connect, number {connect}, began before: {guard:?}"
            ),
        }
        if version == self.version {
            // A new one is lent once, however short its life: with a limit of zero there would be
            // none.
            if let Some(limit) = self.settings.max_lifetime.filter(|_| guard.uses() > 1) {
                let age = guard.age();
                assert!(age <= limit, "lent at the age of {age:?}: {guard:?}");
            }
            if let Some(most) = self.settings.max_uses {
                assert!(guard.uses() <= most, "lent too often: {guard:?}");
            }
        }
        assert_fit(&mut guard);
        self.accept()(&mut guard);
        self.out.push(Out {
            guard,
            label: None,
            since: self.sim.now(),
            era: self.era,
        });
    }

    // ---- what is done with a connection

    fn exchange(&mut self, index: usize, ends: Exchange) {
        let Some(index) = pick(index, &self.out) else {
            return;
        };
        let mut out = self.out.swap_remove(index);
        let id = out.guard.id();
        let exchange = out.guard.exchange(async |_| match ends {
            Exchange::Well => Ok(()),
            Exchange::Badly => Err(()),
            Exchange::Panicking => panic!("scripted panic in an exchange"),
            Exchange::Dropped => std::future::pending().await,
        });
        let _ = catch_unwind(AssertUnwindSafe(|| block_on(poll_once(exchange))));
        if ends == Exchange::Well {
            self.out.push(out);
            return;
        }
        // Left to the pool at once: nothing that was spoiled may come back.
        self.spoiled.borrow_mut().insert((*out.guard).id());
        drop(out);
        self.round();
        let back = self.out.iter().any(|out| out.guard.id() == id);
        assert!(!back, "connection {id} was lent after a spoiled exchange");
    }

    fn label(&mut self, index: usize, label: Label) {
        let Some(index) = pick(index, &self.out) else {
            return;
        };
        let out = &mut self.out[index];
        let text = match label {
            Label::Numbered(number) => format!("job {number}"),
            Label::TooLong => "\u{e4}".repeat(1_000),
        };
        out.guard.label(&text);
        out.label = Some(text.chars().take(64).collect());
    }

    /// What whoever took it out has washed comes back.
    fn add(&mut self, index: usize) {
        let Some(mut conn) = take(index, &mut self.detached) else {
            return;
        };
        conn.wash();
        let id = conn.id();
        match self.pool.add(conn) {
            Ok(()) => {
                self.added += 1;
                self.added_at.insert(id, self.clears);
                self.backend.note(|truth| truth.added());
            }
            Err(error) => self.detached.push(error.into_inner()),
        }
    }

    /// Does something at the other end of one of the latest connections.
    fn to_one(&self, index: usize, act: impl FnOnce(&FaultyManager, u64)) {
        let opened = self.backend.with_truth(|truth| truth.opened);
        if let Some(id) = opened.checked_sub(index as u64 % 8) {
            act(&self.backend, id);
        }
    }

    // ---- what is done with the pool

    fn clear(&mut self) {
        self.pool.clear();
        self.clears += 1;
        self.stale = self.backend.with_truth(|truth| truth.connects_at.len());
        let begun = self.pool.stats().connecting;
        self.backend.note(|truth| truth.cleared(begun));
    }

    fn are_in_force(&mut self, settings: Settings) {
        self.settings = settings;
        self.era += 1;
        self.most = self.most.max(settings.max_size);
        let connecting = settings.max_connecting.unwrap_or(usize::MAX);
        self.most_connecting = self.most_connecting.max(connecting);
        assert_eq!(self.pool.config(), settings.config());
    }

    fn retain(&mut self, keep: Keep) {
        let before = self.pool.stats();
        let mut seen = 0;
        let retain = || {
            self.pool.retain(|conn| {
                seen += 1;
                match keep {
                    Keep::All => true,
                    Keep::None => false,
                    Keep::Odd => conn.id() % 2 == 1,
                    Keep::OneThenPanic if seen == 1 => true,
                    Keep::OneThenPanic => panic!("scripted panic of a predicate"),
                }
            })
        };
        let closed = catch_unwind(AssertUnwindSafe(retain));
        match (keep, closed) {
            (Keep::All, Ok(closed)) => assert_eq!(closed, 0),
            (Keep::None, Ok(closed)) => assert_eq!(closed, seen),
            (Keep::Odd | Keep::OneThenPanic, Ok(_)) | (Keep::OneThenPanic, Err(_)) => {}
            (_, Err(_)) => panic!("retain panics: {before}"),
        }
        assert!(seen <= before.available, "saw {seen} of {before}");
    }

    fn close(&mut self) {
        let close = self.pool.close(Duration::ZERO);
        let report = block_on(poll_once(close));
        let report = report.expect("a close without time ends at once");
        self.assert_are_out(&report.still_out);
    }

    /// Everything runs that can, at this moment.
    fn round(&mut self) {
        for _ in 0..100_000 {
            self.sim.settle();
            let Some(next) = self
                .callers
                .iter()
                .position(|caller| caller.woken.is_raised())
            else {
                return self.check_rest();
            };
            self.poll(next);
        }
        panic!("it spins: {}", self.pool.stats());
    }
}

/// More than anybody gathers.
const MANY: usize = 4;

fn pick<T>(index: usize, among: &[T]) -> Option<usize> {
    index.checked_rem(among.len())
}

fn take<T>(index: usize, among: &mut Vec<T>) -> Option<T> {
    pick(index, among).map(|index| among.remove(index))
}
