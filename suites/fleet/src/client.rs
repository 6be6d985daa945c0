//! A client of the backend: a pool and the callers that use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use connpool_core::{GetError, Liveness, Manager, Pool, Runtime, StreamOf};
use connpool_testkit::SimRuntime;

use crate::backend::{ADDRESSES, Backend, Conn, Refused};
use crate::draw::between;
use crate::record::Record;

/// The duration of a request, and of the pause after it. Together they keep four of five connections
/// in use: fewer leave callers waiting.
const REQUEST: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];
const PAUSE: [Duration; 2] = [Duration::ZERO, Duration::from_millis(100)];

/// The pause of a caller whose get failed.
const RETRY: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1_500)];

/// The time that a client waits for its requests when it ends.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Connects to the addresses of the backend in turn, as clients of a DNS name with several addresses
/// do that try one address a connect.
struct FleetManager {
    backend: Arc<Backend>,
    pool: usize,
    connects: AtomicUsize,
}

impl Manager for FleetManager {
    type Connection = Conn;
    type Error = Refused;

    async fn connect(&self) -> Result<Conn, Refused> {
        let address = self.connects.fetch_add(1, Ordering::Relaxed) % ADDRESSES;
        self.backend.connect(self.pool, address).await
    }

    fn stream(&self) -> Option<StreamOf<Conn>> {
        None
    }

    async fn ping(&self, conn: &mut Conn) -> Result<(), Refused> {
        conn.ping().await
    }

    fn needs_reset(&self) -> bool {
        false
    }

    fn liveness(&self, conn: &mut Conn) -> Liveness {
        if conn.is_alive() { Liveness::Alive } else { Liveness::Closed }
    }
}

/// A client of the backend. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    sim: SimRuntime,
    record: Arc<Record>,
    number: usize,
    pool: Pool<FleetManager>,
    ends: Arc<AtomicBool>,
}

impl Client {
    /// Starts a client with `size` connections and as many callers.
    pub(crate) fn start(
        sim: &SimRuntime,
        backend: &Arc<Backend>,
        record: &Arc<Record>,
        number: usize,
        size: usize,
    ) -> Self {
        let first = sim.random() as usize % ADDRESSES;
        let manager = FleetManager {
            backend: Arc::clone(backend),
            pool: number,
            connects: AtomicUsize::new(first),
        };
        let pool = Pool::builder(manager, sim.clone())
            .min_size(size)
            .max_size(size)
            .start()
            .expect("settings that are allowed");
        let ends = Arc::default();
        let client = Client { sim: sim.clone(), record: Arc::clone(record), number, pool, ends };
        for _ in 0..size {
            sim.spawn(Box::pin(client.clone().call()));
        }
        client
    }

    /// Returns the number of the client in its fleet.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Ends the callers after their requests, and closes the pool.
    pub(crate) async fn close(&self) {
        self.ends.store(true, Ordering::Relaxed);
        self.pool.close(CLOSE_LIMIT).await;
    }

    /// Makes one request after the other.
    async fn call(self) {
        self.sleep_between(PAUSE).await;
        while !self.ends.load(Ordering::Relaxed) {
            let pause = match self.pool.get().await {
                Ok(mut conn) => {
                    let served = conn.serve(between(&self.sim, REQUEST)).await.is_ok();
                    if served {
                        self.record.served(self.number, self.sim.now());
                    } else {
                        self.record.failed(|failed| failed.lost_requests += 1);
                        conn.mark_unusable();
                    }
                    PAUSE
                }
                Err(error) => {
                    match error {
                        GetError::Closed => return,
                        GetError::Connect(_) => self.record.failed(|failed| failed.connect += 1),
                        GetError::Timeout { .. } => {
                            self.record.failed(|failed| failed.timeout += 1)
                        }
                        _ => self.record.failed(|failed| failed.other += 1),
                    }
                    RETRY
                }
            };
            self.sleep_between(pause).await;
        }
    }

    async fn sleep_between(&self, range: [Duration; 2]) {
        self.sim.sleep(between(&self.sim, range)).await;
    }
}
