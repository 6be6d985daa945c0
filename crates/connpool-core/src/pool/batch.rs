//! Several connections at once, all or none.

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use event_listener::{Event as Signal, EventListener};
use futures_lite::future::or;

use crate::machine::slab::Count;
use crate::observe::holders::Borrower;
use crate::observe::tracing;
use crate::pool::acquire::fast::Tried;
use crate::pool::acquire::find;
use crate::pool::acquire::wait::Plight;
use crate::pool::shared::{AT_ONCE, Shared};
use crate::time::Nanos;
use crate::util::sync::Mutex;
use crate::util::timeout::{Deadline, catch};
use crate::{GetError, Manager, Phase, Pool, PooledConnection};

impl<M: Manager> Pool<M> {
    /// `n` connections, or none: what was gathered goes back if the rest cannot be had. Takes at most
    /// `get_timeout` for all of them.
    ///
    /// Only one of those who want several gathers at a time, in the order in which they came; so two
    /// of them never wait for what the other has. Who holds a connection and waits for another one
    /// can still wait for himself: take all that is needed at once. Counts as `n` requests.
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
    /// As [`get`](Pool::get), and [`GetError::TooMany`] at once if `n` is more than `max_size`, or
    /// as soon as it is. None at all, 0, is an empty `Vec`, even of a closed pool.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing: what was gathered goes back, and the next one gathers.
    #[track_caller]
    pub fn get_many(
        &self,
        n: usize,
    ) -> impl Future<Output = Result<Vec<PooledConnection<'_, M>>, GetError<M::Error>>> + Send {
        let limit = self.shared().settings.get_timeout();
        self.gather(n, limit, Borrower::at(Location::caller()))
    }

    /// [`get_many`](Pool::get_many) with a limit of its own, for all of them together.
    ///
    /// # Errors
    ///
    /// As [`get_many`](Pool::get_many).
    #[track_caller]
    pub fn get_many_timeout(
        &self,
        n: usize,
        limit: Duration,
    ) -> impl Future<Output = Result<Vec<PooledConnection<'_, M>>, GetError<M::Error>>> + Send {
        self.gather(n, limit.into(), Borrower::at(Location::caller()))
    }

    /// A connection for one request and its reply, and back: [`get`](Pool::get) and
    /// [`PooledConnection::exchange`] in one.
    ///
    /// ```
    /// # use connpool_core::{GetError, Pool};
    /// # use futures_lite::io::{AsyncReadExt, AsyncWriteExt, Cursor, Error};
    /// # let sim = connpool_testkit::SimRuntime::new(1);
    /// # let pool = Pool::builder(
    /// #     connpool_core::object_fn(|| async { Ok::<_, Error>(Cursor::new(b"GET key\nvalue\n".to_vec())) }),
    /// #     sim.clone()).build_lazy().unwrap();
    /// enum Failure {
    ///     Get(GetError<Error>),
    ///     Io(Error),
    /// }
    /// # impl From<GetError<Error>> for Failure {
    /// #     fn from(error: GetError<Error>) -> Self { Failure::Get(error) }
    /// # }
    /// # impl From<Error> for Failure { fn from(error: Error) -> Self { Failure::Io(error) } }
    ///
    /// # sim.block_on(async {
    /// let reply = pool
    ///     .exchange(async |conn| {
    ///         conn.write_all(b"GET key\n").await?;
    ///         let mut reply = [0; 6];
    ///         conn.read_exact(&mut reply).await?;
    ///         Ok::<_, Failure>(reply)
    ///     })
    ///     .await?;
    /// # let _ = reply;
    /// # Ok::<_, Failure>(())
    /// # }).map_err(|_| "failed").unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get`](Pool::get), and whatever `act` returns.
    ///
    /// # Cancellation
    ///
    /// As for the two: dropped in the middle of the exchange, the connection is destroyed.
    #[track_caller]
    pub fn exchange<T, E: From<GetError<M::Error>>>(
        &self,
        act: impl AsyncFnOnce(&mut M::Connection) -> Result<T, E>,
    ) -> impl Future<Output = Result<T, E>> {
        let get = self.get();
        async move { get.await?.exchange(act).await }
    }

    async fn gather(
        &self,
        n: usize,
        limit: Nanos,
        borrower: Borrower,
    ) -> Result<Vec<PooledConnection<'_, M>>, GetError<M::Error>> {
        let shared = self.shared();
        if n == 0 {
            return Ok(Vec::new());
        }
        let gather = async {
            let mut deadline = Deadline::new(limit);
            deadline.begin(shared.runtime.now());
            let _passage = shared.turnstile_within(&mut deadline).await?;
            let mut gathered = Vec::with_capacity(n.min(AT_ONCE));
            for _ in 0..n {
                let entry =
                    tracing::get(&shared.name, find(shared, Tried::default(), &mut deadline))
                        .await?;
                gathered.push(PooledConnection::borrowed(shared, entry, &borrower));
            }
            Ok(gathered)
        };
        or(async { Err(shared.too_many(n).await) }, gather).await
    }
}

