//! Several connections at once, all or none.

use std::panic::Location;
use std::time::Duration;

use futures_lite::future::or;

use crate::error::GetError;
use crate::error::diagnosis::Phase;
use crate::manager::Manager;
use crate::observe::holders::CallSite;
use crate::observe::tracing;
use crate::pool::acquire::acquire;
use crate::pool::acquire::examine::Mode;
use crate::pool::acquire::obtain::Miss;
use crate::pool::guard::PooledConnection;
use crate::pool::handle::Pool;
use crate::pool::report::{QueuePlace, gauges, timeout};
use crate::pool::shared::{Accepted, BATCH, Shared};
use crate::time::Nanos;
use crate::util::fair_lock::FairGuard;
use crate::util::timeout::Deadline;

impl<M: Manager> Pool<M> {
    /// Checks out `n` connections, or none, within `get_timeout` for all of them. If the rest cannot
    /// be had, those gathered so far are returned.
    ///
    /// Only one caller gathers at a time, in the order of arrival, so two of them never wait for what
    /// the other holds. A caller that already holds a connection can still wait for itself: check out
    /// everything it needs at once. Counts as `n` requests.
    ///
    /// # Single gets beside it
    ///
    /// It takes one place in the queue at a time, each behind all callers that came before, so no single
    /// [`get`](Pool::get) waits for more than one connection of it. But what it has gathered serves no
    /// request until the last connection has come: with `k` in hand, single gets share `max_size - k`
    /// connections, for as long as those queued before its next place take. To gather half of a busy pool
    /// can thereby halve the throughput for the time of one queue.
    ///
    /// # Examples
    ///
    /// ```
    /// # use connpool_core::{object_fn, Pool};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let pool = Pool::builder(
    /// #     object_fn(|| async { Ok::<_, std::io::Error>(String::new()) }), sim.clone()).build_lazy()?;
    /// # sim.block_on(async {
    /// let mut both = pool.get_many(2).await?;
    /// if let [from, to] = &mut both[..] {
    ///     std::mem::swap(&mut **from, &mut **to);
    /// }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get`](Pool::get), and [`GetError::TooMany`] as soon as `n` is more than `max_size`.
    /// `n = 0` returns an empty `Vec`, even if the pool is closed.
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe. If the future is dropped, the connections gathered so far are
    /// returned and the next caller gathers.
    #[track_caller]
    pub fn get_many(
        &self,
        n: usize,
    ) -> impl Future<Output = Result<Vec<PooledConnection<'_, M>>, GetError<M::Error>>> + Send {
        let limit = self.shared().snapshot.settings.get_timeout.get();
        gather(self.shared(), n, limit, Location::caller())
    }

    /// Checks out `n` connections like [`get_many`](Pool::get_many), within `limit` for all of them.
    ///
    /// # Errors
    ///
    /// Those of [`get_many`](Pool::get_many).
    ///
    /// # Cancel safety
    ///
    /// This method is cancel safe, like [`get_many`](Pool::get_many).
    #[track_caller]
    pub fn get_many_timeout(
        &self,
        n: usize,
        limit: Duration,
    ) -> impl Future<Output = Result<Vec<PooledConnection<'_, M>>, GetError<M::Error>>> + Send {
        gather(self.shared(), n, limit.into(), Location::caller())
    }
}

async fn gather<M: Manager>(
    shared: &Shared<M>,
    n: usize,
    limit: Nanos,
    site: CallSite,
) -> Result<Vec<PooledConnection<'_, M>>, GetError<M::Error>> {
    if n == 0 {
        return Ok(Vec::new());
    }
    let _accepted = Accepted::new(shared);
    if shared.snapshot.is_draining() {
        return Err(GetError::Closed);
    }
    let gather = async {
        let mut deadline = Deadline::new(limit);
        deadline.begin(shared.runtime.now());
        let _turn = take_turn(shared, &mut deadline).await?;
        let mut gathered = Vec::with_capacity(n.min(BATCH));
        for _ in 0..n {
            let acquire = acquire(shared, Miss::accepted(), Mode::Wait, deadline.again(), site);
            let conn = tracing::get(&shared.events.pool, acquire).await.map_err(|error| *error)?;
            gathered.push(PooledConnection::borrowed(shared, conn));
        }
        Ok(gathered)
    };
    or(async { Err(too_many(shared, n).await) }, gather).await
}

/// Ends once there can never be `n` connections at once: at the start, or when `max_size` is lowered.
async fn too_many<M: Manager>(shared: &Shared<M>, n: usize) -> GetError<M::Error> {
    loop {
        let changed = shared.signals.state_changed.listen();
        let max_size = gauges(shared).0.max_size;
        if n > max_size {
            return GetError::TooMany { wanted: n, max_size };
        }
        changed.await;
    }
}

async fn take_turn<'a, M: Manager>(
    shared: &'a Shared<M>,
    deadline: &mut Deadline,
) -> Result<FairGuard<'a>, GetError<M::Error>> {
    let turn = async { Some(shared.batch_lock.lock().await) };
    let closed = async {
        let closing = shared.signals.closing.listen();
        if !shared.snapshot.is_closed() {
            closing.await;
        }
        None
    };
    let time_is_up = async {
        deadline.passed(&*shared.runtime).await;
        None
    };
    match or(or(turn, closed), time_is_up).await {
        Some(turn) => Ok(turn),
        None if shared.snapshot.is_closed() => Err(GetError::Closed),
        None => Err(timeout(shared, Phase::Wait, deadline, QueuePlace::default())),
    }
}
