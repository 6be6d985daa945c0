//! Two things at the same moment, each of which might look just before the other one acts.
//!
//! On a runtime of several threads they meet in a window of nanoseconds, so that each is tried
//! thousands of times; nobody else touches the pool meanwhile, who could put right what went wrong.

use std::future::poll_fn;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use connpool_core::{BoxFuture, CloseReason, Instant, Pool};
use futures_lite::future::{or, yield_now};

use super::host::{Host, LONG, closed, waiting};
use super::job::Job;
use crate::{Behavior, Call, FaultyManager};

/// The wake-up that is lost if "nothing is idle" and "I am in line" are two steps.
pub async fn a_return_and_a_get_meet(host: Host) {
    let mut duel = Duel::new(&host);
    let (backend, pool) = pool(&host, 1);
    while duel.goes_on() {
        let guard = pool.get_owned().await.unwrap();
        let get = pool.get_owned();
        let (_, got) = duel.at_once(async move { drop(guard) }, get).await;
        assert_eq!(got.unwrap().id(), 1);
    }
    assert_eq!(host.rest(&pool, &backend, 0).await.created, 1);
}

/// The same for a slot that becomes free.
pub async fn a_freed_slot_and_a_get_meet(host: Host) {
    let mut duel = Duel::new(&host);
    let (backend, pool) = pool(&host, 1);
    while duel.goes_on() {
        let mut guard = pool.get_owned().await.unwrap();
        guard.mark_unusable();
        let id = guard.id();
        let get = pool.get_owned();
        let (_, got) = duel.at_once(async move { drop(guard) }, get).await;
        assert_eq!(got.unwrap().id(), id + 1);
    }
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!(stats.created, closed(&pool, CloseReason::Marked) + 1);
}

/// A hand-over to somebody who is just leaving.
pub async fn a_return_and_a_waiter_that_gives_up_lose_nothing(host: Host) {
    let mut duel = Duel::new(&host);
    let (backend, pool) = pool(&host, 1);
    while duel.goes_on() {
        let guard = pool.get_owned().await.unwrap();
        let first = waiting(pool.get_owned()).await;
        let second = waiting(pool.get_owned()).await;
        duel.at_once(async move { drop(guard) }, async move { drop(first) })
            .await;
        assert_eq!(second.await.unwrap().id(), 1);
    }
    assert_eq!(host.rest(&pool, &backend, 0).await.created, 1);
}

/// A connect that ends when who asked for it gives up.
pub async fn a_connect_and_a_waiter_that_gives_up_lose_nothing(host: Host) {
    let mut duel = Duel::new(&host);
    while duel.goes_on() {
        let (backend, pool) = pool(&host, 1);
        backend.next(Call::Connect, [Behavior::Hold]);
        let get = waiting(pool.get_owned()).await;
        while backend.held(Call::Connect) == 0 {
            yield_now().await;
        }
        let manager = backend.clone();
        let connects = async move { manager.release(Call::Connect, Behavior::Succeed) };
        duel.at_once(connects, async move { drop(get) }).await;
        let stats = host.rest(&pool, &backend, 0).await;
        assert_eq!((stats.created, stats.available), (1, 1));
    }
}

/// `close` against `get`: whatever was lent, nothing is kept.
pub async fn a_close_and_a_get_leave_nothing(host: Host) {
    let mut duel = Duel::new(&host);
    while duel.goes_on() {
        let (backend, pool) = pool(&host, 2);
        host.fill(&pool, 1).await;
        let (closing, get) = (pool.clone(), pool.get_owned());
        let close = async move { closing.close(Duration::ZERO).await };
        let (_, got) = duel.at_once(close, get).await;
        if let Err(error) = got.map(drop) {
            assert!(error.is_closed(), "{error}");
        }
        let report = pool.close(LONG).await;
        assert_eq!((report.still_out.len(), report.timed_out), (0, false));
        assert_eq!(backend.alive(), 0);
    }
}

/// `close` against a return: nothing comes to rest in a closed pool.
pub async fn a_close_reaches_what_just_comes_back(host: Host) {
    let mut duel = Duel::new(&host);
    while duel.goes_on() {
        let (backend, pool) = pool(&host, 1);
        let guard = pool.get_owned().await.unwrap();
        let closing = pool.clone();
        let close = async move { closing.close(LONG).await };
        let (_, report) = duel.at_once(async move { drop(guard) }, close).await;
        assert_eq!((report.still_out.len(), report.timed_out), (0, false));
        assert_eq!(backend.alive(), 0);
    }
}

/// The last handle against a guard.
pub async fn the_last_handle_and_a_guard_leave_nothing(host: Host) {
    let mut duel = Duel::new(&host);
    while duel.goes_on() {
        let (backend, pool) = pool(&host, 1);
        let guard = pool.get_owned().await.unwrap();
        duel.at_once(async move { drop(pool) }, async move { drop(guard) })
            .await;
        host.until(|| backend.alive() == 0).await;
    }
}

