//! Runs the caller's own preparation of a connection, between its check and its checkout.

use std::future::poll_fn;

use futures_lite::future::or;

use crate::error::GetError;
use crate::error::diagnosis::Phase;
use crate::machine::disposition::Disposition;
use crate::manager::{Manager, Severity};
use crate::observe::close_reason::CloseReason;
use crate::observe::holders::CallSite;
use crate::observe::tracing;
use crate::pool::acquire::examine::{Mode, Verified};
use crate::pool::acquire::obtain::{Miss, Obtain};
use crate::pool::acquire::{begin, lend, report_checkout};
use crate::pool::release::{end_lease, settle, take_flags};
use crate::pool::report::timeout;
use crate::pool::shared::{BoxConn, Shared};
use crate::time::Nanos;
use crate::util::sync::Arc;
use crate::util::timeout::Deadline;

/// Checks out a connection that `prepare` has prepared, within `limit` for all of it.
pub(crate) async fn within_prepared<M: Manager>(
    shared: &Shared<M>,
    limit: Nanos,
    site: CallSite,
    prepare: impl AsyncFnOnce(&mut M::Connection) -> Result<(), M::Error>,
) -> Result<BoxConn<M>, GetError<M::Error>> {
    let acquire = acquire_prepared(shared, limit, site, prepare);
    if tracing::receives_gets() {
        return Box::pin(tracing::get(&shared.events.pool, acquire)).await;
    }
    acquire.await
}

async fn acquire_prepared<M: Manager>(
    shared: &Shared<M>,
    limit: Nanos,
    site: CallSite,
    prepare: impl AsyncFnOnce(&mut M::Connection) -> Result<(), M::Error>,
) -> Result<BoxConn<M>, GetError<M::Error>> {
    let watch = begin(shared);
    let mut obtain = Obtain::new(shared, Miss::default(), Mode::Wait, Deadline::new(limit));
    let verified = poll_fn(|cx| obtain.poll(cx)).await.map_err(|error| *error)?;
    // From here on it holds a connection, and must not keep its place in the queue.
    let (mut deadline, place) = obtain.end();
    let mut preparation = Preparation::begin(shared, verified, site);
    match preparation.run(prepare, &mut deadline).await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            preparation.failed(&error);
            return Err(GetError::Prepare(Arc::new(error)));
        }
        None => {
            drop(preparation);
            return Err(timeout(shared, Phase::Prepare, &deadline, place));
        }
    }
    // It has one until it is dropped.
    let conn = preparation.conn.take().ok_or(GetError::Closed)?;
    report_checkout(shared, &conn, watch);
    Ok(conn)
}

/// A connection under preparation, which counts as borrowed. Dropped before the end of it, it is destroyed:
/// it is not as the next caller expects it.
struct Preparation<'a, M: Manager> {
    shared: &'a Shared<M>,
    conn: Option<BoxConn<M>>,
}

impl<'a, M: Manager> Preparation<'a, M> {
    fn begin(shared: &'a Shared<M>, verified: Verified<M>, site: CallSite) -> Self {
        let Verified { mut conn, at } = verified;
        lend(shared, &mut conn, site, shared.snapshot.needs_clock().then_some(at));
        Preparation { shared, conn: Some(conn) }
    }

    /// Runs the preparation; `None` if the deadline of the whole `get` passed first.
    async fn run(
        &mut self,
        prepare: impl AsyncFnOnce(&mut M::Connection) -> Result<(), M::Error>,
        deadline: &mut Deadline,
    ) -> Option<Result<(), M::Error>> {
        let conn = self.conn.as_mut()?;
        let prepared = async { Some(prepare(&mut conn.inner).await) };
        let time_is_up = async {
            deadline.passed(&*self.shared.runtime).await;
            None
        };
        or(prepared, time_is_up).await
    }

    /// Destroys the connection, and condemns it if the manager says so of the error.
    fn failed(self, error: &M::Error) {
        let is_stale = self.shared.judge(error) == Severity::Generation;
        if let Some(conn) = self.conn.as_ref().filter(|_| is_stale) {
            self.shared.condemn(conn.meta.origin.version());
        }
    }
}

impl<M: Manager> Drop for Preparation<'_, M> {
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        end_lease(self.shared, &conn);
        take_flags(self.shared, &mut conn);
        let reason = match std::thread::panicking() {
            true => CloseReason::Panicked,
            false => CloseReason::Unfinished,
        };
        settle(self.shared, conn, Disposition::Discard(reason));
    }
}
