//! The harness of a run: callers, backend and pool, and the state that checks compare with.

mod checks;
mod connections;
mod gets;
mod pool_calls;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use connpool_core::{Instant, Pool, PooledConnection, Runtime};
use futures_lite::AsyncReadExt;
use futures_lite::future::{block_on, poll_once};

use super::callers::{Caller, Guard};
use super::history::{History, Step};
use super::observer::RecordingObserver;
use super::settings::{FixedSettings, Settings};
use connpool_testkit::FaultyConn;
use connpool_testkit::FaultyManager;
use connpool_testkit::SimRuntime;

pub(crate) struct Harness {
    sim: SimRuntime,
    backend: FaultyManager,
    pool: Pool<FaultyManager>,
    observer: Option<RecordingObserver>,
    fixed: FixedSettings,
    settings: Settings,
    /// The number of changes of the settings.
    version: usize,
    /// Incremented whenever the maintenance task may have been replaced or its settings changed.
    maintenance_epoch: usize,
    callers: Vec<Caller>,
    checked_out: Vec<CheckedOut>,
    detached: Vec<FaultyConn>,
    /// The largest `max_size` and the largest `max_connecting` so far.
    largest_max_size: usize,
    largest_max_connecting: usize,
    /// The number of clears, and the number of connects started before the last one.
    clears: u64,
    connects_at_clear: usize,
    /// The number of connections added, and the value of `clears` at the last `add` of each.
    added: u64,
    added_at: BTreeMap<u64, u64>,
    /// Connections whose exchange did not succeed.
    unfinished: Rc<RefCell<BTreeSet<u64>>>,
    requests: u64,
    successes: u64,
    slow_gets: u64,
    /// The number of events that make the pool back off, and the time of the last one.
    failures: u64,
    last_failure_at: Option<Instant>,
    created: u64,
    last_created_at: Option<Instant>,
    /// The runtime is shut down.
    runtime_down: bool,
    /// When the runtime was last restarted. Connects that it dropped are told to nobody.
    restarted_at: Instant,
}

/// A connection borrowed by the harness.
struct CheckedOut {
    guard: Guard,
    label: Option<String>,
    since: Instant,
    maintenance_epoch: usize,
}

impl Harness {
    pub(crate) fn new(history: &History) -> Self {
        let sim = SimRuntime::new(history.seed);
        let backend = FaultyManager::new(sim.clone());
        let History { fixed, settings, .. } = *history;
        if fixed.needs_reset {
            backend.require_reset();
        }
        let observer = fixed.observer.map(|behavior| RecordingObserver::new(behavior, &fixed));
        let builder = backend.pool().config(settings.config());
        let builder = match &observer {
            Some(observer) => builder.observer(observer.clone()),
            None => builder,
        };
        let pool = match builder.build_lazy() {
            Ok(pool) => pool,
            Err(error) => panic!("invalid settings were drawn: {error}"),
        };
        if let Some(observer) = &observer {
            observer.set_pool(&pool);
        }
        Harness {
            sim,
            backend,
            pool,
            observer,
            fixed,
            settings,
            version: 0,
            maintenance_epoch: 0,
            callers: Vec::new(),
            checked_out: Vec::new(),
            detached: Vec::new(),
            largest_max_size: settings.max_size,
            largest_max_connecting: settings.max_connecting.unwrap_or(usize::MAX),
            clears: 0,
            connects_at_clear: 0,
            added: 0,
            added_at: BTreeMap::new(),
            unfinished: Rc::default(),
            requests: 0,
            successes: 0,
            slow_gets: 0,
            failures: 0,
            last_failure_at: None,
            created: 0,
            last_created_at: None,
            runtime_down: false,
            restarted_at: Instant::ORIGIN,
        }
    }

