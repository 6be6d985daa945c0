//! The backend: it accepts connects at a limited rate, from a backlog.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use connpool_core::Runtime;
use connpool_testkit::SimRuntime;
use event_listener::Event;
use futures_lite::future::{or, pending};

use crate::draw::between;
use crate::record::Record;

/// The time of a round trip. It differs: with one time for all, a pool whose connect was accepted would
/// start its next one just as the place in the backlog becomes free.
const ROUND_TRIP: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(20)];

/// The number of addresses of the backend. A connect goes to one of them.
pub(crate) const ADDRESSES: usize = 5;

/// The limits of the backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The number of connects accepted in a second.
    pub(crate) accepts: usize,
    /// The number of connects that wait to be accepted.
    pub(crate) backlog: usize,
    pub(crate) overflow: Overflow,
    /// The number of connections open at once.
    pub(crate) connections: usize,
}

/// The treatment of a connect that finds the backlog full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// It is refused at once.
    Refuse,
    /// It waits outside of the backlog for its turn, as when the packet that opens it is dropped and
    /// sent again.
    Wait,
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Overflow::Refuse => "refuse",
            Overflow::Wait => "wait",
        })
    }
}

/// The treatment of a connect to a dead address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadAddress {
    /// It is refused at once.
    Refuses,
    /// It never gets an answer.
    BlackHole,
}

/// The backend of a fleet.
pub(crate) struct Backend {
    sim: SimRuntime,
    limits: Limits,
    record: Arc<Record>,
    state: Mutex<State>,
    /// Notified when all connections are lost.
    lost: Event,
}

struct State {
    is_up: bool,
    /// Connects are accepted without a limit, to set a fleet up.
    is_unlimited: bool,
    dead_address: Option<DeadAddress>,
    /// Incremented when all connections are lost.
    epoch: u64,
    open: usize,
    open_by_pool: Vec<usize>,
    arrivals: u64,
    /// The connects that wait, in the order of their arrival. One that is given up leaves.
    waiting: BTreeMap<u64, Waiting>,
    /// The answers that their connects have not seen yet.
    answers: BTreeMap<u64, Result<Conn, Refused>>,
    acceptor: Option<Waker>,
}

struct Waiting {
    pool: usize,
    waker: Option<Waker>,
}

/// A connection, as its client sees it.
pub(crate) struct Conn {
    backend: Arc<Backend>,
    pool: usize,
    epoch: u64,
}

/// The backend refused a connect, or a connection was lost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection refused")
    }
}

impl std::error::Error for Refused {}

impl Backend {
    /// Starts a backend that is up and accepts without a limit, for `pools` pools.
    pub(crate) fn start(
        sim: &SimRuntime,
        limits: Limits,
        pools: usize,
        record: &Arc<Record>,
    ) -> Arc<Self> {
        let backend = Arc::new(Backend {
            sim: sim.clone(),
            limits,
            record: Arc::clone(record),
            state: Mutex::new(State {
                is_up: true,
                is_unlimited: true,
                dead_address: None,
                epoch: 0,
                open: 0,
                open_by_pool: vec![0; pools],
                arrivals: 0,
                waiting: BTreeMap::new(),
                answers: BTreeMap::new(),
                acceptor: None,
            }),
            lost: Event::new(),
        });
        sim.spawn(Box::pin(Arc::clone(&backend).accept()));
        backend
    }

    /// Applies the limit on accepted connects from now on.
    pub(crate) fn limit(&self) {
        self.state().is_unlimited = false;
    }

    /// Lets connects to the first address fail from now on.
    pub(crate) fn kill_address(&self, how: DeadAddress) {
        self.state().dead_address = Some(how);
    }

    /// Loses all connections, and refuses connects until [`go_up`](Backend::go_up).
    pub(crate) fn go_down(&self) {
        let wakers: Vec<_> = {
            let state = &mut *self.state();
            state.is_up = false;
            state.epoch += 1;
            state.open = 0;
            state.open_by_pool.fill(0);
            let waiting = std::mem::take(&mut state.waiting);
            state.answers.extend(waiting.keys().map(|number| (*number, Err(Refused))));
            waiting.into_values().filter_map(|waiting| waiting.waker).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
        self.lost.notify(usize::MAX);
    }

    pub(crate) fn go_up(&self) {
        self.state().is_up = true;
    }

    /// Connects to an address, by its number.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        pool: usize,
        address: usize,
    ) -> Result<Conn, Refused> {
        self.record.attempted(self.sim.now());
        self.sim.sleep(between(&self.sim, ROUND_TRIP)).await;
        let answer = match self.arrive(pool, address) {
            Ok(number) => Arrived { backend: self, number }.await_answer().await,
            Err(None) => pending().await,
            Err(Some(refused)) => Err(refused),
        };
        if answer.is_err() {
            self.record.refused(self.sim.now());
        }
        answer
    }

