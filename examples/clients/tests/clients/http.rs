//! HTTP/1 with hyper.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use connpool_tokio::{Builder, CloseReason, Liveness, Manager, Pool, TcpManager, builder};
use example_clients::http::{Http, PooledBody, fetch};
use futures_lite::future::poll_once;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use suites::server::{Server, ServerHandle};
use tokio::task::{JoinSet, yield_now};

use crate::{LIMIT, until, until_closed};

/// Answers the requests of each client by `answer`, which is passed the path, until it returns `false`.
fn serve(answer: impl Fn(&TcpStream, &str) -> bool + Send + Sync + 'static) -> ServerHandle {
    serve_bodies(move |stream, path, _| answer(stream, path))
}

/// Like [`serve`], and lets `answer` read the body of the request.
fn serve_bodies(
    answer: impl Fn(&TcpStream, &str, &mut dyn Read) -> bool + Send + Sync + 'static,
) -> ServerHandle {
    Server::start().serve(move |stream| {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|length| length > 0) {
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            while line.trim_end() != "" {
                line.clear();
                let _ = reader.read_line(&mut line);
            }
            line.clear();
            if !answer(stream, &path, &mut reader) {
                return;
            }
        }
    })
}

/// Writes a response. The client may be gone.
fn respond(mut stream: &TcpStream, headers: &str, body: &str) -> bool {
    stream.write_all(format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}").as_bytes()).is_ok()
}

/// Responds with the path.
fn echo(stream: &TcpStream, path: &str) -> bool {
    respond(stream, &format!("content-length: {}\r\n", path.len()), path)
}

/// A server that waits for a permit at some places.
struct Permits(Mutex<Receiver<()>>);

fn permits() -> (Sender<()>, Permits) {
    let (permit, permits) = channel();
    (permit, Permits(Mutex::new(permits)))
}

impl Permits {
    fn wait(&self) {
        // Fails if the test has ended.
        let _ = self.0.lock().unwrap().recv_timeout(LIMIT);
    }
}

fn pool_of(server: &ServerHandle) -> Builder<Http> {
    builder(Http::new(TcpManager::new(server.address())))
        .reset_timeout(LIMIT)
        .get_timeout(LIMIT * 3)
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "localhost").body(Full::default()).unwrap()
}

async fn fetch_text(pool: &Pool<Http>, path: &str) -> String {
    text_of(fetch(pool, get(path)).await.unwrap()).await
}

async fn text_of(response: Response<PooledBody>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Asks the idle connections of a pool.
fn any_idle(
    pool: &Pool<Http>,
    mut is: impl FnMut(&Http, &mut <Http as Manager>::Connection) -> bool,
) -> bool {
    // Any manager of this type can be asked about them.
    let manager = Http::new(TcpManager::new("localhost:0"));
    let mut found = false;
    pool.retain(|conn| {
        found |= is(&manager, conn);
        true
    });
    found
}

#[tokio::test]
async fn sequential_requests_destroy_no_connection() {
    let server = serve(|stream, path| match path.len() % 3 {
        0 => echo(stream, path),
        1 => respond(stream, "content-length: 0\r\n", ""),
        _ => {
            let chunks = format!("{:x}\r\n{path}\r\n0\r\n\r\n", path.len());
            respond(stream, "transfer-encoding: chunked\r\n", &chunks)
        }
    });
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    for number in 0..500 {
        let path = format!("/{}", "x".repeat(number % 50));
        let body = fetch_text(&pool, &path).await;
        assert_eq!(body, if path.len() % 3 == 1 { "" } else { &*path });
    }
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (1, 0), "{stats}");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_destroy_no_connection() {
    let server = serve(echo);
    let pool = pool_of(&server).max_size(4).build().await.unwrap();
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let pool = pool.clone();
        tasks.spawn(async move {
            for number in 0..50 {
                let path = format!("/{task}/{number}");
                assert_eq!(fetch_text(&pool, &path).await, path);
            }
        });
    }
    tasks.join_all().await;
    let stats = pool.stats();
    assert_eq!(stats.closed.total(), 0, "{stats}");
    assert!(server.accepted() <= 4);
}

