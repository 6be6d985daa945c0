//! A scripted manager, a runtime that is watched, and small tools for the tests.
#![allow(dead_code, reason = "each test binary uses its own part of it")]

pub(crate) mod meddling;
pub(crate) mod watched;

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::{Future, pending};
use std::panic;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use connpool_core::{
    Builder, CloseReason, GetError, Liveness, Manager, Pool, PooledConnection, Runtime, WeakPool,
};
use connpool_testkit::SimRuntime;
use futures_lite::future::yield_now;

#[cfg(connpool_tsan)]
use connpool_core::instrumented as sync;
#[cfg(not(connpool_tsan))]
use std::sync;

use sync::{Mutex, MutexGuard};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MILLI: Duration = Duration::from_millis(1);

pub(crate) type Guard = PooledConnection<'static, Fake>;
pub(crate) type Got = Result<Guard, GetError<Refused>>;

/// What a scripted call does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Succeed,
    Fail,
    Take(Duration),
    FailAfter(Duration),
    Pend(usize),
    PendThenFail(usize),
    Hang,
    Panic,
}

/// The calls that can be scripted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Connect,
    Ping,
    Reset,
    Close,
}

/// What the backend of a test says when it says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) usize);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused the call number {}", self.0)
    }
}

impl Error for Refused {}

/// The scripted manager. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Fake(Arc<World>);

struct World {
    sim: SimRuntime,
    script: Mutex<Script>,
}

type Hook<T> = Arc<dyn Fn(&mut Conn) -> T + Send + Sync>;

struct Script {
    plans: [Plan; 4],
    resets: bool,
    look: Hook<Liveness>,
    reusable: Hook<bool>,
    at_drop: Arc<dyn Fn(u64) + Send + Sync>,
    looks: usize,
    next_id: u64,
    alive: usize,
    under_way: usize,
    peak: usize,
    connects_at: Vec<Duration>,
    goodbyes: Vec<u64>,
    dropped: Vec<u64>,
}

struct Plan {
    next: VecDeque<Act>,
    then: Act,
    calls: usize,
}

/// A connection of the fake. Its drop tells the manager.
pub(crate) struct Conn {
    pub(crate) id: u64,
    /// Who used it since the last reset.
    user: Option<u32>,
    world: Arc<World>,
}

impl Conn {
    /// Leaves a user's trace, and does not accept that of another one.
    pub(crate) fn used_by(&mut self, user: u32) {
        assert_eq!(
            self.user, None,
            "connection {} was lent with another user's state on it",
            self.id
        );
        self.user = Some(user);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let at_drop = {
            let mut script = self.world.script();
            script.alive -= 1;
            script.dropped.push(self.id);
            Arc::clone(&script.at_drop)
        };
        at_drop(self.id);
    }
}

impl World {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fake {
    pub(crate) fn new(sim: &SimRuntime) -> Self {
        silence_scripted_panics();
        let plan = || Plan {
            next: VecDeque::new(),
            then: Act::Succeed,
            calls: 0,
        };
        Fake(Arc::new(World {
            sim: sim.clone(),
            script: Mutex::new(Script {
                plans: [plan(), plan(), plan(), plan()],
                resets: false,
                look: Arc::new(|_| Liveness::Alive),
                reusable: Arc::new(|_| true),
                at_drop: Arc::new(|_| ()),
                looks: 0,
                next_id: 0,
                alive: 0,
                under_way: 0,
                peak: 0,
                connects_at: Vec::new(),
                goodbyes: Vec::new(),
                dropped: Vec::new(),
            }),
        }))
    }

    /// What every call does for which nothing else was said.
    pub(crate) fn always(&self, op: Op, act: Act) -> &Self {
        self.0.script().plans[op as usize].then = act;
        self
    }

    /// What the next calls do.
    pub(crate) fn next(&self, op: Op, acts: impl IntoIterator<Item = Act>) -> &Self {
        self.0.script().plans[op as usize].next.extend(acts);
        self
    }

    /// From now on everything succeeds.
    pub(crate) fn calm(&self) -> &Self {
        let mut script = self.0.script();
        for plan in &mut script.plans {
            plan.next.clear();
            plan.then = Act::Succeed;
        }
        drop(script);
        self.reusable(|_| true);
        self.looks_like(Liveness::Alive);
        self
    }

