//! Exhausted ports, and self-connections.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::time::Duration;

use super::client::{counts_add_up, pool_of, talk};
use super::network::take_ports_from;
use crate::adapter::{Backoff, CloseReason, ConnectError, GetError};
use suites::server::LIMIT;

/// A port outside of all ranges below.
const SERVER: &str = "127.0.0.1:7000";

pub(crate) async fn open_connections_are_lent_without_free_ports() {
    take_ports_from(40_000..=40_003);
    let server = TcpListener::bind(SERVER).unwrap();
    let pool = pool_of(SERVER.to_owned()).max_size(8).get_timeout(LIMIT).build().await.unwrap();
    let mut guards = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..4 {
        guards.push(pool.get().await.unwrap());
        ends.push(server.accept().unwrap().0);
    }
    match pool.get().await {
        Err(GetError::Connect(ConnectError::Failed(error))) => {
            assert_eq!(error.kind(), ErrorKind::AddrNotAvailable, "{error}");
            assert!(error.to_string().contains(SERVER), "{error}");
        }
        other => panic!("{other:?}"),
    }
    for (conn, end) in guards.iter_mut().zip(&mut ends) {
        talk(&mut **conn, end).await;
    }
    drop(guards);
    for _ in 0..20 {
        drop(pool.get().await.unwrap());
    }
    let stats = pool.stats();
    assert_eq!((stats.created, stats.available), (4, 4), "{stats}");
    assert_eq!(stats.closed.total(), 0);
}

pub(crate) async fn waiter_without_free_ports_is_served_when_ports_are_available() {
    take_ports_from(40_000..=40_001);
    let server = TcpListener::bind(SERVER).unwrap();
    let pool =
        pool_of(SERVER.to_owned()).fail_fast_after(None).get_timeout(LIMIT).build().await.unwrap();
    let _open = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    let _ends = [server.accept().unwrap(), server.accept().unwrap()];
    match pool.get_timeout(Duration::from_millis(30)).await {
        Err(GetError::Timeout { diagnosis, .. }) => {
            let error = diagnosis.last_error.unwrap().to_string();
            assert!(error.contains(SERVER), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let get = crate::spawn(pool.get_owned());
    super::client::wait_until(&pool, |stats| stats.waiting == 1).await;
    take_ports_from(40_000..=40_100);
    let mut conn = get.await.unwrap();
    talk(&mut *conn, &mut server.accept().unwrap().0).await;
    assert_eq!(pool.stats().created, 3);
}

pub(crate) async fn self_connection_is_never_lent() {
    take_ports_from(40_000..=40_007);
    let closed_port = "127.0.0.1:40004";
    let no_pause = Backoff::new(Duration::ZERO, Duration::ZERO, 1.0);
    let pool = pool_of(closed_port.to_owned())
        .backoff(no_pause)
        .breaker(None)
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    let mut self_connections = 0;
    for _ in 0..200 {
        if self_connections > 0 {
            break;
        }
        // Otherwise the next caller would be told of the last failure.
        pool.clear();
        match pool.get().await {
            Err(GetError::Connect(ConnectError::Failed(error))) => match error.kind() {
                ErrorKind::ConnectionRefused => {}
                ErrorKind::AddrNotAvailable if error.to_string().contains("itself") => {
                    self_connections += 1;
                }
                // Earlier self-connections hold their ports for a while.
                ErrorKind::AddrNotAvailable => {}
                _ => panic!("{error}"),
            },
            other => panic!("{other:?}"),
        }
    }
    assert!(self_connections > 0, "the kernel made no self-connection");
    let stats = pool.stats();
    assert_eq!(stats.created, 0, "{stats}");
    assert!(counts_add_up(&stats) && stats.closed.get(CloseReason::Dead) == 0);
}
