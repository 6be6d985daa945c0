//! Requests cancelled at any point: no reply may reach another request.

use std::future::{Future, pending, poll_fn};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::Poll;

use futures_lite::{AsyncReadExt, AsyncWriteExt};

use super::client::{counts_add_up, pool_of, wait_until};
use crate::adapter::{CloseReason, Pool, TcpConn, TcpManager};
use suites::server::{LIMIT, Server};

const TASKS: u64 = 8;
const REQUESTS: u64 = 5_000;

pub(crate) async fn replies_of_cancelled_requests_never_reach_other_requests() {
    let server = Server::start().serve(|stream| {
        // Errors are checked at the client.
        let _ = echo_lines(stream);
    });
    let pool = pool_of(server.address()).max_size(4).get_timeout(LIMIT).build().await.unwrap();
    let tasks: Vec<_> =
        (0..TASKS).map(|task| crate::spawn(run_requests(pool.clone(), task))).collect();
    for task in tasks {
        task.await;
    }
    let cancelled = TASKS * REQUESTS / 5;
    let stats = pool.stats();
    assert_eq!(stats.success, TASKS * REQUESTS, "{stats}");
    assert_eq!(stats.closed.get(CloseReason::Unfinished), cancelled, "{stats}");
    wait_until(&pool, counts_add_up).await;
}

/// Sends numbered requests and cancels every fifth at a varying point.
async fn run_requests(pool: Pool<TcpManager>, task: u64) {
    for request in 0..REQUESTS {
        let number = task * REQUESTS + request;
        let mut conn = pool.get().await.unwrap();
        if request % 5 == task % 5 {
            let reached = AtomicBool::new(false);
            let exchange = conn.exchange(async |conn| {
                let length = usize::try_from(number % 8).unwrap();
                send(conn, number).await?;
                conn.read_exact(&mut vec![0; length]).await?;
                reached.store(true, SeqCst);
                pending::<io::Result<()>>().await
            });
            drop_when(&reached, exchange).await;
        } else {
            let exchange = conn.exchange(async |conn| {
                send(conn, number).await?;
                receive(conn).await
            });
            assert_eq!(exchange.await.unwrap(), number);
        }
    }
}

async fn send(conn: &mut TcpConn, number: u64) -> io::Result<()> {
    conn.write_all(format!("{number:07}\n").as_bytes()).await
}

async fn receive(conn: &mut TcpConn) -> io::Result<u64> {
    let mut reply = [0; 8];
    conn.read_exact(&mut reply).await?;
    let reply = std::str::from_utf8(&reply).map_err(io::Error::other)?;
    reply.trim_end().parse().map_err(io::Error::other)
}

/// Drops `future`, which never completes, as soon as `reached` is set.
async fn drop_when<T>(reached: &AtomicBool, future: impl Future<Output = io::Result<T>>) {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(end) => panic!("the future completed: {:?}", end.map(|_| ()).unwrap_err()),
        Poll::Pending if reached.load(SeqCst) => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    })
    .await;
}

/// Sends every line back, in two writes.
fn echo_lines(stream: &TcpStream) -> io::Result<()> {
    let mut line = String::new();
    let mut requests = BufReader::new(stream);
    let mut replies = stream;
    while requests.read_line(&mut line)? > 0 {
        let (first, second) = line.as_bytes().split_at(line.len() / 2);
        replies.write_all(first)?;
        replies.write_all(second)?;
        line.clear();
    }
    Ok(())
}