#[tokio::test]
async fn body_holds_its_connection_until_it_is_read_to_the_end() {
    let server = serve(echo);
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    let mut response = fetch(&pool, get("/first")).await.unwrap();
    let mut next = Box::pin(fetch(&pool, get("/second")));
    assert!(poll_once(&mut next).await.is_none());
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "/first");
    // The end is known, although the body has not been dropped.
    assert_eq!(text_of(next.await.unwrap()).await, "/second");
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (1, 0), "{stats}");
}

/// Writes half of a body, and the other half when it is permitted.
fn half(stream: &TcpStream, permits: &Permits) -> bool {
    let is_open = respond(stream, "content-length: 10\r\n", "first");
    permits.wait();
    let mut stream = stream;
    is_open && stream.write_all(b"stale").is_ok()
}

#[tokio::test]
async fn body_dropped_half_read_costs_its_connection() {
    let (permit, permits) = permits();
    let server = serve(move |stream, path| match path {
        "/half" => half(stream, &permits),
        _ => echo(stream, path),
    });
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    let mut response = fetch(&pool, get("/half")).await.unwrap();
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first");
    drop(response);
    permit.send(()).unwrap();
    assert_eq!(fetch_text(&pool, "/next").await, "/next");
    until_closed(&pool, CloseReason::Marked, 1).await;
}

/// What happens if a guard is dropped before the body: the mistake that [`PooledBody`] prevents.
#[tokio::test]
async fn reset_waits_for_a_body_that_is_still_being_read() {
    let (permit, permits) = permits();
    let server = serve(move |stream, path| match path {
        "/half" => half(stream, &permits),
        _ => echo(stream, path),
    });
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let response = conn.send(get("/half")).await.unwrap();
    drop(conn);
    let mut next = Box::pin(fetch(&pool, get("/next")));
    for _ in 0..100 {
        assert!(poll_once(&mut next).await.is_none());
        yield_now().await;
    }
    permit.send(()).unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "firststale");
    assert_eq!(text_of(next.await.unwrap()).await, "/next");
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (1, 0), "{stats}");
}

/// Too long for the buffers of the kernel.
const UPLOAD: usize = 32 << 20;

#[tokio::test]
async fn reset_waits_for_a_request_that_is_still_being_sent() {
    let (permit, permits) = permits();
    let server = serve_bodies(move |stream, path, body| {
        if path != "/upload" {
            return echo(stream, path);
        }
        let is_open = echo(stream, path);
        permits.wait();
        is_open && io::copy(&mut body.take(UPLOAD as u64), &mut io::sink()).is_ok()
    });
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    let upload = Request::post("/upload").header("host", "localhost");
    let upload = upload.body(Full::new(Bytes::from(vec![b'x'; UPLOAD]))).unwrap();
    assert_eq!(text_of(fetch(&pool, upload).await.unwrap()).await, "/upload");
    let mut next = Box::pin(fetch(&pool, get("/next")));
    for _ in 0..100 {
        assert!(poll_once(&mut next).await.is_none());
        yield_now().await;
    }
    permit.send(()).unwrap();
    assert_eq!(text_of(next.await.unwrap()).await, "/next");
    let stats = pool.stats();
    assert_eq!((stats.created, stats.closed.total()), (1, 0), "{stats}");
}

#[tokio::test]
async fn reset_fails_if_a_body_was_dropped_without_its_guard() {
    let (permit, permits) = permits();
    let server = serve(move |stream, path| match path {
        "/half" => half(stream, &permits),
        _ => echo(stream, path),
    });
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let response = conn.send(get("/half")).await.unwrap();
    drop(conn);
    drop(response);
    assert_eq!(fetch_text(&pool, "/next").await, "/next");
    permit.send(()).unwrap();
    until_closed(&pool, CloseReason::ResetFailed, 1).await;
}

#[tokio::test]
async fn request_given_up_before_its_response_costs_its_connection() {
    let (permit, permits) = permits();
    let (asked, requests) = channel();
    let server = serve(move |stream, path| {
        if path == "/slow" {
            asked.send(()).unwrap();
            permits.wait();
        }
        echo(stream, path)
    });
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    for is_answered_first in [true, false] {
        let mut given_up = Box::pin(fetch(&pool, get("/slow")));
        while requests.try_recv().is_err() {
            assert!(poll_once(&mut given_up).await.is_none());
            yield_now().await;
        }
        if is_answered_first {
            permit.send(()).unwrap();
        }
        drop(given_up);
        let next = fetch(&pool, get("/next")).await.unwrap();
        if !is_answered_first {
            permit.send(()).unwrap();
        }
        assert_eq!(text_of(next).await, "/next");
    }
    until_closed(&pool, CloseReason::Unfinished, 2).await;
}