    /// Connections have to be reset between two users. To be said before the pool is built.
    pub(crate) fn with_resets(&self) -> &Self {
        self.0.script().resets = true;
        self
    }

    pub(crate) fn look(&self, look: impl Fn(&mut Conn) -> Liveness + Send + Sync + 'static) {
        self.0.script().look = Arc::new(look);
    }

    pub(crate) fn looks_like(&self, liveness: Liveness) {
        self.look(move |_| liveness);
    }

    pub(crate) fn reusable(&self, asked: impl Fn(&mut Conn) -> bool + Send + Sync + 'static) {
        self.0.script().reusable = Arc::new(asked);
    }

    pub(crate) fn at_drop(&self, hook: impl Fn(u64) + Send + Sync + 'static) {
        self.0.script().at_drop = Arc::new(hook);
    }

    pub(crate) fn calls(&self, op: Op) -> usize {
        self.0.script().plans[op as usize].calls
    }

    pub(crate) fn looks(&self) -> usize {
        self.0.script().looks
    }

    /// How many connection objects there are.
    pub(crate) fn alive(&self) -> usize {
        self.0.script().alive
    }

    /// How many connections there were at once, at most, open or being opened.
    pub(crate) fn peak(&self) -> usize {
        self.0.script().peak
    }

    /// When each connect began.
    pub(crate) fn connects_at(&self) -> Vec<Duration> {
        self.0.script().connects_at.clone()
    }

    /// To which connections a goodbye was begun, in order.
    pub(crate) fn goodbyes(&self) -> Vec<u64> {
        self.0.script().goodbyes.clone()
    }

    /// Which connections are gone, in order.
    pub(crate) fn dropped(&self) -> Vec<u64> {
        self.0.script().dropped.clone()
    }

    /// A builder of a pool over this manager.
    pub(crate) fn pool(&self) -> Builder<Fake> {
        Pool::builder(self.clone(), self.0.sim.clone())
    }

    async fn play(&self, op: Op) -> Result<(), Refused> {
        let (act, call) = {
            let mut script = self.0.script();
            let plan = &mut script.plans[op as usize];
            plan.calls += 1;
            (plan.next.pop_front().unwrap_or(plan.then), plan.calls)
        };
        match act {
            Act::Succeed => Ok(()),
            Act::Fail => Err(Refused(call)),
            Act::Take(time) => {
                self.0.sim.sleep(time).await;
                Ok(())
            }
            Act::FailAfter(time) => {
                self.0.sim.sleep(time).await;
                Err(Refused(call))
            }
            Act::Pend(times) => {
                pend(times).await;
                Ok(())
            }
            Act::PendThenFail(times) => {
                pend(times).await;
                Err(Refused(call))
            }
            Act::Hang => pending().await,
            Act::Panic => panic!("scripted panic in {op:?}"),
        }
    }
}

impl Manager for Fake {
    type Connection = Conn;
    type Error = Refused;

    async fn connect(&self) -> Result<Conn, Refused> {
        let under_way = UnderWay::begin(&self.0);
        self.play(Op::Connect).await?;
        drop(under_way);
        let mut script = self.0.script();
        script.next_id += 1;
        script.alive += 1;
        script.count();
        Ok(Conn {
            id: script.next_id,
            user: None,
            world: Arc::clone(&self.0),
        })
    }

    async fn ping(&self, _: &mut Conn) -> Result<(), Refused> {
        self.play(Op::Ping).await
    }

    async fn reset(&self, conn: &mut Conn) -> Result<(), Refused> {
        self.play(Op::Reset).await?;
        conn.user = None;
        Ok(())
    }

    fn resets(&self) -> bool {
        self.0.script().resets
    }

    fn liveness(&self, conn: &mut Conn) -> Liveness {
        let look = {
            let mut script = self.0.script();
            script.looks += 1;
            Arc::clone(&script.look)
        };
        look(conn)
    }

    fn is_reusable(&self, conn: &mut Conn) -> bool {
        let asked = Arc::clone(&self.0.script().reusable);
        asked(conn)
    }

