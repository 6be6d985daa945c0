//! The run itself: callers, a backend, a pool, and what must be true of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use connpool_core::{
    BreakerState, CloseReason, Connection, GetError, Liveness, Moment, Pool, PooledConnection,
    Runtime,
};
use futures_lite::AsyncReadExt;
use futures_lite::future::{block_on, poll_once};

use super::history::{Exchange, History, Move, Settings};
use crate::sim::Flag;
use crate::{
    FaultyConn, FaultyManager, Refused, SimRuntime, assert_at_rest, assert_invariants,
    assert_nobody_sleeps_for_nothing,
};

type Guard = PooledConnection<'static, FaultyManager>;
type Got = Result<Guard, GetError<Refused>>;

pub(crate) struct World {
    sim: SimRuntime,
    backend: FaultyManager,
    pool: Pool<FaultyManager>,
    settings: Settings,
    getters: Vec<Getter>,
    guards: Vec<Guard>,
    detached: Vec<FaultyConn>,
    /// The largest `max_size` so far.
    most: usize,
    /// Connects up to this number began before the last `clear`.
    stale: usize,
    users: u32,
    requests: u64,
    successes: u64,
    /// Connects that failed and connections that died, so far, and when that number last grew.
    troubles: u64,
    trouble_at: Option<Moment>,
    /// The runtime takes no tasks.
    refusing: bool,
}

/// A `get` that is polled by hand.
struct Getter {
    future: Pin<Box<dyn Future<Output = Got> + Send>>,
    woken: Arc<Flag>,
    limit: Option<Duration>,
    /// When its time is up; known from its first poll on.
    deadline: Option<Moment>,
    polled: bool,
}

impl World {
    pub(crate) fn new(history: &History) -> Self {
        let sim = SimRuntime::new(history.seed);
        let backend = FaultyManager::new(sim.clone());
        let settings = history.settings.clone();
        let pool = match settings.apply(&backend).build_lazy() {
            Ok(pool) => pool,
            Err(error) => panic!("settings that make no sense were drawn: {error}"),
        };
        World {
            sim,
            backend,
            pool,
            most: settings.max_size,
            settings,
            getters: Vec::new(),
            guards: Vec::new(),
            detached: Vec::new(),
            stale: 0,
            users: 0,
            requests: 0,
            successes: 0,
            troubles: 0,
            trouble_at: None,
            refusing: false,
        }
    }

    pub(crate) fn make(&mut self, step: &Move) {
        match *step {
            Move::Get(limit) => self.get(limit),
            Move::TryGet => self.try_get(),
            Move::Poll(index) => {
                if let Some(index) = pick(index, &self.getters) {
                    self.poll(index);
                }
            }
            Move::Cancel(index) => drop(take(index, &mut self.getters)),
            Move::Return(index) => drop(take(index, &mut self.guards)),
            Move::Mark(index) => {
                if let Some(mut guard) = take(index, &mut self.guards) {
                    guard.mark_unusable();
                }
            }
            Move::Detach(index) => {
                let guard = take(index, &mut self.guards);
                self.detached.extend(guard.map(PooledConnection::detach));
            }
            Move::DropDetached(index) => drop(take(index, &mut self.detached)),
            Move::Exchange { guard, ends } => self.exchange(guard, ends),
            Move::ReadAndGiveUp(index) => {
                if let Some(index) = pick(index, &self.guards) {
                    let mut byte = [0];
                    let _ = block_on(poll_once(self.guards[index].read(&mut byte)));
                }
            }
            Move::Speak(index) => self.to_one(index, |backend, id| backend.speak(id, b"psst")),
            Move::HangUp(index) => self.to_one(index, FaultyManager::hang_up),
            Move::BreakOff(index) => self.to_one(index, FaultyManager::break_off),
            Move::Restart => self.backend.hang_up_all(),
            Move::Clear => {
                self.pool.clear();
                self.stale = self.backend.with_truth(|truth| truth.connects_at.len());
            }
            Move::Resize(max_size) => {
                if self.pool.resize(max_size).is_ok() {
                    self.most = self.most.max(max_size);
                }
            }
            Move::Pause => self.pool.pause(),
            Move::Resume => self.pool.resume(),
            Move::Retain(factor) => {
                self.pool.retain(|conn| conn.connect() as u64 % factor != 0);
            }
            Move::Close => {
                let close = self.pool.close(Duration::ZERO);
                let _ = block_on(poll_once(close));
            }
            Move::Turns(times) => {
                for _ in 0..times {
                    self.sim.run_one();
                }
            }
            Move::Round => self.round(),
            Move::Leap(time) => self.sim.advance(time),
            Move::ShutDown => {
                self.refusing = true;
                self.sim.shut_down();
            }
            Move::StartAgain => self.start_again(),
            Move::Next(op, act) => {
                self.backend.next(op, [act]);
            }
            Move::Always(op, act) => {
                self.backend.always(op, act);
            }
            Move::Calm => {
                self.backend.calm();
            }
        }
        self.check();
    }

