//! Runs the steps of a health check against the manager.
use std::time::Duration;

use crate::machine::disposition::Disposition;
use crate::machine::health::{Check, CheckKind, Rules, Step, StepResult, Versions};
use crate::manager::Manager;
use crate::observe::close_reason::CloseReason;
use crate::pool::connect::report_first_check;
use crate::pool::release::settle;
use crate::pool::shared::{BoxConn, Shared};
use crate::stream::Liveness;
use crate::time::Instant;
use crate::util::timeout::{Completion, Deadline, run_guarded};

/// Starts a check and takes it as far as it goes without waiting.
#[inline]
pub(crate) fn begin_check<M: Manager>(
    shared: &Shared<M>,
    conn: &mut BoxConn<M>,
    kind: CheckKind,
    now: Instant,
) -> Check {
    let (versions, rules) = shared.snapshot.versions_and_rules();
    let begin = |spare| Check::begin(kind, &conn.meta, &rules, versions, spare, now);
    let mut check = begin(true);
    if check.step() == Step::Close(CloseReason::Idle)
        && !shared.peek(|state| state.machine.capacity.is_above_min_size())
    {
        check = begin(false);
    }
    if check.step() == Step::Probe {
        check = check.after(probe(shared, &mut conn.inner));
    } else if check.is_over_a_limit() && conn.meta.uses == 0 && shared.snapshot.is_failing() {
        probe_expired(shared, conn, &rules, versions, now);
    }
    check
}

/// Probes an expired connection that was never borrowed before it is closed.
///
/// With very short lifetimes this is the only evidence that the backend has recovered, so backoff
/// would otherwise never end.
#[cold]
fn probe_expired<M: Manager>(
    shared: &Shared<M>,
    conn: &mut BoxConn<M>,
    rules: &Rules,
    versions: Versions,
    now: Instant,
) {
    let check = Check::begin(CheckKind::Fresh, &conn.meta, rules, versions, true, now);
    let result = probe(shared, &mut conn.inner);
    report_first_check(shared, check.after(result).step(), conn.meta.created_at);
}

/// Runs the liveness probe of the manager.
#[inline]
pub(crate) fn probe<M: Manager>(shared: &Shared<M>, conn: &mut M::Connection) -> StepResult {
    let mut result = StepResult::Panicked;
    let probed = shared.events.guarded("liveness", || {
        shared.runtime.unconstrained(&mut || result = shared.manager.liveness(conn).into());
    });
    probed.map_or(StepResult::Panicked, |()| result)
}

impl From<Liveness> for StepResult {
    fn from(liveness: Liveness) -> Self {
        match liveness {
            Liveness::Alive | Liveness::Unknown => StepResult::Quiet,
            Liveness::Closed => StepResult::Closed,
            Liveness::Unsolicited => StepResult::Unsolicited,
        }
    }
}

/// Runs a ping or a reset; `None` if the interrupt came first.
pub(crate) async fn run_step<M: Manager>(
    shared: &Shared<M>,
    step: &'static str,
    limit: Option<Duration>,
    interrupt: impl Future<Output = ()>,
    work: impl Future<Output = Result<(), M::Error>>,
) -> Option<StepResult> {
    match run_guarded(&*shared.runtime, limit, interrupt, work).await {
        Completion::Done(Ok(())) => Some(StepResult::Done),
        Completion::Done(Err(_)) => Some(StepResult::Failed),
        Completion::TimedOut => Some(StepResult::TimedOut),
        Completion::Panicked(message) => {
            shared.events.panicked(step, &message);
            Some(StepResult::Panicked)
        }
        Completion::Interrupted => None,
    }
}

/// Records the result of a ping or a reset and returns the check after it.
pub(crate) fn after_step<M: Manager>(
    shared: &Shared<M>,
    conn: &mut BoxConn<M>,
    check: Check,
    result: StepResult,
) -> Check {
    if result != StepResult::Done {
        return check.after(result);
    }
    let now = shared.clock();
    let (versions, rules) = shared.snapshot.versions_and_rules();
    conn.meta.verified(now, versions, &rules);
    check.after_success(&conn.meta, &rules)
}

