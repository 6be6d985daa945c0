//! The end of a pool: with a report, or when the last handle is gone.

use std::time::Duration;

use crate::pool::seats::{Answer, Refusal};
use crate::pool::shared::Shared;
use crate::pool::state::DriverState;
use crate::util::sync::Arc;
use crate::util::timeout::{Deadline, timer_came_first};
use crate::{Holder, Manager};

/// What [`Pool::close`](crate::Pool::close) came to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// How many connections were closed while it waited.
    pub closed: u64,
    /// Who still has a connection, and since when; each is destroyed when its guard is dropped.
    pub still_out: Vec<Holder>,
    /// Whether the limit passed before everything was closed.
    pub timed_out: bool,
}

impl<M: Manager> Shared<M> {
    /// Closes the pool and waits, at most for `limit`, until everything is gone.
    pub(crate) async fn close(&self, limit: Duration) -> CloseReport {
        let before = self.counters.closed_total();
        let mut deadline = Deadline::new(limit);
        deadline.begin(self.runtime.now());
        self.shut(Goodbyes::Polled);
        let mut timed_out = false;
        loop {
            let progress = self.progress.listen();
            let (figures, _) = self.figures();
            let left = figures.size.saturating_add(figures.connecting);
            if left == 0 || timed_out {
                return CloseReport {
                    closed: self.counters.closed_total().saturating_sub(before),
                    still_out: self.leases.holders(self.runtime.now()),
                    timed_out: left > 0,
                };
            }
            let time_is_up = deadline.passed(&*self.runtime);
            timed_out = timer_came_first(progress, time_is_up).await;
        }
    }

    /// Closes the pool when its last handle is dropped: no waiting, no spawning. A driver that is
    /// there inherits the pool and says the goodbyes.
    pub(crate) fn abandon(self: &Arc<Self>) {
        self.shut(Goodbyes::Inherited);
        self.with(|state, _| {
            if state.driver != DriverState::Absent && !state.farewell.is_empty() {
                state.legacy = Some(Arc::clone(self));
            }
        });
    }

    /// Nobody gets in any more, everybody in line is told, what is idle is closed.
    fn shut(&self, goodbyes: Goodbyes) {
        let start_driver = self.with(|state, effects| {
            if state.ledger.is_closed() {
                return false;
            }
            let start_driver = goodbyes == Goodbyes::Polled && state.driver_must_start();
            for key in state.ledger.close() {
                effects.wake(state.seats.answer(key, Answer::Refused(Refusal::Closed)));
            }
            // The gate first: what is put among the idle after this look is found by whoever puts.
            self.publish(state);
            let now = crate::Instant::ORIGIN;
            self.serve_idle(state, effects, now);
            effects.closing = true;
            effects.rouse_driver = true;
            start_driver
        });
        if start_driver {
            crate::pool::background::start(self);
        }
    }
}

/// Who says the goodbyes of a pool that is being closed.
#[derive(PartialEq, Eq)]
enum Goodbyes {
    /// The driver, which this polled future may start.
    Polled,
    /// The driver, if there is one.
    Inherited,
}
