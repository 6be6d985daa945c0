//! A `Framed` stream of lines.

use std::io::{BufRead, BufReader, Write};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connpool_tokio::{Builder, CloseReason, TcpManager, builder};
use example_clients::lines::{Lines, ask};
use futures_lite::future::poll_once;
use futures_util::{SinkExt, StreamExt};
use suites::server::{Server, ServerHandle};

use crate::{LIMIT, until_closed};

/// Sends the replies that `answer` makes of a request, in one write.
fn serve(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> ServerHandle {
    Server::start().serve(move |stream| {
        let mut writer = stream;
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // The client may be gone, which shows at the next read.
            let _ = writer.write_all(answer(&line).as_bytes());
        }
    })
}

fn pool_of(server: &ServerHandle) -> Builder<Lines> {
    builder(Lines::new(TcpManager::new(server.address())))
        .max_size(1)
        .ping_after(None)
        .get_timeout(LIMIT)
}

#[tokio::test]
async fn sequential_requests_destroy_no_connection() {
    let server = serve(|line| format!("{line}\n"));
    let pool = pool_of(&server).ping_after(Duration::ZERO).build().await.unwrap();
    for number in 0..200 {
        let mut conn = pool.get().await.unwrap();
        let request = number.to_string();
        assert_eq!(conn.exchange(async |conn| ask(conn, &request).await).await.unwrap(), request);
    }
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (1, 0), "{stats}");
}

#[tokio::test]
async fn frame_left_in_the_read_buffer_costs_its_connection() {
    let server = serve(|line| format!("{line}\n").repeat(if line == "twice" { 2 } else { 1 }));
    let pool = pool_of(&server).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    // Even if the exchange is complete.
    let reply = conn.exchange(async |conn| ask(conn, "twice").await).await.unwrap();
    assert_eq!(reply, "twice");
    assert_eq!(&conn.read_buffer()[..], b"twice\n");
    drop(conn);
    let mut next = pool.get().await.unwrap();
    assert_eq!(ask(&mut next, "once").await.unwrap(), "once");
    until_closed(&pool, CloseReason::NotReusable, 1).await;
}

#[tokio::test]
async fn frame_that_was_not_sent_costs_its_connection() {
    let server = serve(|line| format!("{line}\n"));
    let pool = pool_of(&server).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    conn.feed("first").await.unwrap();
    drop(conn);
    let mut next = pool.get().await.unwrap();
    assert_eq!(ask(&mut next, "second").await.unwrap(), "second");
    until_closed(&pool, CloseReason::NotReusable, 1).await;
}

#[tokio::test]
async fn ping_that_reads_ahead_costs_its_connection() {
    let server = serve(|line| format!("{line}\n").repeat(if line == "PING" { 2 } else { 1 }));
    let pool = pool_of(&server).ping_after(Duration::ZERO).build().await.unwrap();
    drop(pool.get().await.unwrap());
    let mut next = pool.get().await.unwrap();
    assert_eq!(ask(&mut next, "once").await.unwrap(), "once");
    until_closed(&pool, CloseReason::PingFailed, 1).await;
}

#[derive(Debug, Clone, Copy)]
enum GiveUp {
    /// After the request was sent.
    Sent,
    /// While the reply is awaited.
    Reading,
    /// In an exchange.
    Exchange,
}

#[tokio::test]
async fn reply_to_a_request_that_was_given_up_reaches_no_other_user() {
    for give_up in [GiveUp::Sent, GiveUp::Reading, GiveUp::Exchange] {
        for is_answered_first in [true, false] {
            give_up_and_ask_again(give_up, is_answered_first).await;
        }
    }
}

async fn give_up_and_ask_again(give_up: GiveUp, is_answered_first: bool) {
    let (permit, permits) = channel();
    let (answered, answers) = channel();
    let (permits, answered) = (Mutex::new(permits), Arc::new(answered));
    let server = serve(move |line| {
        if line == "slow" {
            let _ = permits.lock().unwrap().recv_timeout(LIMIT);
            let _ = answered.send(());
        }
        format!("{line}\n")
    });
    let pool = pool_of(&server).build().await.unwrap();
    let answer = || {
        permit.send(()).unwrap();
        answers.recv_timeout(LIMIT).unwrap();
    };

    let mut first = pool.get().await.unwrap();
    match give_up {
        GiveUp::Sent => first.send("slow").await.unwrap(),
        GiveUp::Reading => {
            first.send("slow").await.unwrap();
            assert!(poll_once(first.next()).await.is_none());
        }
        GiveUp::Exchange => {
            let exchange = first.exchange(async |conn| ask(conn, "slow").await);
            assert!(poll_once(exchange).await.is_none());
        }
    }
    if is_answered_first {
        answer();
    }
    drop(first);
    let mut next = pool.get().await.unwrap();
    if !is_answered_first {
        answer();
    }
    let reply = ask(&mut next, "quick").await.unwrap();
    assert_eq!(reply, "quick", "{give_up:?}, {is_answered_first}");
    let reason = match give_up {
        GiveUp::Exchange => CloseReason::Unfinished,
        GiveUp::Sent | GiveUp::Reading => CloseReason::NotReusable,
    };
    until_closed(&pool, reason, 1).await;
}
