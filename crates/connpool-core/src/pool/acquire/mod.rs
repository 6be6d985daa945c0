//! From `get` to a connection: the fast path, and the loop of everything else.

use std::future::poll_fn;
use std::time::Duration;

use futures_lite::future::{or, yield_now};

use crate::error::GetError;
use crate::error::diagnosis::Phase;
use crate::machine::clock_leap::COMPARED_AFTER;
use crate::machine::disposition::Disposition;
use crate::machine::health::{Check, CheckKind, Step};
use crate::machine::home::RuntimeId;
use crate::machine::wait_queue::{Accepts, Source};
use crate::manager::Manager;
use crate::observe::close_reason::CloseReason;
use crate::observe::holders::CallSite;
use crate::observe::tracing;
use crate::pool::acquire::verify::{Checkout, begin_check, probe};
use crate::pool::acquire::wait::Wait;
use crate::pool::acquire::watch::GetWatch;
use crate::pool::background::attend::{home_answers, look_after};
use crate::pool::connect::report_first_check;
use crate::pool::idle::NotTaken;
use crate::pool::release::settle;
use crate::pool::report::{QueuePlace, diagnosis};
use crate::pool::shared::{Accepted, BoxConn, Shared};
use crate::pool::waiter::{Assigned, WaitError};
use crate::time::{Instant, Nanos};
use crate::util::timeout::Deadline;

pub(crate) mod prepare;
pub(crate) mod verify;
mod wait;
mod watch;

/// The number of connections that may fail their check before only a fresh one is accepted. One that
/// does not answer is enough.
const TRIES: u32 = 3;

/// The state that the loop takes over from a fast path that missed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Miss {
    /// The number of connections that failed their check.
    failed: u32,
    /// Whether nothing was taken because the runtime must be asked first.
    must_ask: bool,
    /// Whether a pool that drains serves the caller.
    is_accepted: bool,
}

impl Miss {
    /// Returns the state of a caller that is [`Accepted`].
    pub(crate) fn accepted() -> Self {
        Miss { is_accepted: true, ..Miss::default() }
    }
}

/// Checks out an idle connection if nothing obstructs it and nothing but a liveness probe is due;
/// else returns what the loop takes over.
///
/// Whatever this checks out, the full check passes.
#[inline]
pub(crate) fn fast<M: Manager>(
    shared: &Shared<M>,
    site: CallSite,
    may_ask: bool,
) -> Result<BoxConn<M>, Miss> {
    let Some(version) = shared.snapshot.fast_checkout().filter(|_| !tracing::is_on()) else {
        return Err(Miss::default());
    };
    let Some(now) = shared.clock_through_leaps() else { return Err(Miss::default()) };
    // What was returned after `now` by far was so before the wall clock was set back.
    let is_fit = |conn: &BoxConn<M>| {
        conn.meta.is_fit(version, shared.snapshot.fresh_for(version, now), now)
            && !conn.meta.idle_since.is_past(now, COMPARED_AFTER)
    };
    let probe_after = shared.snapshot.settings.liveness_after.get();
    let probes = probe_after != Nanos::NEVER;
    // Counted where it is taken, unless a probe may still reject it.
    let mut conn = shared
        .idle
        .pop_if(is_fit, !probes, may_ask)
        .map_err(|why| Miss { must_ask: why == NotTaken::MustAsk, ..Miss::default() })?;
    if probes {
        if now.is_past(conn.meta.idle_since, probe_after) {
            let result = probe(shared, &mut conn.inner);
            if let Step::Close(reason) = Check::probe_only(result) {
                settle(shared, conn, Disposition::Close(reason));
                return Err(Miss { failed: 1, ..Miss::default() });
            }
        }
        shared.counters.request.inc();
        shared.counters.success.inc();
    }
    let since = shared.snapshot.needs_clock().then_some(now);
    shared.check_out(&mut conn, site, since);
    Ok(conn)
}

/// Checks out a connection within `limit`, after the fast path missed.
// The error is boxed so that the result fits two registers. Otherwise it has a place in memory, which
// the fast path would have to share and to copy from.
pub(crate) async fn within<M: Manager>(
    shared: &Shared<M>,
    mut miss: Miss,
    limit: Nanos,
    site: CallSite,
) -> Result<BoxConn<M>, Box<GetError<M::Error>>> {
    if miss.must_ask {
        cooperate(shared).await;
        match fast(shared, site, false) {
            Ok(conn) => return Ok(conn),
            Err(again) => miss = again,
        }
    }
    let mut deadline = Deadline::new(limit);
    if tracing::is_on() {
        let acquire = acquire(shared, miss, Mode::Wait, &mut deadline, site);
        // Boxed, so that every other get is no larger for it.
        return Box::pin(tracing::get(&shared.events.pool, acquire)).await.map_err(Box::new);
    }
    // What `acquire` does. Not through that function, which would move the future.
    let watch = begin(shared);
    let mut wait = Wait::new(shared);
    match obtain(shared, miss, Mode::Wait, &mut deadline, &mut wait).await {
        Ok(verified) => Ok(check_out(shared, verified, watch, site)),
        Err(error) => Err(Box::new(error)),
    }
}

