//! The quick start of the README, and I/O on guards.

use std::io::ErrorKind;
use std::time::Duration;

use crate::adapter::{BuildError, CloseReason, ConnectError, TcpManager, builder};
use crate::client::{counts_add_up, echo, pool_of, wait_until};
use suites::server::{Echo, Port, Server};

pub(crate) async fn quick_start_works() {
    use crate::adapter::io::{AsyncReadExt, AsyncWriteExt};

    let server = Echo::start();
    let pool = builder(TcpManager::new(server.address()))
        .name("my-pool")
        .min_size(5)
        .max_size(20)
        .increment(2)
        .idle_timeout(Duration::from_secs(30))
        .max_lifetime(Duration::from_secs(300))
        .build()
        .await
        .unwrap();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.available, stats.created), (5, 5, 5));

    let mut conn = pool.get().await.unwrap();
    assert_eq!(pool.stats().active, 1);
    conn.write_all(b"hello\n").await.unwrap();
    let mut reply = [0; 6];
    conn.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"hello\n");
    drop(conn);

    let stats = pool.stats();
    assert_eq!((stats.size, stats.active, stats.available), (5, 0, 5));
    assert_eq!((stats.request, stats.success), (1, 1));
    assert!(stats.to_string().starts_with("size=5 active=0 available=5"));
    assert_eq!(pool.name(), "my-pool");
}

pub(crate) async fn build_fails_without_its_first_connections() {
    let closed_port = Port::bind();
    let built = builder(TcpManager::new(closed_port.address())).min_size(2).build().await;
    let error = built.expect_err("built without a server");
    let text = error.to_string();
    assert!(text.contains(&closed_port.address()), "{text}");
    match error {
        BuildError::Connect(ConnectError::Failed(error)) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused)
        }
        other => panic!("{other}"),
    }
}

pub(crate) async fn runtime_extension_traits_work_on_the_guard() {
    use crate::adapter::io::{AsyncReadExt, AsyncWriteExt};

    let server = Echo::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    conn.write_all(b"one ").await.unwrap();
    conn.write_all(b"two\n").await.unwrap();
    conn.flush().await.unwrap();
    let mut reply = [0; 8];
    conn.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"one two\n");
}

pub(crate) async fn futures_lite_extension_traits_work_on_the_guard() {
    use futures_lite::{AsyncReadExt, AsyncWriteExt};

    let server = Echo::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    conn.write_all(b"one ").await.unwrap();
    conn.write_all(b"two\n").await.unwrap();
    conn.flush().await.unwrap();
    let mut reply = [0; 8];
    conn.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"one two\n");
}

pub(crate) async fn line_can_be_read_through_a_buffered_reader() {
    use crate::adapter::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    let server = Echo::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    conn.write_all(b"a line\n").await.unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(&mut *conn);
    reader.read_line(&mut line).await.unwrap();
    assert_eq!(line, "a line\n");
}

pub(crate) async fn every_opened_connection_is_accounted_for() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(6).build().await.unwrap();
    let mut guards = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..6 {
        guards.push(pool.get().await.unwrap());
        ends.push(server.accept());
    }
    // One is detached, one marked, one closed by its peer while idle, one after its user read the
    // end; two are healthy.
    let detached = guards.pop().unwrap().detach();
    guards.pop().unwrap().mark_unusable();
    drop(ends.drain(2..));
    let mut ended = guards.pop().unwrap();
    echo(&mut *ended, b"a request").await.unwrap_err();
    drop(ended);
    let unseen = guards.pop().unwrap();
    unseen.get_ref().readable().await.unwrap();
    drop(unseen);
    assert_eq!(pool.stats().available, 1);
    let next = pool.get().await.unwrap();
    drop(guards);
    drop(next);

    wait_until(&pool, |stats| counts_add_up(stats) && stats.closed.total() == 3).await;
    let stats = pool.stats();
    assert_eq!((stats.created, stats.detached), (7, 1));
    assert_eq!((stats.size, stats.available), (3, 3));
    for reason in [CloseReason::Marked, CloseReason::NotReusable, CloseReason::Dead] {
        assert_eq!(stats.closed.get(reason), 1, "{reason:?}");
    }
    drop(detached);
    let report = pool.close(Duration::from_secs(10)).await;
    assert_eq!((report.closed, report.still_out.len()), (3, 0));
    let stats = pool.stats();
    assert!(counts_add_up(&stats) && stats.size == 0, "{stats}");
    assert_eq!(stats.closed.get(CloseReason::PoolClosed), 3);
}
