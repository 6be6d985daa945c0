//! A manager whose backend does what the test says.

use std::collections::BTreeMap;
use std::future::pending;
use std::panic;
use std::sync::{Arc, Once, PoisonError};
use std::task::Waker;
use std::time::Duration;

use connpool_core::{Builder, Connection, Instant, Liveness, Manager, Pool, Runtime};
use futures_lite::future::yield_now;

use crate::held::Queue;
use crate::script::{Behavior, Call, Plan, ScriptedError};
use crate::{FaultyConn, Observed, SimStream, pipe};
use std::sync::{Mutex, MutexGuard};

/// A manager whose connects, pings, resets and goodbyes succeed, fail, take their time, hang or
/// panic as told, and whose connections can be spoken to, hung up and reset from the other end.
/// Clones are the same one.
///
/// It notes what really happens, apart from what the pool believes: see
/// [`truth`](FaultyManager::truth).
///
/// ```
/// use connpool_testkit::{Behavior, FaultyManager, Call, SimRuntime};
/// use std::time::Duration;
///
/// let sim = SimRuntime::new(1);
/// let backend = FaultyManager::new(sim.clone());
/// let pool = backend.pool().max_size(1).fail_fast(false).build_lazy().unwrap();
///
/// backend.next(Call::Connect, [Behavior::Fail, Behavior::Take(Duration::from_secs(1))]);
/// let conn = sim.block_on(pool.get()).unwrap();
/// assert_eq!(backend.calls(Call::Connect), 2);
/// assert!(sim.elapsed() >= Duration::from_secs(1));
///
/// drop(conn);
/// backend.hang_up(1);
/// let conn = sim.block_on(pool.get()).unwrap();
/// assert_eq!(conn.id(), 2, "the dead one was replaced");
/// ```
#[derive(Clone)]
pub struct FaultyManager(Arc<World>);

pub(crate) struct World {
    runtime: Arc<dyn Runtime>,
    script: Mutex<Script>,
}

type Hook<T> = Arc<dyn Fn(&mut FaultyConn) -> T + Send + Sync>;

struct Script {
    plans: [Plan; 4],
    held: [Queue; 4],
    resets: bool,
    look: Hook<Liveness>,
    reusable: Hook<bool>,
    at_drop: Arc<dyn Fn(u64) + Send + Sync>,
    looks: usize,
    peers: BTreeMap<u64, SimStream>,
    truth: Observed,
}

/// How much of what is written fits on its way: more than a test writes without reading.
const CAPACITY: usize = 64 * 1024;

impl FaultyManager {
    /// A backend that does everything right until it is told otherwise; its time is that of
    /// `runtime`.
    pub fn new(runtime: impl Runtime) -> Self {
        let script = Script {
            plans: Default::default(),
            held: Default::default(),
            resets: false,
            look: Arc::new(|conn| conn.liveness()),
            reusable: Arc::new(|conn| conn.is_clean()),
            at_drop: Arc::new(|_| ()),
            looks: 0,
            peers: BTreeMap::new(),
            truth: Observed::default(),
        };
        FaultyManager(Arc::new(World {
            runtime: Arc::new(runtime),
            script: Mutex::new(script),
        }))
    }

    /// A builder of a pool over this manager, on its runtime.
    pub fn pool(&self) -> Builder<FaultyManager> {
        Pool::builder(self.clone(), Arc::clone(&self.0.runtime))
    }

    // ---- what it is told

    /// What every call does for which nothing else was said.
    pub fn always(&self, op: Call, act: Behavior) -> &Self {
        self.0.script().plan(op).always(act);
        self
    }

    /// What the next calls do.
    pub fn next(&self, op: Call, acts: impl IntoIterator<Item = Behavior>) -> &Self {
        self.0.script().plan(op).next(acts);
        self
    }

    /// Lets the call go on that has been [held](Behavior::Hold) for longest, to do `act`. Says whether
    /// there was one; one that was given up meanwhile is none.
    ///
    /// With it a test decides what comes before what, on any runtime, and needs no time for it:
    ///
    /// ```
    /// use connpool_testkit::{Behavior, FaultyManager, Call, SimRuntime};
    ///
    /// let sim = SimRuntime::new(1);
    /// let backend = FaultyManager::new(sim.clone());
    /// backend.always(Call::Connect, Behavior::Hold);
    /// let pool = backend.pool().max_size(2).build_lazy().unwrap();
    /// assert!(!backend.release(Call::Connect, Behavior::Succeed), "nobody has asked for one");
    ///
    /// let mut get = Box::pin(pool.get());
    /// assert!(sim.block_on(futures_lite::future::poll_once(&mut get)).is_none());
    /// sim.settle();
    /// assert_eq!((backend.held(Call::Connect), pool.stats().connecting), (1, 1));
    ///
    /// assert!(backend.release(Call::Connect, Behavior::Succeed));
    /// assert_eq!(sim.block_on(get).unwrap().id(), 1);
    /// ```
    pub fn release(&self, op: Call, act: Behavior) -> bool {
        let released = self.0.script().held(op).release(act);
        match released {
            Some(waker) => waker.into_iter().for_each(Waker::wake),
            None => return false,
        }
        true
    }

