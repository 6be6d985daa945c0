//! The ledger beside a naive one: a list, plain numbers, and every rule in other words.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::super::*;
use super::at;
use crate::config::{Backoff, Breaker};
use crate::machine::slab::Slab;

const MILLI: Duration = Duration::from_millis(1);

/// What can happen. Numbers choose among those who are there; what cannot happen is left out.
#[derive(Debug, Clone)]
enum Event {
    Join(Wants, Option<u64>),
    Leave(usize),
    Rejoin(usize, Wants),
    Serve(Supply),
    ConnectsBegin,
    ConnectSucceeds,
    ConnectFails(u64),
    NewOneIsDead(u64),
    OneProvesGood(u64),
    OneIsBroken,
    OneIsLost,
    OneLeaves,
    SlotFreed(Hold),
    LookBegins,
    LookEnds,
    SweepIsDue,
    Clear,
    GiveUp,
    Pause,
    Resume,
    Reconfigure(Box<PoolConfig>),
    TimePasses(u64),
    Close,
}

fn event() -> impl Strategy<Value = Event> {
    let wants = || prop_oneof![3 => Just(Wants::Any), 1 => Just(Wants::New)];
    let draw = || prop_oneof![Just(0), Just(u64::MAX), any::<u64>()];
    let anybody = || 0..100_usize;
    let hold = prop_oneof![Just(Hold::Open), Just(Hold::Leaving)];
    let ordinary = prop_oneof![
        8 => (wants(), of(0..40_u64)).prop_map(|(wants, patience)| Event::Join(wants, patience)),
        3 => anybody().prop_map(Event::Leave),
        2 => (anybody(), wants()).prop_map(|(nth, wants)| Event::Rejoin(nth, wants)),
        3 => prop_oneof![Just(Supply::Used), Just(Supply::New)].prop_map(Event::Serve),
        4 => Just(Event::ConnectsBegin),
        5 => Just(Event::ConnectSucceeds),
        2 => draw().prop_map(Event::ConnectFails),
        2 => draw().prop_map(Event::NewOneIsDead),
        3 => (0..20_u64).prop_map(Event::OneProvesGood),
        3 => Just(Event::OneIsBroken),
        3 => Just(Event::OneIsLost),
        2 => Just(Event::OneLeaves),
        3 => hold.prop_map(Event::SlotFreed),
        2 => Just(Event::LookBegins),
        2 => Just(Event::LookEnds),
        2 => Just(Event::SweepIsDue),
        2 => Just(Event::GiveUp),
        1 => Just(Event::Pause),
        3 => Just(Event::Resume),
        1 => Just(Event::Clear),
        1 => settings().prop_map(|config| Event::Reconfigure(Box::new(config))),
        4 => (0..30_u64).prop_map(Event::TimePasses),
    ];
    prop_oneof![200 => ordinary, 1 => Just(Event::Close)]
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
    let breaker = (of((1..4_u32, 0..40_u32)), any::<bool>(), of(0..40_u32));
    (sizes, backoff, limits, breaker).prop_map(
        |(sizes, backoff, limits, (breaker, fail_fast, keepalive))| {
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
                backoff: Backoff {
                    first: MILLI * first,
                    max: MILLI * first * times,
                    factor,
                },
                breaker: breaker.map(|(failures, probe_every)| Breaker {
                    failures,
                    probe_every: MILLI * probe_every,
                }),
                fail_fast,
                keepalive: keepalive.map(|millis| MILLI * millis),
                ..PoolConfig::default()
            }
        },
    )
}

/// Somebody with a place in the ledger. The list of them is in the order in which they came.
#[derive(Debug)]
struct Person {
    key: Key,
    wants: Wants,
    deadline: Option<Instant>,
    standing: Standing,
}