    async fn close(&self, conn: Conn) {
        self.0.script().goodbyes.push(conn.id);
        // A goodbye that is refused ends all the same.
        let _ = self.play(Op::Close).await;
        drop(conn);
    }
}

impl Script {
    fn count(&mut self) {
        self.peak = self.peak.max(self.alive + self.under_way);
    }
}

/// A connect under way counts: the backend sees it, too.
struct UnderWay(Arc<World>);

impl UnderWay {
    fn begin(world: &Arc<World>) -> Self {
        let mut script = world.script();
        let now = world.sim.elapsed();
        script.connects_at.push(now);
        script.under_way += 1;
        script.count();
        UnderWay(Arc::clone(world))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.script().under_way -= 1;
    }
}

async fn pend(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}

fn silence_scripted_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.to_string();
            if !text.contains("scripted") {
                loud(info);
            }
        }));
    });
}

/// A simulation and a manager in it.
pub(crate) fn new(seed: u64) -> (SimRuntime, Fake) {
    let sim = SimRuntime::new(seed);
    let fake = Fake::new(&sim);
    (sim, fake)
}

/// How many connections were closed for this reason.
pub(crate) fn closed(pool: &Pool<Fake>, reason: CloseReason) -> u64 {
    pool.stats().closed.get(reason)
}

/// A task of a test, and what it came to.
pub(crate) struct Job<T>(Arc<Mutex<Option<T>>>);

impl<T> Job<T> {
    /// Takes what it came to, if it has ended.
    pub(crate) fn take(&self) -> Option<T> {
        self.0.lock().unwrap().take()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.lock().unwrap().is_some()
    }
}

/// Runs `future` as a task of its own, beginning with the next turn of the simulation.
pub(crate) fn go<T: Send + 'static>(
    sim: &SimRuntime,
    future: impl Future<Output = T> + Send + 'static,
) -> Job<T> {
    let place = Arc::new(Mutex::new(None));
    let job = Job(Arc::clone(&place));
    sim.spawn(Box::pin(async move {
        let result = future.await;
        *place.lock().unwrap() = Some(result);
    }));
    job
}

/// A `get` of one connection as a task of its own, which has had its first poll.
pub(crate) fn go_get(sim: &SimRuntime, pool: &Pool<Fake>) -> Job<Got> {
    let job = go(sim, pool.get_owned());
    sim.settle();
    job
}

/// Polls once, with nobody to wake.
pub(crate) fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A waker that counts.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// `count` connections, held at once.
pub(crate) fn hold(sim: &SimRuntime, pool: &Pool<Fake>, count: usize) -> Vec<Guard> {
    (0..count)
        .map(|nth| match sim.block_on(pool.get_owned()) {
            Ok(guard) => guard,
            Err(error) => panic!("connection {} of {count}: {error}", nth + 1),
        })
        .collect()
}

/// Opens `count` connections and leaves them idle, used once.
pub(crate) fn fill(sim: &SimRuntime, pool: &Pool<Fake>, count: usize) {
    drop(hold(sim, pool, count));
    sim.settle();
    assert_eq!(pool.stats().available, count);
}

/// At rest: the books agree with what exists, nobody waits, nothing is under way.
pub(crate) fn assert_books(fake: &Fake, pool: &Pool<Fake>, out: usize) {
    let stats = pool.stats();
    assert_eq!(stats.size, fake.alive(), "{stats}");
    assert_eq!(stats.active, out, "{stats}");
    assert_eq!(stats.connecting, 0, "{stats}");
    assert_eq!(stats.waiting, 0, "{stats}");
    assert_eq!(
        stats.created,
        stats.size as u64 + stats.closed.total() + stats.detached,
        "{stats}"
    );
    let most = pool.config().max_size;
    assert!(fake.peak() <= most, "{} at once, of {most}", fake.peak());
}

/// The pool has lost nothing: it lends all that it may, at once.
pub(crate) fn assert_lends_all(sim: &SimRuntime, fake: &Fake, pool: &Pool<Fake>) {
    let all = hold(sim, pool, pool.config().max_size);
    assert_books(fake, pool, all.len());
    drop(all);
    sim.settle();
    assert_books(fake, pool, 0);
}

/// A pool that does not keep its own manager's hooks alive.
pub(crate) fn weak_stats(pool: &WeakPool<Fake>) {
    if let Some(pool) = pool.upgrade() {
        let _ = pool.stats();
        let _ = pool.try_get();
    }
}
