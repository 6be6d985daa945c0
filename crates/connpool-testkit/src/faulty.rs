//! A manager with a scripted backend.

use std::future::pending;
use std::panic;
use std::sync::{Arc, Once};
use std::task::Waker;
use std::time::Duration;

use connpool_core::{
    Builder, CloseReason, Liveness, Manager, Pool, Probe, Runtime, Severity, StreamOf,
};
use futures_lite::future::yield_now;

use crate::backend::{Backend, CAPACITY, PendingConnect};
use crate::conn::FaultyConn;
use crate::observed::Observed;
use crate::script::{Behavior, Call, Plan, ScriptedError};
use crate::stream::{SimStream, pipe};

/// A manager whose connects, pings, resets and closes succeed, fail, take time, hang or panic as
/// scripted. The test can also send to, hang up and reset each connection from the other end. Clones
/// share the same backend.
///
/// The manager records what happens, independent of the statistics of the pool: see
/// [`observed`](FaultyManager::observed).
///
/// ```
/// use connpool_testkit::{Behavior, FaultyManager, Call, SimRuntime};
/// use std::time::Duration;
///
/// let sim = SimRuntime::new(1);
/// let backend = FaultyManager::new(sim.clone());
/// let pool = backend.pool().max_size(1).fail_fast_after(None).build_lazy().unwrap();
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
pub struct FaultyManager(Arc<Backend>);

impl FaultyManager {
    /// Creates a manager whose calls succeed until a script says otherwise. Delays use the clock of
    /// `runtime`.
    pub fn new(runtime: impl Runtime) -> Self {
        FaultyManager(Arc::new(Backend::new(Arc::new(runtime))))
    }

    /// Returns a builder for a pool of this manager on its runtime.
    pub fn pool(&self) -> Builder<FaultyManager> {
        Pool::builder(self.clone(), self.0.runtime())
    }

    // ---- scripts

    /// Sets the behavior of every call that has no queued behavior.
    pub fn always(&self, call: Call, behavior: Behavior) -> &Self {
        self.0.script().plan(call).always(behavior);
        self
    }

    /// Queues the behaviors of the next calls.
    pub fn next(&self, call: Call, behaviors: impl IntoIterator<Item = Behavior>) -> &Self {
        self.0.script().plan(call).next(behaviors);
        self
    }

    /// Releases the call that has been [held](Behavior::Hold) for longest: it continues as `behavior`.
    /// Returns false if no call is held. Calls that were cancelled are skipped.
    ///
    /// A test can thereby fix the order of events on any runtime, without sleeping:
    ///
    /// ```
    /// use connpool_testkit::{Behavior, FaultyManager, Call, SimRuntime};
    ///
    /// let sim = SimRuntime::new(1);
    /// let backend = FaultyManager::new(sim.clone());
    /// backend.always(Call::Connect, Behavior::Hold);
    /// let pool = backend.pool().max_size(2).build_lazy().unwrap();
    /// assert!(!backend.release(Call::Connect, Behavior::Succeed), "no call is held");
    ///
    /// let mut get = Box::pin(pool.get());
    /// assert!(sim.block_on(futures_lite::future::poll_once(&mut get)).is_none());
    /// sim.settle();
    /// assert_eq!((backend.held(Call::Connect), pool.stats().connecting), (1, 1));
    ///
    /// assert!(backend.release(Call::Connect, Behavior::Succeed));
    /// assert_eq!(sim.block_on(get).unwrap().id(), 1);
    /// ```
    pub fn release(&self, call: Call, behavior: Behavior) -> bool {
        let released = self.0.script().held(call).release(behavior);
        match released {
            Some(waker) => waker.into_iter().for_each(Waker::wake),
            None => return false,
        }
        true
    }

    /// Returns the number of held calls.
    pub fn held(&self, call: Call) -> usize {
        self.0.script().held(call).len()
    }

    /// Clears all scripts and hooks: later calls succeed, and `liveness` and `is_reusable` return the
    /// state of the connection. Calls in progress or held are not affected.
    pub fn clear_script(&self) -> &Self {
        self.0.script().plans.iter_mut().for_each(Plan::clear);
        self.set_liveness_with(|conn| conn.probe());
        self.set_is_reusable_with(|conn| conn.is_clean());
        self
    }

    /// Makes `needs_reset` return true. Takes effect only if called before the pool is built.
    pub fn require_reset(&self) -> &Self {
        self.0.script().needs_reset = true;
        self
    }

