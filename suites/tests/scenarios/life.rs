//! The life of a connection beyond its use: resets after the return, and closes.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use futures_lite::future::{or, yield_now};
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::adapter::{
    CloseReason, Manager, PoolConfig, SockRef, StreamOf, TcpConn, TcpManager, builder,
};
use crate::client::{wait_until, wait_until_closed};
use suites::server::{LIMIT, Port, Server, ServerHandle};

async fn ask(conn: &mut TcpConn, line: &str) -> io::Result<String> {
    conn.write_all(format!("{line}\n").as_bytes()).await?;
    let mut reply = Vec::new();
    let mut byte = [0];
    loop {
        conn.read_exact(&mut byte).await?;
        match byte {
            [b'\n'] => return String::from_utf8(reply).map_err(io::Error::other),
            [byte] => reply.push(byte),
        }
    }
}

/// Answers each line of each client by `answer`, which is told the end of a client by an empty line.
fn serve(
    answer: impl Fn(&TcpStream, &str) -> Option<String> + Send + Sync + 'static,
) -> ServerHandle {
    Port::bind().listen().serve(move |stream| {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let Some(reply) = answer(stream, &line) else { break };
            if (&*stream).write_all(format!("{reply}\n").as_bytes()).is_err() {
                break;
            }
        }
        answer(stream, "");
    })
}

// ---- resets

/// Undoes what a user left behind.
struct Sql(TcpManager);

impl Manager for Sql {
    type Connection = TcpConn;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpConn> {
        self.0.connect().await
    }

    async fn reset(&self, conn: &mut TcpConn) -> io::Result<()> {
        ask(conn, "ROLLBACK").await.map(drop)
    }

    fn stream(&self) -> Option<StreamOf<TcpConn>> {
        Some(|conn| conn)
    }
}

/// Of two idle connections the one with the lock is lent last, and nobody asks for either.
pub(crate) async fn lock_of_a_given_up_transaction_is_released_without_another_get() {
    let row = Arc::new(Mutex::new(None));
    let locked = Arc::clone(&row);
    let server = serve(move |stream, line| {
        let mut row = row.lock().unwrap();
        let who = stream.peer_addr().ok();
        match line {
            "LOCK" => *row = who,
            "ROLLBACK" | "" if *row == who => *row = None,
            _ => {}
        }
        Some(String::from("ok"))
    });
    let pool = builder(Sql(TcpManager::new(server.address()))).evict_interval(None);
    let pool = pool.build().await.unwrap();
    let mut given_up = pool.get().await.unwrap();
    let on_top = pool.get().await.unwrap();
    assert_eq!(ask(&mut given_up, "LOCK").await.unwrap(), "ok");
    assert!(locked.lock().unwrap().is_some());
    drop(given_up);
    drop(on_top);
    wait_until(&pool, |stats| stats.available == 2).await;
    assert!(locked.lock().unwrap().is_none());
    assert_eq!(pool.stats().created, 2);
}

// ---- closes

/// A server whose requests go on when their client is gone, until they are cancelled.
#[derive(Default)]
struct Work {
    /// The requests at work, by client, and whether they were cancelled.
    requests: Mutex<HashMap<String, bool>>,
    /// The clients whose cancel request overtook their request.
    overtaken: Mutex<HashSet<String>>,
    cancelled: Condvar,
    most: AtomicUsize,
}

impl Work {
    fn answer(&self, line: &str) -> Option<String> {
        let (verb, client) = line.split_once(' ').unwrap_or((line, ""));
        let mut requests = self.requests.lock().unwrap();
        match verb {
            "WORK" if self.overtaken.lock().unwrap().remove(client) => None,
            "WORK" => {
                requests.insert(client.into(), false);
                self.most.fetch_max(requests.len(), Ordering::SeqCst);
                let goes_on = |requests: &mut HashMap<_, _>| requests.get(client) == Some(&false);
                let (mut requests, _) =
                    self.cancelled.wait_timeout_while(requests, LIMIT, goes_on).unwrap();
                requests.remove(client);
                self.cancelled.notify_all();
                Some("worked".into())
            }
            "CANCEL" => {
                match requests.get_mut(client) {
                    Some(cancelled) => *cancelled = true,
                    None => _ = self.overtaken.lock().unwrap().insert(client.into()),
                }
                self.cancelled.notify_all();
                // Like PostgreSQL, which closes the connection of a cancel request when it was handled.
                let gone = |requests: &mut HashMap<_, _>| requests.contains_key(client);
                drop(self.cancelled.wait_timeout_while(requests, LIMIT, gone).unwrap());
                None
            }
            _ => None,
        }
    }
}

/// Sends a cancel request for work that its user has given up.
struct Cancelling(TcpManager);

impl Manager for Cancelling {
    type Connection = TcpConn;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<TcpConn> {
        self.0.connect().await
    }

    fn needs_reset(&self) -> bool {
        false
    }

    fn stream(&self) -> Option<StreamOf<TcpConn>> {
        Some(|conn| conn)
    }

    async fn close(&self, conn: TcpConn, reason: CloseReason) {
        if !reason.is_unfinished() {
            return;
        }
        let Some(client) = name(&conn) else { return };
        if let Ok(mut cancel) = self.0.connect().await {
            // Ends when the server closes it.
            let _ = ask(&mut cancel, &format!("CANCEL {client}")).await;
        }
    }
}

/// Returns what tells one client from the others.
fn name(conn: &TcpConn) -> Option<SocketAddr> {
    SockRef::from(conn.get_ref()).local_addr().ok()?.as_socket()
}

