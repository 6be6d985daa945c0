//! The steps of a run, drawn from a seed.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::settings::{FixedSettings, MILLI, SECOND, Settings};
use connpool_testkit::{Behavior, Call};

/// One step of a run. Indices are taken modulo the number of candidates, so that any subsequence of a
/// history is a valid history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Get(Option<Duration>),
    /// Gets this many connections at once. The caller keeps them until it is cancelled.
    GetMany(usize, Option<Duration>),
    /// Calls `Pool::exchange`.
    PoolExchange(Exchange),
    /// Calls `Pool::get_with`. The outcome is that of the preparation.
    GetWith(Exchange),
    TryGet,
    Poll(usize),
    Cancel(usize),
    Return(usize),
    MarkUnusable(usize),
    Condemn(usize),
    Label(usize, Label),
    Detach(usize),
    DropDetached(usize),
    /// Adds a detached connection to the pool again.
    AddDetached(usize),
    Exchange {
        guard: usize,
        outcome: Exchange,
    },
    CancelRead(usize),
    PeerSends(usize),
    PeerHangsUp(usize),
    ResetPeer(usize),
    RestartServer,
    Clear,
    Resize(usize),
    Reconfigure(Box<Settings>),
    Pause,
    Resume,
    Retain(Keep),
    Close,
    Drain(Duration),
    /// Polls this many ready tasks.
    RunTasks(usize),
    RunUntilIdle,
    AdvanceTime(Duration),
    /// Lets the wall clock leap ahead, or sets it back.
    Leap(Duration),
    SetWallBack(Duration),
    ShutDownRuntime,
    RestartRuntime,
    Next(Call, Behavior),
    Always(Call, Behavior),
    ClearScript,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Exchange {
    Succeeds,
    Fails,
    Panics,
    Dropped,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Label {
    Numbered(usize),
    TooLong,
}

/// The connections that the predicate of `retain` keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Keep {
    All,
    None,
    Odd,
    /// Keeps one connection and panics at the next.
    OneThenPanic,
}

#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) seed: u64,
    pub(crate) fixed: FixedSettings,
    pub(crate) settings: Settings,
    pub(crate) steps: Vec<Step>,
}

impl History {
    pub(crate) fn draw(seed: u64, steps: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let fixed = FixedSettings::draw(&mut rng);
        let settings = Settings::draw(&mut rng);
        // In a third of all runs the backend never fails, which makes other paths more frequent.
        let well_behaved = seed % 3 == 0;
        History {
            seed,
            fixed,
            settings,
            steps: (0..steps).map(|_| Step::draw(&mut rng, well_behaved, &fixed)).collect(),
        }
    }

    pub(crate) fn without(&self, range: Range<usize>) -> Self {
        let mut shorter = self.clone();
        shorter.steps.drain(range);
        shorter
    }
}

impl Step {
    fn draw(rng: &mut StdRng, well_behaved: bool, fixed: &FixedSettings) -> Self {
        let which = rng.random_range(0..1000);
        let index = rng.random_range(0..64);
        match which {
            0..160 => Step::Get(time(rng)),
            160..180 if fixed.uses_get_many => Step::GetMany(rng.random_range(0..5), time(rng)),
            160..180 => Step::Get(time(rng)),
            // Events know a connection under preparation as idle, the harness as borrowed.
            180..190 if fixed.observer.is_none() => Step::GetWith(exchange(rng)),
            180..200 => Step::PoolExchange(exchange(rng)),
            200..220 => Step::TryGet,
            220..315 => Step::Poll(index),
            315..365 => Step::Cancel(index),
            365..475 => Step::Return(index),
            475..486 => Step::MarkUnusable(index),
            486..490 => Step::Condemn(index),
            490..505 => Step::Label(
                index,
                match rng.random_ratio(1, 4) {
                    true => Label::TooLong,
                    false => Label::Numbered(index),
                },
            ),
            505..520 => Step::Detach(index),
            520..530 => Step::DropDetached(index),
            530..545 => Step::AddDetached(index),
            545..570 => Step::Exchange { guard: index, outcome: exchange(rng) },
            570..582 => Step::CancelRead(index),
            582..595 => Step::Clear,
            595..610 => Step::Resize(rng.random_range(0..8)),
            610..622 => Step::Reconfigure(Box::new(Settings::draw(rng))),
            622..630 => Step::Pause,
            630..646 => Step::Resume,
            646..658 => Step::Retain(keep(rng)),
            // Rare, since a closed pool exercises little else.
            658 if rng.random_ratio(1, 5) => Step::Close,
            659 if rng.random_ratio(1, 5) => Step::Drain(time_step(rng)),
            658..730 => Step::RunTasks(rng.random_range(1..6)),
            730..820 => Step::RunUntilIdle,
            820..870 => Step::AdvanceTime(time_step(rng)),
            870..878 => Step::Leap(leap(rng)),
            878..880 => Step::SetWallBack(leap(rng)),
            880..898 => Step::ClearScript,
            _ if well_behaved => Step::RunUntilIdle,
            // Rarer than the restart, so that the runtime is mostly up.
            898 => Step::ShutDownRuntime,
            899..903 => Step::RestartRuntime,
            903..915 => Step::PeerSends(index),
            915..930 => Step::PeerHangsUp(index),
            930..940 => Step::ResetPeer(index),
            940..945 => Step::RestartServer,
            945..985 => Step::Next(call(rng), behavior(rng)),
            _ => Step::Always(call(rng), behavior(rng)),
        }
    }
}

fn exchange(rng: &mut StdRng) -> Exchange {
    match rng.random_range(0..4) {
        0 => Exchange::Succeeds,
        1 => Exchange::Fails,
        2 => Exchange::Panics,
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

/// Draws mostly short steps, since a long one runs many sweeps.
fn time_step(rng: &mut StdRng) -> Duration {
    match rng.random_range(0..20) {
        0 if rng.random_ratio(1, 3) => 60 * SECOND,
        0..4 => SECOND * rng.random_range(1..6),
        _ => MILLI * rng.random_range(1..40),
    }
}

/// Draws spans above and below what the pool takes for a leap.
fn leap(rng: &mut StdRng) -> Duration {
    match rng.random_range(0..8) {
        0 => Duration::MAX,
        1 => MILLI * rng.random_range(1..2000),
        _ => SECOND * rng.random_range(2..7200),
    }
}

fn call(rng: &mut StdRng) -> Call {
    *Call::ALL.choose(rng).unwrap_or(&Call::Connect)
}

fn behavior(rng: &mut StdRng) -> Behavior {
    let time = MILLI * rng.random_range(1..3000);
    let times = rng.random_range(1..4);
    match rng.random_range(0..11) {
        0 => Behavior::Succeed,
        1 => Behavior::Fail,
        2 => Behavior::Take(time),
        3 => Behavior::FailAfter(time),
        4 => Behavior::Yield(times),
        5 => Behavior::YieldThenFail(times),
        6 => Behavior::YieldThenPanic(times),
        7 => Behavior::Hang,
        8 => Behavior::Panic,
        9 => Behavior::SendUnsolicited,
        _ => Behavior::HangUp,
    }
}
