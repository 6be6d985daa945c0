//! A type-erased manager over TCP.

use std::io;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::adapter::{
    BoxManager, CloseReason, ConnectError, GetError, TcpConn, TcpManager, builder,
};
use crate::client::{SocketWatch, echo, wait_until_closed};
use suites::server::{Echo, LIMIT, Port, Server};

pub(crate) async fn type_erased_manager_works_the_same() {
    let echoing = Echo::start();
    let silent = Server::start();
    let closed_port = Port::bind();
    let managers: [BoxManager<TcpConn, io::Error>; 3] = [
        BoxManager::new(TcpManager::new(echoing.address()).ping(async |conn| {
            conn.write_all(b"PING").await?;
            conn.read_exact(&mut [0; 4]).await
        })),
        BoxManager::new(TcpManager::new(silent.address())),
        BoxManager::new(TcpManager::new(closed_port.address())),
    ];
    let [echoing, silent_pool, refused_pool] = managers.map(|manager| {
        builder(manager)
            .max_size(1)
            .ping_after(Duration::ZERO)
            .ping_timeout(LIMIT)
            .build_lazy()
            .unwrap()
    });

    let id = echoing.get().await.unwrap().id();
    let mut conn = echoing.get().await.unwrap();
    echo(&mut *conn, b"hello").await.unwrap();
    assert_eq!(conn.id(), id);
    // A used connection without a wait: `needs_reset` of the box returns false.
    drop(conn);
    assert_eq!(echoing.try_get().unwrap().id(), id);

    let conn = silent_pool.get().await.unwrap();
    let (id, client) = (conn.id(), SocketWatch::on(&conn));
    drop(conn);
    drop(silent.accept());
    client.wait_readable();
    assert_ne!(silent_pool.get().await.unwrap().id(), id);
    wait_until_closed(&silent_pool, CloseReason::Dead, 1).await;

    match refused_pool.get().await {
        Err(GetError::Connect(ConnectError::Failed(error))) => {
            assert!(error.to_string().contains(&closed_port.address()), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