    /// Returns the number of a connect that waits from now on. `Err(None)` is never answered.
    fn arrive(&self, pool: usize, address: usize) -> Result<u64, Option<Refused>> {
        let (number, acceptor) = {
            let state = &mut *self.state();
            if let (0, Some(how)) = (address, state.dead_address) {
                return Err((how == DeadAddress::Refuses).then_some(Refused));
            }
            let is_full = !state.is_unlimited
                && self.limits.overflow == Overflow::Refuse
                && state.waiting.len() >= self.limits.backlog;
            if is_full || !state.is_up {
                return Err(Some(Refused));
            }
            state.arrivals += 1;
            state.waiting.insert(state.arrivals, Waiting { pool, waker: None });
            (state.arrivals, state.acceptor.take())
        };
        if let Some(acceptor) = acceptor {
            acceptor.wake();
        }
        Ok(number)
    }

    /// Accepts connects one by one, as far apart as the limit says.
    async fn accept(self: Arc<Self>) {
        let apart = Duration::from_secs(1) / u32::try_from(self.limits.accepts).unwrap_or(u32::MAX);
        loop {
            let is_unlimited = poll_fn(|cx| self.poll_arrival(cx)).await;
            if !is_unlimited {
                self.sim.sleep(apart).await;
            }
            self.accept_first();
        }
    }

    /// Returns whether there is no limit, once a connect waits.
    fn poll_arrival(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut state = self.state();
        if state.waiting.is_empty() {
            state.acceptor = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(state.is_unlimited)
    }

    fn accept_first(self: &Arc<Self>) {
        let waker = {
            let state = &mut *self.state();
            let Some((number, Waiting { pool, waker })) = state.waiting.pop_first() else { return };
            let answer = if state.open < self.limits.connections {
                state.open += 1;
                state.open_by_pool[pool] += 1;
                let now = self.sim.now();
                self.record.accepted(pool, state.open_by_pool[pool], now);
                Ok(Conn { backend: Arc::clone(self), pool, epoch: state.epoch })
            } else {
                Err(Refused)
            };
            state.answers.insert(number, answer);
            waker
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connect that waits for its answer. Leaves the backlog when dropped.
struct Arrived<'a> {
    backend: &'a Backend,
    number: u64,
}

impl Arrived<'_> {
    async fn await_answer(self) -> Result<Conn, Refused> {
        poll_fn(|cx| {
            let mut state = self.backend.state();
            if let Some(answer) = state.answers.remove(&self.number) {
                return Poll::Ready(answer);
            }
            if let Some(waiting) = state.waiting.get_mut(&self.number) {
                waiting.waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Arrived<'_> {
    fn drop(&mut self) {
        let mut state = self.backend.state();
        let waiting = state.waiting.remove(&self.number);
        let answer = state.answers.remove(&self.number);
        drop(state);
        if waiting.is_some() {
            self.backend.record.given_up(self.backend.sim.now());
        }
        // Locks the state to count the connection.
        drop(answer);
    }
}

impl Conn {
    /// Returns whether the backend still has this connection.
    pub(crate) fn is_alive(&self) -> bool {
        self.backend.state().epoch == self.epoch
    }

    /// Makes a round trip.
    pub(crate) async fn ping(&self) -> Result<(), Refused> {
        self.serve(between(&self.backend.sim, ROUND_TRIP)).await
    }

    /// Makes a request that takes `time`. Fails as soon as the connection is lost.
    pub(crate) async fn serve(&self, time: Duration) -> Result<(), Refused> {
        let lost = self.backend.lost.listen();
        if self.is_alive() {
            or(self.backend.sim.sleep(time), lost).await;
        }
        if self.is_alive() { Ok(()) } else { Err(Refused) }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let mut state = self.backend.state();
        if state.epoch == self.epoch {
            state.open -= 1;
            state.open_by_pool[self.pool] -= 1;
        }
    }
}