/// Yields to other tasks, if the runtime says so. The caller holds nothing meanwhile.
async fn cooperate<M: Manager>(shared: &Shared<M>) {
    poll_fn(|cx| shared.runtime.poll_coop(cx)).await;
}

/// Says if a `get` may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Wait,
    /// Neither waits nor pings nor resets, and needs no maintenance task.
    Immediate,
}

/// Obtains a connection and checks it out.
pub(crate) async fn acquire<M: Manager>(
    shared: &Shared<M>,
    miss: Miss,
    mode: Mode,
    deadline: &mut Deadline,
    site: CallSite,
) -> Result<BoxConn<M>, GetError<M::Error>> {
    let watch = begin(shared);
    let mut wait = Wait::new(shared);
    let verified = obtain(shared, miss, mode, deadline, &mut wait).await?;
    Ok(check_out(shared, verified, watch, site))
}

/// Counts a `get` that is no longer on the fast path, and starts to observe it.
#[inline]
fn begin<M: Manager>(shared: &Shared<M>) -> Option<Box<GetWatch<'_, M>>> {
    shared.counters.request.inc();
    GetWatch::begin(shared)
}

/// A connection whose check has passed, and when.
struct Verified<M: Manager> {
    conn: BoxConn<M>,
    at: Instant,
}

/// Obtains a connection and verifies it; repeats while verification fails.
async fn obtain<M: Manager>(
    shared: &Shared<M>,
    miss: Miss,
    mode: Mode,
    deadline: &mut Deadline,
    wait: &mut Wait<'_, M>,
) -> Result<Verified<M>, GetError<M::Error>> {
    if mode == Mode::Immediate && shared.snapshot.is_draining() {
        return Err(GetError::Closed);
    }
    let Miss { mut failed, is_accepted, .. } = miss;
    wait.is_accepted = is_accepted;
    // Of a caller that is not queued, and waits for a check.
    let mut accepted = None;
    let mut search_idle = !wait.has_place();
    let mut may_ask = true;
    loop {
        let idle = match search_idle && failed < TRIES {
            true => take_idle(shared, mode, may_ask),
            false => Err(NotTaken::Nothing),
        };
        let assigned = match idle {
            Ok(conn) => Assigned { conn, source: Source::Reused },
            Err(NotTaken::MustAsk) => {
                cooperate(shared).await;
                may_ask = false;
                continue;
            }
            Err(NotTaken::Nothing) if mode == Mode::Immediate => {
                return Err(exhausted(shared, QueuePlace::default()));
            }
            Err(NotTaken::Nothing) => {
                wait.accepts = if failed < TRIES { Accepts::Any } else { Accepts::Fresh };
                match wait.next(deadline).await {
                    Ok(assigned) => match wait.verify(&assigned) {
                        Some(at) => return Ok(Verified { conn: assigned.conn, at }),
                        None => assigned,
                    },
                    Err(error) => {
                        let is_told = matches!(error, WaitError::Connect(_));
                        let error = get_error(error, shared, deadline, wait.place);
                        // A caller that asks in a loop must not keep the probe from running.
                        if is_told {
                            yield_now().await;
                        }
                        return Err(error);
                    }
                }
            }
        };
        let kind = match (mode, assigned.source) {
            (Mode::Immediate, _) => CheckKind::Immediate,
            (Mode::Wait, Source::Reused) => CheckKind::Reused,
            (Mode::Wait, Source::Fresh) => CheckKind::Fresh,
        };
        let mut conn = assigned.conn;
        let checked_at = shared.clock();
        let is_stray = conn.meta.origin.runtime() != shared.snapshot.home();
        if is_stray {
            look_after(shared, elsewhere(shared), shared.runtime.now());
        }
        let was_idle = checked_at.is_past(conn.meta.idle_since, COMPARED_AFTER);
        if was_idle || shared.snapshot.needs_clock() && shared.have_clocks_parted(checked_at) {
            shared.compare_clocks(checked_at);
        }
        if was_idle {
            let here = elsewhere(shared).filter(|_| mode == Mode::Wait && !is_stray);
            if here.is_some() {
                let mut checkout = Checkout { shared, conn: Some(conn), checked_at };
                let answers = or(home_answers(shared, here), async {
                    deadline.passed(&*shared.runtime).await;
                    false
                });
                // A request on it would wait for a runtime that does not run.
                if !answers.await {
                    checkout.settle(Disposition::Close(CloseReason::RuntimeGone));
                    search_idle = false;
                    failed = TRIES;
                    continue;
                }
                let Some(still) = checkout.conn.take() else { continue };
                conn = still;
            }
        }
        let check = begin_check(shared, &mut conn, kind, checked_at);
        let mut checkout = Checkout { shared, conn: Some(conn), checked_at };
        let disposition = match Disposition::after(check.step) {
            Some(disposition) => Some(disposition),
            None => {
                if !wait.has_place() && accepted.is_none() {
                    accepted = Some(Accepted::new(shared));
                    wait.is_accepted = true;
                }
                checkout.run(check, deadline).await
            }
        };
        if let (Some(conn), Some(disposition)) = (&checkout.conn, disposition) {
            report_first_check(shared, &conn.meta, disposition);
        }
        search_idle = !wait.has_place();
        match disposition {
            // It passed, and the pool was paused meanwhile: back to the queue, without a failure.
            Some(Disposition::Reuse) if shared.snapshot.is_paused() => {
                checkout.settle(Disposition::Reuse);
                search_idle = false;
                continue;
            }
            Some(Disposition::Reuse) => match checkout.finish() {
                Ok(conn) => return Ok(Verified { conn, at: checkout.checked_at }),
                Err(CloseReason::PoolClosed) => return Err(GetError::Closed),
                Err(_) => {}
            },
            Some(unfit) => {
                checkout.settle(unfit);
                if unfit.is_silence() {
                    failed = TRIES;
                }
            }
            None => {
                checkout.settle(Disposition::Close(CloseReason::Cancelled));
                return Err(timeout(shared, Phase::Check, deadline, wait.place));
            }
        }
        failed = failed.saturating_add(1);
    }
}

