//! Connections that break while idle are found before the next checkout.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};

use futures_lite::AsyncReadExt;
use socket2::SockRef;
use suites::server::{self, Server};

use crate::adapter::{CloseReason, GetError, Manager, StreamOf, TcpConn, TcpManager};
use crate::client::{SocketWatch, pool_of, talk, wait_until_closed};

pub(crate) async fn connection_closed_while_idle_is_replaced() {
    assert_replaced(|socket, client| {
        drop(socket);
        client.wait_readable();
        CloseReason::Dead
    })
    .await;
}

pub(crate) async fn connection_reset_while_idle_is_replaced() {
    assert_replaced(|socket, client| {
        server::reset(socket);
        client.wait_reset();
        CloseReason::Dead
    })
    .await;
}

pub(crate) async fn idle_connection_with_unsolicited_bytes_is_replaced() {
    let mut open = Vec::new();
    assert_replaced(|mut socket, client| {
        socket.write_all(b"good night").unwrap();
        client.wait_readable();
        open.push(socket);
        CloseReason::Unsolicited
    })
    .await;
}

pub(crate) async fn idle_connection_with_unsolicited_bytes_before_its_end_is_replaced() {
    assert_replaced(|mut socket, client| {
        socket.write_all(b"good night").unwrap();
        drop(socket);
        client.wait_ended()
    })
    .await;
}

pub(crate) async fn idle_connection_with_an_urgent_byte_is_replaced() {
    let mut open = Vec::new();
    assert_replaced(|socket, client| {
        SockRef::from(&socket).send_out_of_band(b"!").unwrap();
        client.wait_readable();
        open.push(socket);
        CloseReason::Unsolicited
    })
    .await;
}

pub(crate) async fn idle_connection_half_closed_by_its_peer_is_replaced() {
    let mut open = Vec::new();
    assert_replaced(|socket, client| {
        socket.shutdown(Shutdown::Write).unwrap();
        client.wait_readable();
        open.push(socket);
        CloseReason::Dead
    })
    .await;
}

/// Breaks the only connection of a pool while it is idle: neither `try_get` nor `get` returns it,
/// and `get` replaces it.
async fn assert_replaced(mut break_it: impl FnMut(TcpStream, SocketWatch) -> CloseReason) {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let mut socket = server.accept();
    talk(&mut *conn, &mut socket).await;
    let first = conn.id();
    let client = SocketWatch::on(&conn);
    drop(conn);
    assert_eq!(pool.stats().available, 1);
    let reason = break_it(socket, client);

    let mut conn = pool.get().await.unwrap();
    let second = conn.id();
    assert_ne!(second, first);
    let mut socket = server.accept();
    talk(&mut *conn, &mut socket).await;
    wait_until_closed(&pool, reason, 1).await;
    let client = SocketWatch::on(&conn);
    drop(conn);
    assert_eq!(break_it(socket, client), reason);

    match pool.try_get() {
        Err(GetError::Exhausted(_)) => {}
        other => panic!("{other:?}"),
    }
    let mut conn = pool.get().await.unwrap();
    assert!(conn.id() != first && conn.id() != second);
    talk(&mut *conn, &mut server.accept()).await;
    drop(conn);
    wait_until_closed(&pool, reason, 2).await;
    assert_eq!(pool.stats().created, 3);
}

pub(crate) async fn dead_connection_among_healthy_ones_costs_only_itself() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(3).build().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        let conn = pool.get().await.unwrap();
        let socket = server.accept();
        held.push((conn.id(), SocketWatch::on(&conn), socket, conn));
    }
    // The last connection returned is the first one checked out.
    let mut sockets = Vec::new();
    for (id, client, socket, conn) in held {
        drop(conn);
        sockets.push((id, client, socket));
    }
    let (dead, client, socket) = sockets.pop().unwrap();
    drop(socket);
    client.wait_readable();

    let one = pool.get().await.unwrap();
    let two = pool.get().await.unwrap();
    assert!(one.id() != dead && two.id() != dead);
    assert_eq!(pool.stats().created, 3, "opened more than needed");
    wait_until_closed(&pool, CloseReason::Dead, 1).await;
}

pub(crate) async fn quiet_connection_is_lent_again() {
    let server = Server::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let mut socket = server.accept();
    let id = conn.id();
    drop(conn);
    for uses in 2..10 {
        let mut conn = match uses % 2 {
            0 => pool.get().await.unwrap(),
            _ => pool.try_get().unwrap(),
        };
        assert_eq!((conn.id(), conn.uses()), (id, uses));
        talk(&mut *conn, &mut socket).await;
    }
    assert_eq!(pool.stats().created, 1);
}

pub(crate) async fn idle_connection_may_receive_bytes_if_allowed() {
    let server = Server::start();
    let manager = TcpManager::new(server.address()).allow_unsolicited(true);
    assert_lent_with_a_notice(&server, manager).await;
}

pub(crate) async fn allowed_bytes_are_allowed_to_managers_that_connect_through_tcp() {
    let server = Server::start();
    let manager = Through(TcpManager::new(server.address()).allow_unsolicited(true));
    assert_lent_with_a_notice(&server, manager).await;
}

/// A manager as in the documentation, with the required methods only.
struct Through(TcpManager);

impl Manager for Through {
    type Connection = TcpConn;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpConn> {
        self.0.connect().await
    }

    fn stream(&self) -> Option<StreamOf<TcpConn>> {
        Some(|conn| conn)
    }
}

async fn assert_lent_with_a_notice<M: Manager<Connection = TcpConn>>(server: &Server, manager: M) {
    let pool = crate::adapter::builder(manager).ping_after(None).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let id = conn.id();
    let mut socket = server.accept();
    let watch = SocketWatch::on(&conn);
    drop(conn);
    socket.write_all(b"notice").unwrap();
    watch.wait_readable();
    let mut conn = pool.get().await.unwrap();
    assert_eq!(conn.id(), id);
    let mut notice = [0; 6];
    conn.read_exact(&mut notice).await.unwrap();
    assert_eq!(&notice, b"notice");
    talk(&mut *conn, &mut socket).await;
}

pub(crate) async fn end_behind_allowed_bytes_is_found() {
    let server = Server::start();
    let manager = TcpManager::new(server.address()).allow_unsolicited(true);
    let pool = crate::adapter::builder(manager).ping_after(None).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let id = conn.id();
    let mut socket = server.accept();
    socket.write_all(b"shutting down").unwrap();
    drop(socket);
    let watch = SocketWatch::on(&conn);
    if watch.wait_ended() == CloseReason::Unsolicited {
        // This system does not tell.
        return;
    }
    drop(conn);
    assert_ne!(pool.get().await.unwrap().id(), id);
    wait_until_closed(&pool, CloseReason::Dead, 1).await;
}