    pub(crate) fn apply(&mut self, step: &Step) {
        match *step {
            Step::Get(limit) => self.get(limit),
            Step::GetMany(n, limit) => {
                let caller = Caller::get_many(self.pool.clone(), n, limit, self.accept());
                self.push_caller(caller);
            }
            Step::PoolExchange(outcome) => {
                let caller = Caller::exchange(self.pool.clone(), outcome, self.accept());
                self.push_caller(caller);
            }
            Step::GetWith(outcome) => {
                let caller = Caller::get_with(self.pool.clone(), outcome, self.accept());
                self.push_caller(caller);
            }
            Step::TryGet => self.try_get(),
            Step::Poll(index) => {
                if let Some(index) = pick(index, &self.callers) {
                    self.poll(index);
                }
            }
            Step::Cancel(index) => {
                if let Some(index) = pick(index, &self.callers) {
                    self.cancel(index);
                }
            }
            Step::Return(index) => drop(take(index, &mut self.checked_out)),
            Step::MarkUnusable(index) => {
                if let Some(mut entry) = take(index, &mut self.checked_out) {
                    entry.guard.mark_unusable();
                }
            }
            Step::Condemn(index) => self.condemn(index),
            Step::Label(index, label) => self.label(index, label),
            Step::Detach(index) => {
                let entry = take(index, &mut self.checked_out);
                let conn = entry.map(|entry| PooledConnection::detach(entry.guard));
                self.detached.extend(conn);
            }
            Step::DropDetached(index) => drop(take(index, &mut self.detached)),
            Step::AddDetached(index) => self.add(index),
            Step::Exchange { guard, outcome } => self.exchange(guard, outcome),
            Step::CancelRead(index) => {
                if let Some(index) = pick(index, &self.checked_out) {
                    let mut byte = [0];
                    let _ = block_on(poll_once(self.checked_out[index].guard.read(&mut byte)));
                }
            }
            Step::PeerSends(index) => {
                self.with_peer(index, |backend, id| backend.send(id, b"psst"))
            }
            Step::PeerHangsUp(index) => self.with_peer(index, FaultyManager::hang_up),
            Step::ResetPeer(index) => self.with_peer(index, FaultyManager::reset_peer),
            Step::RestartServer => self.backend.hang_up_all(),
            Step::Clear => self.clear(),
            Step::Resize(max_size) => {
                if self.pool.resize(max_size).is_ok() {
                    let mut settings = self.settings;
                    settings.max_size = max_size;
                    self.settings_changed(settings);
                }
            }
            Step::Reconfigure(ref settings) => {
                let changed = self.pool.reconfigure(settings.config());
                assert_eq!(changed, Ok(()), "valid settings are accepted");
                self.version += 1;
                self.settings_changed(**settings);
            }
            Step::Pause => self.pool.pause(),
            Step::Resume => self.pool.resume(),
            Step::Retain(keep) => self.retain(keep),
            Step::Close => self.close(),
            // Dropped after its first poll: the maintenance task closes the pool.
            Step::Drain(limit) => drop(block_on(poll_once(self.pool.drain(limit)))),
            Step::RunTasks(times) => {
                for _ in 0..times {
                    self.sim.run_one();
                }
            }
            Step::RunUntilIdle => self.run_until_idle(),
            Step::AdvanceTime(time) => self.sim.advance(time),
            Step::Leap(time) => self.sim.leap(time),
            Step::SetWallBack(time) => self.sim.set_wall_back(time),
            Step::ShutDownRuntime => {
                self.runtime_down = true;
                self.maintenance_epoch += 1;
                self.sim.shut_down();
            }
            Step::RestartRuntime => self.restart_runtime(),
            Step::Next(call, behavior) => {
                self.backend.next(call, [behavior]);
            }
            Step::Always(call, behavior) => {
                self.backend.always(call, behavior);
            }
            Step::ClearScript => {
                self.backend.clear_script();
            }
        }
        self.check();
    }

    /// Lets the backend recover, resumes and enlarges the pool and returns all connections. Checks
    /// that every caller is served and that nothing is left at the end. Returns the trace hash.
    pub(crate) fn finish(mut self) -> u64 {
        self.backend.clear_script();
        self.restart_runtime();
        self.pool.resume();
        let max_size = self.settings.max_size.max(MAX_GET_MANY);
        self.apply(&Step::Resize(max_size));
        self.detached.clear();
        for _ in 0..40 {
            self.checked_out.clear();
            while let Some(holder) = self.callers.iter().position(|caller| caller.inner_count() > 0)
            {
                self.cancel(holder);
            }
            self.sim.advance(Duration::from_secs(5));
            self.run_until_idle();
        }
        self.check();
        let stats = self.pool.stats();
        assert_eq!(self.callers.len(), 0, "callers were not served: {stats}");
        self.checked_out.clear();
        self.sim.advance(Duration::from_secs(60));
        self.run_until_idle();
        checks::assert_at_rest_or_closed(&self.pool, &self.backend);
        if !self.pool.is_closed() {
            self.check_out_all();
        }
        let Harness { sim, backend, pool, .. } = self;
        drop(pool);
        sim.advance(Duration::from_secs(60));
        assert_eq!(backend.alive(), 0, "a connection outlives its pool");
        assert_eq!(sim.tasks(), 0, "a task outlives its pool");
        sim.trace_hash()
    }

    /// Restarts the runtime and polls all callers: while it was down, no maintenance task could retry
    /// for them.
    fn restart_runtime(&mut self) {
        self.runtime_down = false;
        self.note_failures();
        self.restarted_at = self.sim.now();
        self.maintenance_epoch += 1;
        self.sim.restart();
        self.callers.iter().for_each(|caller| caller.woken.raise());
    }

    fn check_out_all(&mut self) {
        let all = self.settings.max_size;
        for _ in 0..all {
            self.get(Some(Duration::from_secs(60)));
            let last = self.callers.len() - 1;
            self.poll(last);
            self.run_until_idle();
            self.sim.advance(Duration::from_secs(1));
            self.run_until_idle();
        }
        let borrowed = self.checked_out.len();
        assert_eq!(borrowed, all, "capacity was lost: {}", self.pool.stats());
        self.checked_out.clear();
        self.run_until_idle();
    }
}

/// The largest number of connections of a `get_many`.
const MAX_GET_MANY: usize = 4;

fn pick<T>(index: usize, candidates: &[T]) -> Option<usize> {
    index.checked_rem(candidates.len())
}

fn take<T>(index: usize, candidates: &mut Vec<T>) -> Option<T> {
    pick(index, candidates).map(|index| candidates.remove(index))
}
