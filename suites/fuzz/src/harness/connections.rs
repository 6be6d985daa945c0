//! Steps on a connection and on its peer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_lite::future::{block_on, poll_once};

use super::{Harness, pick, take};
use crate::history::{Exchange, Label};
use connpool_testkit::FaultyManager;

impl Harness {
    pub(super) fn exchange(&mut self, index: usize, outcome: Exchange) {
        let Some(index) = pick(index, &self.checked_out) else {
            return;
        };
        let mut entry = self.checked_out.swap_remove(index);
        let id = entry.guard.id();
        let exchange = entry.guard.exchange(async |_| match outcome {
            Exchange::Succeeds => Ok(()),
            Exchange::Fails => Err(()),
            Exchange::Panics => panic!("scripted panic in an exchange"),
            Exchange::Dropped => std::future::pending().await,
        });
        let _ = catch_unwind(AssertUnwindSafe(|| block_on(poll_once(exchange))));
        if outcome == Exchange::Succeeds {
            self.checked_out.push(entry);
            return;
        }
        // Returned at once: the pool must not reuse it.
        self.unfinished.borrow_mut().insert((*entry.guard).id());
        drop(entry);
        self.run_until_idle();
        let is_reused = (self.checked_out.iter()).any(|entry| entry.guard.id() == id);
        assert!(!is_reused, "connection {id} was reused after an unfinished exchange");
    }

    pub(super) fn label(&mut self, index: usize, label: Label) {
        let Some(index) = pick(index, &self.checked_out) else {
            return;
        };
        let entry = &mut self.checked_out[index];
        let text = match label {
            Label::Numbered(number) => format!("job {number}"),
            Label::TooLong => "\u{e4}".repeat(1_000),
        };
        entry.guard.label(&text);
        entry.label = Some(text.chars().take(64).collect());
    }

    /// Adds a detached connection to the pool, without the state of its user.
    pub(super) fn add(&mut self, index: usize) {
        let Some(mut conn) = take(index, &mut self.detached) else {
            return;
        };
        conn.clear_user_state();
        let id = conn.id();
        match self.pool.add(conn) {
            Ok(()) => {
                self.added += 1;
                self.added_at.insert(id, self.clears);
                self.backend.record(|observed| observed.connection_added());
            }
            Err(error) => self.detached.push(error.into_inner()),
        }
    }

    /// Acts at the peer of one of the last eight connections.
    pub(super) fn with_peer(&self, index: usize, action: impl FnOnce(&FaultyManager, u64)) {
        let opened = self.backend.with_observed(|observed| observed.opened);
        if let Some(id) = opened.checked_sub(index as u64 % 8) {
            action(&self.backend, id);
        }
    }
}