#[derive(Debug)]
struct Naive {
    config: PoolConfig,
    now: Instant,
    people: Vec<Person>,
    open: usize,
    connecting: usize,
    leaving: usize,
    looking: bool,
    failures: usize,
    failed_at: Instant,
    retry_at: Option<Instant>,
    sweep_at: Option<Instant>,
    breaker: BreakerState,
    /// How many connects at once; zero stands for any number.
    window: usize,
    /// The last connect that began, and whether the window was closed since.
    start: Option<(Start, bool)>,
    /// When connections were found broken, of late, and when users lost some.
    broken: Burst,
    lost: Burst,
    epoch: u64,
    generation: u64,
    closed: bool,
    paused: bool,
}

impl Naive {
    fn new(config: PoolConfig) -> Self {
        Naive {
            config,
            now: at(0),
            people: Vec::new(),
            open: 0,
            connecting: 0,
            leaving: 0,
            looking: false,
            failures: 0,
            failed_at: at(0),
            retry_at: None,
            sweep_at: None,
            breaker: BreakerState::Closed,
            window: 0,
            start: None,
            broken: Burst::default(),
            lost: Burst::default(),
            epoch: 0,
            generation: 0,
            closed: false,
            paused: false,
        }
    }

    fn in_line(&self) -> impl Iterator<Item = &Person> {
        let waiting = |person: &&Person| person.standing == Standing::Waiting;
        self.people.iter().filter(waiting)
    }

    fn waiting(&self) -> usize {
        self.in_line().count()
    }

    /// Slots beyond what is open or being opened, and beside that what is being closed.
    fn room(&self, beside: usize) -> usize {
        let taken = self.open + self.connecting + beside;
        self.config.max_size - taken.min(self.config.max_size)
    }

    fn most_connecting(&self) -> usize {
        let most = self.config.max_connecting.unwrap_or(usize::MAX);
        most.min(self.window())
    }

    fn narrow_window(&mut self, most: usize) {
        if self.window() > most {
            self.window = most;
            self.start = self.start.map(|(start, _)| (start, true));
        }
    }

    fn window(&self) -> usize {
        match (self.breaker, self.window) {
            (BreakerState::Closed, 0) => usize::MAX,
            (BreakerState::Closed, window) => window,
            _ => 1,
        }
    }

    /// Whether nobody is to wait for anything but a probe.
    fn is_broken(&self) -> bool {
        self.config.fail_fast
            && !self.paused
            && self.open == 0
            && self.breaker != BreakerState::Closed
    }

    fn probes(&self) -> usize {
        match self.breaker == BreakerState::Open {
            true => self.wanted(self.room(0)),
            false => self.coming(),
        }
    }

    fn pausing(&self) -> bool {
        self.retry_at.is_some_and(|at| self.now < at)
    }

    fn lacking(&self) -> usize {
        if self.closed {
            return 0;
        }
        let on_their_way = self.connecting + usize::from(self.looking);
        let mut lacking = 0;
        while !self.paused && lacking + on_their_way < self.waiting() {
            lacking += self.config.increment;
        }
        while lacking + self.open + self.connecting < self.config.min_size {
            lacking += 1;
        }
        lacking
    }

    fn wanted(&self, room: usize) -> usize {
        let may_begin = self.most_connecting() - self.connecting.min(self.most_connecting());
        match self.pausing() {
            true => 0,
            false => *[self.lacking(), room, may_begin].iter().min().unwrap(),
        }
    }

    fn coming(&self) -> usize {
        self.connecting + self.wanted(self.room(0))
    }

    /// The place in the list of the first whom this would serve.
    fn first(&self, supply: Supply) -> Option<usize> {
        if self.paused {
            return None;
        }
        let picky = self.in_line().filter(|person| person.wants == Wants::New);
        let one_in_vain = picky.count() > self.coming();
        self.people.iter().position(|person| {
            person.standing == Standing::Waiting
                && (person.wants == Wants::Any || supply == Supply::New || one_in_vain)
        })
    }

    fn serve(&mut self, supply: Supply) -> (Option<Key>, Vec<Key>) {
        let mut late = Vec::new();
        while let Some(place) = self.first(supply) {
            let now = self.now;
            let person = &mut self.people[place];
            if person.deadline.is_none_or(|deadline| now < deadline) {
                person.standing = Standing::Served;
                return (Some(person.key), late);
            }
            person.standing = Standing::Expired;
            late.push(person.key);
        }
        (None, late)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let useful = self.lacking() > 0
            && self.room(self.leaving) > 0
            && self.connecting < self.most_connecting();
        let retry = self.retry_at.filter(|_| useful);
        retry
            .into_iter()
            .chain(self.sweep_at)
            .min()
            .filter(|_| !self.closed)
    }

