//! What happens in a run: drawn from a seed, and cut down when it fails.

use std::ops::Range;
use std::time::Duration;

use connpool_core::{Breaker, Builder, IdleOrder};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::{Act, FaultyManager, Op};

/// One thing that happens. Numbers choose among what there is, modulo how many there are, so that
/// every part of a history is a history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Move {
    Get(Option<Duration>),
    TryGet,
    Poll(usize),
    Cancel(usize),
    Return(usize),
    Mark(usize),
    Detach(usize),
    DropDetached(usize),
    Exchange {
        guard: usize,
        ends: Exchange,
    },
    ReadAndGiveUp(usize),
    Speak(usize),
    HangUp(usize),
    BreakOff(usize),
    Restart,
    Clear,
    Resize(usize),
    Pause,
    Resume,
    /// Closes what is idle if the number of its connect is a multiple of this.
    Retain(u64),
    Close,
    /// So many tasks run.
    Turns(usize),
    /// Everything runs that can.
    Round,
    Leap(Duration),
    ShutDown,
    StartAgain,
    Next(Op, Act),
    Always(Op, Act),
    Calm,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Exchange {
    Well,
    Badly,
    Dropped,
}

/// The settings of the pool.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) max_size: usize,
    min_size: usize,
    increment: usize,
    idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    evict_interval: Option<Duration>,
    pub(crate) get_timeout: Option<Duration>,
    ping_after: Option<Duration>,
    max_waiters: Option<usize>,
    max_idle: Option<usize>,
    pub(crate) max_uses: Option<u64>,
    max_connecting: Option<usize>,
    fail_fast: bool,
    breaker: Option<Breaker>,
    keepalive: Option<Duration>,
    leak_warning: Option<Duration>,
    pub(crate) resets: bool,
    round_robin: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) seed: u64,
    pub(crate) settings: Settings,
    pub(crate) moves: Vec<Move>,
}

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

impl History {
    pub(crate) fn draw(seed: u64, steps: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let settings = Settings::draw(&mut rng);
        // A third of all runs have a backend that does nothing wrong: other paths are then common.
        let gentle = seed % 3 == 0;
        History {
            seed,
            settings,
            moves: (0..steps).map(|_| Move::draw(&mut rng, gentle)).collect(),
        }
    }

    pub(crate) fn without(&self, range: Range<usize>) -> Self {
        let mut shorter = self.clone();
        shorter.moves.drain(range);
        shorter
    }
}

impl Settings {
    fn draw(rng: &mut StdRng) -> Self {
        let max_size = rng.random_range(1..=6);
        let min_size = rng.random_range(0..=2).min(max_size);
        let mut one_of = |choices: &[Option<Duration>]| *choices.choose(rng).unwrap_or(&None);
        let limits = [
            None,
            None,
            Some(Duration::ZERO),
            Some(5 * MILLI),
            Some(SECOND),
        ];
        let idle_timeout = one_of(&limits);
        let max_lifetime = one_of(&limits);
        let evict_interval = one_of(&[None, Some(50 * MILLI), Some(SECOND), Some(30 * SECOND)]);
        let get_timeout = one_of(&[None, Some(50 * MILLI), Some(10 * SECOND)]);
        let ping_after = one_of(&[None, Some(Duration::ZERO), Some(10 * MILLI)]);
        let keepalive = one_of(&[None, None, Some(200 * MILLI), Some(SECOND)]);
        let leak_warning = one_of(&[None, None, Some(200 * MILLI), Some(SECOND)]);
        let probe_every = one_of(&[None, Some(MILLI), Some(50 * MILLI), Some(SECOND)]);
        let mut at_most = |least: usize| -> Option<usize> {
            rng.random_ratio(1, 3)
                .then(|| rng.random_range(least..=least + 2))
        };
        Settings {
            max_size,
            min_size,
            idle_timeout,
            max_lifetime,
            evict_interval,
            get_timeout,
            ping_after,
            max_waiters: at_most(0),
            max_idle: at_most(min_size),
            max_uses: at_most(1).map(|most| most as u64),
            max_connecting: at_most(1),
            increment: rng.random_range(1..=3),
            fail_fast: rng.random(),
            breaker: probe_every.map(|probe_every| Breaker {
                failures: rng.random_range(1..=3),
                probe_every,
            }),
            keepalive,
            leak_warning,
            resets: rng.random(),
            round_robin: rng.random(),
        }
    }

