//! The background evictor.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_lite::future::yield_now;
use socket2::SockRef;

use super::clock::Clock;
use crate::adapter::{CloseReason, Liveness, Manager, StreamOf, TcpConn, TcpManager, builder};
use crate::client::{SocketWatch, echo, pool_of, talk, wait_until, wait_until_closed};
use suites::server::{Echo, LIMIT, Server};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// When the maintenance task takes a connect for one that hangs.
const HANGS_AFTER: Duration = Duration::from_millis(800);

pub(crate) async fn evictor_finds_dead_connections_without_a_get() {
    let server = Server::start();
    let pool = pool_of(server.address()).evict_interval(5 * MILLI);
    let pool = pool.increment(5).max_size(5).build().await.unwrap();
    drop(pool.get().await.unwrap());
    drop(server.accept_many(5));
    wait_until_closed(&pool, CloseReason::Dead, 5).await;
    assert_eq!((pool.stats().size, pool.stats().request), (0, 1));
}

pub(crate) async fn evictor_replenishes_to_min_size() {
    let server = Server::start();
    let pool = pool_of(server.address()).evict_interval(5 * MILLI);
    let pool = pool.min_size(3).max_size(5).build().await.unwrap();
    drop(server.accept_many(3));
    wait_until(&pool, |stats| stats.available == 3 && stats.created == 6).await;
    wait_until_closed(&pool, CloseReason::Dead, 3).await;
    let mut sockets = server.accept_many(3);
    assert!(!server.has_pending_connection());
    // Each of the three belongs to an open socket of the server.
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(pool.get().await.unwrap());
    }
    for conn in &mut all {
        let client = SockRef::from(conn.get_ref()).local_addr().unwrap();
        let mut sockets = sockets.iter_mut();
        let socket = sockets.find(|socket| socket.peer_addr().ok() == client.as_socket());
        talk(&mut **conn, socket.expect("no socket of this connection")).await;
    }
}

pub(crate) async fn evictor_keeps_min_size_while_lifetimes_end() {
    let server = Echo::start();
    let pool = pool_of(server.address())
        .min_size(2)
        .max_size(2)
        .max_lifetime(10 * MILLI)
        .evict_interval(2 * MILLI)
        .build()
        .await
        .unwrap();
    wait_until(&pool, |stats| {
        stats.lifetime_closed >= 10 && stats.size == 2 && stats.available > 0
    })
    .await;
    let stats = pool.stats();
    assert_eq!(stats.closed.total(), stats.lifetime_closed, "{stats}");
    assert_eq!(stats.request, 0);
}

/// The Go library closes these as well, and replaces them.
pub(crate) async fn evictor_keeps_min_size_connections_past_idle_timeout() {
    let server = Echo::start();
    let (manager, probes) = ProbeCounter::new(server.address());
    let pool = builder(manager)
        .min_size(2)
        .max_size(5)
        .idle_timeout(10 * MILLI)
        .evict_interval(2 * MILLI)
        .build()
        .await
        .unwrap();
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(pool.get().await.unwrap());
    }
    drop(all);
    wait_until_closed(&pool, CloseReason::Idle, 3).await;
    // The sweeps of the two continue.
    let before = probes.load(Ordering::SeqCst);
    wait_until(&pool, |_| probes.load(Ordering::SeqCst) >= before + 20).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.created), (2, 5), "{stats}");
}

pub(crate) async fn evictor_runs_every_thirty_seconds_by_default() {
    let clock = Clock::new();
    let server = Server::start();
    let pool = clock.pool_of(server.address()).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let client = SocketWatch::on(&conn);
    drop(conn);
    drop(server.accept());
    client.wait_readable();
    // The maintenance task may have slept for no longer than until the connect would hang.
    clock.advance(SECOND);
    clock.wait_for_a_sleep_of(&[30 * SECOND, 29 * SECOND]).await;
    assert_eq!(pool.stats().available, 1);
    clock.advance(29 * SECOND);
    wait_until_closed(&pool, CloseReason::Dead, 1).await;
    assert_eq!(pool.stats().request, 1);
}

pub(crate) async fn evictor_does_not_run_without_an_interval() {
    let clock = Clock::new();
    let server = Echo::start();
    let pool = clock
        .pool_of(server.address())
        .idle_timeout(SECOND)
        .evict_interval(None)
        .build()
        .await
        .unwrap();
    for closed in 0..3 {
        let mut conn = pool.get().await.unwrap();
        assert_eq!(conn.uses(), 1);
        echo(&mut *conn, b"hello").await.unwrap();
        wait_until_closed(&pool, CloseReason::Idle, closed).await;
        drop(conn);
        clock.advance(3_600 * SECOND);
        assert_eq!(pool.stats().available, 1, "closed without a get");
    }
    // The maintenance task has worked and sleeps again, without a timer.
    let config = pool.config();
    let others = [config.get_timeout, config.connect_timeout, Some(HANGS_AFTER)];
    let sleeps = clock.sleeps();
    assert!(sleeps.iter().all(|nap| others.contains(&Some(*nap))), "{sleeps:?}");
}

/// The evictor of the Go library drains its channel, probes every connection and puts the healthy
/// ones back; a get meanwhile finds the pool empty and connects.
pub(crate) async fn get_during_an_evictor_run_finds_the_pool_full() {
    const MANY: usize = 20;
    let server = Echo::start();
    let (manager, probes) = ProbeCounter::new(server.address());
    let pool = builder(manager)
        .min_size(MANY)
        .max_size(2 * MANY)
        .evict_interval(MILLI)
        .build()
        .await
        .unwrap();
    let start = Instant::now();
    let mut own_probes = 0;
    // Ten sweeps, and as many gets as they leave time for.
    while probes.load(Ordering::SeqCst) < own_probes + 10 * MANY {
        assert!(start.elapsed() < LIMIT, "{}", pool.stats());
        // Not ready at its first poll only if the runtime says that the task should yield.
        let mut conn = pool.get().await.unwrap();
        own_probes += 1;
        if own_probes % 100 == 0 {
            echo(&mut *conn, b"hello").await.unwrap();
        }
        drop(conn);
        yield_now().await;
    }
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (MANY as u64, 0));
    assert_eq!(stats.wait_count, 0, "{stats}");
}

/// Counts the liveness probes of gets and of sweeps.
struct ProbeCounter {
    tcp: TcpManager,
    probes: Arc<AtomicUsize>,
}

impl ProbeCounter {
    fn new(address: String) -> (ProbeCounter, Arc<AtomicUsize>) {
        let probes = Arc::<AtomicUsize>::default();
        let manager = ProbeCounter { tcp: TcpManager::new(address), probes: Arc::clone(&probes) };
        (manager, probes)
    }
}

impl Manager for ProbeCounter {
    type Connection = TcpConn;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpConn> {
        self.tcp.connect().await
    }

    fn stream(&self) -> Option<StreamOf<TcpConn>> {
        self.tcp.stream()
    }

    fn needs_reset(&self) -> bool {
        false
    }

    fn liveness(&self, conn: &mut TcpConn) -> Liveness {
        self.probes.fetch_add(1, Ordering::SeqCst);
        self.tcp.liveness(conn)
    }
}