    fn dismiss_all(&mut self) -> Vec<Key> {
        let waiting = |person: &&mut Person| person.standing == Standing::Waiting;
        let told = self.people.iter_mut().filter(waiting).map(|person| {
            person.standing = Standing::Served;
            person.key
        });
        told.collect()
    }

    /// What the probe made is gone, if nothing else is there.
    fn miss_the_probe(&mut self) {
        if self.breaker == BreakerState::HalfOpen && self.open + self.connecting == 0 {
            self.retry_at = None;
        }
    }

    fn breaker_opens(&self) -> Option<Breaker> {
        let enough = |breaker: &Breaker| self.failures + 1 >= breaker.failures as usize;
        self.config.breaker.filter(enough)
    }

    /// The pause that a failure calls for.
    fn pause(&self, draw: u64) -> Duration {
        let draw = draw as f64 / u64::MAX as f64;
        if let Some(Breaker { probe_every, .. }) = self.breaker_opens() {
            return probe_every.mul_f64(1.0 - draw / 10.0).max(MILLI);
        }
        let Backoff { first, max, factor } = self.config.backoff;
        let mut ceiling = first;
        for _ in 0..self.failures {
            ceiling = ceiling.mul_f64(factor).min(max);
        }
        ceiling.mul_f64(draw).max(MILLI)
    }
}

/// Three within a second, and then none for a second.
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

/// Both of them, to whom the same things happen.
struct Both {
    ledger: Ledger,
    naive: Naive,
}

