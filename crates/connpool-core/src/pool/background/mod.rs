//! The one background task of a pool: the evictor, the keeper of `min_size`, and the one who says
//! the goodbyes.
//!
//! It holds the pool weakly while it rests, so that a forgotten pool ends.

pub(crate) mod keepalive;

use std::time::Duration;

use event_listener::EventListener;
use futures_lite::future::{poll_once, yield_now};

use crate::machine::health::{Check, Purpose, Step};
use crate::pool::acquire::wait::ToBegin;
use crate::pool::background::keepalive::Keepalive;
use crate::pool::conn::{Entry, Slot};
use crate::pool::idle::{Part, Stamped};
use crate::pool::shared::{AT_ONCE, Shared};
use crate::pool::state::DriverState;
use crate::time::{Nanos, earliest};
use crate::util::sync::{Arc, Weak};
use crate::util::timeout::{End, bounded, timer_came_first};
use crate::{BoxFuture, CloseReason, Event, Instant, Manager, Runtime};

/// Spawns the driver. The caller has marked it as starting.
pub(crate) fn start<M: Manager>(shared: &Shared<M>) {
    let driver = Driver {
        shared: shared.me.clone(),
        runtime: Arc::clone(&shared.runtime),
        sweep: Sweep::default(),
        leaks: LeakWatch {
            limit: Nanos::NEVER,
            next: None,
        },
    };
    shared.runtime.spawn(Box::pin(driver.run()));
    shared.with(|state, _| {
        if state.driver == DriverState::Starting {
            state.driver = DriverState::Running;
        }
    });
}

/// Looking for leaks more often than this, the driver would do nothing else.
const SHORTEST_LEAK_WATCH: Duration = Duration::from_millis(1);

struct Driver<M: Manager> {
    shared: Weak<Shared<M>>,
    runtime: Arc<dyn Runtime>,
    sweep: Sweep,
    leaks: LeakWatch,
}

/// When to look for connections that do not come back, and for how long they may be out by it.
struct LeakWatch {
    limit: Nanos,
    next: Option<Instant>,
}

/// What is left of a round over the idle connections: so many of each part, the last part first.
#[derive(Default)]
struct Sweep(Vec<(Part, usize)>);

/// What comes after a step.
enum Next {
    /// More of the same, after others had the thread.
    More,
    /// Nothing until this moment, or until somebody rouses the driver.
    Rest(Option<Instant>),
    /// Nothing ever again.
    End,
}

impl<M: Manager> Driver<M> {
    async fn run(mut self) {
        let mut proven = Instant::ORIGIN;
        loop {
            // Listening comes before looking: what happens after the look is heard.
            let Some((roused, next)) = self.step(proven).await else {
                return;
            };
            match next {
                Next::More => yield_now().await,
                Next::End => return,
                Next::Rest(None) => roused.await,
                Next::Rest(Some(at)) => {
                    let timer = self.runtime.sleep_until(at);
                    if timer_came_first(roused, timer).await {
                        // A timer that fires proves its moment; a coarse clock that lags behind
                        // it would have the driver set the same timer again and again.
                        proven = at;
                    }
                }
            }
        }
    }

    async fn step(&mut self, proven: Instant) -> Option<(EventListener, Next)> {
        let shared = self.shared.upgrade()?;
        let roused = shared.work.listen();
        let now = self.runtime.now().max(proven);
        let farewells = shared.with(|state, _| {
            let some = state.farewell.len().min(AT_ONCE);
            state.farewell.drain(..some).collect::<Vec<_>>()
        });
        for (entry, reason) in farewells {
            shared.see_off_now(entry, reason).await;
        }
        shared.begin_what_is_wanted(now);
        if shared.with(|state, _| state.ledger.sweep_is_due(now)) {
            shared.idle.forget_collisions();
            self.sweep = Sweep::of(shared.idle.parts());
        }
        if !shared.with(|state, _| state.ledger.is_pinging()) {
            self.sweep.step(&shared);
        }
        let now = self.runtime.now().max(proven);
        self.leaks.look(&shared, now);
        let next = shared.with(|state, _| {
            let sweeps_on = !self.sweep.is_over() && !state.ledger.is_pinging();
            if !state.farewell.is_empty() || sweeps_on {
                return Next::More;
            }
            if state.ledger.is_closed() {
                return Next::End;
            }
            match earliest([state.ledger.next_deadline(), self.leaks.next]) {
                // A timer for the past would be ready at once, and nobody else would get the thread.
                Some(at) if at <= now => Next::More,
                deadline => Next::Rest(deadline),
            }
        });
        Some((roused, next))
    }
}

impl<M: Manager> Drop for Driver<M> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let legacy = shared.with(|state, effects| {
            let was = std::mem::replace(&mut state.driver, DriverState::Absent);
            for (entry, reason) in std::mem::take(&mut state.farewell) {
                effects.destroy(entry, reason);
            }
            if was == DriverState::Running {
                state.call_for_connects(effects);
                // A `build` may be waiting for what this one was to begin.
                effects.progress = true;
            }
            state.legacy.take()
        });
        drop(legacy);
    }
}

