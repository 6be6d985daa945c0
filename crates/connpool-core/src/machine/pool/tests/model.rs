//! Compares the machine with a naive model: a list, plain numbers, and every rule written again.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::super::*;
use super::at;
use crate::config::{Backoff, Breaker};
use crate::machine::wait_queue::{Accepts, Place};

const MILLI: Duration = Duration::from_millis(1);

/// An input of the machine. Numbers choose among the waiters; inputs that cannot happen are ignored.
#[derive(Debug, Clone)]
enum Input {
    Enqueue(Accepts, Option<u64>),
    Remove(usize),
    Requeue(usize, Accepts),
    Assign(Source),
    ConnectsStart,
    ConnectSucceeds(usize),
    /// Which connect, permanently, dropped by its runtime, and the draw.
    ConnectFails(usize, bool, bool, u64),
    DeadOnArrival(u64),
    Succeeded(u64),
    FoundBroken,
    ReturnedBroken,
    CloseStarted,
    SlotFreed(SlotState),
    SweepProbeStarts,
    SweepProbeEnds,
    SweepIsDue,
    Clear,
    GiveUp,
    Lent,
    Pause,
    Resume,
    Reconfigure(Box<PoolConfig>),
    TimePasses(u64),
    Close,
}

fn input() -> impl Strategy<Value = Input> {
    let accepts = || prop_oneof![3 => Just(Accepts::Any), 1 => Just(Accepts::Fresh)];
    let draw = || prop_oneof![Just(0), Just(u64::MAX), any::<u64>()];
    let index = || 0..100_usize;
    let hold = prop_oneof![Just(SlotState::Open), Just(SlotState::Closing)];
    let ordinary = prop_oneof![
        8 => (accepts(), of(0..40_u64)).prop_map(|(accepts, patience)| Input::Enqueue(accepts, patience)),
        3 => index().prop_map(Input::Remove),
        2 => (index(), accepts()).prop_map(|(nth, accepts)| Input::Requeue(nth, accepts)),
        3 => prop_oneof![Just(Source::Reused), Just(Source::Fresh)].prop_map(Input::Assign),
        4 => Just(Input::ConnectsStart),
        5 => index().prop_map(Input::ConnectSucceeds),
        2 => (index(), any::<bool>(), any::<bool>(), draw()).prop_map(|(nth, permanent, dropped, draw)| Input::ConnectFails(nth, permanent && !dropped, dropped, draw)),
        2 => draw().prop_map(Input::DeadOnArrival),
        3 => (0..20_u64).prop_map(Input::Succeeded),
        3 => Just(Input::FoundBroken),
        3 => Just(Input::ReturnedBroken),
        2 => Just(Input::CloseStarted),
        3 => hold.prop_map(Input::SlotFreed),
        2 => Just(Input::SweepProbeStarts),
        2 => Just(Input::SweepProbeEnds),
        2 => Just(Input::SweepIsDue),
        2 => Just(Input::GiveUp),
        2 => Just(Input::Lent),
        1 => Just(Input::Pause),
        3 => Just(Input::Resume),
        1 => Just(Input::Clear),
        1 => settings().prop_map(|config| Input::Reconfigure(Box::new(config))),
        4 => (0..30_u64).prop_map(Input::TimePasses),
        1 => (100..3_000_u64).prop_map(Input::TimePasses),
    ];
    prop_oneof![200 => ordinary, 1 => Just(Input::Close)]
}

fn sweeps_every(config: &PoolConfig) -> Duration {
    let evicts = config.evict_interval.unwrap_or(Duration::MAX);
    let pings = config.keepalive.map_or(Duration::MAX, |age| age / 2);
    evicts.min(pings).max(MILLI)
}

fn settings() -> impl Strategy<Value = PoolConfig> {
    let sizes = (1..7_usize).prop_flat_map(|max| (Just(max), 0..=max));
    let backoff = (0..40_u32, 1..4_u32, prop_oneof![Just(1.0), Just(2.0)]);
    let limits = (1..4_usize, of(1..4_usize), of(0..4_usize), of(0..20_u32));
    let patience = of(prop_oneof![0..50_u32, 1_000..4_000_u32]);
    let breaker = (of((1..4_u32, 0..40_u32)), patience, of(0..40_u32));
    (sizes, backoff, limits, breaker).prop_map(
        |(sizes, backoff, limits, (breaker, patience, keepalive))| {
            let (max_size, min_size) = sizes;
            let (first, times, factor) = backoff;
            let (increment, max_connecting, max_waiters, evict_interval) = limits;
            PoolConfig {
                max_size,
                min_size,
                increment,
                max_connecting,
                max_waiters,
                evict_interval: evict_interval.map(|millis| MILLI * millis),
                backoff: Backoff { first: MILLI * first, max: MILLI * first * times, factor },
                breaker: breaker.map(|(failures, probe_every)| Breaker {
                    failures,
                    probe_every: MILLI * probe_every,
                }),
                fail_fast_after: patience.map(|millis| MILLI * millis),
                keepalive: keepalive.map(|millis| MILLI * millis),
                ..PoolConfig::default()
            }
        },
    )
}