impl Both {
    fn happens(&mut self, event: Event) {
        let Both { ledger, naive } = self;
        let now = naive.now;
        let somebody = |nth: usize| nth % naive.people.len().max(1);
        match event {
            Event::Join(wants, patience) => self.join(wants, patience),
            Event::Leave(nth) if !naive.people.is_empty() => {
                let person = naive.people.remove(somebody(nth));
                ledger.leave(person.key);
                assert_eq!(ledger.standing(person.key), None);
            }
            Event::Rejoin(nth, wants) if !naive.people.is_empty() => {
                let place = somebody(nth);
                let person = &mut naive.people[place];
                let back = ledger.rejoin(person.key, wants);
                if naive.closed {
                    assert_eq!(back, Err(Refused::Closed));
                } else if person.standing != Standing::Waiting {
                    (person.standing, person.wants) = (Standing::Waiting, wants);
                }
            }
            Event::Serve(supply) => {
                let mut late = Vec::new();
                let served = ledger.serve(supply, now, |key| late.push(key));
                assert_eq!((served, late), naive.serve(supply));
            }
            Event::ConnectsBegin => {
                for _ in 0..ledger.wanted(now) {
                    let start = ledger.connect_begins(now);
                    assert_eq!(start.generation, naive.generation);
                    naive.connecting += 1;
                    naive.start = Some((start, false));
                    if let (BreakerState::Open | BreakerState::HalfOpen, Some(breaker)) =
                        (naive.breaker, naive.config.breaker)
                    {
                        naive.breaker = BreakerState::HalfOpen;
                        naive.retry_at = now.checked_add(breaker.probe_every.max(MILLI));
                    }
                }
            }
            Event::ConnectSucceeds if naive.connecting > 0 => {
                ledger.connected();
                naive.connecting -= 1;
                naive.open += 1;
                if naive.window > 0 {
                    let wider = naive.window + 1;
                    naive.window = if wider < naive.config.max_size {
                        wider
                    } else {
                        0
                    };
                }
                if naive.breaker == BreakerState::HalfOpen {
                    naive.sweep_at = naive.sweep_at.min(naive.retry_at).or(naive.retry_at);
                }
            }
            Event::ConnectFails(draw) if naive.connecting > 0 => {
                self.fail(draw);
                self.ledger.slot_freed(Hold::Connecting);
                self.naive.connecting -= 1;
            }
            Event::NewOneIsDead(draw) if naive.open > 0 => self.fail(draw),
            Event::OneProvesGood(age) => {
                let born = now.since(at(age)).as_nanos() as u64;
                let born = Instant::from_nanos(born);
                let good = ledger.proved_good(born);
                if born >= naive.failed_at {
                    (naive.failures, naive.retry_at) = (0, None);
                    naive.breaker = BreakerState::Closed;
                }
                assert_eq!(good, naive.failures == 0);
            }
            Event::OneIsBroken => {
                let raised = naive.broken.is_enough_with(now);
                if raised {
                    naive.epoch += 1;
                    naive.narrow_window(1);
                }
                assert_eq!(ledger.found_broken(now), raised);
            }
            Event::OneIsLost => {
                ledger.lost_by_user(now);
                if naive.lost.is_enough_with(now) {
                    naive.narrow_window(4);
                }
            }
            Event::OneLeaves if naive.open > 0 => {
                ledger.leaves();
                naive.open -= 1;
                naive.leaving += 1;
                naive.miss_the_probe();
            }
            Event::SlotFreed(Hold::Open) if naive.open > 0 => {
                ledger.slot_freed(Hold::Open);
                naive.open -= 1;
                naive.miss_the_probe();
            }
            Event::SlotFreed(Hold::Leaving) if naive.leaving > 0 => {
                ledger.slot_freed(Hold::Leaving);
                naive.leaving -= 1;
                naive.miss_the_probe();
            }
            Event::LookBegins if !naive.looking => {
                naive.looking = !naive.closed && (naive.paused || naive.waiting() == 0);
                assert_eq!(ledger.look_begins(), naive.looking);
            }
            Event::LookEnds => {
                ledger.look_ends();
                naive.looking = false;
            }
            Event::SweepIsDue => {
                let due = naive.sweep_at.is_some_and(|at| now >= at);
                assert_eq!(ledger.sweep_is_due(now), due);
                if due || naive.sweep_at.is_none() {
                    naive.sweep_at = now.checked_add(sweeps_every(&naive.config));
                }
            }
            Event::Pause => {
                ledger.pause();
                naive.paused = !naive.closed;
            }
            Event::Resume => {
                ledger.resume();
                naive.paused = false;
            }
            Event::GiveUp => {
                let open = naive.breaker == BreakerState::Open;
                let told = match naive.is_broken() && open && naive.probes() == 0 {
                    true => naive.dismiss_all(),
                    false => Vec::new(),
                };
                assert_eq!(ledger.give_up(now), told);
            }
            Event::Clear => {
                ledger.next_generation();
                naive.generation += 1;
            }
            Event::Reconfigure(config) => {
                ledger.reconfigure(&config);
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
            Event::TimePasses(millis) => {
                naive.now = now.checked_add(MILLI * millis as u32).unwrap();
            }
            Event::Close => {
                assert_eq!(ledger.close(), naive.dismiss_all());
                (naive.closed, naive.paused) = (true, false);
            }
            _ => {}
        }
    }

    fn join(&mut self, wants: Wants, patience: Option<u64>) {
        let Both { ledger, naive } = self;
        let deadline = patience.and_then(|millis| naive.now.checked_add(MILLI * millis as u32));
        let joined = ledger.join(naive.now, deadline, wants);
        if naive.closed {
            assert_eq!(joined, Err(Refused::Closed));
            return;
        }
        // Whether he is let in is judged with him in line.
        let nobody = Slab::default().insert(());
        naive.people.push(Person {
            key: joined.unwrap_or(nobody),
            wants,
            deadline,
            standing: Standing::Waiting,
        });
        if naive.is_broken() && naive.waiting() > naive.probes() {
            naive.people.pop();
            assert_eq!(joined, Err(Refused::Broken));
            return;
        }
        let provided_for = naive.coming() + usize::from(naive.looking);
        let fits = |most: usize| naive.waiting() <= most + provided_for;
        if !naive.config.max_waiters.is_none_or(fits) {
            naive.people.pop();
            assert_eq!(joined, Err(Refused::Exhausted));
        } else {
            assert!(joined.is_ok(), "refused: {joined:?}");
        }
    }

    fn fail(&mut self, draw: u64) {
        let Both { ledger, naive } = self;
        ledger.connect_failed(naive.now, draw);
        naive.failed_at = naive.now;
        naive.window = 1;
        naive.start = naive.start.map(|(start, _)| (start, true));
        if naive.pausing() && naive.breaker != BreakerState::HalfOpen {
            return;
        }
        let retry_at = ledger.trouble.retry_at().expect("a pause");
        let (pause, expected) = (retry_at.since(naive.now), naive.pause(draw));
        assert!(
            pause.abs_diff(expected) < MILLI / 1000,
            "{pause:?} {expected:?}"
        );
        if naive.breaker_opens().is_some() || naive.breaker == BreakerState::HalfOpen {
            naive.breaker = BreakerState::Open;
        }
        naive.failures += 1;
        naive.retry_at = Some(retry_at);
    }

    fn assert_agree(&self) {
        let Both { ledger, naive } = self;
        let now = naive.now;
        assert_eq!(
            ledger.figures(),
            Figures {
                max_size: naive.config.max_size,
                size: naive.open + naive.leaving,
                leaving: naive.leaving,
                connecting: naive.connecting,
                waiting: naive.waiting(),
                breaker: naive.breaker,
                paused: naive.paused,
            }
        );
        assert_eq!(ledger.lacking(), naive.lacking(), "lacking");
        let room = naive.room(naive.leaving);
        assert_eq!(ledger.wanted(now), naive.wanted(room), "wanted");
        let staying = naive.open + naive.connecting;
        let surplus = staying - staying.min(naive.config.max_size);
        assert_eq!(ledger.surplus(), surplus, "surplus");
        assert_eq!(ledger.can_spare_one(), naive.open > naive.config.min_size);
        assert_eq!(ledger.has_min_size(), naive.open >= naive.config.min_size);
        let vacant = naive.closed && staying + naive.leaving == 0;
        assert_eq!(ledger.is_vacant(), vacant, "vacant");
        let held_up = match naive.leaving > 0 && room == 0 {
            true => naive.waiting(),
            false => 0,
        };
        assert_eq!(ledger.held_up_by_goodbyes(), held_up, "held up");
        let pause = naive.pausing() && naive.lacking() > 0;
        assert_eq!(ledger.waits_for_a_pause(now), pause, "waits for a pause");
        let connecting =
            !naive.paused && (naive.connecting > 0 || (naive.failures > 0 && room > 0));
        assert_eq!(ledger.is_connecting(), connecting, "is connecting");
        assert_eq!(ledger.failures(), naive.failures, "failures");
        if let Some((start, one_failed)) = naive.start {
            let crowded = naive.pausing() || naive.connecting > naive.window();
            let stands_back = ledger.stands_back(start, now);
            assert_eq!(stands_back, one_failed && crowded, "stands back");
        }
        let head = naive.in_line().next().map(|person| person.key);
        assert_eq!(ledger.head(), head, "head");
        let wants_used = naive.first(Supply::Used).is_some();
        assert_eq!(ledger.wants_used(now), wants_used, "wants used");
        for person in &naive.people {
            assert_eq!(ledger.standing(person.key), Some(person.standing));
        }
        assert_eq!(ledger.next_deadline(), naive.next_deadline(), "deadline");
        assert_eq!(ledger.epoch(), naive.epoch, "epoch");
        assert_eq!(ledger.generation(), naive.generation, "generation");
        assert_eq!(ledger.is_closed(), naive.closed, "closed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_agrees_with_a_naive_one(config in settings(), events in vec(event(), 1..=100)) {
        prop_assert_eq!(config.validate(), Ok(()));
        let mut both = Both { ledger: Ledger::new(&config), naive: Naive::new(config) };
        for event in events {
            both.happens(event);
            both.assert_agree();
        }
    }
}
