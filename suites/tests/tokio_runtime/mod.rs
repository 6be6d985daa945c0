//! Pools across several tokio runtimes, and tokio's paused clock.

use std::io;
use std::pin::pin;
use std::thread;
use std::time::{self, Duration};

use connpool_tokio::{BuildError, CloseReason, GetError, Phase, Pool, TcpManager, TokioRuntime};
use futures_lite::future::{block_on, poll_once, yield_now};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, advance, sleep, timeout};

use crate::client::{counts_add_up, echo, pool_of, wait_until, wait_until_closed};
use suites::server::{Echo, FullServer, LIMIT};

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn two_threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn pool_continues_in_another_runtime() {
    for (first, second) in [(one_thread(), two_threads()), (two_threads(), one_thread())] {
        let server = Echo::start();
        let (pool, held) = first.block_on(async {
            let pool = pool_of(server.address()).max_size(4).build().await.unwrap();
            let mut guards = Vec::new();
            for _ in 0..4 {
                let mut conn = pool.get_owned().await.unwrap();
                echo(&mut *conn, b"first").await.unwrap();
                guards.push(conn);
            }
            guards.truncate(2);
            (pool, guards)
        });
        assert_eq!(pool.stats().available, 2);
        drop(first);
        // Outside of any runtime, and after the end of the runtime that opened them.
        drop(held);
        assert_eq!(pool.stats().available, 4);

        second.block_on(async {
            let mut guards = Vec::new();
            for _ in 0..4 {
                let mut conn = pool.get().await.unwrap();
                assert!(conn.id() > 4, "got an old connection: {}", pool.stats());
                echo(&mut *conn, b"second").await.unwrap();
                guards.push(conn);
            }
            wait_until_closed(&pool, CloseReason::RuntimeGone, 4).await;
        });
        assert!(counts_add_up(&pool.stats()));
    }
}

#[test]
fn connection_of_an_ended_runtime_is_not_lent() {
    let server = Echo::start();
    let runtime = one_thread();
    let pool = runtime.block_on(async {
        let pool = pool_of(server.address()).build().await.unwrap();
        drop(pool.get().await.unwrap());
        pool
    });
    assert_eq!(pool.stats().available, 1);
    drop(runtime);
    assert!(matches!(pool.try_get(), Err(GetError::Exhausted(_))));
    assert_eq!(pool.stats().closed.get(CloseReason::RuntimeGone), 1);
}

/// Runs `part` on a runtime of its own, in a thread of its own, as a test of a user does.
fn in_a_short_lived_runtime<T: Send + 'static>(
    part: impl Future<Output = T> + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || one_thread().block_on(part))
}

async fn request(pool: &Pool<TcpManager>) -> io::Result<()> {
    let mut conn = pool.get().await.map_err(io::Error::other)?;
    echo(&mut *conn, b"hello").await
}

/// Creates a pool that is at home on `runtime`, without a task of that runtime.
fn pool_at_home_on(runtime: &Runtime, address: String, max_size: usize) -> Pool<TcpManager> {
    let runtime = TokioRuntime::on(runtime.handle().clone());
    Pool::builder(TcpManager::new(address), runtime).max_size(max_size).build_lazy().unwrap()
}

#[test]
fn short_lived_runtimes_share_one_connection() {
    let server = Echo::start();
    let program = two_threads();
    let pool = pool_at_home_on(&program, server.address(), 4);
    for _ in 0..20 {
        let pool = pool.clone();
        in_a_short_lived_runtime(async move { request(&pool).await }).join().unwrap().unwrap();
    }
    let stats = pool.stats();
    assert_eq!((stats.created, stats.available), (1, 1), "{stats}");
}

#[test]
fn eighty_short_lived_runtimes_share_a_pool_that_lives_longer() {
    let server = Echo::start();
    let program = two_threads();
    let pool = pool_at_home_on(&program, server.address(), 4);
    for _ in 0..10 {
        let tests = [2, 4, 6, 8, 10, 12, 14, 16].map(|requests| {
            let pool = pool.clone();
            in_a_short_lived_runtime(async move {
                for _ in 0..requests {
                    request(&pool).await?;
                }
                io::Result::Ok(())
            })
        });
        for test in tests {
            test.join().unwrap().unwrap();
        }
    }
    let stats = pool.stats();
    assert_eq!(stats.closed.get(CloseReason::RuntimeGone), 0, "{stats}");
    assert!(stats.created <= 4 && counts_add_up(&stats), "{stats}");
}

