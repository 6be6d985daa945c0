//! What happens in a run: drawn from a seed, and cut down when it fails.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::settings::{Ground, MILLI, SECOND, Settings};
use crate::{Behavior, Call};

/// One thing that happens. Numbers choose among what there is, modulo how many there are, so that
/// every part of a history is a history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Move {
    Get(Option<Duration>),
    /// So many at once; whoever has them keeps them until he is cancelled.
    GetMany(usize, Option<Duration>),
    /// A get, an exchange and a return in one.
    GetForExchange(Exchange),
    TryGet,
    Poll(usize),
    Cancel(usize),
    Return(usize),
    Mark(usize),
    Label(usize, Label),
    Detach(usize),
    DropDetached(usize),
    /// One that was detached comes back.
    Add(usize),
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
    Reconfigure(Box<Settings>),
    Pause,
    Resume,
    Retain(Keep),
    Close,
    /// So many tasks run.
    Turns(usize),
    /// Everything runs that can.
    Round,
    Leap(Duration),
    ShutDown,
    StartAgain,
    Next(Call, Behavior),
    Always(Call, Behavior),
    Calm,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Exchange {
    Well,
    Badly,
    Panicking,
    Dropped,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Label {
    Numbered(usize),
    TooLong,
}

/// What `retain` keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Keep {
    All,
    None,
    Odd,
    /// One, and panics at the next.
    OneThenPanic,
}

#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) seed: u64,
    pub(crate) ground: Ground,
    pub(crate) settings: Settings,
    pub(crate) moves: Vec<Move>,
}

impl History {
    pub(crate) fn draw(seed: u64, steps: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let ground = Ground::draw(&mut rng);
        let settings = Settings::draw(&mut rng);
        // A third of all runs have a backend that does nothing wrong: other paths are then common.
        let gentle = seed % 3 == 0;
        History {
            seed,
            ground,
            settings,
            moves: (0..steps)
                .map(|_| Move::draw(&mut rng, gentle, ground.gathers))
                .collect(),
        }
    }

    pub(crate) fn without(&self, range: Range<usize>) -> Self {
        let mut shorter = self.clone();
        shorter.moves.drain(range);
        shorter
    }
}

impl Move {
    fn draw(rng: &mut StdRng, gentle: bool, gathers: bool) -> Self {
        let which = rng.random_range(0..1000);
        let index = rng.random_range(0..64);
        match which {
            0..160 => Move::Get(time(rng)),
            160..180 if gathers => Move::GetMany(rng.random_range(0..5), time(rng)),
            160..180 => Move::Get(time(rng)),
            180..200 => Move::GetForExchange(exchange(rng)),
            200..220 => Move::TryGet,
            220..315 => Move::Poll(index),
            315..365 => Move::Cancel(index),
            365..475 => Move::Return(index),
            475..490 => Move::Mark(index),
            490..505 => Move::Label(
                index,
                match rng.random_ratio(1, 4) {
                    true => Label::TooLong,
                    false => Label::Numbered(index),
                },
            ),
            505..520 => Move::Detach(index),
            520..530 => Move::DropDetached(index),
            530..545 => Move::Add(index),
            545..570 => Move::Exchange {
                guard: index,
                ends: exchange(rng),
            },
            570..582 => Move::ReadAndGiveUp(index),
            582..595 => Move::Clear,
            595..610 => Move::Resize(rng.random_range(0..8)),
            610..622 => Move::Reconfigure(Box::new(Settings::draw(rng))),
            622..630 => Move::Pause,
            630..646 => Move::Resume,
            646..658 => Move::Retain(keep(rng)),
            // A closed pool does nothing any more: late, in most histories.
            658 if rng.random_ratio(1, 5) => Move::Close,
            658..730 => Move::Turns(rng.random_range(1..6)),
            730..820 => Move::Round,
            820..880 => Move::Leap(leap(rng)),
            880..898 => Move::Calm,
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

fn exchange(rng: &mut StdRng) -> Exchange {
    match rng.random_range(0..4) {
        0 => Exchange::Well,
        1 => Exchange::Badly,
        2 => Exchange::Panicking,
        _ => Exchange::Dropped,
    }
}

fn keep(rng: &mut StdRng) -> Keep {
    match rng.random_range(0..4) {
        0 => Keep::All,
        1 => Keep::None,
        2 => Keep::Odd,
        _ => Keep::OneThenPanic,
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
        0 if rng.random_ratio(1, 3) => 60 * SECOND,
        0..4 => SECOND * rng.random_range(1..6),
        _ => MILLI * rng.random_range(1..40),
    }
}

fn op(rng: &mut StdRng) -> Call {
    *Call::ALL.choose(rng).unwrap_or(&Call::Connect)
}

fn act(rng: &mut StdRng) -> Behavior {
    let time = MILLI * rng.random_range(1..3000);
    let times = rng.random_range(1..4);
    match rng.random_range(0..11) {
        0 => Behavior::Succeed,
        1 => Behavior::Fail,
        2 => Behavior::Take(time),
        3 => Behavior::FailAfter(time),
        4 => Behavior::Pend(times),
        5 => Behavior::PendThenFail(times),
        6 => Behavior::PendThenPanic(times),
        7 => Behavior::Hang,
        8 => Behavior::Panic,
        9 => Behavior::Speak,
        _ => Behavior::HangUp,
    }
}
