//! Connects that fail, hang, or come too early.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use socket2::SockRef;

use crate::adapter::{GetError, Phase, TcpManager};
use crate::support::client::{adds_up, echo, pool_of, until};
use crate::support::server::{Echo, FullServer, LIMIT, Port};

/// The kind and the text of the connect error that a `get` from a pool of `address` ends with.
async fn failure(address: String) -> (ErrorKind, String) {
    let pool = pool_of(address)
        .connect_timeout(None)
        .get_timeout(None)
        .build()
        .await
        .unwrap();
    let error = pool.get().await.expect_err("there is nobody");
    let text = error.to_string();
    let GetError::Connect(cause) = &error else {
        panic!("{error:?}")
    };
    assert!(
        error
            .source()
            .is_some_and(|source| text.contains(&source.to_string()))
    );
    let stats = pool.stats();
    assert_eq!((stats.size, stats.connect_failed), (0, 1), "{stats}");
    (cause.kind(), text)
}

pub(crate) async fn refused_connect_names_the_address() {
    let nobody = Port::new();
    let (kind, text) = failure(nobody.address()).await;
    assert_eq!(kind, ErrorKind::ConnectionRefused);
    assert!(text.contains(&nobody.address()), "{text}");
    assert!(text.contains("refused"), "{text}");
}

pub(crate) async fn nonexistent_name_is_named_in_the_error() {
    // RFC 6761: nobody is ever called so.
    let (_, text) = failure(String::from("x.invalid:1")).await;
    assert!(text.contains("x.invalid:1"), "{text}");
}

pub(crate) async fn address_without_a_port_is_named_in_the_error() {
    let (kind, text) = failure(String::from("localhost")).await;
    assert_eq!(kind, ErrorKind::InvalidInput, "{text}");
    assert!(text.contains("localhost:"), "{text}");
}

pub(crate) async fn hanging_connect_is_a_timeout_and_the_pool_recovers() {
    let server = FullServer::start();
    let pool = pool_of(server.address())
        .max_size(1)
        .connect_timeout(None)
        .build()
        .await
        .unwrap();
    match pool.get_timeout(Duration::from_millis(50)).await {
        Err(GetError::Timeout { phase, diagnosis }) => {
            assert_eq!(phase, Phase::Connect);
            assert_eq!((diagnosis.connecting, diagnosis.size), (1, 0));
        }
        other => panic!("{other:?}"),
    }
    // The connect goes on: the kernel asks again.
    assert_eq!(pool.stats().connecting, 1);
    let _server = server.recover();
    let mut conn = pool.get_timeout(LIMIT).await.unwrap();
    echo(&mut *conn, b"hello").await.unwrap();
    assert_eq!(pool.stats().created, 1);
}

pub(crate) async fn connect_over_connect_timeout_frees_its_slot() {
    let server = FullServer::start();
    let pool = pool_of(server.address())
        .max_size(1)
        .connect_timeout(Duration::from_millis(50))
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    match pool.get().await {
        Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Connect),
        other => panic!("{other:?}"),
    }
    until(&pool, |stats| stats.connecting == 0).await;
    let _server = server.recover();
    // The pause after a failure is part of the get.
    let mut conn = loop {
        match pool.get().await {
            Ok(conn) => break conn,
            // The connects that were parked are in front of it.
            Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Connect),
            Err(other) => panic!("{other}"),
        }
    };
    echo(&mut *conn, b"hello").await.unwrap();
    assert_eq!(pool.stats().size, 1);
}

pub(crate) async fn recovered_server_is_found() {
    let port = Port::new();
    let pool = pool_of(port.address()).build().await.unwrap();
    for _ in 0..3 {
        let error = pool.get().await.unwrap_err();
        assert!(matches!(error, GetError::Connect(_)), "{error:?}");
    }
    let _server = port.listen().echo();
    let mut conn = pool.get().await.unwrap();
    echo(&mut *conn, b"hello").await.unwrap();
    drop(conn);
    let stats = pool.stats();
    assert_eq!((stats.connect_failed, stats.created), (3, 1), "{stats}");
    assert!(adds_up(&stats), "{stats}");
}

pub(crate) async fn socket_options_are_set_on_every_socket() {
    let server = Echo::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let socket = SockRef::from(conn.get_ref());
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    assert!(socket.out_of_band_inline().unwrap());

    let manager = TcpManager::new(server.address())
        .nodelay(false)
        .keepalive(None);
    let pool = crate::adapter::builder(manager).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let socket = SockRef::from(conn.get_ref());
    assert!(!socket.tcp_nodelay().unwrap());
    assert!(!socket.keepalive().unwrap());
}