    /// Makes `severity` judge every error so.
    pub fn set_severity(&self, severity: Severity) -> &Self {
        self.0.script().severity = severity;
        self
    }

    /// Replaces `liveness`. The default probes the stream.
    pub fn set_liveness_with(
        &self,
        probe: impl Fn(&mut FaultyConn) -> Liveness + Send + Sync + 'static,
    ) {
        self.0.script().probe = Arc::new(probe);
    }

    /// Makes `liveness` return `liveness` for every connection.
    pub fn set_liveness(&self, liveness: Liveness) {
        self.set_liveness_with(move |_| liveness);
    }

    /// Replaces `is_reusable`. The default returns false if an operation on the stream is unfinished.
    pub fn set_is_reusable_with(
        &self,
        is_reusable: impl Fn(&mut FaultyConn) -> bool + Send + Sync + 'static,
    ) {
        self.0.script().is_reusable = Arc::new(is_reusable);
    }

    /// Replaces `expires_in`. The default announces no limit.
    pub fn set_expires_in_with(
        &self,
        expires_in: impl Fn(&FaultyConn) -> Option<Duration> + Send + Sync + 'static,
    ) {
        self.0.script().expires_in = Arc::new(expires_in);
    }

    /// Sets a hook that runs in the drop of each connection, with its id.
    pub fn at_drop(&self, hook: impl Fn(u64) + Send + Sync + 'static) {
        self.0.script().at_drop = Arc::new(hook);
    }

    // ---- the peer

    /// Sends bytes to connection `id` from its peer.
    pub fn send(&self, id: u64, bytes: &[u8]) {
        if let Some(peer) = self.0.script().peers.get(&id) {
            peer.send(bytes);
        }
    }

    /// Ends the stream of connection `id`, as a server does that closes the connection.
    pub fn hang_up(&self, id: u64) {
        if let Some(peer) = self.0.script().peers.get(&id) {
            peer.hang_up();
        }
    }

    /// Ends the stream of every open connection, as a server restart does.
    pub fn hang_up_all(&self) {
        self.0.script().peers.values().for_each(SimStream::hang_up);
    }

    /// Resets connection `id`.
    pub fn reset_peer(&self, id: u64) {
        if let Some(peer) = self.0.script().peers.get(&id) {
            peer.reset();
        }
    }

    /// Takes the peer of connection `id`, to read and write. Returns `None` if the connection was
    /// dropped or the peer was taken already.
    pub fn take_peer(&self, id: u64) -> Option<SimStream> {
        self.0.script().peers.remove(&id)
    }

    // ---- observations

    /// Returns a copy of the observations so far.
    pub fn observed(&self) -> Observed {
        self.0.script().observed.clone()
    }

    /// Reads the observations without copying them.
    pub fn with_observed<R>(&self, read: impl FnOnce(&Observed) -> R) -> R {
        read(&self.0.script().observed)
    }

    /// Records calls of the pool that the backend cannot observe: [`Observed::pool_cleared`],
    /// [`Observed::connection_added`].
    pub fn record(&self, record: impl FnOnce(&mut Observed)) {
        record(&mut self.0.script().observed);
    }

    /// Returns the number of calls so far.
    pub fn calls(&self, call: Call) -> usize {
        self.0.script().plan(call).calls()
    }

    /// Returns the number of liveness probes so far.
    pub fn probes(&self) -> usize {
        self.0.script().probes
    }

    /// Returns the number of connection objects that exist.
    pub fn alive(&self) -> usize {
        self.0.script().observed.alive()
    }

    /// Returns the largest number of connections, open or being opened, at any time.
    pub fn peak(&self) -> usize {
        self.0.script().observed.peak
    }

    /// Returns the start of each connect, since the origin of the runtime's clock.
    pub fn connects_at(&self) -> Vec<Duration> {
        self.0.script().observed.connects_at.clone()
    }

    /// Returns the ids of the connections passed to `Manager::close`, with their reasons, in order.
    pub fn closes(&self) -> Vec<(u64, CloseReason)> {
        self.0.script().observed.closes.clone()
    }

    /// Returns the ids of the healthy connections passed to `Manager::close`, in order.
    pub fn graceful_closes(&self) -> Vec<u64> {
        let closes = self.closes();
        closes.iter().filter(|(_, reason)| reason.is_healthy()).map(|(id, _)| *id).collect()
    }

