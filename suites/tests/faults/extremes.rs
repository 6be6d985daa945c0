//! Duration settings at their extremes, with the timers of a real runtime.

use std::time::Duration;

use super::client::{counts_add_up, echo, wait_until};
use crate::adapter::{Builder, ConnectError, GetError, TcpManager, builder};
use suites::server::{Echo, LIMIT};

type Set = fn(Builder<TcpManager>, Duration) -> Builder<TcpManager>;

const DURATIONS: [(&str, Set); 10] = [
    ("idle_timeout", |pool, span| pool.idle_timeout(span)),
    ("max_lifetime", |pool, span| pool.max_lifetime(span)),
    ("evict_interval", |pool, span| pool.evict_interval(span)),
    ("get_timeout", |pool, span| pool.get_timeout(span)),
    ("connect_timeout", |pool, span| pool.connect_timeout(span)),
    ("ping_timeout", |pool, span| pool.ping_timeout(span)),
    ("reset_timeout", |pool, span| pool.reset_timeout(span)),
    ("close_timeout", |pool, span| pool.close_timeout(span)),
    ("ping_after", |pool, span| pool.ping_after(span)),
    ("liveness_after", |pool, span| pool.liveness_after(span)),
];

const SPANS: [Duration; 3] = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];

pub(crate) async fn each_duration_setting_may_be_zero_one_nanosecond_or_max() {
    let server = Echo::start();
    for (name, set) in DURATIONS {
        for span in SPANS {
            let manager =
                TcpManager::new(server.address()).ping(async |conn| echo(conn, b"ping").await);
            let pool = builder(manager)
                .max_size(2)
                .ping_after(Duration::ZERO)
                .get_timeout(LIMIT)
                .connect_timeout(LIMIT);
            let pool = set(pool, span).build_lazy().unwrap();
            // Such a limit may be too short for a connect or a check.
            let may_time_out = span < LIMIT && ["get_timeout", "connect_timeout"].contains(&name);
            for _ in 0..5 {
                match pool.get().await {
                    Ok(mut conn) => echo(&mut *conn, b"hello").await.unwrap(),
                    Err(GetError::Timeout { .. } | GetError::Connect(ConnectError::TimedOut))
                        if may_time_out => {}
                    Err(other) => panic!("{name} {span:?}: {other}"),
                }
            }
            let report = pool.close(LIMIT).await;
            assert_eq!((report.still_out.len(), report.timed_out), (0, false), "{name} {span:?}");
            wait_until(&pool, |stats| stats.size == 0 && counts_add_up(stats)).await;
        }
    }
}

pub(crate) async fn close_timeout_may_be_zero_one_nanosecond_or_max() {
    let server = Echo::start();
    for limit in SPANS {
        let pool = builder(TcpManager::new(server.address())).min_size(2);
        let pool = pool.build().await.unwrap();
        let report = pool.close(limit).await;
        assert_eq!(report.still_out.len(), 0, "{limit:?}");
        wait_until(&pool, |stats| stats.size == 0).await;
    }
}
