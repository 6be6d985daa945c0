//! Steps on the pool as a whole.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_lite::future::{block_on, poll_once};

use super::{Harness, take};
use crate::history::Keep;
use crate::settings::Settings;

impl Harness {
    pub(super) fn clear(&mut self) {
        self.pool.clear();
        self.note_clear();
    }

    fn note_clear(&mut self) {
        self.clears += 1;
        self.connects_at_clear = self.backend.with_observed(|observed| observed.connects_at.len());
        let pending = self.pool.stats().connecting;
        self.backend.record(|observed| observed.pool_cleared(pending));
    }

    /// Condemns a connection, which clears the pool unless it was cleared since that was opened.
    pub(super) fn condemn(&mut self, index: usize) {
        let Some(mut entry) = take(index, &mut self.checked_out) else {
            return;
        };
        let is_new = match self.added_at.get(&(*entry.guard).id()) {
            Some(clears) => *clears == self.clears,
            None => entry.guard.connect() > self.connects_at_clear,
        };
        entry.guard.condemn();
        if is_new {
            self.note_clear();
        }
    }

    pub(super) fn settings_changed(&mut self, settings: Settings) {
        self.settings = settings;
        self.maintenance_epoch += 1;
        self.largest_max_size = self.largest_max_size.max(settings.max_size);
        let connecting = settings.max_connecting.unwrap_or(usize::MAX);
        self.largest_max_connecting = self.largest_max_connecting.max(connecting);
        assert_eq!(self.pool.config(), settings.config());
    }

    pub(super) fn retain(&mut self, keep: Keep) {
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
            (_, Err(_)) => panic!("retain panicked: {before}"),
        }
        assert!(seen <= before.available, "retain visited {seen} connections: {before}");
    }

    pub(super) fn close(&mut self) {
        let close = self.pool.close(Duration::ZERO);
        let report = block_on(poll_once(close));
        let report = report.expect("a close with a zero timeout is ready at its first poll");
        self.assert_holders(&report.still_out);
    }

    /// Runs all ready tasks and woken callers, without advancing the clock.
    pub(super) fn run_until_idle(&mut self) {
        for _ in 0..100_000 {
            self.sim.settle();
            let Some(next) = self.callers.iter().position(|caller| caller.woken.is_raised()) else {
                return self.check_idle();
            };
            self.poll(next);
        }
        panic!("tasks stay ready forever: {}", self.pool.stats());
    }
}