    /// The backend is well again and everybody gives back what he has: now everybody must be
    /// served, and in the end there is nothing left.
    pub(crate) fn end(mut self) -> u64 {
        self.backend.calm();
        self.pool.resume();
        self.start_again();
        self.detached.clear();
        for _ in 0..40 {
            self.guards.clear();
            self.sim.advance(Duration::from_secs(5));
            self.round();
        }
        self.check();
        assert_eq!(
            self.getters.len(),
            0,
            "nobody was left out: {}",
            self.pool.stats()
        );
        self.guards.clear();
        self.sim.advance(Duration::from_secs(60));
        self.round();
        assert_at_rest_or_closed(&self.pool, &self.backend);
        if !self.pool.is_closed() {
            self.lend_all();
        }
        let World {
            sim, backend, pool, ..
        } = self;
        drop(pool);
        sim.advance(Duration::from_secs(60));
        assert_eq!(backend.alive(), 0, "a connection outlives its pool");
        assert_eq!(sim.tasks(), 0, "a task outlives its pool");
        sim.trace_hash()
    }

    /// Tasks are taken again. Whoever waits moves to the new runtime, which polls him: the pool has
    /// nobody who could have tried again for him meanwhile.
    fn start_again(&mut self) {
        self.refusing = false;
        self.sim.start_again();
        self.getters.iter().for_each(|getter| getter.woken.raise());
    }

    fn lend_all(&mut self) {
        let all = self.pool.config().max_size;
        for _ in 0..all {
            self.get(Some(Duration::from_secs(60)));
            let last = self.getters.len() - 1;
            self.poll(last);
            self.round();
            self.sim.advance(Duration::from_secs(1));
            self.round();
        }
        let lent = self.guards.len();
        assert_eq!(lent, all, "capacity was lost: {}", self.pool.stats());
        self.guards.clear();
        self.round();
    }

    fn get(&mut self, limit: Option<Duration>) {
        let future: Pin<Box<dyn Future<Output = Got> + Send>> = match limit {
            Some(limit) => Box::pin(self.pool.get_owned_timeout(limit)),
            None => Box::pin(self.pool.get_owned()),
        };
        self.getters.push(Getter {
            future,
            woken: Flag::raised(),
            limit: limit.or(self.settings.get_timeout),
            deadline: None,
            polled: false,
        });
    }

    fn try_get(&mut self) {
        self.requests += 1;
        // It borrows the pool, which these guards do not.
        let pool = self.pool.clone();
        if let Ok(guard) = pool.try_get() {
            self.successes += 1;
            assert!(!pool.is_closed(), "a closed pool has lent");
            assert!(!pool.is_paused(), "a paused pool has lent");
            assert!(
                guard.uses() == 1 || !self.settings.resets,
                "lent by try_get without a reset"
            );
        }
    }

    fn poll(&mut self, index: usize) {
        let now = self.sim.now();
        let getter = &mut self.getters[index];
        if !getter.polled {
            getter.polled = true;
            getter.deadline = getter.limit.and_then(|limit| now.checked_add(limit));
            self.requests += 1;
        }
        getter.woken.take();
        let waker = Waker::from(Arc::clone(&getter.woken));
        let polled = getter
            .future
            .as_mut()
            .poll(&mut Context::from_waker(&waker));
        if let Poll::Ready(result) = polled {
            drop(self.getters.remove(index));
            if let Ok(guard) = result {
                self.lent(guard);
            }
        }
    }

    fn lent(&mut self, mut guard: Guard) {
        self.successes += 1;
        self.users += 1;
        assert!(!self.pool.is_closed(), "a closed pool has lent {guard:?}");
        assert!(!self.pool.is_paused(), "a paused pool has lent {guard:?}");
        guard.label(format!("user {}", self.users));
        assert!(
            guard.connect() > self.stale,
            "lent after a clear, though its connect, number {}, began before: {guard:?}",
            guard.connect()
        );
        // A new one is lent once, however short its life: with a limit of zero there would be none.
        if let Some(limit) = self.settings.max_lifetime.filter(|_| guard.uses() > 1) {
            let age = guard.age();
            assert!(age <= limit, "lent at the age of {age:?}: {guard:?}");
        }
        if let Some(most) = self.settings.max_uses {
            assert!(guard.uses() <= most, "lent too often: {guard:?}");
        }
        assert_eq!(
            guard.liveness(),
            Liveness::Alive,
            "lent dead or dirty: {guard:?}"
        );
        assert!(
            !guard.is_under_check(),
            "lent in the middle of a check: {guard:?}"
        );
        if self.settings.resets {
            guard.used_by(self.users);
        }
        self.guards.push(guard);
    }