/// Returns the runtime of the caller, if the pool is at home on another one.
fn elsewhere<M: Manager>(shared: &Shared<M>) -> Option<RuntimeId> {
    let home = shared.snapshot.home()?;
    shared.runtime.current().filter(|here| *here != home)
}

/// Takes an idle connection, if no caller waits and nothing else obstructs it.
#[inline]
fn take_idle<M: Manager>(
    shared: &Shared<M>,
    mode: Mode,
    may_ask: bool,
) -> Result<BoxConn<M>, NotTaken> {
    match mode {
        Mode::Wait if shared.snapshot.allows_checkout() => shared.idle.pop_for_get(may_ask),
        Mode::Immediate if shared.snapshot.allows_try() => {
            let idle = match shared.snapshot.provides.reset {
                true => shared.idle.pop_oldest(false),
                false => shared.idle.pop(),
            };
            idle.ok_or(NotTaken::Nothing)
        }
        Mode::Wait | Mode::Immediate => Err(NotTaken::Nothing),
    }
}

fn check_out<M: Manager>(
    shared: &Shared<M>,
    Verified { mut conn, at }: Verified<M>,
    watch: Option<Box<GetWatch<'_, M>>>,
    site: CallSite,
) -> BoxConn<M> {
    let since = report_checkout(shared, &conn, watch);
    let since = since.or_else(|| shared.snapshot.needs_clock().then_some(at));
    lend(shared, &mut conn, site, since);
    conn
}

/// Records that `site` borrows a connection that was not taken on the fast path.
fn lend<M: Manager>(
    shared: &Shared<M>,
    conn: &mut BoxConn<M>,
    site: CallSite,
    since: Option<Instant>,
) {
    shared.check_out(conn, site, since);
    if shared.snapshot.has_more_to_do() {
        shared.checked_out_slowly(conn);
    }
}

/// Counts and reports a checkout. Returns its time if that was measured.
fn report_checkout<M: Manager>(
    shared: &Shared<M>,
    conn: &BoxConn<M>,
    mut watch: Option<Box<GetWatch<'_, M>>>,
) -> Option<Instant> {
    shared.counters.success.inc();
    watch.as_mut().map(|watch| watch.checked_out(conn.meta.id()))
}

fn get_error<M: Manager>(
    error: WaitError<M::Error>,
    shared: &Shared<M>,
    deadline: &Deadline,
    place: QueuePlace,
) -> GetError<M::Error> {
    match error {
        WaitError::Closed => GetError::Closed,
        WaitError::Exhausted => exhausted(shared, place),
        WaitError::TimedOut => {
            let connecting = shared.peek(|state| state.machine.is_connecting());
            let phase = if connecting { Phase::Connect } else { Phase::Wait };
            timeout(shared, phase, deadline, place)
        }
        WaitError::Connect(error) => GetError::Connect(error),
    }
}

pub(crate) fn timeout<M: Manager>(
    shared: &Shared<M>,
    phase: Phase,
    deadline: &Deadline,
    place: QueuePlace,
) -> GetError<M::Error> {
    let waited = deadline.elapsed(shared.runtime.now());
    GetError::Timeout { phase, diagnosis: diagnosis(shared, waited, place) }
}

pub(crate) fn exhausted<M: Manager>(shared: &Shared<M>, place: QueuePlace) -> GetError<M::Error> {
    GetError::Exhausted(diagnosis(shared, Duration::ZERO, place))
}
