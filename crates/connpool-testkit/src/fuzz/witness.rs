//! An observer that keeps books of its own, panics, and uses the pool that it observes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use connpool_core::{BreakerState, CloseReason, Event, Observer, Pool, Stats, WeakPool};

use super::settings::{Ground, Watch};
use crate::FaultyManager;

/// Clones are the same one.
#[derive(Clone)]
pub(crate) struct Witness(Arc<Inner>);

struct Inner {
    watch: Watch,
    resets: bool,
    pool: OnceLock<WeakPool<FaultyManager>>,
    books: Mutex<Books>,
}

/// What was told, and what it did itself.
#[derive(Debug, Default)]
pub(crate) struct Books {
    events: u64,
    counts: BTreeMap<&'static str, u64>,
    closed: BTreeMap<&'static str, u64>,
    /// Each open connection, and whether somebody has it.
    open: BTreeMap<u64, bool>,
    /// Of whom a leak was told.
    pub(crate) leaks: BTreeSet<u64>,
    breaker: BreakerState,
    /// What must not have happened.
    wrong: Option<String>,
    /// Its own calls of `try_get`, and how many got one.
    pub(crate) requests: u64,
    pub(crate) successes: u64,
    is_busy: bool,
    /// How often it has used the pool since the last move.
    used: usize,
}

/// How often it uses the pool between two moves. What it does causes events, and where no connection
/// lives long it would not come to an end.
const OFTEN_ENOUGH: usize = 8;

impl Observer for Witness {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        let pool = self.0.pool.get().and_then(WeakPool::upgrade);
        let is_paused = pool.as_ref().is_some_and(Pool::is_paused);
        let (nth, is_quiet) = {
            let mut books = self.books();
            books.note(event, is_paused);
            books.events += 1;
            (books.events, books.is_busy || books.used >= OFTEN_ENOUGH)
        };
        let is_turn = |every: u64| every != 0 && nth % every == 0;
        // Not again for what it causes itself: that would be told no more at some depth.
        if let Some(pool) = pool.filter(|_| !is_quiet && is_turn(self.0.watch.meddles)) {
            {
                let mut books = self.books();
                books.is_busy = true;
                books.used += 1;
            }
            self.meddle(&pool, nth);
            self.books().is_busy = false;
        }
        assert!(
            !is_turn(self.0.watch.panics),
            "scripted panic of the observer"
        );
    }
}

impl Witness {
    pub(crate) fn new(watch: Watch, ground: &Ground) -> Self {
        Witness(Arc::new(Inner {
            watch,
            resets: ground.resets,
            pool: OnceLock::new(),
            books: Mutex::default(),
        }))
    }

    pub(crate) fn observes(&self, pool: &Pool<FaultyManager>) {
        let _ = self.0.pool.set(pool.downgrade());
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meddle(&self, pool: &Pool<FaultyManager>, nth: u64) {
        match nth % 4 {
            0 => drop((pool.stats(), pool.config())),
            1 => drop(pool.holders()),
            2 => drop(pool.retain(|_| true)),
            _ => {
                self.books().requests += 1;
                if let Ok(guard) = pool.try_get() {
                    let is_fit = guard.uses() == 1 || !self.0.resets;
                    let mut books = self.books();
                    books.successes += 1;
                    books.require(is_fit, || "lent by try_get without a reset".into());
                    drop(books);
                    drop(guard);
                }
            }
        }
    }
}

impl Books {
    /// Of one connection, `Opened` comes first, `Closed` or `Detached` last, and `Lent` and
    /// `Returned` in turns between them.
    fn note(&mut self, event: &Event<'_>, is_paused: bool) {
        *self.counts.entry(event.label()).or_default() += 1;
        match event {
            Event::Opened { id, .. } => self.goes(*id, None, Some(false), event),
            Event::Lent { id, .. } => {
                self.goes(*id, Some(false), Some(true), event);
                self.require(!is_paused, || format!("while paused: {event}"));
            }
            Event::Returned { id, .. } => {
                self.goes(*id, Some(true), Some(false), event);
                self.leaks.remove(id);
            }
            Event::Detached { id, .. } => {
                self.goes(*id, Some(true), None, event);
                self.leaks.remove(id);
            }
            Event::Closed { id, reason, .. } => {
                self.goes(*id, Some(false), None, event);
                *self.closed.entry(reason.label()).or_default() += 1;
            }
            Event::LeakSuspected { holder, .. } => {
                let is_out = self.open.get(&holder.id) == Some(&true);
                let is_first = self.leaks.insert(holder.id);
                self.require(is_out && is_first, || format!("no such leak: {event}"));
            }
            Event::Breaker { from, to, .. } => {
                let was = std::mem::replace(&mut self.breaker, *to);
                self.require(was == *from, || format!("it was {was}: {event}"));
            }
            _ => {}
        }
    }

    fn goes(&mut self, id: u64, from: Option<bool>, to: Option<bool>, event: &Event<'_>) {
        let was = match to {
            Some(is_out) => self.open.insert(id, is_out),
            None => self.open.remove(&id),
        };
        self.require(was == from, || format!("out of turn: {event}"));
    }

    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.wrong.is_none() {
            self.wrong = Some(what());
        }
    }

    /// A move is over.
    pub(crate) fn is_rested(&mut self) {
        self.used = 0;
    }

    pub(crate) fn count(&self, label: &str) -> u64 {
        self.counts.get(label).copied().unwrap_or(0)
    }

    /// What was told and what the pool counts, of a moment in which nobody is inside of it; `out`
    /// connections are lent.
    pub(crate) fn assert_agree(&self, stats: &Stats, out: usize) {
        assert_eq!(self.wrong, None, "{stats}");
        let counts = [
            ("opened", stats.created),
            ("connect_failed", stats.connect_failed),
            ("lent", stats.success),
            ("detached", stats.detached),
            ("leak_suspected", stats.leaked),
        ];
        for (label, counted) in counts {
            assert_eq!(self.count(label), counted, "told {label}: {stats}");
        }
        let ended = self.count("returned") + self.count("detached");
        assert_eq!(
            self.count("lent"),
            ended + out as u64,
            "{out} are out: {stats}"
        );
        for &reason in CloseReason::ALL {
            let told = self.closed.get(reason.label()).copied().unwrap_or(0);
            assert_eq!(told, stats.closed.get(reason), "told {reason:?}: {stats}");
        }
        assert_eq!(self.open.len(), stats.size, "open, as told: {stats}");
        assert_eq!(self.breaker, stats.breaker, "{stats}");
        assert_eq!(
            self.count("paused"),
            self.count("resumed") + u64::from(stats.paused),
            "{stats}"
        );
        assert!(
            self.count("leak_returned") <= self.count("leak_suspected"),
            "came back, but never leaked: {stats}"
        );
    }
}
