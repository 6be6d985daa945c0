//! A backend that is down for ten seconds, and its connect attempts with a thousand waiters.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::client::{counts_add_up, echo, wait_until};
use super::counting::CountingManager;
use super::handshake::{HELLO, HandshakeManager};
use crate::adapter::{GetError, builder};
use suites::server::{LIMIT, Server};

const SIZE: usize = 100;
const WAITERS: usize = 1000;
const OUTAGE: Duration = Duration::from_secs(10);

/// Greets every client. While it is down, it accepts and closes, so every attempt is counted.
#[derive(Default)]
struct Backend {
    down: AtomicBool,
    clients: Mutex<Vec<TcpStream>>,
    attempts: Mutex<Vec<Instant>>,
}

impl Backend {
    fn handle(&self, stream: &TcpStream) {
        if self.down.load(SeqCst) {
            self.attempts.lock().unwrap().push(Instant::now());
            return;
        }
        self.clients.lock().unwrap().push(stream.try_clone().unwrap());
        let (mut from, mut to) = (stream, stream);
        // Errors are checked at the client.
        let _ = to.write_all(HELLO);
        let _ = io::copy(&mut from, &mut to);
    }

    fn fail(&self) {
        self.down.store(true, SeqCst);
        for client in self.clients.lock().unwrap().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    fn recover(&self) {
        self.down.store(false, SeqCst);
    }

    /// Returns the highest number of attempts within any second of the outage, and the total.
    fn attempts(&self) -> (usize, usize) {
        let attempts = self.attempts.lock().unwrap();
        let within_a_second_of = |first: &Instant| {
            let second = Duration::from_secs(1);
            let later = attempts.iter().filter(|at| *at >= first);
            later.filter(|at| at.duration_since(*first) < second).count()
        };
        let max = attempts.iter().map(within_a_second_of).max();
        (max.unwrap_or(0), attempts.len())
    }
}

pub(crate) async fn backend_that_is_down_gets_at_most_twenty_connects_per_second_from_a_thousand_waiters()
 {
    let backend = Arc::new(Backend::default());
    let server = Server::start().serve({
        let backend = Arc::clone(&backend);
        move |stream| backend.handle(stream)
    });
    let manager = CountingManager::new(HandshakeManager::new(server.address()));
    let count = Arc::clone(&manager.count);
    let pool = builder(manager)
        .ping_after(None)
        .max_size(SIZE)
        .fail_fast_after(None)
        .get_timeout(OUTAGE + LIMIT)
        .build()
        .await
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..SIZE {
        held.push(pool.get().await.unwrap());
    }
    let tasks: Vec<_> = (0..WAITERS)
        .map(|_| {
            let pool = pool.clone();
            crate::spawn(async move {
                let mut conn = pool.get().await?;
                echo(&mut *conn, b"at last").await.unwrap();
                Ok::<_, GetError<io::Error>>(())
            })
        })
        .collect();
    wait_until(&pool, |stats| stats.waiting == WAITERS).await;

    backend.fail();
    drop(held);
    let last_waiter = pool.get_timeout(OUTAGE).await;
    assert!(last_waiter.unwrap_err().is_timeout());
    let (max, all) = backend.attempts();
    println!(
        "{all} attempts in {OUTAGE:?}, at most {max} in a second, at most {} at once",
        count.max_connecting_seen()
    );
    assert!(all > 0 && max <= 20, "{max} attempts in a second");
    backend.recover();
    for task in tasks {
        task.await.unwrap();
    }
    wait_until(&pool, counts_add_up).await;
}