/// A waiter. The list of waiters is in the order of their arrival.
#[derive(Debug)]
struct NaiveWaiter {
    id: u32,
    /// `None` if it was rejected.
    place: Option<Place>,
    accepts: Accepts,
    deadline: Option<Instant>,
    is_queued: bool,
}

/// A connect under way.
#[derive(Debug, Clone)]
struct NaiveConnect {
    ticket: ConnectTicket,
    nth: u64,
    began: Instant,
    /// A `clear` came since, and ended it unless it was the last one.
    is_stale: bool,
    is_abandoned: bool,
}

#[derive(Debug)]
struct Naive {
    config: PoolConfig,
    now: Instant,
    waiters: Vec<NaiveWaiter>,
    open: usize,
    /// The connects under way.
    connects: Vec<NaiveConnect>,
    closing: usize,
    probing: bool,
    failures: usize,
    permanent: usize,
    /// The last failure says nothing about the backend.
    was_dropped: bool,
    failing_since: Instant,
    failed_at: Instant,
    succeeded_at: Instant,
    has_connected: bool,
    retry_at: Option<Instant>,
    /// The start of the pause that is shortened while a caller asks, and its share of the longest.
    paused_at: Instant,
    share: f64,
    /// When the connects began that were in vain.
    in_vain: Vec<Instant>,
    /// The number of connects that started, and the number at the last `clear`.
    started: u64,
    started_at_clear: u64,
    contention: NaiveContention,
    told: bool,
    lendings: u64,
    lent_at: Option<Instant>,
    opened_at: Option<Instant>,
    sweep_at: Option<Instant>,
    breaker: BreakerState,
    /// The number of connects that may run at once; zero means any number.
    connect_limit: usize,
    /// The last connect that started, and whether the limit was narrowed since.
    start: Option<(ConnectTicket, bool)>,
    /// When connections were found broken recently, and when users returned broken ones.
    broken: Burst,
    lost: Burst,
    bursts: u64,
    changes: u64,
    /// Each connect that started, and whether the pool was cleared since.
    stale: Vec<(ConnectTicket, bool)>,
    ids: u32,
    closed: bool,
    paused: bool,
}

impl Naive {
    fn new(config: PoolConfig) -> Self {
        Naive {
            config,
            now: at(0),
            waiters: Vec::new(),
            open: 0,
            connects: Vec::new(),
            closing: 0,
            probing: false,
            failures: 0,
            permanent: 0,
            was_dropped: false,
            failing_since: at(0),
            failed_at: at(0),
            succeeded_at: at(0),
            has_connected: false,
            retry_at: None,
            paused_at: at(0),
            share: 1.0,
            in_vain: Vec::new(),
            started: 0,
            started_at_clear: 0,
            contention: NaiveContention::default(),
            told: false,
            lendings: 0,
            lent_at: None,
            opened_at: None,
            sweep_at: None,
            breaker: BreakerState::Closed,
            connect_limit: 0,
            start: None,
            broken: Burst::default(),
            lost: Burst::default(),
            bursts: 0,
            changes: 0,
            stale: Vec::new(),
            ids: 0,
            closed: false,
            paused: false,
        }
    }

    fn queued(&self) -> impl Iterator<Item = &NaiveWaiter> {
        self.waiters.iter().filter(|waiter| waiter.is_queued)
    }

    fn waiting(&self) -> usize {
        self.queued().count()
    }

    /// Returns the slots beyond what is open or being opened, less `beside`.
    fn room(&self, beside: usize) -> usize {
        let taken = self.open + self.connects.len() + beside;
        self.config.max_size - taken.min(self.config.max_size)
    }

    /// Returns how many connects are under way that waiters may count on.
    fn fresh(&self) -> usize {
        let useful = |connect: &&NaiveConnect| {
            !connect.is_stale && self.now.since(connect.began) < MILLI * 800
        };
        self.connects.iter().filter(useful).count()
    }