impl LeakWatch {
    fn look<M: Manager>(&mut self, shared: &Shared<M>, now: Instant) {
        let limit = shared.settings.leak_warning();
        let changed = std::mem::replace(&mut self.limit, limit) != limit;
        if changed || self.next.is_some_and(|next| now >= next) {
            let next = shared.look_for_leaks(now);
            self.next = next.and_then(|at| Some(at.max(now.checked_add(SHORTEST_LEAK_WATCH)?)));
        }
    }
}

impl Sweep {
    fn of(mut parts: Vec<(Part, usize)>) -> Self {
        parts.reverse();
        Sweep(parts)
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks at some of the idle connections, one at a time: a getter never finds more than that
    /// one missing, and if somebody has to wait for it the round is over.
    fn step<M: Manager>(&mut self, shared: &Arc<Shared<M>>) {
        for _ in 0..AT_ONCE {
            let Some((part, left)) = self.0.last_mut() else {
                return;
            };
            let swept = shared.sweep_one(*part);
            *left = left.saturating_sub(1);
            if *left == 0 || matches!(swept, Swept::NoneLeft) {
                self.0.pop();
            }
            match swept {
                Swept::One | Swept::NoneLeft => {}
                Swept::IsPinged => return,
                Swept::SomebodyWaits => self.0.clear(),
            }
        }
    }
}

/// What one look of a round came to.
enum Swept {
    One,
    /// One that is away for a ping: the round goes on when it is back.
    IsPinged,
    NoneLeft,
    SomebodyWaits,
}

impl<M: Manager> Shared<M> {
    /// Begins the connects, and the driver, that are wanted. Called from polled futures only.
    pub(crate) fn begin_what_is_wanted(&self, now: Instant) {
        let to_begin = self.with(|state, _| ToBegin::what_is_wanted(self, state, now));
        to_begin.begin(self);
    }

    /// Looks at the connection of this part that is idle for longest.
    fn sweep_one(self: &Arc<Self>, part: Part) -> Swept {
        let entry = self.with(|state, _| {
            if !state.ledger.look_begins() {
                return Err(Swept::SomebodyWaits);
            }
            let entry = self.idle.take_oldest_of(part);
            if entry.is_none() {
                state.ledger.look_ends();
            }
            entry.ok_or(Swept::NoneLeft)
        });
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(swept) => return swept,
        };
        let check = self.check(&mut entry, Purpose::Sweep, self.moment());
        let step = check.step();
        if step == Step::Ping {
            return self.send_for_a_ping(entry, check);
        }
        if !entry.is_used() {
            self.new_connection_is(step, entry.stamps.born);
        }
        let now = self.runtime.now();
        self.with(|state, effects| {
            state.ledger.look_ends();
            self.put_away(state, effects, entry, step, now);
            self.settle(state, effects, now);
        });
        Swept::One
    }

    fn send_for_a_ping(self: &Arc<Self>, entry: Entry<M>, check: Check) -> Swept {
        let now = self.runtime.now();
        self.with(|state, effects| {
            state.ledger.ping_begins();
            // Whoever came during the look has nothing to wait for.
            self.settle(state, effects, now);
        });
        Keepalive::new(Arc::clone(self), entry, check).spawn();
        Swept::IsPinged
    }

    /// Closes a connection: with a goodbye if it deserves one and nobody waits for its slot.
    async fn see_off_now(&self, entry: Entry<M>, reason: CloseReason) {
        let Some(me) = self.me.upgrade() else { return };
        if !reason.deserves_goodbye() {
            return self.destroy(entry, reason);
        }
        let mut goodbye: BoxFuture = Box::pin(goodbye(me, entry, reason));
        // Most goodbyes are over at once; only the others become tasks.
        if poll_once(&mut goodbye).await.is_none() {
            self.runtime.spawn(goodbye);
        }
    }
}

async fn goodbye<M: Manager>(shared: Arc<Shared<M>>, entry: Entry<M>, reason: CloseReason) {
    let hurry = shared.hurry.listen();
    let somebody_waits = shared.with(|state, _| state.ledger.waiting() > 0);
    if somebody_waits {
        return shared.destroy(entry, reason);
    }
    let live = *entry;
    let id = live.stamps.id;
    // Declared first, dropped last: it is counted, and its slot free, when the connection is gone.
    let _leaving = Leaving {
        shared: Arc::clone(&shared),
        reason,
        id,
        born: live.stamps.born,
        _slot: live.slot,
    };
    let close = async { shared.manager.close(live.conn).await };
    let limit = shared.config().close_timeout;
    let timed_out = match bounded(&*shared.runtime, limit, hurry, close).await {
        End::Done(()) => return,
        End::Panicked(message) => return shared.panicked("close", &message),
        End::OutOfTime => true,
        End::Interrupted => false,
    };
    shared.tell(|| Event::GracefulCloseFailed { id, timed_out });
}

/// The slot of a connection that is saying goodbye.
struct Leaving<M: Manager> {
    shared: Arc<Shared<M>>,
    reason: CloseReason,
    id: u64,
    born: Instant,
    _slot: Slot<M>,
}

impl<M: Manager> Drop for Leaving<M> {
    fn drop(&mut self) {
        let Leaving { shared, reason, .. } = self;
        shared.counters.closed(*reason);
        shared.tell(|| Event::Closed {
            id: self.id,
            reason: *reason,
            age: shared.age(self.born),
        });
    }
}