    pub(crate) fn apply(&self, backend: &FaultyManager) -> Builder<FaultyManager> {
        if self.resets {
            backend.with_resets();
        }
        let order = match self.round_robin {
            true => IdleOrder::RoundRobin,
            false => IdleOrder::LastUsedFirst,
        };
        backend
            .pool()
            .name("fuzz")
            .max_size(self.max_size)
            .min_size(self.min_size)
            .increment(self.increment)
            .idle_timeout(self.idle_timeout)
            .max_lifetime(self.max_lifetime)
            .evict_interval(self.evict_interval)
            .get_timeout(self.get_timeout)
            .ping_after(self.ping_after)
            .max_waiters(self.max_waiters)
            .max_idle(self.max_idle)
            .max_uses(self.max_uses)
            .max_connecting(self.max_connecting)
            .fail_fast(self.fail_fast)
            .breaker(self.breaker)
            .keepalive(self.keepalive)
            .leak_warning(self.leak_warning)
            .idle_order(order)
    }
}

impl Move {
    fn draw(rng: &mut StdRng, gentle: bool) -> Self {
        let which = rng.random_range(0..1000);
        let index = rng.random_range(0..64);
        match which {
            0..180 => Move::Get(time(rng)),
            180..200 => Move::TryGet,
            200..300 => Move::Poll(index),
            300..350 => Move::Cancel(index),
            350..480 => Move::Return(index),
            480..500 => Move::Mark(index),
            500..515 => Move::Detach(index),
            515..530 => Move::DropDetached(index),
            530..560 => Move::Exchange {
                guard: index,
                ends: match rng.random_range(0..3) {
                    0 => Exchange::Well,
                    1 => Exchange::Badly,
                    _ => Exchange::Dropped,
                },
            },
            560..575 => Move::ReadAndGiveUp(index),
            575..585 => Move::Clear,
            585..587 => Move::Pause,
            587..590 => Move::Resume,
            590..610 => Move::Resize(rng.random_range(0..8)),
            // A closed pool does nothing any more: late, in most histories.
            610 if rng.random_ratio(1, 5) => Move::Close,
            610..700 => Move::Turns(rng.random_range(1..6)),
            700..800 => Move::Round,
            800..880 => Move::Leap(leap(rng)),
            880..892 => Move::Calm,
            892..895 => Move::Retain(rng.random_range(1..4)),
            895..898 => Move::Resume,
            _ if gentle => Move::Round,
            // Mostly the next runtime takes over at once.
            898 => Move::ShutDown,
            899..903 => Move::StartAgain,
            903..915 => Move::Speak(index),
            915..930 => Move::HangUp(index),
            930..940 => Move::BreakOff(index),
            940..945 => Move::Restart,
            945..985 => Move::Next(op(rng), act(rng)),
            _ => Move::Always(op(rng), act(rng)),
        }
    }
}

fn time(rng: &mut StdRng) -> Option<Duration> {
    match rng.random_range(0..8) {
        0 => None,
        1 => Some(Duration::ZERO),
        2 => Some(Duration::from_nanos(1)),
        3 => Some(Duration::MAX).filter(|_| rng.random_ratio(1, 4)),
        4 => Some(SECOND * rng.random_range(1..20)),
        _ => Some(MILLI * rng.random_range(1..40)),
    }
}

/// Short ones are common, since a long one is many sweeps.
fn leap(rng: &mut StdRng) -> Duration {
    match rng.random_range(0..20) {
        0 => 60 * SECOND,
        1..4 => SECOND * rng.random_range(1..6),
        _ => MILLI * rng.random_range(1..40),
    }
}

fn op(rng: &mut StdRng) -> Op {
    *Op::ALL.choose(rng).unwrap_or(&Op::Connect)
}

fn act(rng: &mut StdRng) -> Act {
    let time = MILLI * rng.random_range(1..3000);
    let times = rng.random_range(1..4);
    match rng.random_range(0..11) {
        0 => Act::Succeed,
        1 => Act::Fail,
        2 => Act::Take(time),
        3 => Act::FailAfter(time),
        4 => Act::Pend(times),
        5 => Act::PendThenFail(times),
        6 => Act::PendThenPanic(times),
        7 => Act::Hang,
        8 => Act::Panic,
        9 => Act::Speak,
        _ => Act::HangUp,
    }
}