    fn exchange(&mut self, index: usize, ends: Exchange) {
        let Some(index) = pick(index, &self.guards) else {
            return;
        };
        let exchange = self.guards[index].exchange(async |_| match ends {
            Exchange::Well => Ok(()),
            Exchange::Badly => Err(()),
            Exchange::Dropped => std::future::pending().await,
        });
        let _ = block_on(poll_once(exchange));
        if ends != Exchange::Well {
            // Left to the pool at once: nothing that was spoiled may come back.
            let id = self.guards[index].id();
            drop(self.guards.swap_remove(index));
            self.round();
            let back = self.guards.iter().any(|guard| guard.id() == id);
            assert!(!back, "connection {id} was lent after a spoiled exchange");
        }
    }

    /// Does something at the other end of one of the latest connections.
    fn to_one(&self, index: usize, act: impl FnOnce(&FaultyManager, u64)) {
        let opened = self.backend.with_truth(|truth| truth.opened);
        if let Some(id) = opened.checked_sub(index as u64 % 8) {
            act(&self.backend, id);
        }
    }

    /// Everything runs that can, at this moment.
    fn round(&mut self) {
        for _ in 0..100_000 {
            self.sim.settle();
            let Some(next) = self
                .getters
                .iter()
                .position(|getter| getter.woken.is_raised())
            else {
                return self.check_rest();
            };
            self.poll(next);
        }
        panic!("it spins: {}", self.pool.stats());
    }

    /// What holds after every move.
    fn check(&mut self) {
        assert_invariants(&self.pool, &self.backend, self.most, self.detached.len());
        let stats = self.pool.stats();
        assert_eq!(stats.request, self.requests, "requests: {stats}");
        assert_eq!(stats.success, self.successes, "successes: {stats}");
        // Those who have one are those who have one.
        let mut holders: Vec<_> = self.pool.holders().iter().map(|holder| holder.id).collect();
        let mut guards: Vec<_> = self.guards.iter().map(|guard| guard.id()).collect();
        holders.sort_unstable();
        guards.sort_unstable();
        assert_eq!(holders, guards, "the holders are the guards: {stats}");
        // Those that wait as the pool sees it are those that wait.
        let begun = self.getters.iter().filter(|getter| getter.polled).count();
        assert!(stats.waiting <= begun, "{begun} wait: {stats}");
    }

    /// Notes when something last happened that makes the pool pause before it connects.
    fn note_troubles(&mut self) {
        let stats = self.pool.stats();
        let stillborn = [
            CloseReason::Dead,
            CloseReason::Unsolicited,
            CloseReason::Panicked,
            // A new one that is over a limit is looked at all the same.
            CloseReason::Lifetime,
            CloseReason::Idle,
        ];
        let died: u64 = stillborn
            .map(|reason| stats.closed.get(reason))
            .iter()
            .sum();
        let troubles = stats.connect_failed + died;
        if std::mem::replace(&mut self.troubles, troubles) != troubles {
            self.trouble_at = Some(self.sim.now());
        }
    }

    /// What holds when nothing can run.
    fn check_rest(&mut self) {
        self.note_troubles();
        let now = self.sim.now();
        for getter in &self.getters {
            if getter.deadline.is_some_and(|deadline| deadline <= now) {
                panic!("waits beyond its deadline: {}", self.pool.stats());
            }
        }
        if self.refusing {
            return;
        }
        // No pause is longer than the longest of the default backoff.
        let pausing = (self.trouble_at).is_some_and(|at| now.since(at) < Duration::from_secs(5));
        // With the breaker open there is a probe from time to time, and nothing else.
        let probing = self.pool.stats().breaker != BreakerState::Closed;
        if self.pool.is_paused() {
            return;
        }
        assert_nobody_sleeps_for_nothing(&self.pool, pausing || probing);
    }
}

fn assert_at_rest_or_closed(pool: &Pool<FaultyManager>, backend: &FaultyManager) {
    if pool.is_closed() {
        assert_eq!(backend.alive(), 0, "open after the close: {}", pool.stats());
    } else if backend.with_truth(|truth| truth.peak) <= pool.config().max_size {
        assert_at_rest(pool, backend, 0);
    }
}

fn pick<T>(index: usize, among: &[T]) -> Option<usize> {
    index.checked_rem(among.len())
}

fn take<T>(index: usize, among: &mut Vec<T>) -> Option<T> {
    pick(index, among).map(|index| among.remove(index))
}
