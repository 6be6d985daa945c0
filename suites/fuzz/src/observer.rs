//! An observer that records events, panics, and calls the pool that it observes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use connpool_core::{BreakerState, CloseReason, Event, Observer, Pool, Stats, WeakPool};

use super::settings::{FixedSettings, ObserverBehavior};
use connpool_testkit::FaultyManager;

/// Clones share the same record.
#[derive(Clone)]
pub(crate) struct RecordingObserver(Arc<Shared>);

struct Shared {
    behavior: ObserverBehavior,
    needs_reset: bool,
    pool: OnceLock<WeakPool<FaultyManager>>,
    log: Mutex<EventLog>,
}

/// The events received, and the calls that the observer has made itself.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    events: u64,
    counts: BTreeMap<&'static str, u64>,
    closed: BTreeMap<&'static str, u64>,
    /// The open connections, each with true if it is borrowed.
    open: BTreeMap<u64, bool>,
    /// The connections reported as leaked.
    pub(crate) leaks: BTreeSet<u64>,
    breaker: BreakerState,
    /// The first violation.
    violation: Option<String>,
    /// The calls of `try_get` by the observer, and those that succeeded.
    pub(crate) requests: u64,
    pub(crate) successes: u64,
    is_calling: bool,
    /// The number of calls of the pool since the last step.
    calls: usize,
}

/// The limit of calls of the pool between two steps. Each call causes events, and with very short
/// lifetimes the chain of events would not end.
const MAX_CALLS: usize = 8;

impl Observer for RecordingObserver {
    fn on_event(&self, _: &str, event: &Event<'_>) {
        let pool = self.0.pool.get().and_then(WeakPool::upgrade);
        let is_paused = pool.as_ref().is_some_and(Pool::is_paused);
        let (nth, is_quiet) = {
            let mut log = self.log();
            log.record(event, is_paused);
            log.events += 1;
            (log.events, log.is_calling || log.calls >= MAX_CALLS)
        };
        let is_turn = |every: u64| every != 0 && nth % every == 0;
        // No call for events that its own calls cause: the pool stops sending events at some depth.
        if let Some(pool) = pool.filter(|_| !is_quiet && is_turn(self.0.behavior.call_pool_every)) {
            {
                let mut log = self.log();
                log.is_calling = true;
                log.calls += 1;
            }
            self.call_pool(&pool, nth);
            self.log().is_calling = false;
        }
        assert!(!is_turn(self.0.behavior.panic_every), "scripted panic of the observer");
    }
}

impl RecordingObserver {
    pub(crate) fn new(behavior: ObserverBehavior, fixed: &FixedSettings) -> Self {
        RecordingObserver(Arc::new(Shared {
            behavior,
            needs_reset: fixed.needs_reset,
            pool: OnceLock::new(),
            log: Mutex::default(),
        }))
    }

    pub(crate) fn set_pool(&self, pool: &Pool<FaultyManager>) {
        let _ = self.0.pool.set(pool.downgrade());
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, EventLog> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call_pool(&self, pool: &Pool<FaultyManager>, nth: u64) {
        match nth % 4 {
            0 => drop((pool.stats(), pool.config())),
            1 => drop(pool.holders()),
            2 => drop(pool.retain(|_| true)),
            _ => {
                self.log().requests += 1;
                if let Ok(guard) = pool.try_get() {
                    let is_clean = !guard.has_user() || !self.0.needs_reset;
                    let mut log = self.log();
                    log.successes += 1;
                    log.require(is_clean, || {
                        "try_get returned a connection without a reset".into()
                    });
                    drop(log);
                    drop(guard);
                }
            }
        }
    }
}

impl EventLog {
    /// Records an event. The events of a connection must be `Opened`, then `Lent` and `Returned` in
    /// turn, then `Closed` or `Detached`.
    fn record(&mut self, event: &Event<'_>, is_paused: bool) {
        *self.counts.entry(event.label()).or_default() += 1;
        match event {
            Event::Opened { id, .. } => self.transition(*id, None, Some(false), event),
            Event::Lent { id, .. } => {
                self.transition(*id, Some(false), Some(true), event);
                self.require(!is_paused, || format!("event while paused: {event}"));
            }
            Event::Returned { id, .. } => {
                self.transition(*id, Some(true), Some(false), event);
                self.leaks.remove(id);
            }
            Event::Detached { id, .. } => {
                self.transition(*id, Some(true), None, event);
                self.leaks.remove(id);
            }
            Event::Closed { id, reason, .. } => {
                self.transition(*id, Some(false), None, event);
                *self.closed.entry(reason.label()).or_default() += 1;
            }
            Event::LeakSuspected { holder, .. } => {
                let is_out = self.open.get(&holder.id) == Some(&true);
                let is_first = self.leaks.insert(holder.id);
                self.require(is_out && is_first, || format!("unexpected leak: {event}"));
            }
            Event::Breaker { from, to, .. } => {
                let was = std::mem::replace(&mut self.breaker, *to);
                self.require(was == *from, || format!("breaker was {was}: {event}"));
            }
            _ => {}
        }
    }

    fn transition(&mut self, id: u64, from: Option<bool>, to: Option<bool>, event: &Event<'_>) {
        let was = match to {
            Some(is_out) => self.open.insert(id, is_out),
            None => self.open.remove(&id),
        };
        self.require(was == from, || format!("unexpected order: {event}"));
    }

    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    /// Resets the limit of calls after a step.
    pub(crate) fn end_step(&mut self) {
        self.calls = 0;
    }

    pub(crate) fn count(&self, label: &str) -> u64 {
        self.counts.get(label).copied().unwrap_or(0)
    }

    /// Compares the events with the statistics, with `borrowed` connections checked out and no call of
    /// the pool in progress.
    pub(crate) fn assert_agrees(&self, stats: &Stats, borrowed: usize) {
        assert_eq!(self.violation, None, "{stats}");
        let counts = [
            ("opened", stats.created),
            ("connect_failed", stats.connect_failed),
            ("lent", stats.success),
            ("detached", stats.detached),
            ("leak_suspected", stats.leaked),
        ];
        for (label, counted) in counts {
            assert_eq!(self.count(label), counted, "events {label}: {stats}");
        }
        let ended = self.count("returned") + self.count("detached");
        assert_eq!(self.count("lent"), ended + borrowed as u64, "{borrowed} borrowed: {stats}");
        for &reason in CloseReason::ALL {
            let events = self.closed.get(reason.label()).copied().unwrap_or(0);
            assert_eq!(events, stats.closed.get(reason), "events {reason:?}: {stats}");
        }
        assert_eq!(self.open.len(), stats.size, "open connections by events: {stats}");
        assert_eq!(self.breaker, stats.breaker, "{stats}");
        assert_eq!(
            self.count("paused"),
            self.count("resumed") + u64::from(stats.paused),
            "{stats}"
        );
        assert!(
            self.count("leak_returned") <= self.count("leak_suspected"),
            "a leak returned that was never suspected: {stats}"
        );
    }
}