    fn may_start(&self) -> usize {
        let less = |most: usize, some: usize| most - some.min(most);
        let most = self.config.max_connecting.unwrap_or(usize::MAX);
        let within_a_second = |began: &&Instant| self.now.since(**began) < MILLI * 1_000;
        // Only the last 20 are remembered.
        let in_vain = self.in_vain.iter().rev().take(20).filter(within_a_second).count();
        let budget = if in_vain == 0 { usize::MAX } else { less(20, in_vain + self.fresh()) };
        let slow_start = less(self.connect_limit(), self.fresh());
        less(most, self.connects.len()).min(slow_start).min(budget)
    }

    fn narrow_limit(&mut self, most: usize) {
        if self.connect_limit() > most {
            self.connect_limit = most;
            self.start = self.start.map(|(start, _)| (start, true));
        }
    }

    fn connect_limit(&self) -> usize {
        match (self.breaker, self.connect_limit) {
            (BreakerState::Closed, 0) => usize::MAX,
            (BreakerState::Closed, connect_limit) => connect_limit,
            _ => 1,
        }
    }

    fn is_permanent(&self) -> bool {
        self.permanent >= 2
    }

    fn is_asked(&self) -> bool {
        self.waiting() > 0 || self.told
    }

    fn due_at(&self) -> Option<Instant> {
        let retry_at = self.retry_at?;
        match (self.is_permanent(), self.is_asked()) {
            (true, true) | (false, false) => Some(retry_at),
            (true, false) => Some(Instant::NEVER),
            (false, true) => {
                let is_young = self.paused_at.since(self.failing_since) < MILLI * 5_000;
                let longest = if is_young { 250 } else { 1_000 };
                let share = match is_young && self.failures == 1 {
                    true => 1.0 - (1.0 - self.share) / 0.15 * 0.4,
                    false => self.share,
                };
                let pause = (MILLI * longest).mul_f64(share);
                Some(retry_at.min(self.paused_at.checked_add(pause).unwrap()))
            }
        }
    }

    fn pausing(&self) -> bool {
        self.due_at().is_some_and(|at| self.now < at)
    }

    /// Returns whether callers are told that connects fail, by the rule as it is described.
    fn tells(&self) -> bool {
        if self.paused || self.closed || self.probing {
            return false;
        }
        let patience = self.config.fail_fast_after;
        let waits_for_permanent =
            self.is_permanent() && self.retry_at.is_some_and(|at| self.now < at);
        let age = |at: Instant| self.now.since(at);
        let opened_at = self.opened_at.filter(|_| self.open > 0);
        let is_recent = |at: Instant| patience.is_none_or(|span| age(at) < span);
        let is_patient = [self.lent_at, opened_at].into_iter().flatten().any(is_recent);
        if waits_for_permanent {
            return self.open == 0 || !is_patient;
        }
        let Some(patience) = patience else { return false };
        if is_patient {
            return false;
        }
        let oldest =
            self.connects.iter().filter(|connect| !connect.is_stale).map(|c| c.began).min();
        let hanging = oldest.map_or(Duration::ZERO, age);
        let is_sibling = |at: Instant| at < self.failed_at && age(at) < MILLI * 800;
        let is_burst = !self.has_connected && oldest.is_some_and(is_sibling);
        let is_failing = self.failures > 0
            && !is_burst
            && !self.was_dropped
            && (!self.has_connected || age(self.failing_since) >= patience);
        let follows = oldest.is_some_and(|at| at.since(self.failed_at) < MILLI * 1_100);
        let recently = age(self.failed_at) < MILLI * if follows { 1_900 } else { 1_100 };
        let lately = age(self.failed_at) < patience + MILLI * 1_100;
        let is_hung = |span: Duration| oldest.is_some() && hanging >= span;
        let after_success = !self.has_connected || oldest >= Some(self.succeeded_at);
        is_failing && (recently || (is_hung(MILLI * 800) && lately))
            || is_hung(patience.max(MILLI * 800)) && after_success
    }

    fn forget(&mut self) {
        (self.failures, self.permanent, self.retry_at) = (0, 0, None);
        self.breaker = BreakerState::Closed;
    }

    fn missing(&self) -> usize {
        if self.closed || self.paused {
            return 0;
        }
        let on_their_way = self.fresh() + usize::from(self.probing);
        let callers = self.waiting().max(usize::from(self.told));
        let mut missing = 0;
        while missing + on_their_way < callers {
            missing += self.config.increment;
        }
        while missing + self.open + self.fresh() < self.config.min_size {
            missing += 1;
        }
        missing
    }

