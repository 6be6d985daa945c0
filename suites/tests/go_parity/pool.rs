//! The quick start, the name, the factory, and many threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::future::{block_on, yield_now};

use super::peer::Peer;
use crate::adapter::{Manager, TcpManager, builder, io_fn};
use crate::client::{counts_add_up, echo, pool_of, wait_until};
use suites::server::{Echo, LIMIT};

/// `New`, `Get`, `MarkUnusable`, `Close`, `Stats`, `Name`, `Stop`, in the order of the README of
/// the Go library.
pub(crate) async fn quick_start_runs() {
    let peer = Peer::start();
    let pool = peer
        .pool()
        .name("my-pool")
        .min_size(5)
        .max_size(20)
        .increment(2)
        .idle_timeout(Duration::from_secs(30))
        .max_lifetime(Duration::from_secs(300))
        .build()
        .await
        .unwrap();

    let mut conn = pool.get_timeout(Duration::from_secs(5)).await.unwrap();
    echo(&mut *conn, b"hey\n").await.unwrap();
    drop(conn);
    let mut broken = pool.get().await.unwrap();
    broken.mark_unusable();
    drop(broken);
    wait_until(&pool, |stats| stats.available == 5).await;

    let stats = pool.stats();
    assert_eq!(pool.name(), "my-pool");
    assert_eq!((stats.size, stats.active, stats.available), (5, 0, 5));
    assert_eq!(
        (stats.idle_closed, stats.lifetime_closed, stats.ping_failed, stats.created),
        (0, 0, 0, 6)
    );
    assert_eq!(pool.close(LIMIT).await.closed, 5);
}

pub(crate) async fn name_can_be_given() {
    let pool = pool_of(String::from("127.0.0.1:1")).name("orders");
    assert_eq!(pool.build_lazy().unwrap().name(), "orders");
}

pub(crate) async fn name_is_generated_if_none_is_given() {
    let pool = pool_of(String::from("127.0.0.1:1")).build_lazy().unwrap();
    let number = pool.name().strip_prefix("pool-").unwrap();
    assert!(number.parse::<u32>().is_ok(), "{number}");
    assert_eq!(pool.config().name.as_deref(), Some(pool.name()));
}

pub(crate) async fn factory_is_called_when_the_pool_has_to_grow() {
    let server = Echo::start();
    let tcp = Arc::new(TcpManager::new(server.address()));
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let factory = io_fn(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let tcp = Arc::clone(&tcp);
        async move { tcp.connect().await }
    });
    let pool = builder(factory).build().await.unwrap();
    let calls = || calls.load(Ordering::SeqCst);
    assert_eq!(calls(), 0);
    for _ in 0..3 {
        let mut conn = pool.get().await.unwrap();
        echo(&mut *conn, b"hello").await.unwrap();
        assert_eq!(calls(), 1);
    }
    let _first = pool.get().await.unwrap();
    let _second = pool.get().await.unwrap();
    assert_eq!(calls(), 2);
}

pub(crate) async fn pool_can_be_used_from_many_threads() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(3).get_timeout(LIMIT).build().await.unwrap();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let pool = pool.clone();
            std::thread::spawn(move || {
                block_on(async {
                    for round in 0..25 {
                        let mut conn = pool.get().await.unwrap();
                        let text = format!("thread {number}, round {round}");
                        echo(&mut *conn, text.as_bytes()).await?;
                    }
                    Ok::<_, io::Error>(())
                })
            })
        })
        .collect();
    // This thread may be the only one that runs the connects.
    while !threads.iter().all(|thread| thread.is_finished()) {
        yield_now().await;
    }
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.request, stats.success), (200, 200), "{stats}");
    assert!(stats.created <= 3 && counts_add_up(&stats), "{stats}");
}
