//! The figures of a run, and the targets.

use std::fmt;
use std::time::Duration;

use crate::backend::Overflow;
use crate::record::{FailedGets, PoolCounts};
use crate::scenario::{Run, Scenario};

/// The targets: attempts for each pool and second in an outage, from its fifth second on.
const MOST_ATTEMPTS: f64 = 1.1;
const OUTAGE_FROM: u64 = 5;

/// The most refused attempts in a second, as a multiple of what the backend accepts, from two
/// seconds after it is back.
const MOST_REFUSED: usize = 3;
const REFUSED_FROM: u64 = 2;

/// The same if all pools start at once. That is no recovery: for its first five seconds each pool without a
/// connection may try four times a second, as after any failure, and a thousand pools then exceed the
/// target for as long as most of them have none.
const REFUSED_FROM_COLD: u64 = 5;

/// The number of pools from which on chance is not allowed for.
const LARGE: usize = 1_000;

/// Returns by how much a count of attempts varies by chance: three times its square root. In a large fleet
/// that does not matter, and a small one would miss the target with some seeds and reach it with others.
fn chance(expected: usize, pools: usize) -> usize {
    if pools < LARGE { 3 * expected.isqrt() } else { 0 }
}

/// The time until 99 % of the pools have all connections, as a multiple of the shortest possible.
const MOST_TIME: f64 = 1.5;

/// The figures of a run.
#[derive(Debug, Clone)]
pub struct Figures {
    pub(crate) scenario: Scenario,
    pub(crate) overflow: Overflow,
    /// The most attempts in a second.
    pub(crate) peak: usize,
    /// The mean of attempts for each pool and second of the outage, from the fifth on.
    pub(crate) outage_rate: Option<f64>,
    /// The most refused attempts in a second, from two seconds after the recovery.
    pub(crate) refused: usize,
    /// What the most refused attempts of a small fleet may exceed the target by.
    chance: usize,
    /// The same from when it is judged.
    judged: usize,
    /// The time until 50, 99 and 100 % of the pools serve again.
    pub(crate) served: [Option<Duration>; 3],
    /// The time until 99 % of the pools have all their connections.
    pub(crate) full: Option<Duration>,
    pub(crate) failed: FailedGets,
    accepts: usize,
    shortest: Duration,
}

/// A target that was missed.
#[derive(Debug, Clone, PartialEq)]
pub struct Miss(String);

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Run {
    /// Computes the figures.
    pub fn figures(&self) -> Figures {
        let counts = &self.counts;
        let recovery = self.scenario.down_for();
        let attempts_between = |from: u64, to: u64| {
            counts.seconds.range(from..to).map(|(_, second)| second.attempts).sum::<usize>()
        };
        let outage_ends = recovery.as_secs();
        let outage_rate = (outage_ends > OUTAGE_FROM).then(|| {
            let seconds = (outage_ends - OUTAGE_FROM) as f64;
            attempts_between(OUTAGE_FROM, outage_ends) as f64 / seconds / self.fleet.pools as f64
        });
        let refused_from = |from: u64| {
            let late = counts.seconds.range(outage_ends + from..);
            late.map(|(_, second)| second.refused).max().unwrap_or(0)
        };
        let judged = if self.scenario.is_cold() { REFUSED_FROM_COLD } else { REFUSED_FROM };
        let served = times(&counts.pools, PoolCounts::served_after);
        // From the event on, or from the recovery: the first pool may be built much later.
        let begins = counts.begins.and_then(|begins| begins.checked_add(recovery));
        let full = times(&counts.pools, |pool| Some(pool.full_at?.since(begins?)));
        Figures {
            scenario: self.scenario,
            overflow: self.overflow,
            peak: counts.seconds.values().map(|second| second.attempts).max().unwrap_or(0),
            outage_rate,
            refused: refused_from(REFUSED_FROM),
            judged: refused_from(judged),
            chance: chance(MOST_REFUSED * self.fleet.accepts(), self.fleet.pools),
            served: [50, 99, 100].map(|percent| share(&served, percent)),
            full: share(&full, 99),
            failed: counts.failed,
            accepts: self.fleet.accepts(),
            shortest: self.fleet.shortest(),
        }
    }
}

impl Figures {
    /// Returns the targets that were missed.
    pub fn misses(&self) -> Vec<Miss> {
        let Figures { scenario, overflow, .. } = self;
        let miss = |text: String| Miss(format!("{scenario}, {overflow}: {text}"));
        let mut misses = Vec::new();
        if let Some(rate) = self.outage_rate.filter(|rate| *rate > MOST_ATTEMPTS) {
            misses.push(miss(format!(
                "{rate:.3} attempts for each pool and second of the outage, more than {MOST_ATTEMPTS}"
            )));
        }
        let most = MOST_REFUSED * self.accepts + self.chance;
        if self.judged > most {
            misses.push(miss(format!("{} refused in a second, more than {most}", self.judged)));
        }
        let longest = self.shortest.mul_f64(MOST_TIME);
        if self.full.is_none_or(|full| full > longest) {
            let full = self.full.map_or("never".to_owned(), |full| format!("after {full:.1?}"));
            misses.push(miss(format!(
                "99 % of the pools have all connections {full}, later than {longest:.1?}"
            )));
        }
        if self.served[2].is_none() {
            misses.push(miss("a pool never serves again".to_owned()));
        }
        misses
    }
}

/// Returns the times of all pools, shortest first; `None` is last.
fn times(
    pools: &[PoolCounts],
    time: impl Fn(&PoolCounts) -> Option<Duration>,
) -> Vec<Option<Duration>> {
    let mut times: Vec<_> = pools.iter().map(time).collect();
    times.sort_by_key(|time| time.unwrap_or(Duration::MAX));
    times
}

/// Returns the time within which `percent` of the pools are.
fn share(times: &[Option<Duration>], percent: usize) -> Option<Duration> {
    let enough = (times.len() * percent).div_ceil(100);
    times.get(enough.checked_sub(1)?).copied().flatten()
}
