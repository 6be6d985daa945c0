//! Runs the steps of a health check against the manager.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use futures_lite::future::{or, pending};

use crate::machine::check_limit::CheckLimit;
use crate::machine::disposition::{Disposition, GuardFlags};
use crate::machine::health::{Check, CheckKind, Origin, Rules, Step, StepResult, Versions};
use crate::machine::home::is_stranded;
use crate::manager::{Manager, Severity};
use crate::observe::close_reason::CloseReason;
use crate::observe::event::Event;
use crate::pool::connect::report_first_check;
use crate::pool::release::settle;
use crate::pool::shared::{BoxConn, Shared};
use crate::stream::Liveness;
use crate::time::{HumanDuration, Instant, earliest};
use crate::util::sync::Arc;
use crate::util::timeout::{Completion, Deadline, run_guarded};

/// Starts a check and takes it as far as it goes without waiting.
#[inline]
pub(crate) fn begin_check<M: Manager>(
    shared: &Shared<M>,
    conn: &mut BoxConn<M>,
    kind: CheckKind,
    now: Instant,
) -> Check {
    let (versions, mut rules) = shared.snapshot.versions_and_rules();
    rules.needs_reset &= !conn.slot.flags.has(GuardFlags::RESET);
    if is_stranded(conn.meta.origin.runtime(), versions.home, || shared.runtime.current()) {
        return Check::of_stranded();
    }
    let begin = |spare| Check::begin(kind, &conn.meta, &rules, versions, spare, now);
    let mut check = begin(true);
    if check.step == Step::Close(CloseReason::Idle)
        && !shared.peek(|state| {
            let capacity = &state.machine.capacity;
            let enough_idle =
                || capacity.min_idle == 0 || shared.idle.count().idle >= capacity.min_idle;
            capacity.is_above_min_size() && enough_idle()
        })
    {
        check = begin(false);
    }
    if check.step == Step::Probe {
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
    let check = check.after(probe(shared, &mut conn.inner));
    if let Some(disposition) = Disposition::after(check.step) {
        report_first_check(shared, &conn.meta, disposition);
    }
}

/// Runs the liveness probe of the manager.
#[inline]
pub(crate) fn probe<M: Manager>(shared: &Shared<M>, conn: &mut M::Connection) -> StepResult {
    let mut liveness = None;
    let mut probe = || liveness = Some(shared.manager.liveness(conn));
    let probed = shared.events.guarded("liveness", || shared.runtime.unconstrained(&mut probe));
    match probed.and(liveness) {
        Some(Liveness::Alive | Liveness::Unknown) => StepResult::Quiet,
        Some(Liveness::Closed) => StepResult::Closed,
        Some(Liveness::Unsolicited) => StepResult::Unsolicited,
        None => StepResult::Panicked,
    }
}

/// Runs the steps of a check that wait, up to its end; `None` if the deadline or the interrupt came
/// first. No step may take more than its share of the time until the deadline.
///
/// No `get` waits for a ping of `keepalive`: without `ping_timeout`, it may take as long as that.
pub(crate) async fn run_check<M: Manager>(
    shared: &Shared<M>,
    conn: &mut BoxConn<M>,
    mut check: Check,
    keepalive: Option<Duration>,
    deadline: &mut Deadline,
    interrupt: impl Future<Output = ()>,
) -> Option<Disposition> {
    let mut interrupt = pin!(interrupt);
    loop {
        let interrupt = interrupt.as_mut();
        let (manager, meta) = (&shared.manager, &conn.meta);
        let about = (meta.id(), check.step);
        let result = match check.step {
            Step::Pass | Step::Close(_) => return Disposition::after(check.step),
            Step::Probe => probe(shared, &mut conn.inner),
            Step::Ping => {
                let timeout = shared.snapshot.config().ping_timeout;
                let limit = match keepalive {
                    Some(age) => timeout.or(Some(age)),
                    None => earliest([timeout, Some(meta.round_trips.ping_limit())]),
                };
                let inner = &mut conn.inner;
                let ping = async { manager.ping(inner).await };
                let ended = run_step(shared, about, limit, deadline, interrupt, ping).await?;
                conn.meta.round_trips.pinged(ended.took.unwrap_or_default());
                ended.heed(shared, conn.meta.origin)
            }
            Step::Reset => {
                let limit = shared.snapshot.config().reset_timeout;
                let inner = &mut conn.inner;
                let reset = async { manager.reset(inner).await };
                let ended = run_step(shared, about, limit, deadline, interrupt, reset).await?;
                if ended.took.is_some() || shared.snapshot.resets_on_return() {
                    shared.with(|locked| locked.state.machine.resets.took(ended.took));
                }
                if ended.result == StepResult::Done {
                    conn.slot.flags = conn.slot.flags.with(GuardFlags::RESET);
                }
                ended.heed(shared, conn.meta.origin)
            }
        };
        if result == StepResult::Done {
            if shared.snapshot.is_check_failing() {
                drop(shared.with(|locked| locked.state.failed_checks.passed(check.step)));
            }
            let now = shared.clock();
            let (versions, rules) = shared.snapshot.versions_and_rules();
            conn.meta.verified(now, versions, &rules);
            check = check.after_success(&conn.meta, &rules);
        } else {
            check = check.after(result);
        }
    }
}

/// Runs the steps of a check that no `get` waits for; `None` if the pool is closed meanwhile. In a closed pool
/// nothing is checked.
pub(crate) async fn run_check_unless_closed<M: Manager>(
    shared: &Shared<M>,
    conn: &mut BoxConn<M>,
    check: Check,
    keepalive: Option<Duration>,
) -> Option<Disposition> {
    let closing = shared.signals.closing.listen();
    if shared.snapshot.is_closed() {
        return Some(Disposition::Reuse);
    }
    run_check(shared, conn, check, keepalive, &mut Deadline::new(None), closing).await
}

/// How a ping or a reset ended.
struct EndedStep {
    result: StepResult,
    /// `None` if it was ready at once, which reads no clock.
    took: Option<Duration>,
    severity: Severity,
}

impl EndedStep {
    /// Returns the result, after a failure that says that the whole generation is stale was heeded.
    fn heed<M: Manager>(self, shared: &Shared<M>, origin: Origin) -> StepResult {
        if self.severity == Severity::Generation {
            shared.condemn(origin.version());
        }
        self.result
    }
}

/// Runs a ping or a reset that may take `own` by itself; `None` if the deadline or the interrupt came
/// first.
async fn run_step<M: Manager>(
    shared: &Shared<M>,
    about: (u64, Step),
    own: Option<Duration>,
    deadline: &mut Deadline,
    interrupt: impl Future<Output = ()>,
    work: impl Future<Output = Result<(), M::Error>>,
) -> Option<EndedStep> {
    let runtime = &*shared.runtime;
    let left = deadline.left();
    let mut began = None;
    let mut limited = None;
    let limit = || {
        let now = runtime.now();
        began = Some(now);
        limited.insert(CheckLimit::new(own, left(now))).limit
    };
    let interrupt = or(interrupt, deadline.passed(runtime));
    let mut severity = Severity::default();
    let result = match run_guarded(runtime, limit, interrupt, work).await {
        Completion::Done(Ok(())) => StepResult::Done,
        Completion::Done(Err(error)) => {
            severity = shared.judge(&error);
            report_failed_check(shared, about, Arc::new(error), true);
            StepResult::Failed
        }
        Completion::TimedOut => {
            let is_cut_short = limited.is_some_and(|limited| limited.is_cut_short);
            let limit = limited.and_then(|limited| limited.limit).unwrap_or_default();
            let text = format!("no answer within {}", HumanDuration(limit));
            let error = Arc::from(Box::<dyn Error + Send + Sync>::from(text));
            report_failed_check(shared, about, error, !is_cut_short);
            if is_cut_short { StepResult::CutShort } else { StepResult::TimedOut }
        }
        Completion::Panicked(message) => {
            shared.events.panicked(about.1.label(), &message);
            StepResult::Panicked
        }
        Completion::Interrupted => return None,
    };
    let took = began.map(|began| runtime.now().since(began));
    Some(EndedStep { result, took, severity })
}

/// Records and tells why a ping or a reset failed. `counts` if that may be the fault of the check.
#[cold]
fn report_failed_check<M: Manager>(
    shared: &Shared<M>,
    about: (u64, Step),
    error: Arc<dyn Error + Send + Sync>,
    counts: bool,
) {
    let newest = counts.then(|| shared.counters.created.get());
    let now = shared.runtime.now();
    let (check, before) =
        shared.with(|locked| locked.state.failed_checks.failed(about, error, newest, now));
    drop(before);
    shared.events.tell(|| Event::CheckFailed { check: &check });
}

/// A connection under check. Dropped in the middle of a check, it is destroyed: its state is unknown.
pub(super) struct Checkout<'a, M: Manager> {
    pub(super) shared: &'a Shared<M>,
    pub(super) conn: Option<BoxConn<M>>,
    pub(super) checked_at: Instant,
}

impl<M: Manager> Checkout<'_, M> {
    /// Runs the steps that wait; `None` if the deadline of the whole `get` passed first.
    pub(super) async fn run(
        &mut self,
        check: Check,
        deadline: &mut Deadline,
    ) -> Option<Disposition> {
        let conn = self.conn.as_mut()?;
        let disposition = run_check(self.shared, conn, check, None, deadline, pending()).await;
        self.checked_at = conn.meta.last_alive;
        disposition
    }

    /// Ends a check that passed, unless the pool was closed or cleared meanwhile.
    pub(super) fn finish(&mut self) -> Result<BoxConn<M>, CloseReason> {
        let conn = self.conn.take().ok_or(CloseReason::Cancelled)?;
        let reason = if self.shared.snapshot.is_closed() {
            CloseReason::PoolClosed
        } else if self.shared.snapshot.outdates(conn.meta.origin.version()) {
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
