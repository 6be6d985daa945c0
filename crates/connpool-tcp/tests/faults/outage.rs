//! A backend that is down for ten seconds, and what it sees of those who wait for it.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::client::{adds_up, echo, until};
use super::counting::Counted;
use super::handshake::{Greeted, HELLO};
use super::server::{LIMIT, Server};
use crate::adapter::{GetError, builder};

const SIZE: usize = 100;
const WAITERS: usize = 1000;
const OUTAGE: Duration = Duration::from_secs(10);

/// Greets whoever connects. While it is down it hangs up instead, so that every attempt is seen.
#[derive(Default)]
struct Backend {
    down: AtomicBool,
    clients: Mutex<Vec<TcpStream>>,
    attempts: Mutex<Vec<Instant>>,
}

impl Backend {
    fn attend(&self, stream: &TcpStream) {
        if self.down.load(SeqCst) {
            self.attempts.lock().unwrap().push(Instant::now());
            return;
        }
        self.clients
            .lock()
            .unwrap()
            .push(stream.try_clone().unwrap());
        let (mut from, mut to) = (stream, stream);
        // Whether it ends in an error is for the client to judge.
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

    /// The most attempts that any second of the outage saw, and all of them.
    fn attempts(&self) -> (usize, usize) {
        let attempts = self.attempts.lock().unwrap();
        let within_a_second_of = |first: &Instant| {
            let second = Duration::from_secs(1);
            let later = attempts.iter().filter(|at| *at >= first);
            later
                .filter(|at| at.duration_since(*first) < second)
                .count()
        };
        let most = attempts.iter().map(within_a_second_of).max();
        (most.unwrap_or(0), attempts.len())
    }
}

pub(crate) async fn backend_that_is_down_gets_at_most_twenty_connects_per_second_from_a_thousand_waiters()
 {
    let backend = Arc::new(Backend::default());
    let server = Server::start().serve({
        let backend = Arc::clone(&backend);
        move |stream| backend.attend(stream)
    });
    let manager = Counted::new(Greeted::by(server.address()));
    let count = Arc::clone(&manager.count);
    let pool = builder(manager)
        .ping_after(None)
        .max_size(SIZE)
        .fail_fast(false)
        .get_timeout(OUTAGE + LIMIT)
        .build()
        .await
        .unwrap();
    let mut lent = Vec::new();
    for _ in 0..SIZE {
        lent.push(pool.get().await.unwrap());
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
    until(&pool, |stats| stats.waiting == WAITERS).await;

    backend.fail();
    drop(lent);
    let last_in_line = pool.get_timeout(OUTAGE).await;
    assert!(last_in_line.unwrap_err().is_timeout());
    let (most, all) = backend.attempts();
    println!(
        "{all} attempts in {OUTAGE:?}, at most {most} in a second, at most {} at once",
        count.most_connecting()
    );
    assert!(all > 0 && most <= 20, "{most} attempts in a second");
    backend.recover();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(adds_up(&pool.stats()), "{}", pool.stats());
}
