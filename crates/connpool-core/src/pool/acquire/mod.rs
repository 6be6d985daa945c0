//! From `get` to a connection: the fast path, and the loop of everything else.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::GetError;
use crate::machine::clock_leap::COMPARED_AFTER;
use crate::machine::disposition::Disposition;
use crate::machine::health::{Check, Step};
use crate::manager::Manager;
use crate::observe::holders::CallSite;
use crate::observe::tracing;
use crate::pool::acquire::examine::{Mode, Verified};
use crate::pool::acquire::obtain::{Miss, Obtain};
use crate::pool::acquire::verify::probe;
use crate::pool::acquire::watch::GetWatch;
use crate::pool::idle::NotTaken;
use crate::pool::release::settle;
use crate::pool::shared::{BoxConn, Shared};
use crate::time::{Instant, Nanos};
use crate::util::timeout::Deadline;

pub(crate) mod examine;
pub(crate) mod obtain;
pub(crate) mod prepare;
pub(crate) mod verify;
mod wait;
mod watch;

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
    let Some(version) = shared.snapshot.fast_checkout().filter(|_| !tracing::receives_gets())
    else {
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
        let counters = shared.get_counters();
        counters.request.inc();
        counters.success.inc();
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
        // The caller holds nothing meanwhile.
        poll_fn(|cx| shared.runtime.poll_coop(cx)).await;
        match fast(shared, site, false) {
            Ok(conn) => return Ok(conn),
            Err(again) => miss = again,
        }
    }
    if tracing::receives_gets() {
        let acquire = acquire(shared, miss, Mode::Wait, Deadline::new(limit), site);
        // Boxed, so that every other get is no larger for it.
        return Box::pin(tracing::get(&shared.events.pool, acquire)).await;
    }
    acquire(shared, miss, Mode::Wait, Deadline::new(limit), site).await
}

/// Obtains a connection and checks it out.
pub(crate) fn acquire<M: Manager>(
    shared: &Shared<M>,
    miss: Miss,
    mode: Mode,
    deadline: Deadline,
    site: CallSite,
) -> Acquire<'_, M> {
    Acquire { obtain: Obtain::new(shared, miss, mode, deadline), watch: None, site }
}

/// The future of [`acquire`].
// Written by hand, as is `Obtain`: the future of an async function has a place for each of its arguments
// twice.
pub(crate) struct Acquire<'a, M: Manager> {
    obtain: Obtain<'a, M>,
    watch: Option<Box<GetWatch<'a, M>>>,
    site: CallSite,
}

impl<M: Manager> Future for Acquire<'_, M> {
    type Output = Result<BoxConn<M>, Box<GetError<M::Error>>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Acquire { obtain, watch, site } = self.get_mut();
        let shared = obtain.shared();
        if obtain.has_just_begun() {
            *watch = begin(shared);
        }
        obtain.poll(cx).map_ok(|verified| check_out(shared, verified, watch.take(), site))
    }
}

/// Counts a `get` that is no longer on the fast path, and starts to observe it.
#[inline]
fn begin<M: Manager>(shared: &Shared<M>) -> Option<Box<GetWatch<'_, M>>> {
    shared.get_counters().request.inc();
    GetWatch::begin(shared)
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
    shared.get_counters().success.inc();
    watch.as_mut().map(|watch| watch.checked_out(conn.meta.id()))
}
