//! Checks after every step, when no task is ready, and at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use connpool_core::{BreakerState, CloseReason, Holder, Instant, Pool, Runtime};

use super::Harness;
use crate::callers::Kind;
use connpool_testkit::FaultyManager;
use connpool_testkit::{assert_at_rest, assert_invariants, assert_no_lost_wakeup};

impl Harness {
    /// Checks the invariants that hold after every step.
    pub(super) fn check(&mut self) {
        assert_invariants(&self.pool, &self.backend, self.largest_max_size, self.detached.len());
        let stats = self.pool.stats();
        self.backend.record(|observed| observed.update_outdated(stats.connecting));
        let (opened, concurrent) = self
            .backend
            .with_observed(|observed| (observed.opened, observed.concurrent_after_failure));
        assert_eq!(stats.created, opened + self.added, "{stats}");
        assert_eq!(concurrent, 0, "concurrent connects after a failure: {stats}");
        assert!(
            stats.connecting <= self.largest_max_connecting,
            "connecting exceeds max_connecting: {stats}"
        );
        self.check_requests();
        // Each waiter that the pool counts is a caller that was polled.
        let started = self.callers.iter().filter(|caller| caller.started.is_some());
        let started = started.count();
        assert!(stats.waiting <= started, "{started} callers: {stats}");
        let holders = self.pool.holders();
        self.assert_holders(&holders);
        if let Some(observer) = &self.observer {
            let mut log = observer.log();
            log.end_step();
            log.assert_agrees(&stats, holders.len());
            assert_eq!(log.count("cleared"), self.clears, "{stats}");
            if !self.fixed.uses_get_many {
                assert_eq!(log.count("slow_get"), self.slow_gets, "slow gets: {stats}");
            }
        }
    }

    /// Compares the requests. With `get_many` the harness sees only some of the successes.
    fn check_requests(&self) {
        let stats = self.pool.stats();
        let (mut requests, mut successes) = (self.requests, self.successes);
        if let Some(observer) = &self.observer {
            requests += observer.log().requests;
            successes += observer.log().successes;
        }
        if self.fixed.uses_get_many {
            assert!(stats.success >= successes, "at least {successes} successes: {stats}");
        } else {
            assert_eq!(stats.request, requests, "requests: {stats}");
            assert_eq!(stats.success, successes, "successes: {stats}");
        }
    }

    /// Compares the holders that the pool reports with the connections that are borrowed.
    pub(super) fn assert_holders(&self, holders: &[Holder]) {
        let details = || format!("{holders:?}\n{}", self.pool.stats());
        let mut others: BTreeMap<u64, &Holder> =
            holders.iter().map(|holder| (holder.id, holder)).collect();
        assert_eq!(others.len(), holders.len(), "a holder is listed twice: {}", details());
        let now = self.sim.now();
        for entry in &self.checked_out {
            let id = entry.guard.id();
            let Some(holder) = others.remove(&id) else {
                panic!("connection {id} is borrowed and has no holder: {}", details());
            };
            assert_eq!(holder.label, entry.label.as_deref().map(Into::into));
            if let Some(held) = holder.held {
                assert_eq!(held, now.since(entry.since), "{holder}");
            }
        }
        let mut exchanges = 0;
        let mut get_many_pending = false;
        for caller in &self.callers {
            let inner = caller.inner();
            exchanges += usize::from(inner.conn.is_some());
            get_many_pending |=
                caller.kind == Kind::GetMany && caller.started.is_some() && inner.count() == 0;
            for id in inner.ids {
                assert!(
                    others.remove(&id).is_some(),
                    "connection {id} has no holder: {}",
                    details()
                );
            }
        }
        assert!(
            others.values().all(|holder| holder.label.is_none()),
            "a label of another holder: {}",
            details()
        );
        // One get_many at a time collects connections, and it lacks at least one.
        let collected = others.len().checked_sub(exchanges);
        assert!(
            collected.is_some_and(|collected| {
                collected == 0 || get_many_pending && collected < super::MAX_GET_MANY
            }),
            "{exchanges} exchanges: {}",
            details()
        );
    }