    fn paced(&self) -> usize {
        match self.contention.pause(self.now) {
            Some(pause) if self.open > 0 => {
                usize::from(self.now.since(self.contention.since) >= pause)
            }
            _ => usize::MAX,
        }
    }

    fn wanted(&self, room: usize) -> usize {
        let paced = self.paced();
        match self.pausing() {
            true => 0,
            false => *[self.missing(), room, self.may_start(), paced].iter().min().unwrap(),
        }
    }

    fn coming(&self) -> usize {
        self.fresh() + self.wanted(self.room(0))
    }

    /// Returns the index of the first waiter that a connection from `source` serves.
    fn first(&self, source: Source) -> Option<usize> {
        if self.paused {
            return None;
        }
        let picky = self.queued().filter(|waiter| waiter.accepts == Accepts::Fresh);
        let one_in_vain = picky.count() > self.coming();
        self.waiters.iter().position(|waiter| {
            waiter.is_queued
                && (waiter.accepts == Accepts::Any || source == Source::Fresh || one_in_vain)
        })
    }

    fn assign(&mut self, source: Source) -> (Option<u32>, Vec<u32>) {
        let mut late = Vec::new();
        while let Some(place) = self.first(source) {
            let now = self.now;
            let waiter = &mut self.waiters[place];
            waiter.is_queued = false;
            if waiter.deadline.is_none_or(|deadline| now < deadline) {
                return (Some(waiter.id), late);
            }
            late.push(waiter.id);
        }
        (None, late)
    }

    fn drain(&mut self) -> Vec<u32> {
        let queued = self.waiters.iter_mut().filter(|waiter| waiter.is_queued);
        let told = queued.map(|waiter| {
            waiter.is_queued = false;
            waiter.id
        });
        told.collect()
    }

    /// Makes the next probe due if the connection of the last one is gone.
    fn miss_the_probe(&mut self) {
        if self.breaker == BreakerState::HalfOpen && self.open + self.connects.len() == 0 {
            self.retry_at = None;
        }
    }

    fn breaker_opens(&self) -> Option<Breaker> {
        let enough = |breaker: &Breaker| self.failures + 1 >= breaker.failures as usize;
        self.config.breaker.filter(enough)
    }

    /// Returns the longest pause after a failure.
    fn longest_pause(&self) -> Duration {
        let Backoff { first, max, factor } = self.config.backoff;
        if self.is_permanent() {
            return max.max(MILLI * 1_100);
        }
        if let Some(Breaker { probe_every, .. }) = self.breaker_opens() {
            return probe_every;
        }
        let mut ceiling = first;
        for _ in 0..self.failures {
            ceiling = ceiling.mul_f64(factor).min(max);
        }
        ceiling
    }
}

/// Two seconds after a failure that follows a success, which follows a failure; half of that after each
/// further success.
#[derive(Debug, Default)]
struct NaiveContention {
    outcomes: Vec<(Instant, bool)>,
    /// The pause in quarters of a second.
    quarters: u32,
    since: Instant,
    share: f64,
}

impl NaiveContention {
    fn last_failure(&self) -> Option<Instant> {
        self.outcomes.iter().rev().find(|(_, good)| !good).map(|(at, _)| *at)
    }

    fn is_recent(&self, now: Instant) -> bool {
        self.is_recent_by(now, MILLI * 10_000)
    }

    fn is_recent_by(&self, now: Instant, span: Duration) -> bool {
        self.last_failure().is_some_and(|at| now.since(at) < span)
    }

    fn pause(&self, now: Instant) -> Option<Duration> {
        let pause = (MILLI * 250 * self.quarters).mul_f64(self.share);
        (self.quarters > 0 && self.is_recent(now)).then_some(pause)
    }

    fn failed(&mut self, now: Instant, draw: u64) {
        let follows_a_success = self.outcomes.last().is_some_and(|(_, good)| *good);
        let is_contended = self.is_recent(now) && (follows_a_success || self.quarters > 0);
        self.quarters = if is_contended { 4 } else { 0 };
        self.share = 1.0 - 0.15 * (draw as f64 / u64::MAX as f64);
        self.outcomes.push((now, false));
    }

    fn succeeded(&mut self, now: Instant) {
        let follows_a_failure = self.outcomes.last().is_some_and(|(_, good)| !good);
        self.quarters = match self.quarters {
            0 if follows_a_failure && self.is_recent_by(now, MILLI * 2_000) => 2,
            quarters => quarters / 2,
        };
        self.outcomes.push((now, true));
        self.since = now;
    }