#[test]
fn no_get_fails_on_a_pool_of_short_lived_runtimes() {
    let server = Echo::start();
    let address = server.address();
    // Built in the first of them, as a `static` is.
    let pool = in_a_short_lived_runtime(async move { pool_of(address).max_size(4).build().await });
    let pool = pool.join().unwrap().unwrap();
    for _ in 0..10 {
        let tests = [(); 8].map(|()| {
            let pool = pool.clone();
            in_a_short_lived_runtime(async move {
                let conn = pool.get().await;
                conn.map(|conn| conn.id())
            })
        });
        for test in tests {
            test.join().unwrap().unwrap();
        }
    }
    // One after the other, the requests do not fail either.
    for _ in 0..10 {
        let pool = pool.clone();
        in_a_short_lived_runtime(async move { request(&pool).await }).join().unwrap().unwrap();
    }
    assert!(counts_add_up(&pool.stats()));
}

#[test]
fn thread_that_asks_once_and_polls_no_more_holds_up_nobody() {
    let server = Echo::start();
    let program = two_threads();
    let pool = pool_at_home_on(&program, server.address(), 1);
    let theirs = one_thread();
    theirs.block_on(request(&pool)).unwrap();
    for _ in 0..3 {
        let answer = program.block_on(async { timeout(LIMIT, request(&pool)).await });
        answer.unwrap().unwrap();
    }
    assert_eq!(pool.stats().created, 1);
}

#[test]
fn pool_whose_runtime_is_not_polled_is_served_and_closed_from_another() {
    let server = Echo::start();
    let (first, second) = (one_thread(), two_threads());
    let pool = first.block_on(async {
        let builder = connpool_tokio::builder(TcpManager::new(server.address()));
        let pool = builder.min_size(1).max_size(2).build().await.unwrap();
        request(&pool).await.unwrap();
        pool
    });
    // Its connection has been idle for more than a moment.
    thread::sleep(Duration::from_millis(150));
    second.block_on(async {
        let start = time::Instant::now();
        let has_moved = || pool.stats().available > 0 && start.elapsed() > 3 * SECOND;
        while !has_moved() {
            timeout(LIMIT, request(&pool)).await.unwrap().unwrap();
            sleep(Duration::from_millis(20)).await;
        }
        // Maintained from here: what `clear` removes is replaced.
        pool.clear();
        wait_until(&pool, |stats| stats.closed.get(CloseReason::Cleared) >= 1).await;
        wait_until(&pool, |stats| stats.available == 1).await;
        let report = pool.close(LIMIT).await;
        assert!(!report.timed_out, "{report:?}");
    });
    drop(first);
}

#[test]
fn connection_used_after_its_runtime_fails_and_is_not_reused() {
    let server = Echo::start();
    let runtime = one_thread();
    let (pool, mut conn) = runtime.block_on(async {
        let pool = pool_of(server.address()).build().await.unwrap();
        let conn = pool.get_owned().await.unwrap();
        (pool, conn)
    });
    drop(runtime);
    block_on(async {
        conn.write_all(b"hello").await.unwrap_err();
        conn.read(&mut [0; 5]).await.unwrap_err();
    });
    drop(conn);
    let stats = pool.stats();
    assert_eq!(stats.closed.get(CloseReason::NotReusable), 1, "{stats}");
    assert_eq!(stats.size, 0);
}

#[test]
fn waits_end_at_their_limits_beside_a_blocked_thread() {
    let runtime = two_threads();
    let server = Echo::start();
    let pool = runtime.block_on(pool_of(server.address()).max_size(1).build()).unwrap();
    let _held = runtime.block_on(pool.get_owned()).unwrap();
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = std::sync::mpsc::channel();
    let blocking = runtime.spawn(async move {
        begin.send(()).unwrap();
        blocked.recv().unwrap();
    });
    begun.recv().unwrap();
    let waits: Vec<_> = [30, 10, 20, 10]
        .map(|millis| {
            let pool = pool.clone();
            runtime
                .spawn(async move { pool.get_owned_timeout(Duration::from_millis(millis)).await })
        })
        .into();
    for wait in waits {
        let error = runtime.block_on(wait).unwrap().unwrap_err();
        assert!(error.is_timeout(), "{error}");
    }
    unblock.send(()).unwrap();
    runtime.block_on(blocking).unwrap();
}