    /// How many calls are held.
    pub fn held(&self, op: Call) -> usize {
        self.0.script().held(op).len()
    }

    /// From now on everything succeeds, and looks and answers are those of the connection itself.
    /// What is under way, or held, goes on as it is.
    pub fn calm(&self) -> &Self {
        self.0.script().plans.iter_mut().for_each(Plan::calm);
        self.look(|conn| conn.liveness());
        self.reusable(|conn| conn.is_clean());
        self
    }

    /// Connections have to be reset between two users. To be said before the pool is built.
    pub fn with_resets(&self) -> &Self {
        self.0.script().resets = true;
        self
    }

    /// What a look finds. The default asks the stream.
    pub fn look(&self, look: impl Fn(&mut FaultyConn) -> Liveness + Send + Sync + 'static) {
        self.0.script().look = Arc::new(look);
    }

    /// Every look finds this.
    pub fn set_liveness(&self, liveness: Liveness) {
        self.look(move |_| liveness);
    }

    /// What `is_reusable` says. The default asks the stream whether anything was left half done.
    pub fn reusable(&self, asked: impl Fn(&mut FaultyConn) -> bool + Send + Sync + 'static) {
        self.0.script().reusable = Arc::new(asked);
    }

    /// Runs within the drop of each connection, with its number.
    pub fn at_drop(&self, hook: impl Fn(u64) + Send + Sync + 'static) {
        self.0.script().at_drop = Arc::new(hook);
    }

    // ---- the other end

    /// Sends bytes to connection `id`.
    pub fn speak(&self, id: u64, bytes: &[u8]) {
        if let Some(peer) = self.0.script().peers.get(&id) {
            peer.say(bytes);
        }
    }

    /// Ends the stream of connection `id`, as a server does that closes it.
    pub fn hang_up(&self, id: u64) {
        if let Some(peer) = self.0.script().peers.get(&id) {
            peer.hang_up();
        }
    }

    /// Ends every stream there is: the server was restarted.
    pub fn hang_up_all(&self) {
        self.0.script().peers.values().for_each(SimStream::hang_up);
    }

    /// Breaks connection `id`.
    pub fn break_off(&self, id: u64) {
        if let Some(peer) = self.0.script().peers.get(&id) {
            peer.reset();
        }
    }

    /// The other end of connection `id`, to read and write; `None` if it is gone or was taken.
    pub fn take_peer(&self, id: u64) -> Option<SimStream> {
        self.0.script().peers.remove(&id)
    }

    // ---- what happened

    /// What really exists and happened.
    pub fn truth(&self) -> Observed {
        self.0.script().truth.clone()
    }

    /// Looks at the truth without copying it.
    pub(crate) fn with_truth<R>(&self, look: impl FnOnce(&Observed) -> R) -> R {
        look(&self.0.script().truth)
    }

    /// Notes what the backend cannot see.
    pub(crate) fn note(&self, note: impl FnOnce(&mut Observed)) {
        note(&mut self.0.script().truth);
    }

    /// How many calls there were.
    pub fn calls(&self, op: Call) -> usize {
        self.0.script().plan(op).calls()
    }

    /// How many looks there were.
    pub fn probes(&self) -> usize {
        self.0.script().looks
    }

    /// How many connection objects there are.
    pub fn alive(&self) -> usize {
        self.0.script().truth.alive()
    }

    /// How many connections there were at once, at most, open or being opened.
    pub fn peak(&self) -> usize {
        self.0.script().truth.peak
    }

    /// When each connect began, since the origin of the runtime's clock.
    pub fn connects_at(&self) -> Vec<Duration> {
        self.0.script().truth.connects_at.clone()
    }

    /// To which connections a goodbye was begun, in order.
    pub fn goodbyes(&self) -> Vec<u64> {
        self.0.script().truth.goodbyes.clone()
    }

    /// Which connections are gone, in order.
    pub fn dropped(&self) -> Vec<u64> {
        self.0.script().truth.dropped.clone()
    }