    fn forget(&mut self) {
        *self = NaiveContention { since: self.since, ..NaiveContention::default() };
    }
}

/// Three within a second make a burst, and then none for a second.
#[derive(Debug, Default)]
struct Burst {
    of_late: Vec<Instant>,
    last: Option<Instant>,
}

impl Burst {
    fn is_enough_with(&mut self, now: Instant) -> bool {
        let within_a_second = |at: &Instant| now.since(*at) < MILLI * 1_000;
        if self.last.as_ref().is_some_and(within_a_second) {
            return false;
        }
        self.of_late.retain(within_a_second);
        self.of_late.push(now);
        let enough = self.of_late.len() >= 3;
        if enough {
            self.of_late.clear();
            self.last = Some(now);
        }
        enough
    }
}

/// The machine and the model, with the same inputs.
struct Both {
    machine: PoolMachine<u32>,
    naive: Naive,
}

impl Both {
    fn apply(&mut self, input: Input) {
        let Both { machine, naive } = self;
        let now = naive.now;
        match input {
            Input::Enqueue(accepts, patience) => self.enqueue(accepts, patience),
            Input::Remove(nth) if !naive.waiters.is_empty() => {
                let waiter = naive.waiters.remove(nth % naive.waiters.len());
                let left = waiter.place.and_then(|place| machine.queue.remove(place));
                assert_eq!(left, waiter.is_queued.then_some(waiter.id));
            }
            Input::Requeue(nth, accepts) if !naive.waiters.is_empty() => {
                let nth = nth % naive.waiters.len();
                let waiter = &mut naive.waiters[nth];
                let Some(place) = waiter.place.filter(|_| !waiter.is_queued) else { return };
                let back = machine.requeue(place, waiter.deadline, accepts, waiter.id);
                if naive.closed {
                    assert_eq!(back, Err(Rejected::Closed));
                } else {
                    waiter.place = back.ok();
                    (waiter.is_queued, waiter.accepts) = (true, accepts);
                }
            }
            Input::Assign(source) => {
                let mut late = Vec::new();
                let assigned = machine.assign(source, now, |id| late.push(id));
                assert_eq!((assigned, late), naive.assign(source));
            }
            Input::ConnectsStart => {
                for _ in 0..machine.connects_wanted(now) {
                    let ticket = machine.connect_started(now);
                    assert_eq!(ticket.version, machine.versions.current);
                    naive.stale.push((ticket, false));
                    naive.started += 1;
                    naive.told = false;
                    let (is_stale, is_abandoned) = (false, false);
                    let nth = naive.started;
                    let connect = NaiveConnect { ticket, nth, began: now, is_stale, is_abandoned };
                    naive.connects.push(connect);
                    naive.contention.since = now;
                    naive.start = Some((ticket, false));
                    if let (BreakerState::Open | BreakerState::HalfOpen, Some(breaker)) =
                        (naive.breaker, naive.config.breaker)
                    {
                        naive.breaker = BreakerState::HalfOpen;
                        naive.paused_at = now;
                        naive.retry_at = now.checked_add(breaker.probe_every.max(MILLI));
                    }
                }
            }
            Input::ConnectSucceeds(nth) if !naive.connects.is_empty() => {
                let ended = naive.connects.remove(nth % naive.connects.len());
                machine.connected(ended.ticket, now);
                naive.open += 1;
                naive.opened_at = Some(now);
                if naive.connect_limit > 0 {
                    let wider = naive.connect_limit + 1;
                    naive.connect_limit = if wider < naive.config.max_size { wider } else { 0 };
                }
                if naive.failures == 0 && naive.has_connected {
                    naive.succeeded_at = now;
                    naive.contention.succeeded(now);
                }
                if naive.breaker == BreakerState::HalfOpen {
                    naive.sweep_at = naive.sweep_at.min(naive.retry_at).or(naive.retry_at);
                }
            }
            Input::ConnectFails(nth, permanent, dropped, draw) if !naive.connects.is_empty() => {
                let ended = naive.connects.remove(nth % naive.connects.len());
                let counts = machine.connect_failed(ended.ticket, permanent, dropped, now, draw);
                assert_eq!(counts, !ended.is_stale);
                if !ended.is_abandoned {
                    naive.in_vain.push(ended.began);
                }
                if counts {
                    self.fail(ended.began, permanent, draw);
                    if !(self.naive.has_connected && ended.began < self.naive.succeeded_at) {
                        self.naive.was_dropped = dropped;
                    }
                }
                self.machine.slot_freed(SlotState::Connecting);
            }
            Input::DeadOnArrival(draw) if naive.open > 0 => {
                naive.in_vain.push(now);
                machine.dead_on_arrival(now, now, draw);
                self.fail(now, false, draw);
                self.naive.was_dropped = false;
            }
            Input::Succeeded(age) => {
                let born = now.since(at(age)).as_nanos() as u64;
                let born = Instant::from_nanos(born);
                let good = machine.succeeded(born, now);
                if born >= naive.failed_at {
                    if naive.failures > 0 || !naive.has_connected {
                        naive.contention.succeeded(now);
                    }
                    naive.has_connected = true;
                    naive.succeeded_at = naive.succeeded_at.max(born);
                    naive.forget();
                }
                assert_eq!(good, naive.failures == 0 && naive.has_connected);
            }
            Input::FoundBroken => {
                let raised = naive.broken.is_enough_with(now);
                if raised {
                    naive.changes += 1;
                    naive.bursts += 1;
                    naive.narrow_limit(1);
                    naive.contention.forget();
                }
                assert_eq!(machine.found_broken(now), raised);
            }
            Input::ReturnedBroken => {
                machine.returned_broken(now);
                if naive.lost.is_enough_with(now) {
                    naive.narrow_limit(4);
                    naive.contention.forget();
                }
            }
            Input::CloseStarted if naive.open > 0 => {
                machine.close_started();
                naive.open -= 1;
                naive.closing += 1;
                naive.miss_the_probe();
            }
            Input::SlotFreed(SlotState::Open) if naive.open > 0 => {
                machine.slot_freed(SlotState::Open);
                naive.open -= 1;
                naive.miss_the_probe();
            }
            Input::SlotFreed(SlotState::Closing) if naive.closing > 0 => {
                machine.slot_freed(SlotState::Closing);
                naive.closing -= 1;
                naive.miss_the_probe();
            }
            Input::SweepProbeStarts if !naive.probing => {
                naive.probing = !naive.closed && (naive.paused || naive.waiting() == 0);
                assert_eq!(machine.sweep_probe_started(), naive.probing);
            }
            Input::SweepProbeEnds => {
                machine.schedule.probing = false;
                naive.probing = false;
            }
            Input::SweepIsDue => {
                let due = naive.sweep_at.is_some_and(|at| now >= at);
                assert_eq!(machine.schedule.sweep_is_due(now), due);
                if due || naive.sweep_at.is_none() {
                    naive.sweep_at = now.checked_add(sweeps_every(&naive.config));
                }
            }
            Input::Pause => {
                machine.pause();
                naive.paused = !naive.closed;
            }
            Input::Resume => {
                machine.resume();
                naive.paused = false;
                naive.forget();
                naive.contention.forget();
            }
            Input::GiveUp => {
                let mut told = Vec::new();
                if naive.waiting() > 0 && naive.tells() {
                    told = naive.drain();
                    naive.told = !naive.is_permanent();
                }
                assert_eq!(machine.give_up(now), told);
            }
            Input::Lent => {
                naive.lendings += 1;
                naive.lent_at = Some(now);
                machine.backoff.count_lendings(naive.lendings, now);
            }
            Input::Clear => {
                let keep = naive.started - naive.started_at_clear <= 1;
                let mut any = false;
                for connect in &mut naive.connects {
                    let is_kept = keep && connect.nth == naive.started;
                    let ends = !(connect.is_abandoned || is_kept);
                    if ends {
                        naive.in_vain.push(connect.began);
                    }
                    any |= ends;
                    (connect.is_stale, connect.is_abandoned) = (true, connect.is_abandoned | ends);
                }
                naive.started_at_clear = naive.started;
                naive.forget();
                naive.contention.forget();
                assert_eq!(machine.clear(), any);
                naive.lent_at = None;
                naive.changes += 1;
                naive.stale.iter_mut().for_each(|(_, stale)| *stale = true);
            }
            Input::Reconfigure(config) => {
                machine.reconfigure(&config);
                naive.changes += 1;
                if naive.permanent > 0 {
                    naive.forget();
                }
                if config.breaker.is_none() {
                    naive.breaker = BreakerState::Closed;
                }
                let was = (naive.config.backoff, naive.config.breaker);
                if (config.backoff, config.breaker) != was {
                    let probes = config.breaker.map(|breaker| breaker.probe_every);
                    let probes = probes.filter(|_| naive.breaker != BreakerState::Closed);
                    let longest = probes.unwrap_or(config.backoff.max).max(MILLI);
                    let at_the_latest = naive.failed_at.checked_add(longest);
                    naive.retry_at = naive.retry_at.min(at_the_latest);
                }
                if sweeps_every(&config) != sweeps_every(&naive.config) {
                    let is_probed = naive.breaker == BreakerState::HalfOpen;
                    naive.sweep_at = naive.retry_at.filter(|_| is_probed);
                }
                naive.config = *config;
            }
            Input::TimePasses(millis) => {
                naive.now = now.checked_add(MILLI * millis as u32).unwrap();
            }
            Input::Close => {
                assert_eq!(machine.close(), naive.drain());
                (naive.closed, naive.paused) = (true, false);
            }
            _ => {}
        }
    }

