//! The background evictor.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_lite::future::{poll_once, yield_now};
use socket2::SockRef;

use super::clock::Clock;
use crate::adapter::{CloseReason, Liveness, Manager, TcpConn, TcpManager, builder};
use crate::support::client::{Spy, echo, pool_of, talk, until, until_closed};
use crate::support::server::{Echo, LIMIT, Server};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

pub(crate) async fn evictor_finds_dead_connections_without_a_get() {
    let server = Server::start();
    let pool = pool_of(server.address()).evict_interval(5 * MILLI);
    let pool = pool.increment(5).max_size(5).build().await.unwrap();
    drop(pool.get().await.unwrap());
    drop(server.accept_many(5));
    until_closed(&pool, CloseReason::Dead, 5).await;
    assert_eq!((pool.stats().size, pool.stats().request), (0, 1));
}

pub(crate) async fn evictor_replenishes_to_min_size() {
    let server = Server::start();
    let pool = pool_of(server.address()).evict_interval(5 * MILLI);
    let pool = pool.min_size(3).max_size(5).build().await.unwrap();
    drop(server.accept_many(3));
    until(&pool, |stats| stats.available == 3 && stats.created == 6).await;
    until_closed(&pool, CloseReason::Dead, 3).await;
    let mut ends = server.accept_many(3);
    assert!(!server.has_a_caller());
    // All three belong to somebody who answers.
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(pool.get().await.unwrap());
    }
    for conn in &mut all {
        let client = SockRef::from(conn.get_ref()).local_addr().unwrap();
        let mut ends = ends.iter_mut();
        let end = ends.find(|end| end.peer_addr().ok() == client.as_socket());
        talk(&mut **conn, end.expect("the server has its end")).await;
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
    until(&pool, |stats| {
        stats.lifetime_closed >= 10 && stats.size == 2 && stats.available > 0
    })
    .await;
    let stats = pool.stats();
    assert_eq!(stats.closed.total(), stats.lifetime_closed, "{stats}");
    assert_eq!(stats.request, 0);
}

/// The seed closes these as well, and opens as many in their place.
pub(crate) async fn evictor_keeps_min_size_connections_past_idle_timeout() {
    let server = Echo::start();
    let (manager, looks) = Looked::new(server.address());
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
    until_closed(&pool, CloseReason::Idle, 3).await;
    // It goes on looking at the two.
    let before = looks.load(Ordering::SeqCst);
    until(&pool, |_| looks.load(Ordering::SeqCst) >= before + 20).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.created), (2, 5), "{stats}");
}

pub(crate) async fn evictor_runs_every_thirty_seconds_by_default() {
    let clock = Clock::new();
    let server = Server::start();
    let pool = clock.pool_of(server.address()).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let client = Spy::on(&conn);
    drop(conn);
    drop(server.accept());
    client.sees_something();
    clock.sees_a_nap_of(30 * SECOND).await;
    assert_eq!(pool.stats().available, 1);
    clock.advance(30 * SECOND);
    until_closed(&pool, CloseReason::Dead, 1).await;
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
        until_closed(&pool, CloseReason::Idle, closed).await;
        drop(conn);
        clock.advance(3_600 * SECOND);
        assert_eq!(pool.stats().available, 1, "only a get finds it");
    }
    // The driver has been at work and has gone back to rest: without a timer of its own.
    let config = pool.config();
    let others = [config.get_timeout, config.connect_timeout];
    let naps = clock.naps();
    assert!(
        naps.iter().all(|nap| others.contains(&Some(*nap))),
        "{naps:?}"
    );
}

/// The seed's evictor drains the channel, looks at everything, and puts back what is good: who comes
/// meanwhile finds the pool empty, and dials.
pub(crate) async fn get_during_an_evictor_run_finds_the_pool_full() {
    const MANY: usize = 20;
    let server = Echo::start();
    let (manager, looks) = Looked::new(server.address());
    let pool = builder(manager)
        .min_size(MANY)
        .max_size(2 * MANY)
        .evict_interval(MILLI)
        .build()
        .await
        .unwrap();
    let start = Instant::now();
    let mut own_looks = 0;
    // Ten rounds of the evictor, and as many gets as there is time for.
    while looks.load(Ordering::SeqCst) < own_looks + 10 * MANY {
        assert!(start.elapsed() < LIMIT, "{}", pool.stats());
        let got = poll_once(pool.get()).await;
        let mut conn = got.expect("at the first poll").unwrap();
        own_looks += 1;
        if own_looks % 100 == 0 {
            echo(&mut *conn, b"hello").await.unwrap();
        }
        drop(conn);
        yield_now().await;
    }
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (MANY as u64, 0));
}

/// Counts how often a connection is looked at: by each get, and by the evictor.
struct Looked {
    tcp: TcpManager,
    looks: Arc<AtomicUsize>,
}

impl Looked {
    fn new(address: String) -> (Looked, Arc<AtomicUsize>) {
        let looks = Arc::<AtomicUsize>::default();
        let manager = Looked {
            tcp: TcpManager::new(address),
            looks: Arc::clone(&looks),
        };
        (manager, looks)
    }
}

impl Manager for Looked {
    type Connection = TcpConn;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpConn> {
        self.tcp.connect().await
    }

    fn needs_reset(&self) -> bool {
        false
    }

    fn liveness(&self, conn: &mut TcpConn) -> Liveness {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.tcp.liveness(conn)
    }

    fn is_reusable(&self, conn: &mut TcpConn) -> bool {
        self.tcp.is_reusable(conn)
    }
}