/// `clear` against a return: what was opened before is not lent after.
pub async fn a_clear_reaches_what_just_comes_back(host: Host) {
    let mut duel = Duel::new(&host);
    let (backend, pool) = pool(&host, 1);
    while duel.goes_on() {
        let guard = pool.get_owned().await.unwrap();
        let (id, clearing) = (guard.id(), pool.clone());
        duel.at_once(async move { drop(guard) }, async move { clearing.clear() })
            .await;
        assert_eq!(pool.get().await.unwrap().id(), id + 1);
    }
    let stats = host.rest(&pool, &backend, 0).await;
    assert_eq!(stats.created, closed(&pool, CloseReason::Cleared) + 1);
}

/// `resize` against a return: what is too much does not stay.
pub async fn a_resize_reaches_what_just_comes_back(host: Host) {
    let mut duel = Duel::new(&host);
    let (backend, pool) = pool(&host, 2);
    while duel.goes_on() {
        pool.resize(2).unwrap();
        let held = host.hold(&pool, 2).await;
        let resizing = pool.clone();
        let resize = async move { resizing.resize(1).unwrap() };
        duel.at_once(async move { drop(held) }, resize).await;
        host.until_stats(&pool, |stats| (stats.size, stats.available) == (1, 1))
            .await;
    }
    let shrunk = closed(&pool, CloseReason::Shrunk);
    assert_eq!((pool.stats().created, backend.peak()), (shrunk + 1, 2));
}

/// A pool in which nothing but the two happens, and whoever is forgotten waits for ever.
fn pool(host: &Host, max_size: usize) -> (FaultyManager, Pool<FaultyManager>) {
    let backend = host.backend();
    let builder = backend.pool().max_size(max_size);
    let builder = builder.get_timeout(None).evict_interval(None);
    (backend, builder.build_lazy().unwrap())
}

/// Many rounds, or as many as there is time for. The second one in each acts in a task that is
/// there for it: one that had to be spawned would come too late.
struct Duel<'a> {
    host: &'a Host,
    second: Arc<Second>,
    left: usize,
    end: Instant,
}

impl<'a> Duel<'a> {
    const ROUNDS: usize = 2_000;
    /// Where the two have to share a processor, a round takes long and proves little.
    const TIME: Duration = Duration::from_millis(300);

    fn new(host: &'a Host) -> Self {
        let second = Arc::<Second>::default();
        drop(host.spawn(Arc::clone(&second).run()));
        Duel {
            host,
            second,
            left: Self::ROUNDS,
            end: host.now().checked_add(Self::TIME).unwrap(),
        }
    }

    fn goes_on(&mut self) -> bool {
        self.left -= 1;
        self.left > 0 && self.host.now() < self.end
    }

    async fn at_once<A, B>(&self, one: A, other: B) -> (A::Output, B::Output)
    where
        A: Future,
        B: Future<Output: Send + 'static> + Send + 'static,
    {
        let ready = Arc::new(AtomicUsize::new(0));
        let (job, promise) = Job::new();
        let (host, both) = (self.host.clone(), Arc::clone(&ready));
        self.second.tell(Told::Behavior(Box::pin(async move {
            meet(&host, &both).await;
            promise.keep(other.await);
        })));
        meet(self.host, &ready).await;
        let one = one.await;
        let too_late = async {
            self.host.sleep(LONG).await;
            panic!("the second one has not ended after {LONG:?}")
        };
        (one, or(job, too_late).await)
    }
}

impl Drop for Duel<'_> {
    fn drop(&mut self) {
        self.second.tell(Told::End);
    }
}

/// The second one: acts when it is told to.
#[derive(Default)]
struct Second(Mutex<(Told, Option<Waker>)>);

#[derive(Default)]
enum Told {
    #[default]
    Nothing,
    Behavior(BoxFuture),
    End,
}

impl Second {
    fn tell(&self, told: Told) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 = told;
            state.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    async fn run(self: Arc<Self>) {
        while let Some(task) = poll_fn(|cx| self.poll_told(cx)).await {
            task.await;
        }
    }

    fn poll_told(&self, cx: &mut Context<'_>) -> Poll<Option<BoxFuture>> {
        let mut state = self.0.lock().unwrap();
        match std::mem::take(&mut state.0) {
            Told::Behavior(task) => Poll::Ready(Some(task)),
            Told::End => Poll::Ready(None),
            Told::Nothing => {
                state.1 = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Returns to both at once, give or take a moment: which of them is first is for chance to say.
async fn meet(host: &Host, ready: &AtomicUsize) {
    ready.fetch_add(1, Ordering::SeqCst);
    while ready.load(Ordering::SeqCst) < 2 {
        yield_now().await;
    }
    (0..host.runtime().random() % 256).for_each(|_| spin_loop());
}