    fn enqueue(&mut self, accepts: Accepts, patience: Option<u64>) {
        let Both { machine, naive } = self;
        let deadline = patience.and_then(|millis| naive.now.checked_add(MILLI * millis as u32));
        naive.ids += 1;
        let queued = machine.enqueue(naive.now, deadline, accepts, naive.ids);
        let queued = queued.map_err(|(rejected, _)| rejected);
        if naive.closed {
            assert_eq!(queued, Err(Rejected::Closed));
            return;
        }
        // Whether a caller is queued is judged with it in the queue.
        naive.waiters.push(NaiveWaiter {
            id: naive.ids,
            place: queued.ok(),
            accepts,
            deadline,
            is_queued: true,
        });
        if naive.tells() {
            naive.waiters.pop();
            naive.told = !naive.is_permanent();
            assert_eq!(queued, Err(Rejected::Unreachable));
            return;
        }
        let hanging = naive.connects.len() - naive.fresh();
        let provided_for = naive.coming() + hanging + usize::from(naive.probing);
        let fits = |most: usize| naive.waiting() <= most + provided_for;
        if !naive.config.max_waiters.is_none_or(fits) {
            naive.waiters.pop();
            assert_eq!(queued, Err(Rejected::Exhausted));
        } else {
            assert!(queued.is_ok(), "rejected: {queued:?}");
        }
    }

