//! Steps that create, poll and cancel callers.

use std::rc::Rc;
use std::time::Duration;

use connpool_core::{Instant, Runtime};

use super::{CheckedOut, Harness};
use crate::callers::{Caller, Guard, Kind, Polled, assert_usable};
use crate::history::Exchange;
use connpool_testkit::FaultyConn;

impl Harness {
    pub(super) fn get(&mut self, limit: Option<Duration>) {
        let caller = Caller::get(&self.pool, limit);
        self.push_caller(caller);
    }

    pub(super) fn push_caller(&mut self, mut caller: Caller) {
        // The other kinds read the default timeout at their first poll.
        if caller.kind == Kind::Get {
            caller.limit = caller.limit.or(self.settings.get_timeout);
        }
        caller.version = self.version;
        self.callers.push(caller);
    }

    pub(super) fn try_get(&mut self) {
        self.requests += 1;
        // The guard borrows the pool, so that it cannot be `self.pool`.
        let pool = self.pool.clone();
        if let Ok(guard) = pool.try_get() {
            self.successes += 1;
            assert!(!pool.is_closed(), "try_get on a closed pool succeeded");
            assert!(!pool.is_paused(), "try_get on a paused pool succeeded");
            assert!(
                !guard.has_user() || !self.fixed.needs_reset,
                "try_get returned a connection without a reset"
            );
        }
    }

    pub(super) fn poll(&mut self, index: usize) {
        let now = self.sim.now();
        let caller = &mut self.callers[index];
        if caller.started.is_none() {
            caller.started = Some(now);
            if caller.kind != Kind::Get {
                caller.limit = caller.limit.or(self.settings.get_timeout);
            }
            caller.deadline = caller.limit.and_then(|limit| now.checked_add(limit));
            self.requests += 1;
        }
        let before = caller.inner_count();
        let polled = caller.poll();
        let (started, inner_count, version) =
            (caller.started, caller.inner_count(), caller.version);
        let prepares = matches!(caller.kind, Kind::GetWith(_));
        let is_prepared = caller.inner().is_prepared;
        if inner_count > before && !prepares {
            // The connections stay inside the future.
            self.successes += inner_count as u64;
            self.count_slow_get(started);
        }
        match polled {
            Polled::Pending => return,
            Polled::Ended | Polled::Panicked if prepares => {
                self.successes += u64::from(is_prepared);
                self.count_slow_get(started);
                if !is_prepared {
                    self.mark_unfinished(index);
                }
            }
            Polled::Ended | Polled::Panicked if inner_count > 0 => {
                let succeeded = self.callers[index].kind == Kind::Exchange(Exchange::Succeeds);
                if !succeeded {
                    self.mark_unfinished(index);
                }
            }
            Polled::Ended | Polled::Panicked => self.count_slow_get(started),
            Polled::Ready(guard) => {
                self.count_slow_get(started);
                self.check_out(guard, version);
            }
        }
        drop(self.callers.remove(index));
    }

    /// Drops a caller, and with it the connections inside its future.
    pub(super) fn cancel(&mut self, index: usize) {
        if self.callers[index].inner_count() == 0 {
            let started = self.callers[index].started;
            drop(self.callers.remove(index));
            self.count_slow_get(started);
        } else {
            self.mark_unfinished(index);
            let caller = self.callers.remove(index);
            if matches!(caller.kind, Kind::GetWith(_)) {
                self.count_slow_get(caller.started);
            }
            drop(caller);
        }
    }

    /// Counts a completed get as slow if it took `slow_get_warning`.
    pub(super) fn count_slow_get(&mut self, started: Option<Instant>) {
        let took = started.map(|started| self.sim.now().since(started));
        let slow = self.settings.slow_get_warning;
        self.slow_gets += u64::from(slow.is_some_and(|slow| took.is_some_and(|took| took >= slow)));
    }

    pub(super) fn mark_unfinished(&mut self, index: usize) {
        let conn = self.callers[index].inner().conn;
        self.unfinished.borrow_mut().extend(conn);
    }

    /// Returns a closure that checks each connection after its checkout.
    pub(super) fn accept(&self) -> impl Fn(&mut FaultyConn) + use<> {
        let needs_reset = self.fixed.needs_reset;
        let unfinished = Rc::clone(&self.unfinished);
        move |conn| {
            let is_unfinished = unfinished.borrow().contains(&conn.id());
            assert!(!is_unfinished, "reused after an unfinished exchange: {conn:?}");
            if needs_reset {
                conn.used_by(1);
            }
        }
    }

    pub(super) fn check_out(&mut self, mut guard: Guard, version: usize) {
        self.successes += 1;
        assert!(!self.pool.is_closed(), "checkout from a closed pool: {guard:?}");
        assert!(!self.pool.is_paused(), "checkout from a paused pool: {guard:?}");
        let (id, connect) = ((*guard).id(), guard.connect());
        match self.added_at.get(&id) {
            Some(clears) => {
                assert_eq!(*clears, self.clears, "reused after a clear, added before it: {guard:?}")
            }
            None => assert!(
                connect > self.connects_at_clear,
                "reused after a clear, though connect {connect} was started before: {guard:?}"
            ),
        }
        if version == self.version {
            // The first use ignores the lifetime: with a lifetime of zero there would be none.
            if let Some(limit) = self.settings.max_lifetime.filter(|_| guard.uses() > 1) {
                let age = guard.age();
                assert!(age <= limit, "reused at the age of {age:?}: {guard:?}");
            }
            if let Some(max_uses) = self.settings.max_uses {
                assert!(guard.uses() <= max_uses, "used too often: {guard:?}");
            }
        }
        assert_usable(&mut guard);
        self.accept()(&mut guard);
        self.checked_out.push(CheckedOut {
            guard,
            label: None,
            since: self.sim.now(),
            maintenance_epoch: self.maintenance_epoch,
        });
    }
}