/// A connection under check. Dropped in the middle of a check, it is destroyed: its state is unknown.
pub(super) struct Checkout<'a, M: Manager> {
    shared: &'a Shared<M>,
    conn: Option<BoxConn<M>>,
    pub(super) checked_at: Instant,
}

/// How the check of a checkout ended.
pub(super) enum Outcome {
    Fit,
    Unfit(CloseReason),
    /// The deadline of the whole `get` passed first.
    OutOfTime,
}

impl Outcome {
    /// Returns the outcome of a check that has ended.
    #[inline]
    pub(super) fn of(check: Check) -> Option<Self> {
        match check.step() {
            Step::Pass => Some(Outcome::Fit),
            Step::Close(reason) => Some(Outcome::Unfit(reason)),
            Step::Probe | Step::Ping | Step::Reset => None,
        }
    }

    /// Returns the last step, if the check ended by itself.
    pub(super) fn step(&self) -> Option<Step> {
        match self {
            Outcome::Fit => Some(Step::Pass),
            Outcome::Unfit(reason) => Some(Step::Close(*reason)),
            Outcome::OutOfTime => None,
        }
    }
}

impl<'a, M: Manager> Checkout<'a, M> {
    pub(super) fn new(shared: &'a Shared<M>, conn: BoxConn<M>, now: Instant) -> Self {
        Checkout { shared, conn: Some(conn), checked_at: now }
    }

    /// Starts the check. Mostly it ends here, without waiting.
    #[inline]
    pub(super) fn begin(&mut self, kind: CheckKind) -> Option<Check> {
        let conn = self.conn.as_mut()?;
        Some(begin_check(self.shared, conn, kind, self.checked_at))
    }

    /// Runs the steps that wait.
    pub(super) async fn run(&mut self, mut check: Check, deadline: &mut Deadline) -> Outcome {
        loop {
            if let Some(outcome) = Outcome::of(check) {
                return outcome;
            }
            let Some(conn) = &mut self.conn else {
                return Outcome::Unfit(CloseReason::Cancelled);
            };
            let (shared, manager, inner) = (self.shared, &self.shared.manager, &mut conn.inner);
            let result = match check.step() {
                Step::Pass | Step::Close(_) => None,
                Step::Probe => Some(probe(shared, inner)),
                Step::Ping => {
                    let limit = shared.snapshot.config().ping_timeout;
                    let time_is_up = deadline.passed(&*shared.runtime);
                    let ping = async { manager.ping(inner).await };
                    run_step(shared, "ping", limit, time_is_up, ping).await
                }
                Step::Reset => {
                    let limit = shared.snapshot.config().reset_timeout;
                    let time_is_up = deadline.passed(&*shared.runtime);
                    let reset = async { manager.reset(inner).await };
                    run_step(shared, "reset", limit, time_is_up, reset).await
                }
            };
            let Some(result) = result else {
                return Outcome::OutOfTime;
            };
            check = after_step(shared, conn, check, result);
            if result == StepResult::Done {
                self.checked_at = conn.meta.last_alive;
            }
        }
    }

    /// Ends a check that passed, unless the pool was closed or cleared meanwhile.
    pub(super) fn finish(&mut self) -> Result<BoxConn<M>, CloseReason> {
        let Some(conn) = self.conn.take() else {
            return Err(CloseReason::Cancelled);
        };
        let reason = if self.shared.is_closed() {
            CloseReason::PoolClosed
        } else if self.shared.snapshot.outdates(conn.meta.version) {
            CloseReason::Cleared
        } else {
            return Ok(conn);
        };
        settle(self.shared, conn, Disposition::Close(reason));
        Err(reason)
    }

    /// Ends a check and puts the connection where its disposition says.
    pub(super) fn settle(&mut self, disposition: Disposition) {
        if let Some(conn) = self.conn.take() {
            settle(self.shared, conn, disposition);
        }
    }
}

impl<M: Manager> Drop for Checkout<'_, M> {
    fn drop(&mut self) {
        self.settle(Disposition::Close(CloseReason::Cancelled));
    }
}