pub(crate) async fn cancelled_requests_never_exceed_max_size_at_the_server() {
    let work = Arc::new(Work::default());
    let at_work = Arc::clone(&work);
    let server = serve(move |_, line| at_work.answer(line));
    let pool = builder(Cancelling(TcpManager::new(server.address())))
        .max_size(5)
        // However busy the machine is.
        .abandon_timeout(LIMIT)
        .get_timeout(LIMIT);
    let pool = pool.build().await.unwrap();
    let clients = (0..10).map(|_| async {
        for _ in 0..5 {
            let mut conn = pool.get().await.unwrap();
            let request = conn.exchange(async |conn| {
                let client = name(conn).ok_or(io::ErrorKind::NotConnected)?;
                ask(conn, &format!("WORK {client}")).await
            });
            let begins = async {
                // Gives up soon after the request was sent.
                for _ in 0..50 {
                    yield_now().await;
                }
                Err(io::ErrorKind::TimedOut.into())
            };
            assert!(or(request, begins).await.is_err());
        }
    });
    let mut all = clients.map(Box::pin).collect::<Vec<_>>();
    std::future::poll_fn(|cx| {
        all.retain_mut(|client| client.as_mut().poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    wait_until_closed(&pool, CloseReason::Unfinished, 50).await;
    assert!(work.most.load(Ordering::SeqCst) <= 5);
}

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// A client whose drop takes its time. Counts the drops on threads that must not block.
struct SlowDrop(Arc<AtomicUsize>);

impl Drop for SlowDrop {
    fn drop(&mut self) {
        if MAY_BLOCK.get() {
            thread::sleep(Duration::from_millis(1));
        } else {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

struct SlowDrops(Arc<AtomicUsize>);

impl Manager for SlowDrops {
    type Connection = SlowDrop;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<SlowDrop> {
        Ok(SlowDrop(Arc::clone(&self.0)))
    }

    fn needs_reset(&self) -> bool {
        false
    }

    fn stream(&self) -> Option<StreamOf<SlowDrop>> {
        None
    }

    async fn close(&self, client: SlowDrop, _: CloseReason) {
        thread::spawn(move || {
            MAY_BLOCK.set(true);
            drop(client);
        });
    }
}

pub(crate) async fn slow_drop_never_blocks_a_thread_of_the_runtime() {
    let blocked = Arc::new(AtomicUsize::new(0));
    let mut config = PoolConfig::default();
    config.max_uses = Some(3);
    config.evict_interval = Some(Duration::from_millis(5));
    let pool = builder(SlowDrops(Arc::clone(&blocked))).config(config).build().await.unwrap();
    let mut marked = pool.get().await.unwrap();
    marked.mark_unusable();
    drop(marked);
    let _ = pool.get().await.unwrap().exchange(async |_| Err::<(), ()>(())).await;
    for _ in 0..3 {
        drop(pool.get().await.unwrap());
    }
    drop(pool.get().await.unwrap());
    pool.clear();
    drop(pool.get().await.unwrap());
    assert_eq!(pool.retain(|_| false), 1);
    let last = pool.get_owned().await.unwrap();
    pool.close(Duration::ZERO).await;
    drop(last);
    assert!(!pool.close(LIMIT).await.timed_out);
    let stats = pool.stats();
    assert_eq!(stats.closed.total(), stats.created, "{stats}");
    assert_eq!(blocked.load(Ordering::SeqCst), 0);
}

/// The server closes its side when it is told to, and until then the slot is taken.
pub(crate) async fn lingering_close_waits_for_the_end_of_the_server() {
    let server = Server::start();
    let manager = TcpManager::new(server.address()).linger(LIMIT);
    let pool = builder(manager).max_uses(1).build().await.unwrap();
    let conn = pool.get().await.unwrap();
    let mut socket = server.accept();
    drop(conn);
    let (has_read, may_close) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let peer = thread::spawn({
        let (has_read, may_close) = (Arc::clone(&has_read), Arc::clone(&may_close));
        move || {
            assert_eq!(socket.read_to_end(&mut Vec::new()).unwrap(), 0);
            has_read.store(true, Ordering::SeqCst);
            while !may_close.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            socket.write_all(b"goodbye").unwrap();
        }
    });
    while !has_read.load(Ordering::SeqCst) {
        yield_now().await;
    }
    assert_eq!((pool.stats().size, pool.stats().closing), (1, 1));
    may_close.store(true, Ordering::SeqCst);
    wait_until_closed(&pool, CloseReason::MaxUses, 1).await;
    peer.join().unwrap();
    assert_eq!(pool.stats().size, 0);
}

pub(crate) async fn lingering_close_ends_at_its_limit() {
    let server = Server::start();
    let manager = TcpManager::new(server.address()).linger(Duration::from_millis(20));
    let pool = builder(manager).max_uses(1).build().await.unwrap();
    drop(pool.get().await.unwrap());
    let _socket = server.accept();
    wait_until_closed(&pool, CloseReason::MaxUses, 1).await;
    assert_eq!(pool.stats().size, 0);
}

pub(crate) async fn broken_connection_does_not_linger() {
    let server = Server::start();
    let manager = TcpManager::new(server.address()).linger(Duration::MAX);
    let pool = builder(manager).abandon_timeout(None).build().await.unwrap();
    let mut conn = pool.get().await.unwrap();
    let _socket = server.accept();
    conn.mark_unusable();
    drop(conn);
    wait_until_closed(&pool, CloseReason::Marked, 1).await;
}
