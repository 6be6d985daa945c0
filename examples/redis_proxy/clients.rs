//! The clients of the proxy, who know what they should be told.

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

/// What happens while they ask.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Trouble {
    None,
    /// They give up every tenth request.
    HangUps,
    /// Redis fails some of their requests, and forgets what it was told.
    Crash,
}

impl<T> Clients<T>
where
    T: Manager<Connection: Connection, Error = io::Error>,
{
    pub(crate) fn new(count: usize, proxy: T, runtime: Arc<dyn Runtime>) -> Self {
        Clients {
            count,
            proxy: Arc::new(proxy),
            runtime,
        }
    }

    /// Has them ask until `part` is over, and prints what came of it.
    pub(crate) async fn ask_during<P>(
        &self,
        part: impl Future<Output = P>,
        trouble: Trouble,
    ) -> Outcome<P> {
        let over = Arc::new(AtomicBool::new(false));
        let (done, tallies) = bounded(self.count);
        for me in 0..self.count {
            let (done, over) = (done.clone(), Arc::clone(&over));
            let (proxy, runtime) = (Arc::clone(&self.proxy), Arc::clone(&self.runtime));
            self.runtime.spawn(Box::pin(async move {
                let tally = async {
                    let client = Client {
                        me,
                        stream: proxy.connect().await?,
                        proxy: &*proxy,
                        runtime: &*runtime,
                        trouble,
                        counted: None,
                        tally: Tally::default(),
                    };
                    client.ask_until(&over).await
                };
                // Fails only if nobody wants to know any more.
                let _ = done.send(tally.await).await;
            }));
        }
        let result = part.await;
        over.store(true, Ordering::Relaxed);
        let mut total = Tally::default();
        for _ in 0..self.count {
            total.add(tallies.recv().await??);
        }
        println!("  {total}\n");
        match total.wrong {
            0 => Ok(result),
            wrong => Err(format!("{wrong} replies were not what was asked for").into()),
        }
    }

    /// Leaves nothing of theirs in Redis.
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
    trouble: Trouble,
    /// What its counter stands at, when it knows.
    counted: Option<u64>,
    tally: Tally,
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
    async fn ask_until(mut self, over: &AtomicBool) -> Outcome<Tally> {
        let asks = [Ask::Set, Ask::Get, Ask::Incr, Ask::Ping];
        for (number, ask) in (0_u64..).zip(asks.into_iter().cycle()) {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let text = format!("{}:{number}", self.me);
            let request = self.request(ask, &text);
            if self.gives_up(ask) {
                self.hang_up(&request).await?;
                continue;
            }
            let reply = resp::exchange(&mut self.stream, &request).await?;
            let failed = reply.starts_with(b"-");
            let reply = resp::text(&reply);
            if failed && self.trouble == Trouble::Crash {
                self.counted = None;
                self.tally.failed += 1;
            } else if failed {
                return Err(reply.into());
            } else if self.is_right(ask, &text, &reply) {
                self.tally.right += 1;
            } else {
                self.tally.wrong += 1;
            }
        }
        Ok(self.tally)
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
        // A Redis that was restarted has nothing, and counts from one.
        let may_forget = self.trouble == Trouble::Crash;
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

    /// Never a request that changes something: nobody would know whether it did.
    fn gives_up(&self, ask: Ask) -> bool {
        self.trouble == Trouble::HangUps
            && matches!(ask, Ask::Get | Ask::Ping)
            && self.runtime.random() % 5 == 0
    }

    /// Sends the request, or half of it, and does not wait for the reply.
    async fn hang_up(&mut self, request: &[u8]) -> io::Result<()> {
        let all = self.runtime.random() % 2 == 0;
        let sent = if all {
            request
        } else {
            &request[..request.len() / 2]
        };
        self.stream.write_all(sent).await?;
        self.stream = self.proxy.connect().await?;
        self.tally.given_up += 1;
        Ok(())
    }
}

/// Where a client keeps its value, which is the key itself, and its counter.
fn keys_of(client: usize) -> [String; 2] {
    ["value", "counter"].map(|what| format!("connpool:{}:{client}:{what}", process::id()))
}

#[derive(Default)]
struct Tally {
    right: u64,
    wrong: u64,
    failed: u64,
    given_up: u64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.failed += other.failed;
        self.given_up += other.given_up;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} right replies, {} wrong", self.right, self.wrong)?;
        for (count, what) in [(self.failed, "failed"), (self.given_up, "given up")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}
