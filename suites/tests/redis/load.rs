//! Concurrent clients with numbered requests, whose replies carry the same number.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;

use connpool_core::{CloseReason, Connection, Manager, Pool, Runtime};
use smol::channel::{Receiver, Sender, unbounded};

use crate::support::{Adapter, ask, assert_closed, clients, pool_of, start_redis};

pub(crate) async fn every_reply_belongs_to_its_request<A: Adapter>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server).max_size(4).build().await.unwrap();
    let load = Load::start::<A, _>(&pool, 32, Patience::Endless);
    load.wait_for_replies(50).await;
    assert_eq!(clients(&mut server).len(), 4);
    let failed = load.stop().await;
    assert_eq!(failed, 0);
    let stats = pool.stats();
    assert_eq!((stats.created, stats.size, stats.active), (4, 4, 0));
    assert_eq!(stats.request, stats.success);
    assert_closed(&pool, &[]);
}

pub(crate) async fn abandoned_requests_leave_no_reply_behind<A: Adapter>() {
    let server = start_redis();
    let pool = pool_of::<A>(&server).max_size(4).build().await.unwrap();
    // Each request waits for three replies.
    let load = Load::start::<A, _>(&pool, 16, Patience::UpTo(6));
    load.wait_for_replies(20).await;
    let abandoned = load.stop().await;
    assert!(abandoned > 0);
    assert_closed(&pool, &[(CloseReason::Unfinished, abandoned)]);
}

/// Clients that send requests until stopped. A wrong reply is a panic.
pub(crate) struct Load {
    state: Arc<State>,
    answers: Receiver<usize>,
    clients: Vec<Pin<Box<dyn Future<Output = ()>>>>,
}

/// When a client abandons a request.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    Endless,
    /// After at most this many waits.
    UpTo(u64),
}

#[derive(Default)]
struct State {
    failures_forbidden: AtomicBool,
    over: AtomicBool,
    failed: AtomicU64,
}

impl Load {
    pub(crate) fn start<A: Adapter, M>(pool: &Pool<M>, clients: usize, patience: Patience) -> Load
    where
        M: Manager<Connection: Connection>,
    {
        let state = Arc::new(State::default());
        let (answered, answers) = unbounded();
        let clients = (0..clients).map(|me| {
            let client = Client {
                me,
                pool: pool.clone(),
                patience,
                state: Arc::clone(&state),
                answered: answered.clone(),
            };
            let task = A::spawn(async move { client.run::<A>().await });
            Box::pin(task) as Pin<Box<dyn Future<Output = ()>>>
        });
        Load { clients: clients.collect(), answers, state }
    }

    /// Waits until every client has received `more` further replies.
    pub(crate) async fn wait_for_replies(&self, more: u64) {
        while self.answers.try_recv().is_ok() {}
        let mut missing = vec![more; self.clients.len()];
        while missing.iter().any(|missing| *missing > 0) {
            let client = self.answers.recv().await.expect("a client panicked");
            missing[client] = missing[client].saturating_sub(1);
        }
    }

    /// Makes every further failed request a panic.
    pub(crate) fn forbid_failures(&self) {
        self.state.failures_forbidden.store(true, Ordering::SeqCst);
    }

    /// Stops the clients and returns the number of failed requests.
    pub(crate) async fn stop(self) -> u64 {
        self.state.over.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await;
        }
        self.state.failed.load(Ordering::SeqCst)
    }
}

struct Client<M: Manager> {
    me: usize,
    pool: Pool<M>,
    patience: Patience,
    state: Arc<State>,
    answered: Sender<usize>,
}

impl<M> Client<M>
where
    M: Manager<Connection: Connection>,
{
    async fn run<A: Adapter>(self) {
        let Client { me, pool, state, .. } = &self;
        let chance = A::runtime();
        for number in 0.. {
            if state.over.load(Ordering::SeqCst) {
                return;
            }
            let failures_forbidden = state.failures_forbidden.load(Ordering::SeqCst);
            let mut conn = pool.get().await.unwrap_or_else(|error| panic!("{error}"));
            let number = format!("{me}:{number}");
            let request = conn.exchange(async |redis| numbered(redis, &number).await);
            let waits = match self.patience {
                Patience::Endless => u64::MAX,
                Patience::UpTo(most) => chance.random() % most,
            };
            match abandon_after(waits, request).await {
                Ok(()) => _ = self.answered.send(*me).await,
                Err(error) if failures_forbidden => panic!("{error}"),
                Err(_) => _ = state.failed.fetch_add(1, Ordering::SeqCst),
            }
        }
    }
}

impl<M: Manager> Drop for Client<M> {
    fn drop(&mut self) {
        // On a panic too, so that no test waits for answers of this client.
        if thread::panicking() {
            self.answered.close();
        }
    }
}

/// Sends three requests and reads their replies.
async fn numbered(redis: &mut impl Connection, number: &str) -> io::Result<()> {
    let key = format!("key {number}");
    assert_eq!(ask(redis, &["ECHO", number]).await?, number);
    assert_eq!(ask(redis, &["SET", &key, number]).await?, "OK");
    assert_eq!(ask(redis, &["GET", &key]).await?, number);
    Ok(())
}

/// Drops the request when it would wait more than this many times.
async fn abandon_after(
    waits: u64,
    request: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let mut request = pin!(request);
    let mut left = waits;
    poll_fn(|cx| match request.as_mut().poll(cx) {
        Poll::Pending if left == 0 => Poll::Ready(Err(io::ErrorKind::Interrupted.into())),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
        ready => ready,
    })
    .await
}