    /// Applies to the model what the machine has done.
    fn fail(&mut self, began: Instant, permanent: bool, draw: u64) {
        let Both { machine, naive } = self;
        let now = naive.now;
        if naive.has_connected && began < naive.succeeded_at {
            return;
        }
        naive.contention.failed(now, draw);
        let follows_a_failure = naive.failures > 0 && began >= naive.failed_at;
        naive.failed_at = now;
        naive.connect_limit = 1;
        naive.start = naive.start.map(|(start, _)| (start, true));
        if naive.failures == 0 {
            naive.failing_since = began;
        }
        let was_permanent = naive.is_permanent();
        naive.permanent = match (permanent, naive.permanent, naive.open) {
            (false, ..) => 0,
            (true, 0, 1..) => 1,
            (true, ..) => 2,
        };
        let asked_due = {
            let told = std::mem::replace(&mut naive.told, true);
            let due = naive.due_at();
            naive.told = told;
            due
        };
        let pausing = asked_due.is_some_and(|at| now < at);
        let is_probe = naive.breaker == BreakerState::HalfOpen;
        if pausing && !is_probe && was_permanent == naive.is_permanent() {
            return;
        }
        naive.share = 1.0 - 0.15 * (draw as f64 / u64::MAX as f64);
        let retry_at = machine.backoff.retry_at.expect("a pause");
        let share = if naive.is_permanent() { 1.0 } else { naive.share };
        let (pause, expected) = (retry_at.since(now), naive.longest_pause().mul_f64(share));
        let expected = expected.max(MILLI);
        assert!(pause.abs_diff(expected) < MILLI / 1000, "{pause:?} {expected:?}");
        if naive.breaker_opens().is_some() || naive.breaker == BreakerState::HalfOpen {
            naive.breaker = BreakerState::Open;
        }
        naive.failures += 1;
        naive.retry_at = Some(retry_at);
        let hung = now.since(began) >= MILLI * 800;
        naive.paused_at = if hung || follows_a_failure { began } else { now };
    }

