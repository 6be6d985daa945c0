//! A backend that counts, and a clock that is moved by hand.
//!
//! Their locks are std's, which no checker knows: nothing that could switch threads happens under
//! them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{fmt, future};

use futures_lite::future::yield_now;

use crate::util::sync::{AtomicU64, Ordering};
use crate::{
    BoxFuture, Builder, CloseReason, Instant, Liveness, Manager, Pool, PooledConnection, Runtime,
    Stats, StreamOf,
};

/// The calls of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Connect,
    Ping,
    Reset,
    Look,
    Return,
    Close,
}

/// The result of a call: pending for `polls` polls, then success or failure. With `usize::MAX` polls it
/// never ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act {
    pub(super) succeeds: bool,
    pub(super) polls: usize,
}

pub(super) const YES: Act = Act { succeeds: true, polls: 0 };

/// The manager. Clones are the same one.
#[derive(Clone)]
pub(super) struct Fake(Arc<World>);

struct World {
    play: Box<dyn Fn(Op) -> Act + Send + Sync>,
    resets: bool,
    /// One of the checker's, which then tries what others do before and after it.
    alive: AtomicU64,
    /// The number of detached connections.
    detached: atomic::AtomicU64,
    peak: atomic::AtomicU64,
}

/// A connection that knows whether it is borrowed.
pub(super) struct Conn {
    is_borrowed: bool,
    _alive: Alive,
}

#[derive(Debug)]
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the backend says no")
    }
}

impl std::error::Error for Refused {}

impl Fake {
    /// One that `resets` what comes back, or whose connections need none of it and take the shortest
    /// way.
    pub(super) fn new(resets: bool, play: impl Fn(Op) -> Act + Send + Sync + 'static) -> Self {
        Fake(Arc::new(World {
            play: Box::new(play),
            resets,
            alive: AtomicU64::new(0),
            detached: atomic::AtomicU64::new(0),
            peak: atomic::AtomicU64::new(0),
        }))
    }

    /// A pool over it that waits for ever and looks after nothing by itself, unless told to.
    pub(super) fn pool(&self, runtime: impl Runtime) -> Builder<Fake> {
        Pool::builder(self.clone(), runtime)
            .name("model")
            .get_timeout(None)
            .connect_timeout(None)
            .ping_timeout(None)
            .reset_timeout(None)
            .close_timeout(None)
            .evict_interval(None)
    }

    /// Returns the number of connections, open or being opened.
    pub(super) fn alive(&self) -> usize {
        self.0.alive.load(Ordering::SeqCst) as usize
    }

    /// Takes a connection out of its pool, and closes it.
    pub(super) fn detach(&self, guard: PooledConnection<'_, Fake>) {
        self.0.detached.fetch_add(1, Ordering::SeqCst);
        drop(guard.detach());
        self.0.detached.fetch_sub(1, Ordering::SeqCst);
    }

    /// The most the pool had at once.
    pub(super) fn peak(&self) -> usize {
        self.0.peak.load(Ordering::SeqCst) as usize
    }

    /// Asserts that the statistics agree with the connections that exist.
    pub(super) fn agrees_with(&self, stats: &Stats) -> bool {
        stats.size == self.alive()
            && stats.created == stats.size as u64 + stats.closed.total() + stats.detached
    }
}

impl World {
    async fn ask(&self, op: Op) -> Result<(), Refused> {
        let Act { succeeds, polls } = (self.play)(op);
        if polls == usize::MAX {
            future::pending::<()>().await;
        }
        for _ in 0..polls {
            yield_now().await;
        }
        if succeeds { Ok(()) } else { Err(Refused) }
    }
}

impl Conn {
    pub(super) fn check_out(&mut self) {
        assert!(!std::mem::replace(&mut self.is_borrowed, true), "borrowed twice");
    }

    pub(super) fn returned(&mut self) {
        assert!(std::mem::take(&mut self.is_borrowed), "returned by two");
    }
}

/// Counts a connection from the start of its connect to its end.
struct Alive(Arc<World>);