    /// Records the time of the last event that makes the pool back off.
    pub(super) fn note_failures(&mut self) {
        let stats = self.pool.stats();
        let reasons = [
            CloseReason::Dead,
            CloseReason::Unsolicited,
            CloseReason::Panicked,
            // Such a connection may have been found dead or unsolicited as well.
            CloseReason::Lifetime,
            CloseReason::Idle,
        ];
        let died: u64 = reasons.map(|reason| stats.closed.get(reason)).iter().sum();
        // After a probe connect the pool backs off until its connection has proved alive.
        let probes = match stats.breaker {
            BreakerState::Closed => 0,
            _ => {
                self.backend.with_observed(|observed| observed.connects_at.len()) as u64
                    + self.added
            }
        };
        let failures = stats.connect_failed + died + probes;
        let now = Some(self.sim.now());
        if std::mem::replace(&mut self.failures, failures) != failures {
            self.last_failure_at = now;
        }
        if std::mem::replace(&mut self.created, stats.created) != stats.created {
            self.last_created_at = now;
        }
    }

    /// Checks the invariants that hold when no task is ready.
    pub(super) fn check_idle(&mut self) {
        self.note_failures();
        let now = self.sim.now();
        let stats = self.pool.stats();
        for caller in self.callers.iter().filter(|caller| caller.inner_count() == 0) {
            if caller.deadline.is_some_and(|deadline| deadline <= now) {
                panic!("a caller waits past its deadline: {stats}");
            }
        }
        if self.runtime_down {
            return;
        }
        // The default backoff is at most five seconds.
        let within = |at: Option<Instant>, seconds| {
            at.is_some_and(|at| now.since(at) < Duration::from_secs(seconds))
        };
        // In contention, connects are at most a second apart.
        // One that was dead on arrival is counted when its close has ended.
        let backing_off = stats.closing > 0
            || within(self.last_failure_at, 5)
            || within(self.last_failure_at, 10) && within(self.last_created_at, 1);
        assert_no_lost_wakeup(&self.pool, backing_off);
        // A caller that finds no failure of the last 1.1 s waits for the probe that it starts.
        // A failure is no older than the connect before those under way.
        let last_ended = self.backend.with_observed(|observed| {
            let under_way = stats.connecting + 1;
            let last = observed.connects_at.len().checked_sub(under_way)?;
            Instant::ORIGIN.checked_add(*observed.connects_at.get(last)?)
        });
        let failed_lately = last_ended
            .is_some_and(|at| at > self.restarted_at && now.since(at) < Duration::from_secs(1));
        let cannot_be_served = self.settings.fail_fast_after == Some(Duration::ZERO)
            && failed_lately
            && stats.breaker == BreakerState::Open
            && stats.size == 0
            && !stats.paused;
        assert!(
            !cannot_be_served || stats.waiting == 0,
            "a caller waits for a backend that is down: {stats}"
        );
        self.check_leaks();
    }

    /// Checks that every connection borrowed for longer than `leak_warning` was reported.
    fn check_leaks(&self) {
        let (Some(observer), Some(limit)) = (&self.observer, self.settings.leak_warning) else {
            return;
        };
        let now = self.sim.now();
        let log = observer.log();
        for entry in (self.checked_out.iter())
            .filter(|entry| entry.maintenance_epoch == self.maintenance_epoch)
        {
            let is_late = now.since(entry.since) >= limit + Duration::from_millis(2);
            assert!(
                !is_late || self.pool.is_closed() || log.leaks.contains(&entry.guard.id()),
                "no leak was reported for {:?}, borrowed since {:?}",
                entry.guard,
                entry.since
            );
        }
    }
}

pub(super) fn assert_at_rest_or_closed(pool: &Pool<FaultyManager>, backend: &FaultyManager) {
    if pool.is_closed() {
        assert_eq!(backend.alive(), 0, "connections open after close: {}", pool.stats());
    } else if backend.with_observed(|observed| observed.peak) <= pool.config().max_size {
        assert_at_rest(pool, backend, 0);
    }
}
