//! Failing and hanging connects.

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use suites::server::{Echo, FullServer, LIMIT, Port, Server};

use crate::adapter::{GetError, Phase, TcpManager};
use crate::client::{
    assert_connect_timed_out, counts_add_up, echo, get_despite_timeouts, get_once_not_told,
    pool_of, talk, wait_until,
};

/// Returns the kind and the text of the connect error of a get.
async fn failure(address: String) -> (ErrorKind, String) {
    let pool = pool_of(address).connect_timeout(None).get_timeout(None).build().await.unwrap();
    let error = pool.get().await.expect_err("connected");
    let text = error.to_string();
    let Some(cause) = error.connect_error() else { panic!("{error:?}") };
    assert!(text.contains(&cause.to_string()) && error.source().is_none(), "{text}");
    let stats = pool.stats();
    assert_eq!((stats.size, stats.connect_failed), (0, 1), "{stats}");
    (cause.kind(), text)
}

pub(crate) async fn refused_connect_names_the_address() {
    let closed_port = Port::bind();
    let (kind, text) = failure(closed_port.address()).await;
    assert_eq!(kind, ErrorKind::ConnectionRefused);
    assert!(text.contains(&closed_port.address()), "{text}");
    assert!(text.contains("refused"), "{text}");
}

pub(crate) async fn nonexistent_name_is_named_in_the_error() {
    // RFC 6761 guarantees that this name does not exist.
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
    let pool = pool_of(server.address()).max_size(1).connect_timeout(None).build().await.unwrap();
    match pool.get_timeout(Duration::from_millis(50)).await {
        Err(GetError::Timeout { phase, diagnosis }) => {
            assert_eq!(phase, Phase::Connect);
            assert_eq!((diagnosis.connecting, diagnosis.size), (1, 0));
        }
        other => panic!("{other:?}"),
    }
    // The connect continues: the kernel retransmits.
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
    assert_connect_timed_out(pool.get().await);
    wait_until(&pool, |stats| stats.connecting == 0).await;
    let _server = server.recover();
    // The get includes the backoff after a failure, and the parked connects are ahead of it in the
    // backlog.
    let mut conn = get_despite_timeouts(&pool).await;
    echo(&mut *conn, b"hello").await.unwrap();
    assert_eq!(pool.stats().size, 1);
}

pub(crate) async fn recovered_server_is_found() {
    let port = Port::bind();
    let pool = pool_of(port.address()).build().await.unwrap();
    for _ in 0..3 {
        let error = pool.get().await.unwrap_err();
        assert!(matches!(error, GetError::Connect(_)), "{error:?}");
    }
    let _server = port.listen().echo();
    let mut conn = get_once_not_told(&pool).await;
    echo(&mut *conn, b"hello").await.unwrap();
    drop(conn);
    let stats = pool.stats();
    assert!(stats.connect_failed >= 1, "{stats}");
    wait_until(&pool, counts_add_up).await;
}

pub(crate) async fn socket_options_are_set_on_every_socket() {
    let server = Echo::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let socket = SockRef::from(conn.get_ref());
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    assert!(socket.out_of_band_inline().unwrap());

    let manager = TcpManager::new(server.address()).nodelay(false).keepalive(None);
    let pool = crate::adapter::builder(manager).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let socket = SockRef::from(conn.get_ref());
    assert!(!socket.tcp_nodelay().unwrap());
    assert!(!socket.keepalive().unwrap());
}

pub(crate) async fn socket_can_be_set_up_before_the_connect() {
    let server = Server::start();
    // All of 127.0.0.0/8 is on the loopback interface.
    let source = SocketAddr::from(([127, 0, 0, 9], 0));
    let manager = TcpManager::new(server.address()).before_connect(move |socket, address| {
        assert!(address.ip().is_loopback());
        socket.bind(&source.into())
    });
    let pool = crate::adapter::builder(manager).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let mut socket = server.accept();
    assert_eq!(socket.peer_addr().unwrap().ip(), source.ip());
    talk(&mut *conn, &mut socket).await;
    assert!(SockRef::from(conn.get_ref()).tcp_nodelay().unwrap());

    // Errors of the hook and of the connect after it are those of the get.
    let failing = TcpManager::new(server.address())
        .before_connect(|_, _| Err(std::io::Error::other("no socket today")));
    let pool = crate::adapter::builder(failing).build_lazy().unwrap();
    let error = pool.get().await.unwrap_err().to_string();
    assert!(error.contains(&server.address()) && error.contains("no socket today"), "{error}");
    let port = Port::bind();
    let refused = TcpManager::new(port.address()).before_connect(|_, _| Ok(()));
    let pool = crate::adapter::builder(refused).build_lazy().unwrap();
    let error = pool.get().await.unwrap_err();
    assert!(matches!(error, GetError::Connect(_)), "{error:?}");
}