#[test]
fn get_without_any_runtime_times_out() {
    let server = Echo::start();
    // One pool never had a runtime; the runtime of the other has ended.
    let never = pool_of(server.address()).build_lazy().unwrap();
    let runtime = one_thread();
    let ended = runtime.block_on(async {
        let pool = pool_of(server.address()).build().await.unwrap();
        drop(pool.get().await.unwrap());
        pool
    });
    drop(runtime);
    for pool in [never, ended] {
        for _ in 0..3 {
            match block_on(pool.get()) {
                Err(GetError::Timeout { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        let stats = pool.stats();
        assert_eq!((stats.size, stats.connecting, stats.waiting), (0, 0, 0));
        // Both work inside of a runtime.
        one_thread().block_on(async {
            let mut conn = pool.get().await.unwrap();
            echo(&mut *conn, b"hello").await.unwrap();
        });
    }
}

#[test]
fn build_without_a_runtime_cannot_open_min_size() {
    let server = Echo::start();
    let built = block_on(pool_of(server.address()).min_size(2).build());
    match built {
        Err(BuildError::NoRuntime | BuildError::Timeout) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn get_from_outside_uses_the_runtime_of_the_build() {
    let server = Echo::start();
    let runtime = two_threads();
    let pool = runtime.block_on(async {
        let pool = pool_of(server.address()).max_size(1).build().await;
        pool.unwrap()
    });
    block_on(async {
        let mut conn = pool.get().await.unwrap();
        echo(&mut *conn, b"from outside").await.unwrap();
        // Timers use that runtime as well.
        let error = pool.get_timeout(Duration::from_millis(10)).await.unwrap_err();
        assert!(matches!(error, GetError::Timeout { phase: Phase::Wait, .. }), "{error}");
    });
}

#[test]
fn pool_built_outside_of_a_runtime_works_inside_one() {
    let server = Echo::start();
    let pool = pool_of(server.address())
        .evict_interval(Duration::from_millis(1))
        .idle_timeout(Duration::from_millis(1))
        .build_lazy()
        .unwrap();
    one_thread().block_on(async {
        let mut conn = pool.get().await.unwrap();
        echo(&mut *conn, b"hello").await.unwrap();
        drop(conn);
        // The maintenance task runs as well.
        wait_until_closed(&pool, CloseReason::Idle, 1).await;
    });
}

#[test]
fn connect_in_progress_ends_with_its_runtime() {
    let server = FullServer::start();
    let first = two_threads();
    let pool = pool_of(server.address())
        .max_size(1)
        .get_timeout(None)
        .connect_timeout(None)
        .build_lazy()
        .unwrap();
    let pool_ref = pool.clone();
    first.spawn(async move { pool_ref.get().await.map(drop) });
    block_on(wait_until(&pool, |stats| stats.connecting == 1));
    drop(first);
    let stats = pool.stats();
    assert_eq!((stats.size, stats.connecting, stats.waiting), (0, 0, 0));

    let _server = server.recover();
    one_thread().block_on(async {
        let mut conn = pool.get().await.unwrap();
        echo(&mut *conn, b"hello").await.unwrap();
    });
}

#[test]
fn waiter_outside_of_an_ending_runtime_gets_an_error() {
    let server = FullServer::start();
    let runtime = two_threads();
    let pool = runtime.block_on(async {
        let pool = pool_of(server.address()).get_timeout(HOUR).connect_timeout(None).build();
        pool.await.unwrap()
    });
    let pool_ref = pool.clone();
    let waiting = thread::spawn(move || match block_on(pool_ref.get()) {
        Err(GetError::Timeout { .. }) => {}
        other => panic!("{other:?}"),
    });
    block_on(wait_until(&pool, |stats| stats.waiting == 1 && stats.connecting == 1));
    drop(runtime);
    waiting.join().unwrap();
    assert_eq!(pool.stats().waiting, 0);
}

#[test]
fn runtime_can_end_while_its_tasks_use_the_pool() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(4).build_lazy().unwrap();
    for _ in 0..20 {
        let runtime = two_threads();
        let before = pool.stats().success;
        for _ in 0..8 {
            let pool = pool.clone();
            runtime.spawn(async move {
                while let Ok(mut conn) = pool.get().await {
                    let _ = echo(&mut *conn, b"hello").await;
                }
            });
        }
        block_on(wait_until(&pool, |stats| stats.success >= before + 20));
        drop(runtime);
        let stats = pool.stats();
        assert_eq!((stats.active, stats.connecting, stats.waiting), (0, 0, 0));
        assert!(counts_add_up(&stats), "{stats}");
    }
}

/// Gets and returns until [`LIMIT`]. The connection is always idle.
async fn get_for_ever(pool: &Pool<TcpManager>) {
    let start = time::Instant::now();
    while start.elapsed() < LIMIT {
        drop(pool.get().await.unwrap());
    }
}

#[test]
fn loop_of_gets_that_never_wait_ends_with_a_timeout_around_it() {
    let server = Echo::start();
    for runtime in [one_thread(), two_threads()] {
        runtime.block_on(async {
            let pool = pool_of(server.address()).build().await.unwrap();
            let ended = timeout(Duration::from_millis(100), get_for_ever(&pool)).await;
            ended.expect_err("the timeout did not fire");
            assert_eq!((pool.stats().available, pool.stats().active), (1, 0));
        });
    }
}

#[test]
fn loop_of_gets_that_never_wait_lets_other_tasks_run() {
    let server = Echo::start();
    one_thread().block_on(async {
        let pool = pool_of(server.address()).build().await.unwrap();
        // The first one waits.
        drop(pool.get().await.unwrap());
        let pool_ref = pool.clone();
        let gets = tokio::spawn(async move { get_for_ever(&pool_ref).await });
        yield_now().await;
        assert!(!gets.is_finished(), "no other task ran until the end");
        gets.abort();
        assert!(gets.await.unwrap_err().is_cancelled());
        assert_eq!((pool.stats().available, pool.stats().active), (1, 0));
    });
}

#[test]
fn gets_outside_of_any_runtime_have_no_budget() {
    let server = Echo::start();
    let runtime = two_threads();
    let pool = runtime.block_on(async { pool_of(server.address()).build().await.unwrap() });
    drop(block_on(pool.get()).unwrap());
    for _ in 0..10_000 {
        let mut get = pin!(pool.get());
        assert!(block_on(poll_once(&mut get)).is_some(), "it yielded");
    }
}

#[tokio::test(start_paused = true)]
async fn get_timeout_follows_the_paused_clock() {
    let server = Echo::start();
    let pool = connpool_tokio::builder(TcpManager::new(server.address()))
        .max_size(1)
        .get_timeout(HOUR)
        .build()
        .await
        .unwrap();
    let conn = pool.get().await.unwrap();
    let start = Instant::now();
    match pool.get().await {
        Err(GetError::Timeout { phase, diagnosis }) => {
            assert_eq!(phase, Phase::Wait);
            assert_eq!(diagnosis.waited.as_secs(), HOUR.as_secs());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(start.elapsed().as_secs(), HOUR.as_secs());
    assert!(conn.age() >= HOUR);
}

#[tokio::test(start_paused = true)]
async fn max_lifetime_follows_the_paused_clock() {
    let server = Echo::start();
    let pool = pool_of(server.address())
        .max_lifetime(HOUR)
        .lifetime_jitter(0.0)
        .evict_interval(None)
        .build()
        .await
        .unwrap();
    let id = pool.get().await.unwrap().id();
    advance(59 * MINUTE).await;
    assert_eq!(pool.get().await.unwrap().id(), id);
    advance(MINUTE).await;
    assert_ne!(pool.get().await.unwrap().id(), id);
    wait_until_closed(&pool, CloseReason::Lifetime, 1).await;
}

#[tokio::test(start_paused = true)]
async fn idle_timeout_follows_the_paused_clock() {
    let server = Echo::start();
    let pool =
        pool_of(server.address()).max_size(3).idle_timeout(10 * MINUTE).build().await.unwrap();
    let guards = [pool.get().await.unwrap(), pool.get().await.unwrap(), pool.get().await.unwrap()];
    sleep(HOUR).await;
    drop(guards);
    sleep(9 * MINUTE).await;
    assert_eq!(pool.stats().available, 3, "time in use was counted as idle");
    sleep(2 * MINUTE).await;
    let stats = pool.stats();
    assert_eq!((stats.size, stats.idle_closed), (0, 3), "{stats}");
}

#[tokio::test(start_paused = true)]
async fn close_timeout_follows_the_paused_clock() {
    let server = Echo::start();
    let pool = pool_of(server.address()).build().await.unwrap();
    let conn = pool.get_owned().await.unwrap();
    let start = Instant::now();
    let report = pool.close(HOUR).await;
    assert_eq!((report.still_out.len(), report.timed_out), (1, true));
    assert!(start.elapsed() >= HOUR);
    drop(conn);
    let report = pool.close(LIMIT).await;
    assert_eq!((report.still_out.len(), report.timed_out), (0, false));
}
