//! Two things at the same moment, each of which might look just before the other one acts.
//!
//! On a runtime of several threads they meet in a window of nanoseconds, so that each is tried many
//! times; nobody else touches the pool meanwhile, who could put right what went wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connpool_core::{Builder, CloseReason, Moment, Pool};
use futures_lite::future::yield_now;

use super::host::{Guard, Host, LONG, closed, waiting};
use crate::{Act, FaultyManager, Op};

/// The wake-up that is lost if "nothing is idle" and "I am in line" are two steps.
pub async fn a_return_and_a_get_meet(host: Host) {
    let rounds = Rounds::new(&host);
    while rounds.go_on() {
        let (backend, pool) = rounds.pool(|pool| pool.max_size(1));
        let guard = pool.get_owned().await.unwrap();
        let get = pool.get_owned();
        let got = rounds.at_once(async move { drop(guard) }, get).await;
        assert_eq!(got.1.unwrap().id(), 1);
        assert_eq!(host.rest(&pool, &backend, 0).await.available, 1);
    }
}

/// The same for a slot that becomes free.
pub async fn a_freed_slot_and_a_get_meet(host: Host) {
    let rounds = Rounds::new(&host);
    while rounds.go_on() {
        let (backend, pool) = rounds.pool(|pool| pool.max_size(1));
        let mut guard = pool.get_owned().await.unwrap();
        guard.mark_unusable();
        let get = pool.get_owned();
        let got = rounds.at_once(async move { drop(guard) }, get).await;
        assert_eq!(got.1.unwrap().id(), 2);
        assert_eq!(host.rest(&pool, &backend, 0).await.created, 2);
    }
}

/// A hand-over to somebody who is just leaving.
pub async fn a_return_and_a_waiter_that_gives_up_lose_nothing(host: Host) {
    let rounds = Rounds::new(&host);
    while rounds.go_on() {
        let (backend, pool) = rounds.pool(|pool| pool.max_size(1));
        let guard = pool.get_owned().await.unwrap();
        let first = waiting(pool.get_owned()).await;
        let second = host.spawn(waiting(pool.get_owned()).await);
        rounds
            .at_once(async move { drop(guard) }, async move { drop(first) })
            .await;
        assert_eq!(second.await.unwrap().id(), 1);
        assert_eq!(host.rest(&pool, &backend, 0).await.created, 1);
    }
}

/// A connect that ends when who asked for it gives up.
pub async fn a_connect_and_a_waiter_that_gives_up_lose_nothing(host: Host) {
    let rounds = Rounds::new(&host);
    while rounds.go_on() {
        let (backend, pool) = rounds.pool(|pool| pool.max_size(1));
        backend.next(Op::Connect, [Act::Hold]);
        let get = waiting(pool.get_owned()).await;
        host.until(|| backend.held(Op::Connect) == 1).await;
        let manager = backend.clone();
        let connects = async move { manager.release(Op::Connect, Act::Succeed) };
        rounds.at_once(connects, async move { drop(get) }).await;
        let stats = host.rest(&pool, &backend, 0).await;
        assert_eq!((stats.created, stats.available), (1, 1));
    }
}

/// `close` against `get`: whatever was lent, nothing is kept.
pub async fn a_close_and_a_get_leave_nothing(host: Host) {
    let rounds = Rounds::new(&host);
    while rounds.go_on() {
        let (backend, pool) = rounds.pool(|pool| pool.max_size(2));
        host.fill(&pool, 1).await;
        let (closing, get) = (pool.clone(), pool.get_owned());
        let close = async move { closing.close(Duration::ZERO).await };
        let (_, got) = rounds.at_once(close, get).await;
        if let Err(error) = got.map(drop) {
            assert!(error.is_closed(), "{error}");
        }
        let report = pool.close(LONG).await;
        assert_eq!((report.still_out, report.timed_out), (0, false));
        assert_eq!(backend.alive(), 0);
    }
}

