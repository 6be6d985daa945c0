//! MinSize, MaxSize, Increment: defaults and invalid values.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::adapter::{BuildError, Builder, TcpManager};
use crate::client::{echo, pool_of, wait_until};
use suites::server::{Echo, LIMIT, Server};

pub(crate) async fn defaults_match_the_go_library() {
    let pool = pool_of(String::from("127.0.0.1:1")).build_lazy().unwrap();
    let config = pool.config();
    assert_eq!(config.min_size, 0);
    assert_eq!(config.idle_timeout, None);
    assert_eq!(config.max_lifetime, None);
    assert_eq!(config.lifetime_jitter, 0.1);
    assert_eq!(config.evict_interval, Some(Duration::from_secs(30)));
    // The Go library requires these two to be set.
    assert_eq!((config.max_size, config.increment), (10, 1));
}

pub(crate) async fn min_size_connections_are_open_when_build_returns() {
    let server = Server::start();
    let pool = pool_of(server.address()).min_size(3).build().await.unwrap();
    let stats = pool.stats();
    assert_eq!((stats.size, stats.available, stats.active), (3, 3, 0));
    drop(server.accept_many(3));
    assert!(!server.has_pending_connection(), "more than min_size connections");
}

pub(crate) async fn min_size_zero_opens_nothing() {
    let server = Server::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    assert_eq!(pool.stats().size, 0);
    assert!(!server.has_pending_connection());
}

pub(crate) async fn max_size_is_never_exceeded() {
    let counter = Arc::<ConnectionCounter>::default();
    let server = Server::start().serve({
        let counter = Arc::clone(&counter);
        move |stream| _ = counter.handle(stream)
    });
    let pool = pool_of(server.address())
        .min_size(2)
        .max_size(4)
        .increment(3)
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    let mut all = Vec::new();
    for _ in 0..4 {
        let mut conn = pool.get().await.unwrap();
        echo(&mut *conn, b"hello").await.unwrap();
        all.push(conn);
    }
    drop(all);
    let tasks: Vec<_> = (0..16)
        .map(|number| {
            let pool = pool.clone();
            crate::spawn(async move {
                for round in 0..20 {
                    let mut conn = pool.get().await.unwrap();
                    if (number + round) % 3 == 0 {
                        echo(&mut *conn, QUIT).await.unwrap();
                        conn.mark_unusable();
                    } else {
                        echo(&mut *conn, b"hello").await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await;
    }
    assert_eq!(counter.max.load(Ordering::SeqCst), 4);
    assert!(pool.stats().created > 100, "{}", pool.stats());
}

const QUIT: &[u8; 5] = b"close";

/// Counts the open connections at the server. A client announces its close, so the count does not
/// depend on when the server sees the end of the stream.
#[derive(Default)]
struct ConnectionCounter {
    open: AtomicUsize,
    max: AtomicUsize,
}

impl ConnectionCounter {
    fn handle(&self, mut stream: &TcpStream) -> io::Result<()> {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.max.fetch_max(open, Ordering::SeqCst);
        let mut text = [0; 5];
        loop {
            stream.read_exact(&mut text)?;
            if &text == QUIT {
                self.open.fetch_sub(1, Ordering::SeqCst);
            }
            stream.write_all(&text)?;
        }
    }
}

pub(crate) async fn increment_is_the_number_opened_when_the_pool_grows() {
    let server = Server::start();
    let pool = pool_of(server.address()).max_size(10).increment(4).build().await.unwrap();
    let mut all = Vec::new();
    for expected in [4, 4, 4, 4, 8, 8, 8, 8, 10, 10] {
        all.push(pool.get().await.unwrap());
        wait_until(&pool, |stats| stats.connecting == 0).await;
        let stats = pool.stats();
        assert_eq!((stats.size, stats.created), (expected, expected as u64));
        assert_eq!(stats.active, all.len());
    }
    drop(server.accept_many(10));
    assert!(!server.has_pending_connection());
}

/// The Go library requires `Increment <= MaxSize - MinSize`, so it has no pools of fixed size.
pub(crate) async fn fixed_size_pool_is_allowed_with_any_increment() {
    for increment in [1, 5] {
        let server = Echo::start();
        let pool = pool_of(server.address())
            .min_size(2)
            .max_size(2)
            .increment(increment)
            .build()
            .await
            .unwrap();
        let mut one = pool.get().await.unwrap();
        let mut two = pool.get().await.unwrap();
        echo(&mut *one, b"one").await.unwrap();
        echo(&mut *two, b"two").await.unwrap();
        assert_eq!((pool.stats().size, pool.stats().created), (2, 2));
    }
}

pub(crate) async fn max_size_zero_is_an_error() {
    let error = error_of(|pool| pool.max_size(0)).await;
    assert_eq!(error, "max_size is 0: it must be at least 1");
}

pub(crate) async fn min_size_above_max_size_is_an_error() {
    let error = error_of(|pool| pool.min_size(5).max_size(4)).await;
    let expected = "min_size is 5: it must be at most max_size, which is 4";
    assert_eq!(error, expected);
}

pub(crate) async fn increment_zero_is_an_error() {
    let error = error_of(|pool| pool.increment(0)).await;
    assert_eq!(error, "increment is 0: it must be at least 1");
}

async fn error_of(set: impl FnOnce(Builder<TcpManager>) -> Builder<TcpManager>) -> String {
    match set(pool_of(String::from("127.0.0.1:1"))).build().await {
        Err(BuildError::Config(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}