impl Alive {
    fn begin(world: &Arc<World>) -> Self {
        let all = world.alive.fetch_add(1, Ordering::SeqCst) + 1;
        let of_the_pool = all.saturating_sub(world.detached.load(Ordering::SeqCst));
        world.peak.fetch_max(of_the_pool, Ordering::SeqCst);
        Alive(Arc::clone(world))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Manager for Fake {
    type Connection = Conn;
    type Error = Refused;

    async fn connect(&self) -> Result<Conn, Refused> {
        let alive = Alive::begin(&self.0);
        self.0.ask(Op::Connect).await?;
        Ok(Conn { is_borrowed: false, _alive: alive })
    }

    fn stream(&self) -> Option<StreamOf<Conn>> {
        None
    }

    async fn ping(&self, _: &mut Conn) -> Result<(), Refused> {
        self.0.ask(Op::Ping).await
    }

    async fn reset(&self, _: &mut Conn) -> Result<(), Refused> {
        self.0.ask(Op::Reset).await
    }

    fn needs_reset(&self) -> bool {
        self.0.resets
    }

    fn liveness(&self, _: &mut Conn) -> Liveness {
        match (self.0.play)(Op::Look).succeeds {
            true => Liveness::Alive,
            false => Liveness::Closed,
        }
    }

    fn is_reusable(&self, _: &mut Conn) -> bool {
        (self.0.play)(Op::Return).succeeds
    }

    async fn close(&self, conn: Conn, _: CloseReason) {
        // A close that fails ends all the same.
        let _ = self.0.ask(Op::Close).await;
        drop(conn);
    }
}

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Clone, Default)]
pub(super) struct Clock {
    /// One of the checker's, as what others do while it is moved is worth trying.
    nanos: Arc<AtomicU64>,
    timers: Arc<Mutex<Timers>>,
}

#[derive(Default)]
struct Timers {
    waiting: Vec<(u64, Instant, Waker)>,
    next: u64,
}

impl Clock {
    pub(super) fn now(&self) -> Instant {
        Instant::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    /// Moves on to the next timer, and says whether there was one.
    pub(super) fn tick(&self) -> bool {
        let next = self.timers().waiting.iter().map(|timer| timer.1).min();
        if let Some(at) = next {
            self.move_to(at);
        }
        next.is_some()
    }

    pub(super) fn advance(&self, span: Duration) {
        let later = self.now().checked_add(span);
        self.move_to(later.expect("a moment beyond the end of time"));
    }

    fn move_to(&self, at: Instant) {
        self.nanos.fetch_max(at.as_nanos(), Ordering::SeqCst);
        let mut timers = self.timers();
        let (due, later) =
            std::mem::take(&mut timers.waiting).into_iter().partition(|timer| timer.1 <= at);
        timers.waiting = later;
        drop(timers);
        let due: Vec<(u64, Instant, Waker)> = due;
        due.into_iter().for_each(|(.., waker)| waker.wake());
    }

    pub(super) fn sleep_until(&self, at: Instant) -> BoxFuture {
        let mut timer = Timer { clock: self.clone(), at, number: None };
        Box::pin(future::poll_fn(move |cx| timer.poll(cx)))
    }

    fn timers(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Timer {
    clock: Clock,
    at: Instant,
    number: Option<u64>,
}

impl Timer {
    /// Enters the list first and reads the clock then; moving the clock does the opposite.
    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.stop();
        self.start(cx.waker().clone());
        if self.clock.now() >= self.at { Poll::Ready(()) } else { Poll::Pending }
    }

    fn start(&mut self, waker: Waker) {
        let mut timers = self.clock.timers();
        timers.next += 1;
        let number = timers.next;
        timers.waiting.push((number, self.at, waker));
        self.number = Some(number);
    }

    fn stop(&mut self) {
        let Some(number) = self.number.take() else {
            return;
        };
        let mut timers = self.clock.timers();
        let place = (timers.waiting.iter()).position(|timer| timer.0 == number);
        let stopped = place.map(|place| timers.waiting.swap_remove(place));
        drop(timers);
        drop(stopped);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.stop();
    }
}