impl<M: Manager> Shared<M> {
    /// Ends if there can never be `n` connections at once: from the beginning, or because the pool
    /// is made smaller.
    async fn too_many(&self, n: usize) -> GetError<M::Error> {
        loop {
            let progress = self.progress.listen();
            let max_size = self.figures().0.max_size;
            if n > max_size {
                return GetError::TooMany {
                    wanted: n,
                    max_size,
                };
            }
            progress.await;
        }
    }

    async fn turnstile_within(
        &self,
        deadline: &mut Deadline,
    ) -> Result<Passage<'_>, GetError<M::Error>> {
        let enter = async { Some(self.turnstile.enter().await) };
        let closed = async {
            let closing = self.closing.listen();
            if !self.is_closed() {
                closing.await;
            }
            None
        };
        let time_is_up = async {
            deadline.passed(&*self.runtime).await;
            None
        };
        match or(or(enter, closed), time_is_up).await {
            Some(passage) => Ok(passage),
            None if self.is_closed() => Err(GetError::Closed),
            None => Err(GetError::Timeout {
                phase: Phase::Wait,
                diagnosis: self.diagnosis(deadline.elapsed(self.runtime.now()), Plight::default()),
            }),
        }
    }
}

/// Lets one pass at a time, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Turnstile {
    state: Mutex<Passing>,
    freed: Signal,
}

#[derive(Debug, Default)]
struct Passing {
    taken: bool,
    /// Those who wait, and the one who was told that it is his turn.
    waiting: Count,
}

/// Somebody is in the turnstile.
#[derive(Debug)]
pub(crate) struct Passage<'a>(&'a Turnstile);

/// Somebody waits. Who is told that it is his turn and leaves passes the word on: that is what
/// dropping the listener does, after he counts no more.
struct Waiting<'a> {
    turnstile: &'a Turnstile,
    listener: EventListener,
}

impl Turnstile {
    async fn enter(&self) -> Passage<'_> {
        let mut waiting = {
            let mut state = self.state.lock();
            if !state.taken && state.waiting.get() == 0 {
                state.taken = true;
                return Passage(self);
            }
            state.waiting.one_more();
            // Under the lock: whoever leaves the turnstile after it finds this one listening.
            Waiting {
                turnstile: self,
                listener: self.freed.listen(),
            }
        };
        loop {
            (&mut waiting.listener).await;
            let mut state = self.state.lock();
            if !state.taken {
                state.taken = true;
                return Passage(self);
            }
            waiting.listener = self.freed.listen();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turnstile.state.lock().waiting.one_less();
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        self.0.state.lock().taken = false;
        // Runs somebody's waker.
        let _ = catch(|| self.0.freed.notify(1));
    }
}
