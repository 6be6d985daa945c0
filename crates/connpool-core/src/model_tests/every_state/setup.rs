//! The settings and bounds of one search, and what it has come across.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::{Breaker, PoolConfig};
use crate::model_tests::every_state::defect::Defect;

/// The settings and bounds of one search.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) fail_fast_after: Option<Duration>,
    pub(super) breaker: Option<Breaker>,
    pub(super) min_size: usize,
    pub(super) limits: Limits,
    pub(super) defect: Option<Defect>,
    pub(super) seen: Arc<Seen>,
}

/// One search over all states.
pub(super) struct Search {
    pub(super) name: &'static str,
    pub(super) setup: fn() -> Setup,
    /// How much deeper it goes than the others; `None` if it ends when there is no state left.
    pub(super) deeper: Option<usize>,
    /// Not for every change.
    pub(super) is_large: bool,
}

const NOTHING: Limits = Limits {
    failures: 0,
    faults: 0,
    cancels: 0,
    hasty: 0,
    misses: 0,
    changes: 0,
    closes: 0,
    waits: 0,
};

const EVERYTHING: Limits = Limits {
    failures: 1,
    faults: 1,
    cancels: 1,
    hasty: 1,
    misses: 1,
    changes: 1,
    closes: 1,
    waits: 2,
};

/// The searches. Gets and returns are unlimited in all of them.
pub(super) const SEARCHES: &[Search] = &[
    Search {
        name: "calls",
        setup: || Setup::new(Limits { cancels: 1, changes: 1, closes: 1, ..NOTHING }),
        deeper: None,
        is_large: false,
    },
    Search {
        name: "broken connections",
        setup: || Setup::new(Limits { cancels: 1, faults: 1, ..NOTHING }),
        deeper: None,
        is_large: false,
    },
    Search {
        name: "outage",
        setup: || Setup::new(Limits { failures: 1, waits: 2, ..NOTHING }),
        deeper: None,
        is_large: false,
    },
    Search {
        name: "everything",
        setup: || Setup::new(EVERYTHING),
        deeper: Some(0),
        is_large: false,
    },
    Search {
        name: "calls",
        setup: || Setup::new(Limits { faults: 1, cancels: 1, changes: 1, closes: 1, ..NOTHING }),
        deeper: None,
        is_large: true,
    },
    Search {
        name: "outage",
        setup: || Setup::new(Limits { failures: 1, misses: 1, waits: 2, ..NOTHING }),
        deeper: None,
        is_large: true,
    },
    Search {
        name: "outage, with a breaker and min_size",
        setup: || Setup {
            breaker: Some(Breaker::new(1, Duration::from_secs(1))),
            min_size: 1,
            ..Setup::new(Limits { failures: 2, faults: 1, waits: 2, ..NOTHING })
        },
        deeper: Some(0),
        is_large: true,
    },
    Search {
        name: "everything",
        setup: || Setup::new(Limits { changes: 2, waits: 3, ..EVERYTHING }),
        deeper: Some(0),
        is_large: true,
    },
];

/// How often each kind of event happens at most on the way to a state.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Limits {
    /// Failed connects.
    pub(super) failures: u8,
    /// Failed checks, and connections that are returned broken.
    pub(super) faults: u8,
    /// Dropped gets.
    pub(super) cancels: u8,
    /// Gets with a deadline.
    pub(super) hasty: u8,
    /// Gets that search the idle set some time before they wait.
    pub(super) misses: u8,
    /// Calls of `clear`, `pause` and `resize`. A pause may always be ended.
    pub(super) changes: u8,
    /// Calls of `close`.
    pub(super) closes: u8,
    /// Steps of time.
    pub(super) waits: u8,
}

impl Setup {
    fn new(limits: Limits) -> Self {
        Setup {
            fail_fast_after: Some(Duration::from_secs(3)),
            breaker: None,
            min_size: 0,
            limits,
            defect: None,
            seen: Arc::default(),
        }
    }

    pub(super) fn of_everything() -> Self {
        Setup::new(Limits { failures: 3, changes: 3, waits: 5, ..EVERYTHING })
    }

    /// Returns the setup in which the checker is to find a defect.
    pub(super) fn with(defect: Defect) -> Self {
        let limits = match defect {
            // It takes the most steps: only a caller that is past a hanging connect can barge in.
            Defect::BargesIn => Limits { faults: 1, misses: 1, waits: 1, ..NOTHING },
            _ => EVERYTHING,
        };
        Setup { defect: Some(defect), ..Setup::new(limits) }
    }

    pub(super) fn config(&self, max_size: usize) -> PoolConfig {
        PoolConfig {
            max_size,
            min_size: self.min_size,
            fail_fast_after: self.fail_fast_after,
            breaker: self.breaker,
            evict_interval: None,
            keepalive: None,
            ..PoolConfig::default()
        }
    }

    pub(super) fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }
}

/// Something that must happen on some way, or the properties would hold for want of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Sight {
    HandedOver,
    FreshAssigned,
    FreshTakesReused,
    ExpiredSkipped,
    TookIdleAtDeadline,
    Requeued,
    ToldNeverConnected,
    ToldOutage,
    ToldPermanent,
    AnsweredAtClose,
    ClosedUnderCheck,
    Abandoned,
    Withdrawn,
    DeadOnArrival,
    ServedByResume,
    BackAtPause,
    Shrunk,
    Drained,
}

impl Sight {
    pub(super) const ALL: [Sight; 18] = [
        Sight::HandedOver,
        Sight::FreshAssigned,
        Sight::FreshTakesReused,
        Sight::ExpiredSkipped,
        Sight::TookIdleAtDeadline,
        Sight::Requeued,
        Sight::ToldNeverConnected,
        Sight::ToldOutage,
        Sight::ToldPermanent,
        Sight::AnsweredAtClose,
        Sight::ClosedUnderCheck,
        Sight::Abandoned,
        Sight::Withdrawn,
        Sight::DeadOnArrival,
        Sight::ServedByResume,
        Sight::BackAtPause,
        Sight::Shrunk,
        Sight::Drained,
    ];
}

/// Counts what a search comes across. Not part of a state.
#[derive(Debug, Default)]
pub(super) struct Seen([AtomicU64; Sight::ALL.len()]);

impl Seen {
    pub(super) fn note(&self, sight: Sight) {
        self.0[sight as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self, sight: Sight) -> u64 {
        self.0[sight as usize].load(Ordering::Relaxed)
    }
}
