//! Extreme conditions: an empty pool, expired connections, an exhausted pool.

use std::thread;
use std::time::{Duration, Instant};

use smol::channel::{bounded, unbounded};

use super::{Sample, fill, spawn};
use crate::competitor::{Competitor, Handle, Limits, Setup};
use crate::context::{Hung, RoundContext};
use crate::sockets::{Server, Sockets};
use crate::transport::{Counted, Plain};

/// Measures the time until concurrent gets from an empty pool all have a connection.
pub(crate) fn cold_start<P: Competitor, S: Sockets>(
    competitor: P,
    context: &RoundContext<S>,
) -> Result<Sample, Hung> {
    let gets = context.budget.size(100);
    let server = Server::start(Some(Duration::from_millis(5))).expect("starting a server");
    let transport = Counted::<S>::new(server.address(), true);
    let setup = Setup { lazy: true, ..Setup::of(gets) };
    let took = context.run(async {
        let pool = competitor.build::<_, S>(transport.clone(), setup).await;
        let (arrive, arrived) = unbounded();
        let (leave, left) = bounded::<()>(1);
        let start = Instant::now();
        let tasks: Vec<_> = (0..gets)
            .map(|_| {
                let (pool, arrive, left) = (pool.clone(), arrive.clone(), left.clone());
                spawn::<P, S, _>(&context.runtime, async move {
                    let (conn, error) = match pool.get().await {
                        Ok(conn) => (Some(conn), None),
                        Err(error) => (None, Some(error)),
                    };
                    let _ = arrive.send(error).await;
                    let _ = left.recv().await;
                    drop(conn);
                })
            })
            .collect();
        for _ in 0..gets {
            let error = arrived.recv().await.expect("all tasks are there");
            assert_eq!(error, None, "a get of a cold pool");
        }
        let took = start.elapsed();
        drop(leave);
        for task in tasks {
            task.await;
        }
        took
    })?;
    let opened = transport.opened();
    Ok(Sample {
        value: took.as_nanos() as f64,
        note: (opened != gets).then(|| format!("opened {opened} connections")),
        ..Sample::default()
    })
}

/// Measures the first get when all idle connections have expired.
pub(crate) fn expired<P: Competitor, S: Sockets>(
    competitor: P,
    context: &RoundContext<S>,
) -> Result<Sample, Hung> {
    let idle = context.budget.size(1_000);
    let server = Server::start(None).expect("starting a server");
    let transport = Counted::<S>::new(server.address(), false);
    // Long enough to open all connections before the first one expires.
    let lifetime = Duration::from_millis(if context.budget.smoke { 50 } else { 600 });
    let setup = Setup { limits: Some(Limits { idle: lifetime / 2, lifetime }), ..Setup::of(idle) };
    context.run(async {
        let pool = competitor.build::<_, S>(transport.clone(), setup).await;
        fill(&pool, idle).await;
        let before = transport.opened();
        // Blocks the thread: with an async timer, the maintenance task of the pool might run first.
        // This workload measures the case where it does not.
        thread::sleep(lifetime + lifetime / 4);
        let start = Instant::now();
        let conn = pool.get().await.expect("getting one expired");
        let took = start.elapsed();
        drop(conn);
        let note = match transport.opened() - before {
            0 => "returns an expired connection",
            _ => "returns a new connection",
        };
        Sample { value: took.as_nanos() as f64, note: Some(note.to_owned()), ..Sample::default() }
    })
}

/// Measures concurrent gets from an exhausted pool, each with a timeout: the time until all have
/// failed, divided by their number.
pub(crate) fn cancel<P: Competitor, S: Sockets>(
    competitor: P,
    context: &RoundContext<S>,
) -> Result<Sample, Hung> {
    let waiters = context.budget.size(1_000);
    let setup = Setup { timeout: Some(Duration::from_millis(1)), ..Setup::of(1) };
    context.run(async {
        let pool = competitor.build::<Plain, S>(Plain, setup).await;
        let held = get_with_retries(&pool).await;
        let mut times = Vec::new();
        let end = Instant::now() + context.budget.warm_up + context.budget.window;
        loop {
            let start = Instant::now();
            let tasks: Vec<_> = (0..waiters)
                .map(|_| {
                    let pool = pool.clone();
                    spawn::<P, S, _>(&context.runtime, async move {
                        assert!(
                            pool.get().await.is_err(),
                            "the only connection was borrowed twice"
                        );
                    })
                })
                .collect();
            for task in tasks {
                task.await;
            }
            times.push(start.elapsed().as_nanos() as f64 / waiters as f64);
            if Instant::now() >= end {
                break;
            }
        }
        drop(held);
        // Hangs here if the pool has lost the connection.
        drop(get_with_retries(&pool).await);
        Sample {
            value: connpool_benches::figures::median(&times).expect("there was one at least"),
            ..Sample::default()
        }
    })
}

/// Retries until a get succeeds. The timeout may be too short to open a connection, or for the task
/// that returns one.
async fn get_with_retries(pool: &impl Handle) -> impl Send {
    loop {
        if let Ok(conn) = pool.get().await {
            return conn;
        }
    }
}
