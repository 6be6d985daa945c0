//! Pools on smol work on any thread and under any executor.

use std::thread;
use std::time::{Duration, Instant};

use connpool_smol::{CloseReason, GetError, Phase};
use futures_lite::future::{block_on, or, poll_once};

use crate::client::{counts_add_up, echo, pool_of, wait_until_closed};
use suites::server::{Echo, LIMIT};

#[test]
fn pool_needs_only_threads_that_block_on_futures() {
    let server = Echo::start();
    let pool = pool_of(server.address()).min_size(2).max_size(2).build();
    let pool = block_on(pool).unwrap();
    let mut conn = block_on(pool.get()).unwrap();
    block_on(echo(&mut *conn, b"hello")).unwrap();
    let other = block_on(pool.get()).unwrap();
    // Timers fire as well.
    match block_on(pool.get_timeout(Duration::from_millis(10))) {
        Err(GetError::Timeout { phase, .. }) => assert_eq!(phase, Phase::Wait),
        other => panic!("{other:?}"),
    }
    drop((conn, other));
    let report = block_on(pool.close(LIMIT));
    assert_eq!((report.closed, report.still_out.len()), (2, 0));
}

#[test]
fn loop_of_gets_that_never_wait_ends_with_a_timer_beside_it() {
    let server = Echo::start();
    block_on(async {
        let pool = pool_of(server.address()).build().await.unwrap();
        let start = Instant::now();
        let gets = async {
            while start.elapsed() < LIMIT {
                drop(pool.get().await.unwrap());
            }
            false
        };
        let timer = async {
            smol::Timer::after(Duration::from_millis(100)).await;
            true
        };
        assert!(or(gets, timer).await, "the timer was not polled");
        assert_eq!((pool.stats().available, pool.stats().active), (1, 0));
    });
}

#[test]
fn maintenance_task_runs_while_no_thread_polls_the_pool() {
    let server = Echo::start();
    let pool = pool_of(server.address())
        .idle_timeout(Duration::from_millis(1))
        .evict_interval(Duration::from_millis(1))
        .build_lazy()
        .unwrap();
    drop(block_on(pool.get()).unwrap());
    // Polls only the statistics.
    block_on(wait_until_closed(&pool, CloseReason::Idle, 1));
}

#[test]
fn pools_on_two_threads_are_independent() {
    let threads: [_; 2] = std::array::from_fn(|number| {
        thread::spawn(move || {
            let server = Echo::start();
            let pool = pool_of(server.address())
                .name(format!("pool {number}"))
                .max_size(2)
                .get_timeout(LIMIT)
                .build_lazy()
                .unwrap();
            for round in 0..50 {
                block_on(async {
                    let mut one = pool.get().await.unwrap();
                    let mut two = pool.get().await.unwrap();
                    let text = format!("{number}, {round}");
                    echo(&mut *one, text.as_bytes()).await.unwrap();
                    echo(&mut *two, text.as_bytes()).await.unwrap();
                });
            }
            let stats = pool.stats();
            assert_eq!((stats.created, stats.success), (2, 100), "{stats}");
            assert!(counts_add_up(&stats), "{stats}");
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn one_pool_serves_two_threads() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).get_timeout(LIMIT).build_lazy().unwrap();
    thread::scope(|scope| {
        for number in 0..2 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..100 {
                    let mut conn = block_on(pool.get()).unwrap();
                    let text = format!("{number}, {round}");
                    block_on(echo(&mut *conn, text.as_bytes())).unwrap();
                }
            });
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.created, stats.success), (1, 200), "{stats}");
}

#[test]
fn get_started_on_one_thread_completes_on_another() {
    let server = Echo::start();
    let pool = pool_of(server.address()).max_size(1).build_lazy().unwrap();
    let conn = block_on(pool.get_owned()).unwrap();
    let mut waiting = Box::pin(pool.get_owned());
    assert!(block_on(poll_once(&mut waiting)).is_none());
    let thread = thread::spawn(move || {
        let mut conn = block_on(waiting).unwrap();
        block_on(echo(&mut *conn, b"hello")).unwrap();
        conn.id()
    });
    let id = conn.id();
    drop(conn);
    assert_eq!(thread.join().unwrap(), id);
}
