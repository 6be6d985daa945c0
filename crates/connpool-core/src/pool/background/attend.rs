//! The work of callers for a pool whose own runtime does not answer.

use std::future::poll_fn;
use std::task::{Context, Poll};

use crate::machine::home::{Duty, IMPATIENT_AFTER, RuntimeId};
use crate::manager::Manager;
use crate::pool::background::{begin_connects, take_over};
use crate::pool::shared::Shared;
use crate::runtime::BoxFuture;
use crate::time::Instant;
use crate::util::timeout::timed_out;

/// The attendance of one caller. Costs nothing while the home answers, nor for callers that are at home.
#[derive(Default)]
pub(crate) struct Attendance {
    /// When to look again.
    timer: Option<BoxFuture>,
}

impl Attendance {
    /// Does what is due, and registers the task for what will be.
    #[cold]
    pub(crate) fn poll<M: Manager>(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared<M>,
        mut now: Instant,
    ) {
        let here = shared.runtime.current();
        loop {
            let next = look_after(shared, here, now);
            self.timer = next.map(|at| shared.runtime.sleep_until(at));
            let is_due =
                self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
            match next.filter(|_| is_due) {
                // A timer that fires proves its time.
                Some(at) => now = now.max(at),
                None => return,
            }
        }
    }

    /// Returns whether a timer is set.
    pub(crate) fn is_set(&self) -> bool {
        self.timer.is_some()
    }
}

/// Does what is due for the home. Returns when to look again.
#[cold]
pub(crate) fn look_after<M: Manager>(
    shared: &Shared<M>,
    here: Option<RuntimeId>,
    now: Instant,
) -> Option<Instant> {
    let duty = shared.peek(|state| {
        let unbegun = state.connecting.unbegun_since();
        state.machine.home.duty(here, unbegun, now)
    });
    match duty {
        Duty::Wait(next) => next,
        Duty::Connect(next) => {
            begin_connects(shared, here);
            next
        }
        Duty::TakeOver => {
            take_over(shared, here, now);
            None
        }
    }
}

/// Asks the home for a sign of life, unless it gave one lately. Returns whether it answers soon.
pub(crate) async fn home_answers<M: Manager>(shared: &Shared<M>, here: Option<RuntimeId>) -> bool {
    let now = shared.runtime.now();
    let answered = shared.signals.answered.listen();
    let is_answering = shared.with(|locked| {
        let home = &mut locked.state.machine.home;
        if home.is_answering(now) {
            return true;
        }
        locked.actions.notify_maintenance = true;
        // Its silence counts from now.
        home.asked();
        home.duty(here, None, now);
        false
    });
    let Some(limit) = now.checked_add(IMPATIENT_AFTER) else { return true };
    is_answering || !timed_out(answered, shared.runtime.sleep_until(limit)).await
}

/// Attends to the home as long as it is polled. Never ready.
pub(crate) async fn attend<M: Manager>(shared: &Shared<M>) {
    let mut attendance = Attendance::default();
    poll_fn(|cx| {
        attendance.poll(cx, shared, shared.runtime.now());
        Poll::Pending
    })
    .await
}
