//! What happens to a connection while nobody has it: it is found before the next one gets it.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use socket2::SockRef;

use crate::adapter::{CloseReason, GetError};
use crate::support::client::{Spy, pool_of, talk, until_closed};
use crate::support::server::{self, Server};

pub(crate) async fn connection_closed_while_idle_is_replaced() {
    replaced(|end, client| {
        drop(end);
        client.sees_something();
        CloseReason::Dead
    })
    .await;
}

pub(crate) async fn connection_reset_while_idle_is_replaced() {
    replaced(|end, client| {
        server::reset(end);
        client.sees_a_reset();
        CloseReason::Dead
    })
    .await;
}

pub(crate) async fn idle_connection_with_unsolicited_bytes_is_replaced() {
    let mut open = Vec::new();
    replaced(|mut end, client| {
        end.write_all(b"good night").unwrap();
        client.sees_something();
        open.push(end);
        CloseReason::Unsolicited
    })
    .await;
}

pub(crate) async fn idle_connection_with_unsolicited_bytes_before_its_end_is_replaced() {
    replaced(|mut end, client| {
        end.write_all(b"good night").unwrap();
        drop(end);
        client.sees_something();
        CloseReason::Unsolicited
    })
    .await;
}

pub(crate) async fn idle_connection_with_an_urgent_byte_is_replaced() {
    let mut open = Vec::new();
    replaced(|end, client| {
        SockRef::from(&end).send_out_of_band(b"!").unwrap();
        client.sees_something();
        open.push(end);
        CloseReason::Unsolicited
    })
    .await;
}

pub(crate) async fn idle_connection_half_closed_by_its_peer_is_replaced() {
    let mut open = Vec::new();
    replaced(|end, client| {
        end.shutdown(Shutdown::Write).unwrap();
        client.sees_something();
        open.push(end);
        CloseReason::Dead
    })
    .await;
}

/// The only connection of a pool is harmed while idle: neither `try_get` nor `get` lends it, and
/// `get` makes a new one in its place.
async fn replaced(mut harm: impl FnMut(TcpStream, Spy) -> CloseReason) {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let mut end = server.accept();
    talk(&mut *conn, &mut end).await;
    let first = conn.id();
    let client = Spy::on(&conn);
    drop(conn);
    assert_eq!(pool.stats().available, 1);
    let reason = harm(end, client);

    let mut conn = pool.get().await.unwrap();
    let second = conn.id();
    assert_ne!(second, first);
    let mut end = server.accept();
    talk(&mut *conn, &mut end).await;
    until_closed(&pool, reason, 1).await;
    let client = Spy::on(&conn);
    drop(conn);
    assert_eq!(harm(end, client), reason);

    match pool.try_get() {
        Err(GetError::Exhausted(_)) => {}
        other => panic!("{other:?}"),
    }
    let mut conn = pool.get().await.unwrap();
    assert!(conn.id() != first && conn.id() != second);
    talk(&mut *conn, &mut server.accept()).await;
    drop(conn);
    until_closed(&pool, reason, 2).await;
    assert_eq!(pool.stats().created, 3);
}

pub(crate) async fn dead_connection_among_healthy_ones_costs_only_itself() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(3).build().await.unwrap();
    let mut lent = Vec::new();
    for _ in 0..3 {
        let conn = pool.get().await.unwrap();
        let end = server.accept();
        lent.push((conn.id(), Spy::on(&conn), end, conn));
    }
    // The last one brought back is the first one lent.
    let mut ends = Vec::new();
    for (id, client, end, conn) in lent {
        drop(conn);
        ends.push((id, client, end));
    }
    let (dead, client, end) = ends.pop().unwrap();
    drop(end);
    client.sees_something();

    let one = pool.get().await.unwrap();
    let two = pool.get().await.unwrap();
    assert!(one.id() != dead && two.id() != dead);
    assert_eq!(pool.stats().created, 3, "the good ones were enough");
    until_closed(&pool, CloseReason::Dead, 1).await;
}

pub(crate) async fn quiet_connection_is_lent_again() {
    let server = Server::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let mut end = server.accept();
    let id = conn.id();
    drop(conn);
    for uses in 2..10 {
        let mut conn = match uses % 2 {
            0 => pool.get().await.unwrap(),
            _ => pool.try_get().unwrap(),
        };
        assert_eq!((conn.id(), conn.uses()), (id, uses));
        talk(&mut *conn, &mut end).await;
    }
    assert_eq!(pool.stats().created, 1);
}