#[tokio::test]
async fn server_that_closes_between_requests_fails_none() {
    let (permit, permits) = permits();
    let server = serve(move |stream, path| {
        echo(stream, path);
        permits.wait();
        false
    });
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    for number in 0..20 {
        assert_eq!(fetch_text(&pool, "/").await, "/");
        until(&pool, |stats| stats.available == 1).await;
        permit.send(()).unwrap();
        // Only the kernel knows: the driver does not run meanwhile.
        let start = Instant::now();
        while !any_idle(&pool, |http, conn| http.liveness(conn) == Liveness::Closed) {
            assert!(start.elapsed() < LIMIT, "round {number}");
            thread::yield_now();
        }
    }
    assert_eq!(fetch_text(&pool, "/").await, "/");
    until_closed(&pool, CloseReason::Dead, 20).await;
    // Ends the server.
    drop(permit);
}

#[tokio::test]
async fn request_that_was_not_written_is_sent_again() {
    let (permit, permits) = permits();
    let server = serve(move |stream, path| {
        echo(stream, path);
        permits.wait();
        false
    });
    // Without probes: the connection closes after the probe, as it were.
    let pool = pool_of(&server).max_size(1).liveness_after(None).evict_interval(None);
    let pool = pool.build().await.unwrap();
    assert_eq!(fetch_text(&pool, "/first").await, "/first");
    until(&pool, |stats| stats.available == 1).await;
    permit.send(()).unwrap();
    let start = Instant::now();
    while !any_idle(&pool, |http, conn| !http.is_reusable(conn)) {
        assert!(start.elapsed() < LIMIT);
        yield_now().await;
    }
    assert_eq!(fetch_text(&pool, "/second").await, "/second");
    until_closed(&pool, CloseReason::Unfinished, 1).await;
    // Ends the server.
    drop(permit);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_that_its_server_will_close_is_not_used_again() {
    let server = serve(|stream, path| {
        respond(stream, "connection: close\r\ncontent-length: 3\r\n", "end") && path == "/open"
    });
    let pool = pool_of(&server).max_size(1).build().await.unwrap();
    for number in 0..100 {
        let path = if number % 2 == 0 { "/" } else { "/open" };
        assert_eq!(fetch_text(&pool, path).await, "end");
    }
    until_closed(&pool, CloseReason::NotReusable, 100).await;
    assert_eq!(server.accepted(), 100);
}

#[tokio::test]
async fn idle_connection_is_closed_before_its_announced_timeout() {
    let server = serve(|stream, path| {
        respond(
            stream,
            &format!("keep-alive: timeout={}, max=100\r\ncontent-length: 3\r\n", &path[1..]),
            "end",
        )
    });
    let pool = pool_of(&server).evict_interval(Duration::from_millis(10)).build().await.unwrap();
    for _ in 0..3 {
        assert_eq!(fetch_text(&pool, "/3600").await, "end");
    }
    assert_eq!(pool.stats().closed.total(), 0);
    // The last announcement counts. The server keeps the connection open.
    assert_eq!(fetch_text(&pool, "/1").await, "end");
    until_closed(&pool, CloseReason::Lifetime, 1).await;
}

#[tokio::test]
async fn driver_ends_with_its_connection() {
    let server = serve(echo);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    // For each runtime, the adapter has one task that stays.
    let builder = pool_of(&server);
    let before = tasks();
    let pool = builder.build().await.unwrap();
    let responses = [fetch(&pool, get("/1")).await, fetch(&pool, get("/2")).await];
    for response in responses {
        text_of(response.unwrap()).await;
    }
    assert_eq!(pool.stats().created, 2);
    pool.close(LIMIT).await;
    drop(pool);
    let start = Instant::now();
    while tasks() > before {
        assert!(start.elapsed() < LIMIT, "{} tasks of {before}", tasks());
        yield_now().await;
    }
}
