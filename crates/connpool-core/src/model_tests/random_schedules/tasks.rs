//! The tasks of one run, and what must hold when they have ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_lite::future::or;
use shuttle::future::yield_now;

use super::drawn::{Move, moody, one_in, settings, up_to};
use super::runtime::{Shuttle, spawn};
use crate::error::GetError;
use crate::error::connect_error::ConnectError;
use crate::model_tests::fake::{Fake, Refused};
use crate::pool::guard::PooledConnection;
use crate::pool::handle::Pool;

type Guard = PooledConnection<'static, Fake>;

/// More rounds of the clock than any run needs.
const ROUNDS: usize = 300_000;

#[derive(Clone)]
struct World {
    runtime: Shuttle,
    pool: Pool<Fake>,
    fake: Fake,
    most: usize,
    most_moves: usize,
    may_close: bool,
    over: Arc<AtomicBool>,
}

pub(super) async fn everybody_does_as_he_likes() {
    let calm = Arc::new(AtomicBool::new(false));
    let fake = moody(&calm);
    let runtime = Shuttle::default();
    let most = 1 + up_to(4);
    let pool = settings(fake.pool(runtime.clone()), most).build_lazy().expect("legal settings");
    let world = World {
        runtime,
        pool,
        fake,
        most,
        // With few tasks, none hides what went wrong before.
        most_moves: [1, 2, 6][up_to(2)],
        may_close: one_in(4),
        over: Arc::default(),
    };
    let clock = spawn(world.clone().move_the_clock());
    let tasks: Vec<_> =
        (0..8 + up_to(24)).map(|_| spawn(world.clone().make_some_moves())).collect();
    for task in tasks {
        task.await.expect("a task that ends");
    }
    calm.store(true, Ordering::SeqCst);
    world.assert_nothing_is_lost().await;
    world.over.store(true, Ordering::SeqCst);
    clock.await.expect("a clock that ends");
    world.assert_nothing_is_left().await;
}

impl World {
    async fn move_the_clock(self) {
        for _ in 0..ROUNDS {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            yield_now().await;
            let clock = &self.runtime.clock;
            if one_in(8) && !clock.tick() {
                clock.advance(Duration::from_millis(1));
            }
        }
        panic!("a task waits forever: {}", self.pool.stats());
    }

    async fn make_some_moves(self) {
        for _ in 0..=up_to(self.most_moves - 1) {
            self.make(Move::draw()).await;
        }
    }

    async fn make(&self, a_move: Move) {
        match a_move {
            Move::Use => {
                self.use_it(self.pool.get_owned().await, drop).await;
            }
            Move::UseWithin(limit) => {
                self.use_it(self.pool.get_owned_timeout(limit).await, drop).await;
            }
            Move::GiveUpAfter(rounds) => {
                let get = async { Some(self.pool.get_owned().await) };
                let give_up = async {
                    for _ in 0..rounds {
                        yield_now().await;
                    }
                    None
                };
                if let Some(got) = or(get, give_up).await {
                    self.use_it(got, drop).await;
                }
            }
            Move::TryGet => match self.pool.try_get() {
                Ok(mut guard) => {
                    guard.check_out();
                    guard.returned();
                }
                Err(error) => self.assert_is_no_surprise(error),
            },
            Move::Mark => {
                let mark = |mut guard: Guard| guard.mark_unusable();
                self.use_it(self.pool.get_owned().await, mark).await;
            }
            Move::LeaveUnfinished => {
                if let Ok(mut guard) = self.pool.get_owned().await {
                    let _ = guard.exchange(async |_| Err::<(), _>(Refused)).await;
                }
            }
            Move::Detach => {
                let detach = |guard: Guard| self.fake.detach(guard);
                self.use_it(self.pool.get_owned().await, detach).await;
            }
            Move::Clear => {
                let before = self.pool.stats().created;
                self.pool.clear();
                let got = self.pool.get_owned().await;
                if let Ok(guard) = &got {
                    assert!(guard.id() > before, "checked out in spite of the clear");
                }
                self.use_it(got, drop).await;
            }
            // Less than `min_size` is not allowed, and changes nothing.
            Move::Resize => drop(self.pool.resize(1 + up_to(self.most - 1))),
            Move::Widen => {
                let shared = self.pool.shared();
                shared.with(|_| shared.idle.widen());
            }
            Move::Close if self.may_close => {
                self.pool.close(Duration::from_millis(5)).await;
                assert!(self.pool.get_owned().await.is_err(), "checked out when closed");
            }
            Move::Close => {}
        }
    }

    async fn use_it(&self, got: Result<Guard, GetError<Refused>>, end: impl FnOnce(Guard)) {
        match got {
            Ok(mut guard) => {
                guard.check_out();
                for _ in 0..up_to(2) {
                    yield_now().await;
                }
                guard.returned();
                end(guard);
            }
            Err(error) => self.assert_is_no_surprise(error),
        }
    }

    fn assert_is_no_surprise(&self, error: GetError<Refused>) {
        match error {
            GetError::Closed => assert!(self.may_close, "the pool was not closed"),
            GetError::TooMany { .. }
            | GetError::Prepare(_)
            | GetError::Connect(ConnectError::Panicked) => {
                panic!("{error}")
            }
            GetError::Exhausted(_) | GetError::Timeout { .. } | GetError::Connect(_) => {}
        }
    }

    /// Asserts that after all tasks the pool checks out all of `max_size`, or is closed.
    async fn assert_nothing_is_lost(&self) {
        if self.pool.is_closed() {
            let report = self.pool.close(Duration::MAX).await;
            assert_eq!((report.still_out.len(), report.timed_out), (0, false));
            return;
        }
        self.pool.resize(self.most).expect("a legal size");
        let mut borrowed = Vec::new();
        while borrowed.len() < self.most {
            // A connection that dies before its checkout, or a rejected caller, is tried again.
            match self.pool.get_owned().await {
                Ok(guard) => borrowed.push(guard),
                Err(error) => {
                    self.assert_is_no_surprise(error);
                    // So that a breaker which opened is no reason to ask thousands of times.
                    self.runtime.clock.advance(Duration::from_millis(10));
                }
            }
            yield_now().await;
        }
        assert_eq!(self.fake.alive(), self.most);
    }

    async fn assert_nothing_is_left(self) {
        let World { runtime, pool, fake, most, .. } = self;
        wait_for("the books agree", || {
            let stats = pool.stats();
            let busy = stats.active + stats.connecting + stats.waiting;
            busy == 0 && fake.agrees_with(&stats)
        })
        .await;
        assert!(fake.peak() <= most, "{} at once of {most}", fake.peak());
        drop(pool);
        wait_for("the tasks of the pool end", || runtime.tasks() == 0).await;
        assert_eq!(fake.alive(), 0);
    }
}

async fn wait_for(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..ROUNDS {
        if holds() {
            return;
        }
        yield_now().await;
    }
    panic!("not so in the end: {what}");
}
