//! The clients of the proxy, which verify every reply.

use std::fmt;
use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use connpool_core::{Connection, Manager, Runtime};
use connpool_examples::resp;
use futures_lite::AsyncWriteExt;
use smol::channel::bounded;

use crate::Outcome;

pub(crate) struct Clients<T> {
    count: usize,
    proxy: Arc<T>,
    runtime: Arc<dyn Runtime>,
}

/// The fault during a phase.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Clients abandon every tenth request.
    Disconnects,
    /// Redis fails some requests and loses its data.
    Crash,
}

impl<T> Clients<T>
where
    T: Manager<Connection: Connection, Error = io::Error>,
{
    pub(crate) fn new(count: usize, proxy: T, runtime: Arc<dyn Runtime>) -> Self {
        Clients { count, proxy: Arc::new(proxy), runtime }
    }

    /// Runs the clients until `part` completes, and prints their results.
    pub(crate) async fn ask_during<P>(
        &self,
        part: impl Future<Output = P>,
        fault: Fault,
    ) -> Outcome<P> {
        let over = Arc::new(AtomicBool::new(false));
        let (done, results) = bounded(self.count);
        for me in 0..self.count {
            let (done, over) = (done.clone(), Arc::clone(&over));
            let (proxy, runtime) = (Arc::clone(&self.proxy), Arc::clone(&self.runtime));
            self.runtime.spawn(Box::pin(async move {
                let results = async {
                    let client = Client {
                        me,
                        stream: proxy.connect().await?,
                        proxy: &*proxy,
                        runtime: &*runtime,
                        fault,
                        counted: None,
                        results: Results::default(),
                    };
                    client.ask_until(&over).await
                };
                // Fails only if the receiver is gone.
                let _ = done.send(results.await).await;
            }));
        }
        let result = part.await;
        over.store(true, Ordering::Relaxed);
        let mut total = Results::default();
        for _ in 0..self.count {
            total.add(results.recv().await??);
        }
        println!("  {total}\n");
        match total.wrong {
            0 => Ok(result),
            wrong => Err(format!("{wrong} replies did not match their requests").into()),
        }
    }

    /// Deletes the clients' keys from Redis.
    pub(crate) async fn tidy_up(&self) -> io::Result<()> {
        let mut stream = self.proxy.connect().await?;
        for key in (0..self.count).flat_map(keys_of) {
            resp::exchange(&mut stream, &resp::request(&["DEL", &key])).await?;
        }
        Ok(())
    }
}

struct Client<'a, T: Manager> {
    me: usize,
    proxy: &'a T,
    stream: T::Connection,
    runtime: &'a dyn Runtime,
    fault: Fault,
    /// The last known value of the counter.
    counted: Option<u64>,
    results: Results,
}

#[derive(Clone, Copy)]
enum Ask {
    Set,
    Get,
    Incr,
    Ping,
}

impl<T> Client<'_, T>
where
    T: Manager<Connection: Connection, Error = io::Error>,
{
    async fn ask_until(mut self, over: &AtomicBool) -> Outcome<Results> {
        let asks = [Ask::Set, Ask::Get, Ask::Incr, Ask::Ping];
        for (number, ask) in (0_u64..).zip(asks.into_iter().cycle()) {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let text = format!("{}:{number}", self.me);
            let request = self.request(ask, &text);
            if self.abandons(ask) {
                self.abandon(&request).await?;
                continue;
            }
            let reply = resp::exchange(&mut self.stream, &request).await?;
            let failed = reply.starts_with(b"-");
            let reply = resp::text(&reply);
            if failed && self.fault == Fault::Crash {
                self.counted = None;
                self.results.failed += 1;
            } else if failed {
                return Err(reply.into());
            } else if self.is_right(ask, &text, &reply) {
                self.results.right += 1;
            } else {
                self.results.wrong += 1;
            }
        }
        Ok(self.results)
    }

    fn request(&self, ask: Ask, text: &str) -> Vec<u8> {
        let [value, counter] = &keys_of(self.me);
        match ask {
            Ask::Set => resp::request(&["SET", value, value]),
            Ask::Get => resp::request(&["GET", value]),
            Ask::Incr => resp::request(&["INCR", counter]),
            Ask::Ping => resp::request(&["PING", text]),
        }
    }

    fn is_right(&mut self, ask: Ask, text: &str, reply: &str) -> bool {
        // After a restart Redis is empty, and counters start at one.
        let may_forget = self.fault == Fault::Crash;
        match ask {
            Ask::Set => reply == "OK",
            Ask::Get => reply == keys_of(self.me)[0] || may_forget && reply.is_empty(),
            Ask::Incr => {
                let before = self.counted;
                self.counted = reply.parse().ok();
                match (before, self.counted) {
                    (_, Some(1)) if may_forget => true,
                    (Some(before), counted) => counted == Some(before + 1),
                    (None, counted) => counted.is_some(),
                }
            }
            Ask::Ping => reply == text,
        }
    }

    /// Returns whether to abandon this request. Only for reads: the effect of an abandoned write is
    /// unknown.
    fn abandons(&self, ask: Ask) -> bool {
        self.fault == Fault::Disconnects
            && matches!(ask, Ask::Get | Ask::Ping)
            && self.runtime.random() % 5 == 0
    }

    /// Sends the request or half of it, and does not wait for the reply.
    async fn abandon(&mut self, request: &[u8]) -> io::Result<()> {
        let all = self.runtime.random() % 2 == 0;
        let sent = if all { request } else { &request[..request.len() / 2] };
        self.stream.write_all(sent).await?;
        self.stream = self.proxy.connect().await?;
        self.results.abandoned += 1;
        Ok(())
    }
}

/// Returns the keys of a client's value, which equals its key, and counter.
fn keys_of(client: usize) -> [String; 2] {
    ["value", "counter"].map(|what| format!("connpool:{}:{client}:{what}", process::id()))
}

#[derive(Default)]
struct Results {
    right: u64,
    wrong: u64,
    failed: u64,
    abandoned: u64,
}

impl Results {
    fn add(&mut self, other: Results) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.failed += other.failed;
        self.abandoned += other.abandoned;
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} right replies, {} wrong", self.right, self.wrong)?;
        for (count, what) in [(self.failed, "failed"), (self.abandoned, "abandoned")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}
