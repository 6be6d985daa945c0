//! What must hold after every move, when nothing can run any more, and in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use connpool_core::{BreakerState, CloseReason, Holder, Pool, Runtime};

use super::World;
use crate::fuzz::callers::Kind;
use crate::{FaultyManager, assert_at_rest, assert_invariants, assert_no_lost_wakeup};

impl World {
    /// What holds after every move.
    pub(super) fn check(&mut self) {
        assert_invariants(&self.pool, &self.backend, self.most, self.detached.len());
        let stats = self.pool.stats();
        self.backend
            .note(|truth| truth.has_heard_of(stats.connecting));
        let (opened, crowded) = self
            .backend
            .with_truth(|truth| (truth.opened, truth.crowded));
        assert_eq!(stats.created, opened + self.added, "{stats}");
        assert_eq!(crowded, 0, "several at once after a failure: {stats}");
        assert!(
            stats.connecting <= self.most_connecting,
            "more at once than max_connecting: {stats}"
        );
        self.check_requests();
        // Those that wait as the pool sees it are those that wait.
        let begun = self.callers.iter().filter(|caller| caller.began.is_some());
        let begun = begun.count();
        assert!(stats.waiting <= begun, "{begun} wait: {stats}");
        let holders = self.pool.holders();
        self.assert_are_out(&holders);
        if let Some(witness) = &self.witness {
            let mut books = witness.books();
            books.is_rested();
            books.assert_agree(&stats, holders.len());
            assert_eq!(books.count("cleared"), self.clears, "{stats}");
            if !self.ground.gathers {
                assert_eq!(books.count("slow_get"), self.slow_gets, "slow: {stats}");
            }
        }
    }

    /// Of those who gather, only some of what they ask for can be seen.
    fn check_requests(&self) {
        let stats = self.pool.stats();
        let (mut requests, mut successes) = (self.requests, self.successes);
        if let Some(witness) = &self.witness {
            requests += witness.books().requests;
            successes += witness.books().successes;
        }
        if self.ground.gathers {
            assert!(stats.success >= successes, "of {successes}: {stats}");
        } else {
            assert_eq!(stats.request, requests, "requests: {stats}");
            assert_eq!(stats.success, successes, "successes: {stats}");
        }
    }

    /// These are those who have a connection, as they call themselves.
    pub(super) fn assert_are_out(&self, holders: &[Holder]) {
        let told = || format!("{holders:?}\n{}", self.pool.stats());
        let mut others: BTreeMap<u64, &Holder> =
            holders.iter().map(|holder| (holder.id, holder)).collect();
        assert_eq!(others.len(), holders.len(), "told twice: {}", told());
        let now = self.sim.now();
        for out in &self.out {
            let id = out.guard.id();
            let Some(holder) = others.remove(&id) else {
                panic!("{id} is out, and nobody has it: {}", told());
            };
            assert_eq!(holder.label, out.label.as_deref().map(Into::into));
            if let Some(held) = holder.held {
                assert_eq!(held, now.since(out.since), "{holder}");
            }
        }
        let mut exchanges = 0;
        let mut gathers = false;
        for caller in &self.callers {
            let had = caller.had();
            exchanges += usize::from(had.conn.is_some());
            gathers |= caller.kind == Kind::Many && caller.began.is_some() && had.count() == 0;
            for id in had.ids {
                assert!(others.remove(&id).is_some(), "{id} is out: {}", told());
            }
        }
        assert!(
            others.values().all(|holder| holder.label.is_none()),
            "somebody else's label: {}",
            told()
        );
        // One at a time gathers, and lacks one at least.
        let gathered = others.len().checked_sub(exchanges);
        assert!(
            gathered.is_some_and(|gathered| gathered == 0 || gathers && gathered < super::MANY),
            "{exchanges} exchange: {}",
            told()
        );
    }

    /// Notes when something last happened that makes the pool pause before it connects.
    fn note_troubles(&mut self) {
        let stats = self.pool.stats();
        let stillborn = [
            CloseReason::Dead,
            CloseReason::Unsolicited,
            CloseReason::Panicked,
            // Found dead or talking as well, perhaps, though it had to go anyway.
            CloseReason::Lifetime,
            CloseReason::Idle,
        ];
        let died: u64 = stillborn
            .map(|reason| stats.closed.get(reason))
            .iter()
            .sum();
        // After a probe there is a pause until it has proved good.
        let probes = match stats.breaker {
            BreakerState::Closed => 0,
            _ => self.backend.with_truth(|truth| truth.connects_at.len()) as u64 + self.added,
        };
        let troubles = stats.connect_failed + died + probes;
        if std::mem::replace(&mut self.troubles, troubles) != troubles {
            self.trouble_at = Some(self.sim.now());
        }
    }

    /// What holds when nothing can run.
    pub(super) fn check_rest(&mut self) {
        self.note_troubles();
        let now = self.sim.now();
        let stats = self.pool.stats();
        for caller in self.callers.iter().filter(|caller| caller.has() == 0) {
            if caller.deadline.is_some_and(|deadline| deadline <= now) {
                panic!("waits beyond its deadline: {stats}");
            }
        }
        if self.refusing {
            return;
        }
        // No pause is longer than the longest of the default backoff.
        let pausing = (self.trouble_at).is_some_and(|at| now.since(at) < Duration::from_secs(5));
        assert_no_lost_wakeup(&self.pool, pausing);
        let is_hopeless = self.settings.fail_fast
            && stats.breaker == BreakerState::Open
            && stats.size == 0
            && !stats.paused;
        assert!(
            !is_hopeless || stats.waiting == 0,
            "waits for a backend that is down: {stats}"
        );
        self.check_leaks();
    }

    /// Whoever has had his for too long was told of.
    fn check_leaks(&self) {
        let (Some(witness), Some(limit)) = (&self.witness, self.settings.leak_warning) else {
            return;
        };
        let now = self.sim.now();
        let books = witness.books();
        for out in self.out.iter().filter(|out| out.era == self.era) {
            let is_late = now.since(out.since) >= limit + Duration::from_millis(2);
            assert!(
                !is_late || self.pool.is_closed() || books.leaks.contains(&out.guard.id()),
                "nobody was told of {:?} since {:?}",
                out.guard,
                out.since
            );
        }
    }
}

pub(super) fn assert_at_rest_or_closed(pool: &Pool<FaultyManager>, backend: &FaultyManager) {
    if pool.is_closed() {
        assert_eq!(backend.alive(), 0, "open after the close: {}", pool.stats());
    } else if backend.with_truth(|truth| truth.peak) <= pool.config().max_size {
        assert_at_rest(pool, backend, 0);
    }
}
