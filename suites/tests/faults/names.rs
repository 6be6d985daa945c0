//! Host names: failed and slow lookups, and names with a dead address.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use futures_lite::future::poll_once;
use socket2::SockRef;

use super::client::{
    assert_connect_timed_out, get_despite_timeouts, get_once_not_told, pool_of, wait_until,
};
use super::kernel::eventually;
use super::network::{Hosts, PacketLoss};
use crate::adapter::{Builder, ConnectError, GetError, PooledConnection, TcpManager};
use suites::server::LIMIT;

const ONE: &str = "127.0.0.1";
const TWO: &str = "127.0.0.2";
const PORT: u16 = 7000;

fn pool_of_db() -> Builder<TcpManager> {
    pool_of(format!("db.test:{PORT}")).get_timeout(LIMIT)
}

fn peer(conn: &PooledConnection<'_, TcpManager>) -> String {
    let address = SockRef::from(conn.get_ref()).peer_addr().unwrap();
    address.as_socket().unwrap().ip().to_string()
}

pub(crate) async fn name_is_resolved_for_every_connection() {
    let hosts = Hosts::empty();
    let _servers = [ONE, TWO].map(|ip| TcpListener::bind((ip, PORT)).unwrap());
    let pool = pool_of_db().build().await.unwrap();
    hosts.set("db.test", &[ONE]);
    let one = pool.get().await.unwrap();
    hosts.set("db.test", &[TWO]);
    let two = pool.get().await.unwrap();
    assert_eq!((peer(&one), peer(&two)), (ONE.into(), TWO.into()));
}

pub(crate) async fn unknown_name_is_an_error_that_names_the_host() {
    let hosts = Hosts::empty();
    let _server = TcpListener::bind((ONE, PORT)).unwrap();
    let pool = pool_of_db().build().await.unwrap();
    for _ in 0..3 {
        match pool.get().await {
            Err(GetError::Connect(ConnectError::Failed(error))) => {
                assert!(error.to_string().starts_with("db.test:7000: "), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Neither the failed lookup nor an earlier result is cached.
    hosts.set("db.test", &[ONE]);
    let conn = get_once_not_told(&pool).await;
    assert_eq!(peer(&conn), ONE);
    hosts.set("db.test", &[]);
    let _idle: Vec<_> = std::iter::from_fn(|| pool.try_get().ok()).collect();
    // It waits, since the connection may come back.
    assert!(poll_once(pool.get()).await.is_none());
    wait_until(&pool, |stats| stats.connecting == 0).await;
    drop(conn);
    drop(pool.get().await.expect("an open connection was not available"));
}

pub(crate) async fn unresponsive_name_server_delays_connects_by_connect_timeout_at_most() {
    let hosts = Hosts::empty();
    let _silent = UdpSocket::bind((ONE, 53)).unwrap();
    let _server = TcpListener::bind((ONE, PORT)).unwrap();
    let pool =
        pool_of_db().max_size(1).connect_timeout(Duration::from_millis(50)).build().await.unwrap();
    assert_connect_timed_out(pool.get().await);
    // The lookup still blocks its thread, but the slot is free.
    wait_until(&pool, |stats| stats.connecting == 0).await;
    assert_eq!(pool.stats().connect_failed, 1);
    hosts.set("db.test", &[ONE]);
    let conn = get_despite_timeouts(&pool).await;
    assert_eq!(peer(&conn), ONE);
}

pub(crate) async fn close_does_not_wait_for_a_name_server() {
    let _hosts = Hosts::empty();
    let silent = UdpSocket::bind((ONE, 53)).unwrap();
    silent.set_nonblocking(true).unwrap();
    let pool = pool_of_db().build().await.unwrap();
    let get = crate::spawn(pool.get_owned());
    eventually("a lookup", || silent.recv(&mut [0; 512]).is_ok()).await;
    let report = pool.close(LIMIT).await;
    assert_eq!((report.still_out.len(), report.timed_out), (0, false));
    assert!(get.await.unwrap_err().is_closed());
    let stats = pool.stats();
    assert_eq!((stats.connecting, stats.connect_failed), (0, 0), "{stats}");
}

pub(crate) async fn address_without_a_listener_is_skipped() {
    let hosts = Hosts::empty();
    hosts.set("db.test", &[ONE, TWO]);
    // In one of the two rounds the dead address is the first, in whatever order they are tried.
    for alive in [ONE, TWO] {
        let _server = TcpListener::bind((alive, PORT)).unwrap();
        let pool = pool_of_db().build().await.unwrap();
        assert_eq!(peer(&pool.get().await.unwrap()), alive);
        assert_eq!(pool.stats().connect_failed, 0);
    }
}

pub(crate) async fn unresponsive_address_leaves_time_for_the_next() {
    let hosts = Hosts::empty();
    hosts.set("db.test", &[ONE, TWO]);
    let _servers = [ONE, TWO].map(|ip| TcpListener::bind((ip, PORT)).unwrap());
    for (alive, dead) in [(ONE, TWO), (TWO, ONE)] {
        let loss = PacketLoss::matching(&format!("ip daddr {dead} tcp dport {PORT}"));
        // If all of the time were spent on the dead address, no connect could succeed.
        let pool = pool_of_db()
            .connect_timeout(Duration::from_millis(500))
            .fail_fast_after(None)
            .build()
            .await
            .unwrap();
        assert_eq!(peer(&pool.get().await.unwrap()), alive);
        loss.stop();
    }
}
