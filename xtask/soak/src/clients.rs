//! The clients: they use the pool in every way, misuse included.

use std::future::{Future, pending};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use connpool_core::{Connection, Manager, Pool, Runtime};
use futures_lite::FutureExt;
use smol::channel::{Receiver, Sender, bounded};

use crate::client_stats::ClientStats;
use crate::protocol::ask;

/// The number of clients.
const CLIENTS: usize = 64;

/// How long a client waits for a reply. The server stalls for longer.
const PATIENCE: Duration = Duration::from_millis(150);

/// Time limit for the clients to stop. Every step of a client has a shorter limit.
const DONE_WITHIN: Duration = Duration::from_secs(10);

/// The running clients, one task each.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    done: Receiver<()>,
}

impl Clients {
    pub(crate) fn start<M>(
        pool: &Pool<M>,
        counted: &Arc<ClientStats>,
        runtime: &Arc<dyn Runtime>,
    ) -> Clients
    where
        M: Manager<Connection: Connection>,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, done) = bounded(CLIENTS);
        for _ in 0..CLIENTS {
            let client = Client {
                pool: pool.clone(),
                counted: Arc::clone(counted),
                runtime: Arc::clone(runtime),
                stop: Arc::clone(&stop),
            };
            runtime.spawn(Box::pin(client.run(sender.clone())));
        }
        Clients { stop, done }
    }

    /// Stops the clients and returns the number of those that did not stop.
    pub(crate) async fn stop(self, runtime: &dyn Runtime) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for ended in 0..CLIENTS {
            if within(runtime, DONE_WITHIN, self.done.recv()).await.is_none() {
                return CLIENTS - ended;
            }
        }
        0
    }
}

struct Client<M: Manager> {
    pool: Pool<M>,
    counted: Arc<ClientStats>,
    runtime: Arc<dyn Runtime>,
    stop: Arc<AtomicBool>,
}

impl<M> Client<M>
where
    M: Manager<Connection: Connection>,
{
    async fn run(self, done: Sender<()>) {
        while !self.stop.load(Ordering::Relaxed) {
            self.sleep_a_while().await;
            match rand::random_range(0..100) {
                0..4 => self.cancel_a_get().await,
                4..6 => self.cancel_an_exchange().await,
                6..8 => self.try_get().await,
                8 => self.mark().await,
                9 => self.detach().await,
                _ => self.ask(PATIENCE).await,
            }
        }
        // Dropped before the message, so that no pool handle is left when the receiver sees it.
        drop(self);
        let _ = done.send(()).await;
    }

    /// Sleeps, mostly for milliseconds. In every fifth second long enough for connections to become
    /// idle.
    async fn sleep_a_while(&self) {
        let in_a_lull = self.runtime.now().as_nanos() / 1_000_000_000 % 5 == 4;
        let most = if in_a_lull { 2_000 } else { 20 };
        self.sleep(rand::random_range(0..most)).await;
    }

    async fn ask(&self, patience: Duration) {
        let got = self.pool.get().await;
        self.counted.get(Some(&got));
        let Ok(mut conn) = got else { return };
        let exchange = conn.exchange(async |conn| ask(conn, &self.counted).await);
        // On a timeout or an error, the pool destroys the connection.
        let _: Option<io::Result<()>> = within(&*self.runtime, patience, exchange).await;
    }

    async fn cancel_a_get(&self) {
        let limit = Duration::from_micros(rand::random_range(0..3_000));
        let got = within(&*self.runtime, limit, self.pool.get()).await;
        self.counted.get(got.as_ref());
    }

    async fn cancel_an_exchange(&self) {
        self.ask(Duration::from_micros(rand::random_range(0..500))).await;
    }

    async fn try_get(&self) {
        let got = self.pool.try_get();
        self.counted.get(Some(&got));
        // Returned unused after a while.
        self.sleep(rand::random_range(0..5)).await;
    }

    async fn mark(&self) {
        let got = self.pool.get_owned().await;
        self.counted.get(Some(&got));
        if let Ok(mut conn) = got {
            conn.mark_unusable();
        }
    }

    async fn detach(&self) {
        let got = self.pool.get().await;
        self.counted.get(Some(&got));
        let Ok(conn) = got else { return };
        let mut conn = conn.detach();
        self.counted.detached();
        let _ = within(&*self.runtime, PATIENCE, ask(&mut conn, &self.counted)).await;
    }

    async fn sleep(&self, millis: u64) {
        sleep(&*self.runtime, Duration::from_millis(millis)).await;
    }
}

/// Sleeps on the clock of the runtime.
pub(crate) async fn sleep(runtime: &dyn Runtime, time: Duration) {
    match runtime.now().checked_add(time) {
        Some(at) => runtime.sleep_until(at).await,
        None => pending().await,
    }
}

/// Returns the output of `work`, or `None` after `limit`. Polls `work` at least once.
async fn within<T>(
    runtime: &dyn Runtime,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let work = async { Some(work.await) };
    let limit = async {
        sleep(runtime, limit).await;
        None
    };
    work.or(limit).await
}