/// The last handle against a guard.
pub async fn the_last_handle_and_a_guard_leave_nothing(host: Host) {
    let rounds = Rounds::new(&host);
    while rounds.go_on() {
        let (backend, pool) = rounds.pool(|pool| pool.max_size(2));
        let guard = pool.get_owned().await.unwrap();
        rounds
            .at_once(async move { drop(pool) }, async move { drop(guard) })
            .await;
        host.until(|| (backend.alive(), host.tasks()) == (0, 0))
            .await;
    }
}

/// `clear` against a return: what was opened before is not lent after.
pub async fn a_clear_reaches_what_just_comes_back(host: Host) {
    let rounds = Rounds::new(&host);
    while rounds.go_on() {
        let (backend, pool) = rounds.pool(|pool| pool.max_size(1));
        let guard = pool.get_owned().await.unwrap();
        let clearing = pool.clone();
        rounds
            .at_once(async move { clearing.clear() }, async move { drop(guard) })
            .await;
        assert_eq!(pool.get().await.unwrap().id(), 2);
        host.rest(&pool, &backend, 0).await;
        assert_eq!(closed(&pool, CloseReason::Cleared), 1);
    }
}

/// `resize` against returns: what is too much does not stay.
pub async fn a_resize_reaches_what_just_comes_back(host: Host) {
    let rounds = Rounds::new(&host);
    while rounds.go_on() {
        let (_, pool) = rounds.pool(|pool| pool.max_size(2));
        let held: Vec<Guard> = host.hold(&pool, 2).await;
        let resizing = pool.clone();
        let resize = async move { resizing.resize(1).unwrap() };
        rounds.at_once(resize, async move { drop(held) }).await;
        host.until_stats(&pool, |stats| (stats.size, stats.available) == (1, 1))
            .await;
        assert_eq!(closed(&pool, CloseReason::Shrunk), 1);
    }
}

/// Many rounds of one duel, or as many as there is time for.
struct Rounds<'a> {
    host: &'a Host,
    left: AtomicUsize,
    end: Moment,
}

impl<'a> Rounds<'a> {
    /// On a machine that is busy with other things, a round takes long and proves little.
    const TIME: Duration = Duration::from_millis(500);

    fn new(host: &'a Host) -> Self {
        let end = host.now().checked_add(Self::TIME).unwrap();
        Rounds {
            host,
            left: AtomicUsize::new(500),
            end,
        }
    }

    fn go_on(&self) -> bool {
        self.left.fetch_sub(1, Ordering::SeqCst) > 1 && self.host.now() < self.end
    }

    /// A fresh pool, in which a waiter that was forgotten waits for ever.
    fn pool(
        &self,
        settings: impl FnOnce(Builder<FaultyManager>) -> Builder<FaultyManager>,
    ) -> (FaultyManager, Pool<FaultyManager>) {
        let backend = self.host.backend();
        let builder = settings(backend.pool())
            .get_timeout(None)
            .evict_interval(None);
        (backend, builder.build_lazy().unwrap())
    }

    /// Runs both at the same moment, in two tasks.
    async fn at_once<A, B>(&self, one: A, other: B) -> (A::Output, B::Output)
    where
        A: Future,
        B: Future<Output: Send + 'static> + Send + 'static,
    {
        let ready = Arc::new(AtomicUsize::new(0));
        let both = Arc::clone(&ready);
        let job = self.host.spawn(async move {
            meet(&both).await;
            other.await
        });
        meet(&ready).await;
        let one = one.await;
        self.host.until(|| job.has_ended()).await;
        (one, job.await)
    }
}

/// Returns to both at once, as exactly as two threads can have it.
async fn meet(ready: &AtomicUsize) {
    ready.fetch_add(1, Ordering::SeqCst);
    while ready.load(Ordering::SeqCst) < 2 {
        yield_now().await;
    }
}
