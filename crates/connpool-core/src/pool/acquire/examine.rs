//! Examines a connection before it is lent, and says what becomes of the `get`.

use futures_lite::future::or;

use crate::machine::clock_leap::COMPARED_AFTER;
use crate::machine::disposition::Disposition;
use crate::machine::health::{Check, CheckKind};
use crate::machine::home::RuntimeId;
use crate::machine::wait_queue::Source;
use crate::manager::Manager;
use crate::observe::close_reason::CloseReason;
use crate::pool::acquire::verify::{Checkout, begin_check};
use crate::pool::background::attend::{home_answers, look_after};
use crate::pool::connect::report_first_check;
use crate::pool::shared::{BoxConn, Shared};
use crate::pool::waiter::Assigned;
use crate::time::Instant;
use crate::util::timeout::Deadline;

/// Says if a `get` may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Wait,
    /// Neither waits nor pings nor resets, and needs no maintenance task.
    Immediate,
}

/// A connection whose check has passed, and when.
pub(super) struct Verified<M: Manager> {
    pub(super) conn: BoxConn<M>,
    pub(super) at: Instant,
}

/// What came of an examination.
pub(super) enum Outcome<M: Manager> {
    Passed(Verified<M>),
    /// It failed. One that does not answer is enough for a `get`.
    Failed {
        is_silent: bool,
    },
    /// Its runtime does not answer.
    HomeIsGone,
    /// It passed, and the pool was paused meanwhile.
    Paused,
    Closed,
    TimedOut,
}

/// How far an examination comes without waiting.
pub(super) enum Examined<'a, M: Manager> {
    Done(Outcome<M>),
    Waits(Examination<'a, M>),
}

/// An examination that has to wait.
pub(super) struct Examination<'a, M: Manager> {
    checkout: Checkout<'a, M>,
    kind: CheckKind,
    next: Next,
}

enum Next {
    /// The home is asked whether it answers, from another runtime.
    Ask(RuntimeId),
    Check(Check),
}

/// Examines a connection, as far as that does not wait.
pub(super) fn examine<M: Manager>(
    shared: &Shared<M>,
    mode: Mode,
    assigned: Assigned<BoxConn<M>>,
) -> Examined<'_, M> {
    let Assigned { conn, source } = assigned;
    let kind = match (mode, source) {
        (Mode::Immediate, _) => CheckKind::Immediate,
        (Mode::Wait, Source::Reused) => CheckKind::Reused,
        (Mode::Wait, Source::Fresh) => CheckKind::Fresh,
    };
    let checked_at = shared.clock();
    let is_stray = conn.meta.origin.runtime() != shared.snapshot.home();
    if is_stray {
        look_after(shared, elsewhere(shared), shared.runtime.now());
    }
    let was_idle = checked_at.is_past(conn.meta.idle_since, COMPARED_AFTER);
    if was_idle || shared.snapshot.needs_clock() && shared.have_clocks_parted(checked_at) {
        shared.compare_clocks(checked_at);
    }
    let asks = was_idle && mode == Mode::Wait && !is_stray;
    let here = if asks { elsewhere(shared) } else { None };
    let checkout = Checkout { shared, conn: Some(conn), checked_at };
    match here {
        Some(here) => Examined::Waits(Examination { checkout, kind, next: Next::Ask(here) }),
        None => begin(checkout, kind),
    }
}

/// Returns the runtime of the caller, if the pool is at home on another one.
fn elsewhere<M: Manager>(shared: &Shared<M>) -> Option<RuntimeId> {
    let home = shared.snapshot.home()?;
    shared.runtime.current().filter(|here| *here != home)
}

fn begin<M: Manager>(mut checkout: Checkout<'_, M>, kind: CheckKind) -> Examined<'_, M> {
    let Some(conn) = &mut checkout.conn else {
        return Examined::Done(Outcome::Failed { is_silent: false });
    };
    let check = begin_check(checkout.shared, conn, kind, checkout.checked_at);
    match Disposition::after(check.step) {
        Some(disposition) => Examined::Done(end(checkout, Some(disposition))),
        None => Examined::Waits(Examination { checkout, kind, next: Next::Check(check) }),
    }
}

/// Ends a check; `None` stands for the deadline of the whole `get`, which came first.
fn end<M: Manager>(mut checkout: Checkout<'_, M>, disposition: Option<Disposition>) -> Outcome<M> {
    let shared = checkout.shared;
    if let (Some(conn), Some(disposition)) = (&checkout.conn, disposition) {
        report_first_check(shared, &conn.meta, disposition);
    }
    match disposition {
        Some(Disposition::Reuse) if shared.snapshot.is_paused() => {
            checkout.settle(Disposition::Reuse);
            Outcome::Paused
        }
        Some(Disposition::Reuse) => match checkout.finish() {
            Ok(conn) => Outcome::Passed(Verified { conn, at: checkout.checked_at }),
            Err(CloseReason::PoolClosed) => Outcome::Closed,
            Err(_) => Outcome::Failed { is_silent: false },
        },
        Some(unfit) => {
            checkout.settle(unfit);
            Outcome::Failed { is_silent: unfit.is_silence() }
        }
        None => {
            checkout.settle(Disposition::Close(CloseReason::Cancelled));
            Outcome::TimedOut
        }
    }
}

impl<M: Manager> Examination<'_, M> {
    /// Runs the steps that wait. Dropped in between, it destroys the connection.
    pub(super) async fn run(self, deadline: &mut Deadline) -> Outcome<M> {
        let Examination { mut checkout, kind, next } = self;
        let shared = checkout.shared;
        let check = match next {
            Next::Check(check) => check,
            Next::Ask(here) => {
                let answers = or(home_answers(shared, Some(here)), async {
                    deadline.passed(&*shared.runtime).await;
                    false
                });
                if !answers.await {
                    // A request on it would wait for a runtime that does not run.
                    checkout.settle(Disposition::Close(CloseReason::RuntimeGone));
                    return Outcome::HomeIsGone;
                }
                match begin(checkout, kind) {
                    Examined::Done(outcome) => return outcome,
                    Examined::Waits(Examination {
                        checkout: examined,
                        next: Next::Check(check),
                        ..
                    }) => {
                        checkout = examined;
                        check
                    }
                    Examined::Waits(_) => return Outcome::HomeIsGone,
                }
            }
        };
        let mut announced = Announced::begin(shared);
        let disposition = checkout.run(check, deadline).await;
        let outcome = end(checkout, disposition);
        announced.has_passed = matches!(outcome, Outcome::Passed(_));
        outcome
    }
}

/// A check that the machine knows of: until it ends, others are not told that nothing can come back.
struct Announced<'a, M: Manager> {
    shared: &'a Shared<M>,
    has_passed: bool,
}

impl<'a, M: Manager> Announced<'a, M> {
    fn begin(shared: &'a Shared<M>) -> Self {
        shared.peek(|state| state.machine.check_started());
        Announced { shared, has_passed: false }
    }
}

impl<M: Manager> Drop for Announced<'_, M> {
    fn drop(&mut self) {
        let Announced { shared, has_passed } = *self;
        let now = shared.runtime.now();
        shared.with(|locked| {
            locked.state.machine.check_ended(has_passed, now);
            // Those that wait may have to be told now, or later.
            locked.rebalance(now);
        });
    }
}