    /// Returns the ids of the connections dropped so far, in order.
    pub fn dropped(&self) -> Vec<u64> {
        self.0.script().observed.dropped.clone()
    }

    async fn run_call(&self, call: Call) -> Result<Behavior, ScriptedError> {
        let (mut behavior, number) = self.0.script().plan(call).call();
        loop {
            return match behavior {
                Behavior::Succeed | Behavior::SendUnsolicited | Behavior::HangUp => Ok(behavior),
                Behavior::Fail => Err(ScriptedError(number)),
                Behavior::Take(time) => {
                    self.0.sleep(time).await;
                    Ok(behavior)
                }
                Behavior::FailAfter(time) => {
                    self.0.sleep(time).await;
                    Err(ScriptedError(number))
                }
                Behavior::Yield(times) => {
                    yield_times(times).await;
                    Ok(behavior)
                }
                Behavior::YieldThenFail(times) => {
                    yield_times(times).await;
                    Err(ScriptedError(number))
                }
                Behavior::YieldThenPanic(times) => {
                    yield_times(times).await;
                    panic!("scripted panic in {call:?}")
                }
                Behavior::Hold => {
                    let release = self.0.script().held(call).push();
                    behavior = release.await;
                    continue;
                }
                Behavior::Hang => pending().await,
                Behavior::Panic => panic!("scripted panic in {call:?}"),
            };
        }
    }

    async fn check(&self, call: Call, conn: &mut FaultyConn) -> Result<Behavior, ScriptedError> {
        conn.check_started();
        let behavior = self.run_call(call).await?;
        conn.check_done();
        Ok(behavior)
    }

    /// Lets the peer act after a successful call.
    fn apply_peer_action(&self, behavior: Behavior, id: u64) {
        match behavior {
            Behavior::SendUnsolicited => self.send(id, b"unsolicited"),
            Behavior::HangUp => self.hang_up(id),
            _ => {}
        }
    }
}

impl Manager for FaultyManager {
    type Connection = FaultyConn;
    type Error = ScriptedError;

    async fn connect(&self) -> Result<FaultyConn, ScriptedError> {
        let mut pending = PendingConnect::start(&self.0);
        let number = pending.number;
        let behavior = self.run_call(Call::Connect).await?;
        pending.succeeded = true;
        drop(pending);
        let (here, there) = pipe(CAPACITY);
        let id = {
            let mut script = self.0.script();
            let id = script.observed.connection_opened();
            script.peers.insert(id, there);
            id
        };
        self.apply_peer_action(behavior, id);
        Ok(FaultyConn::new(id, number, here, self.0.clone()))
    }

    fn stream(&self) -> Option<StreamOf<FaultyConn>> {
        Some(|conn| conn)
    }

    fn severity(&self, _: &ScriptedError) -> Severity {
        self.0.script().severity
    }

    async fn ping(&self, conn: &mut FaultyConn) -> Result<(), ScriptedError> {
        let behavior = self.check(Call::Ping, conn).await?;
        self.apply_peer_action(behavior, conn.id());
        Ok(())
    }

    async fn reset(&self, conn: &mut FaultyConn) -> Result<(), ScriptedError> {
        let behavior = self.check(Call::Reset, conn).await?;
        conn.clear_user_state();
        self.apply_peer_action(behavior, conn.id());
        Ok(())
    }

    fn needs_reset(&self) -> bool {
        self.0.script().needs_reset
    }

    fn liveness(&self, conn: &mut FaultyConn) -> Liveness {
        let probe = {
            let mut script = self.0.script();
            script.probes += 1;
            Arc::clone(&script.probe)
        };
        probe(conn)
    }

    fn is_reusable(&self, conn: &mut FaultyConn) -> bool {
        let is_reusable = Arc::clone(&self.0.script().is_reusable);
        is_reusable(conn)
    }

    fn expires_in(&self, conn: &FaultyConn) -> Option<Duration> {
        let expires_in = Arc::clone(&self.0.script().expires_in);
        expires_in(conn)
    }

    async fn close(&self, conn: FaultyConn, reason: CloseReason) {
        self.0.script().observed.closes.push((conn.id(), reason));
        // A close that fails drops the connection as well.
        let _ = self.run_call(Call::Close).await;
        drop(conn);
    }
}

async fn yield_times(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}

/// Stops this process from printing scripted panics. Other panics are printed as before.
pub fn silence_scripted_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default_hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.to_string().contains("scripted") {
                default_hook(info);
            }
        }));
    });
}
