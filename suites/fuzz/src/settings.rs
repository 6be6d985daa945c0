//! Random settings of a run. All of them are valid.

use std::time::Duration;

use connpool_core::{Breaker, IdleOrder, PoolConfig};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// The settings of the pool, which `reconfigure` may change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Settings {
    pub(crate) max_size: usize,
    min_size: usize,
    min_idle: usize,
    increment: usize,
    idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    evict_interval: Option<Duration>,
    pub(crate) get_timeout: Option<Duration>,
    ping_after: Option<Duration>,
    max_waiters: Option<usize>,
    max_idle: Option<usize>,
    pub(crate) max_uses: Option<u64>,
    pub(crate) max_connecting: Option<usize>,
    pub(crate) fail_fast_after: Option<Duration>,
    breaker: Option<Breaker>,
    keepalive: Option<Duration>,
    pub(crate) slow_get_warning: Option<Duration>,
    pub(crate) leak_warning: Option<Duration>,
    leak_backtrace: bool,
    histograms: bool,
    round_robin: bool,
}

/// The settings that stay fixed for a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FixedSettings {
    pub(crate) needs_reset: bool,
    pub(crate) observer: Option<ObserverBehavior>,
    /// Runs `get_many` as well. Without it the harness knows the exact number of requests.
    pub(crate) uses_get_many: bool,
}

/// The misbehavior of an observer, as intervals in events. 0 means never.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObserverBehavior {
    /// Panics at every n-th event.
    pub(crate) panic_every: u64,
    /// Calls the pool at every n-th event.
    pub(crate) call_pool_every: u64,
}

pub(crate) const MILLI: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

impl Settings {
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let max_size = rng.random_range(1..=6);
        let min_size = rng.random_range(0..=2).min(max_size);
        let min_idle = match rng.random_range(0..3) {
            0 => rng.random_range(1..=2).min(max_size),
            _ => 0,
        };
        let mut one_of = |choices: &[Option<Duration>]| *choices.choose(rng).unwrap_or(&None);
        let limits = [None, None, Some(Duration::ZERO), Some(5 * MILLI), Some(SECOND)];
        let idle_timeout = one_of(&limits);
        let max_lifetime = one_of(&limits);
        let evict_interval = one_of(&[None, Some(50 * MILLI), Some(SECOND), Some(30 * SECOND)]);
        let get_timeout = one_of(&[None, Some(50 * MILLI), Some(10 * SECOND)]);
        let ping_after = one_of(&[None, Some(Duration::ZERO), Some(10 * MILLI)]);
        let keepalive = one_of(&[None, None, Some(200 * MILLI), Some(2 * SECOND)]);
        let slow_get_warning = one_of(&[None, Some(MILLI), Some(SECOND)]);
        let leak_warning = one_of(&[None, None, Some(100 * MILLI), Some(SECOND)]);
        let probe_every = one_of(&[Some(20 * MILLI), Some(200 * MILLI), Some(SECOND)]);
        let mut limit_from = |least: usize| -> Option<usize> {
            rng.random_ratio(1, 3).then(|| rng.random_range(least..=least + 2))
        };
        Settings {
            max_size,
            min_size,
            min_idle,
            idle_timeout,
            max_lifetime,
            evict_interval,
            get_timeout,
            ping_after,
            keepalive,
            slow_get_warning,
            leak_warning,
            max_waiters: limit_from(0),
            max_idle: limit_from(min_size.max(min_idle)),
            max_uses: limit_from(1).map(|most| most as u64),
            max_connecting: limit_from(1),
            breaker: probe_every
                .filter(|_| rng.random_ratio(2, 3))
                .map(|probe_every| Breaker::new(rng.random_range(1..=3), probe_every)),
            increment: rng.random_range(1..=3),
            fail_fast_after: match rng.random_range(0..3) {
                0 => None,
                1 => Some(Duration::ZERO),
                _ => Some(Duration::from_secs(3)),
            },
            // Takes microseconds.
            leak_backtrace: rng.random_ratio(1, 40),
            histograms: rng.random(),
            round_robin: rng.random(),
        }
    }

    /// Returns the settings as a `PoolConfig`.
    pub(crate) fn config(&self) -> PoolConfig {
        let mut config = PoolConfig::default();
        config.name = Some(String::from("fuzz"));
        config.max_size = self.max_size;
        config.min_size = self.min_size;
        config.min_idle = self.min_idle;
        config.leak_backtrace = self.leak_backtrace;
        config.histograms = self.histograms;
        config.increment = self.increment;
        config.idle_timeout = self.idle_timeout;
        config.max_lifetime = self.max_lifetime;
        config.evict_interval = self.evict_interval;
        config.get_timeout = self.get_timeout;
        config.ping_after = self.ping_after;
        config.max_waiters = self.max_waiters;
        config.max_idle = self.max_idle;
        config.max_uses = self.max_uses;
        config.max_connecting = self.max_connecting;
        config.fail_fast_after = self.fail_fast_after;
        config.breaker = self.breaker;
        config.keepalive = self.keepalive;
        config.slow_get_warning = self.slow_get_warning;
        config.leak_warning = self.leak_warning;
        config.idle_order = match self.round_robin {
            true => IdleOrder::RoundRobin,
            false => IdleOrder::LastUsedFirst,
        };
        config
    }
}

impl FixedSettings {
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let mut every = |least: u64| match rng.random_range(0..2) {
            0 => 0,
            _ => rng.random_range(least..least + 10),
        };
        let observer = ObserverBehavior { panic_every: every(3), call_pool_every: every(1) };
        FixedSettings {
            needs_reset: rng.random(),
            observer: Some(observer).filter(|_| rng.random_ratio(2, 3)),
            uses_get_many: rng.random(),
        }
    }
}
