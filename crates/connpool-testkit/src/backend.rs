//! The state shared by the clones of a `FaultyManager` and by its connections.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connpool_core::{Instant, Liveness, Probe, Runtime, Severity};

use crate::conn::{DropListener, FaultyConn};
use crate::hold::HeldCalls;
use crate::observed::Observed;
use crate::script::{Call, Plan};
use crate::stream::SimStream;

/// The capacity of each stream in bytes: more than a test writes without reading.
pub(crate) const CAPACITY: usize = 64 * 1024;

pub(crate) struct Backend {
    runtime: Arc<dyn Runtime>,
    script: Mutex<Script>,
}

type Hook<T> = Arc<dyn Fn(&mut FaultyConn) -> T + Send + Sync>;
type SharedHook<T> = Arc<dyn Fn(&FaultyConn) -> T + Send + Sync>;

pub(crate) struct Script {
    pub(crate) plans: [Plan; 4],
    held: [HeldCalls; 4],
    pub(crate) needs_reset: bool,
    pub(crate) severity: Severity,
    pub(crate) expires_in: SharedHook<Option<Duration>>,
    pub(crate) probe: Hook<Liveness>,
    pub(crate) is_reusable: Hook<bool>,
    pub(crate) at_drop: Arc<dyn Fn(u64) + Send + Sync>,
    pub(crate) probes: usize,
    pub(crate) peers: BTreeMap<u64, SimStream>,
    pub(crate) observed: Observed,
}

impl Backend {
    pub(crate) fn new(runtime: Arc<dyn Runtime>) -> Self {
        let script = Script {
            plans: Default::default(),
            held: Default::default(),
            needs_reset: false,
            severity: Severity::default(),
            expires_in: Arc::new(|_| None),
            probe: Arc::new(|conn| conn.probe()),
            is_reusable: Arc::new(|conn| conn.is_clean()),
            at_drop: Arc::new(|_| ()),
            probes: 0,
            peers: BTreeMap::new(),
            observed: Observed::default(),
        };
        Backend { runtime, script: Mutex::new(script) }
    }

    pub(crate) fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::clone(&self.runtime)
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        match self.runtime.now().checked_add(time) {
            Some(at) => self.runtime.sleep_until(at).await,
            None => pending().await,
        }
    }
}

impl DropListener for Backend {
    fn connection_dropped(&self, id: u64) {
        let (at_drop, peer) = {
            let mut script = self.script();
            script.observed.connection_dropped(id);
            (Arc::clone(&script.at_drop), script.peers.remove(&id))
        };
        drop(peer);
        at_drop(id);
    }
}

impl Script {
    pub(crate) fn held(&mut self, call: Call) -> &mut HeldCalls {
        &mut self.held[call as usize]
    }

    pub(crate) fn plan(&mut self, call: Call) -> &mut Plan {
        &mut self.plans[call as usize]
    }
}

/// Counts a pending connect, as the backend sees it, until dropped.
pub(crate) struct PendingConnect {
    backend: Arc<Backend>,
    pub(crate) number: usize,
    pub(crate) succeeded: bool,
}

impl PendingConnect {
    pub(crate) fn start(backend: &Arc<Backend>) -> Self {
        let now = backend.runtime.now().since(Instant::ORIGIN);
        let observed = &mut backend.script().observed;
        observed.connect_started(now);
        PendingConnect {
            backend: Arc::clone(backend),
            number: observed.connects_at.len(),
            succeeded: false,
        }
    }
}

impl Drop for PendingConnect {
    fn drop(&mut self) {
        let now = self.backend.runtime.now().since(Instant::ORIGIN);
        let observed = &mut self.backend.script().observed;
        observed.connect_ended(self.number, now, self.succeeded);
    }
}