    async fn play(&self, op: Call) -> Result<Behavior, ScriptedError> {
        let (mut act, call) = self.0.script().plan(op).call();
        loop {
            return match act {
                Behavior::Succeed | Behavior::Speak | Behavior::HangUp => Ok(act),
                Behavior::Fail => Err(ScriptedError(call)),
                Behavior::Take(time) => {
                    self.0.sleep(time).await;
                    Ok(act)
                }
                Behavior::FailAfter(time) => {
                    self.0.sleep(time).await;
                    Err(ScriptedError(call))
                }
                Behavior::Pend(times) => {
                    pend(times).await;
                    Ok(act)
                }
                Behavior::PendThenFail(times) => {
                    pend(times).await;
                    Err(ScriptedError(call))
                }
                Behavior::PendThenPanic(times) => {
                    pend(times).await;
                    panic!("scripted panic in {op:?}")
                }
                Behavior::Hold => {
                    let held = self.0.script().held(op).join();
                    act = held.await;
                    continue;
                }
                Behavior::Hang => pending().await,
                Behavior::Panic => panic!("scripted panic in {op:?}"),
            };
        }
    }

    async fn check(&self, op: Call, conn: &mut FaultyConn) -> Result<Behavior, ScriptedError> {
        conn.asked();
        let act = self.play(op).await?;
        conn.answered();
        Ok(act)
    }

    /// What the peer does on top of a success.
    fn aftermath(&self, act: Behavior, id: u64) {
        match act {
            Behavior::Speak => self.speak(id, b"nobody asked for this"),
            Behavior::HangUp => self.hang_up(id),
            _ => {}
        }
    }
}

impl Manager for FaultyManager {
    type Connection = FaultyConn;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<FaultyConn, ScriptedError> {
        let mut under_way = UnderWay::begin(&self.0);
        let number = under_way.number;
        let act = self.play(Call::Connect).await?;
        under_way.succeeded = true;
        drop(under_way);
        let (here, there) = pipe(CAPACITY);
        let id = {
            let mut script = self.0.script();
            let id = script.truth.opened();
            script.peers.insert(id, there);
            id
        };
        self.aftermath(act, id);
        Ok(FaultyConn::new(id, number, here, Arc::clone(&self.0)))
    }

    async fn ping(&self, conn: &mut FaultyConn) -> Result<(), ScriptedError> {
        let act = self.check(Call::Ping, conn).await?;
        self.aftermath(act, conn.id());
        Ok(())
    }

    async fn reset(&self, conn: &mut FaultyConn) -> Result<(), ScriptedError> {
        let act = self.check(Call::Reset, conn).await?;
        conn.wash();
        self.aftermath(act, conn.id());
        Ok(())
    }

    fn needs_reset(&self) -> bool {
        self.0.script().resets
    }

    fn liveness(&self, conn: &mut FaultyConn) -> Liveness {
        let look = {
            let mut script = self.0.script();
            script.looks += 1;
            Arc::clone(&script.look)
        };
        look(conn)
    }

    fn is_reusable(&self, conn: &mut FaultyConn) -> bool {
        let asked = Arc::clone(&self.0.script().reusable);
        asked(conn)
    }

    async fn close(&self, conn: FaultyConn) {
        self.0.script().truth.goodbyes.push(conn.id());
        // A goodbye that is refused ends all the same.
        let _ = self.play(Call::Close).await;
        drop(conn);
    }
}

impl World {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sleep(&self, time: Duration) {
        match self.runtime.now().checked_add(time) {
            Some(at) => self.runtime.sleep_until(at).await,
            None => pending().await,
        }
    }

    pub(crate) fn dropped(&self, id: u64) {
        let (at_drop, peer) = {
            let mut script = self.script();
            script.truth.closed(id);
            (Arc::clone(&script.at_drop), script.peers.remove(&id))
        };
        drop(peer);
        at_drop(id);
    }
}

impl Script {
    fn held(&mut self, op: Call) -> &mut Queue {
        &mut self.held[op as usize]
    }

    fn plan(&mut self, op: Call) -> &mut Plan {
        &mut self.plans[op as usize]
    }
}

/// A connect under way counts: the backend sees it, too.
struct UnderWay {
    world: Arc<World>,
    number: usize,
    succeeded: bool,
}

impl UnderWay {
    fn begin(world: &Arc<World>) -> Self {
        let now = world.runtime.now().since(Instant::ORIGIN);
        let truth = &mut world.script().truth;
        truth.connect_begins(now);
        UnderWay {
            world: Arc::clone(world),
            number: truth.connects_at.len(),
            succeeded: false,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let truth = &mut self.world.script().truth;
        truth.connect_ends(self.number, self.succeeded);
    }
}

async fn pend(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}

/// Keeps the panics that are scripted, and only those, from being printed by this process.
pub fn silence_scripted_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.to_string().contains("scripted") {
                loud(info);
            }
        }));
    });
}