    /// Asserts that nothing is due by the clock alone before the next deadline.
    fn assert_deadline_is_early_enough(&self) {
        let Both { machine, naive } = self;
        let now = naive.now;
        let next = machine.next_deadline(now);
        if naive.closed {
            assert_eq!(next, None);
            return;
        }
        let last = next.unwrap_or(Instant::NEVER).as_nanos().saturating_sub(1);
        let later = (1..=40).map(|tenths| now.as_nanos() + tenths * 100_000_000);
        for nanos in
            later.filter(|nanos| *nanos <= last).chain([last.min(now.as_nanos() + (1 << 40))])
        {
            let then = Instant::from_nanos(nanos.max(now.as_nanos()));
            let mut machine = machine.clone();
            let before = machine.connects_wanted(now);
            machine.tick(then);
            assert!(machine.connects_wanted(then) <= before, "a connect is due at {then:?}");
            let told = machine.tells_at(now).is_some_and(|at| at <= now);
            if naive.waiting() > 0 && !told {
                assert!(machine.give_up(then).is_empty(), "waiters are told at {then:?}");
            }
        }
    }

    fn assert_agree(&mut self) {
        let Both { machine, naive } = self;
        let now = naive.now;
        machine.tick(now);
        assert_eq!(
            machine.gauges(),
            Gauges {
                max_size: naive.config.max_size,
                size: naive.open + naive.closing,
                closing: naive.closing,
                resetting: 0,
                connecting: naive.connects.len(),
                waiting: naive.waiting(),
                breaker: naive.breaker,
                paused: naive.paused,
                suspect: machine.versions.suspect,
            }
        );
        assert_eq!(machine.missing(), naive.missing(), "missing");
        let room = naive.room(naive.closing);
        assert_eq!(machine.connects_wanted(now), naive.wanted(room), "wanted");
        let staying = naive.open + naive.connects.len();
        let surplus = staying - staying.min(naive.config.max_size);
        assert_eq!(machine.capacity.surplus(), surplus, "surplus");
        assert_eq!(machine.capacity.is_above_min_size(), naive.open > naive.config.min_size);
        assert_eq!(machine.capacity.has_min_size(), naive.open >= naive.config.min_size);
        let vacant = naive.closed && staying + naive.closing == 0;
        assert_eq!(machine.is_drained(), vacant, "vacant");
        let held_up = match naive.closing > 0 && room == 0 {
            true => naive.waiting(),
            false => 0,
        };
        assert_eq!(machine.held_up_by_closing(), held_up, "held up");
        let held_up = (naive.pausing() || naive.paced() == 0) && naive.missing() > 0;
        assert_eq!(machine.is_held_up(now), held_up, "is held up");
        let connecting =
            !naive.paused && (!naive.connects.is_empty() || (naive.failures > 0 && room > 0));
        assert_eq!(machine.is_connecting(), connecting, "is connecting");
        assert_eq!(machine.backoff.failures.get(), naive.failures, "failures");
        if let Some((start, one_failed)) = naive.start {
            let crowded = naive.pausing() || naive.fresh() > naive.connect_limit();
            let should_abort = machine.should_abort(start, now);
            assert_eq!(should_abort, one_failed && crowded, "stands back");
        }
        let head = naive.queued().next().map(|waiter| waiter.id);
        assert_eq!(machine.queue.head().copied(), head, "head");
        let wants_reused = naive.first(Source::Reused).is_some();
        assert_eq!(machine.wants_reused(now), wants_reused, "accepts used");
        for waiter in &naive.waiters {
            let is_queued = waiter.place.is_some_and(|place| machine.queue.is_queued(place));
            assert_eq!(is_queued, waiter.is_queued, "is queued");
        }
        let tells = machine.tells_at(now).is_some_and(|at| at <= now);
        assert_eq!(tells, naive.tells(), "tells");
        for connect in &naive.connects {
            assert_eq!(machine.is_abandoned(connect.ticket), connect.is_abandoned, "abandoned");
        }
        self.assert_deadline_is_early_enough();
        let Both { machine, naive } = self;
        let versions = machine.versions;
        assert_eq!(versions.current, naive.changes, "version");
        assert_eq!(versions.suspect > 0, naive.bursts > 0, "suspect");
        for (ticket, stale) in &naive.stale {
            assert_eq!(ticket.version < versions.cleared, *stale, "stale");
        }
        assert_eq!(machine.closed, naive.closed, "closed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pool_machine_agrees_with_the_model(config in settings(), inputs in vec(input(), 1..=100)) {
        prop_assert_eq!(config.validate(), Ok(()));
        let mut both = Both { machine: PoolMachine::new(&config), naive: Naive::new(config) };
        for input in inputs {
            both.apply(input);
            both.assert_agree();
        }
    }
}
