//! The time budget of a measurement.

use std::time::Duration;

/// The time budget of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// The number of rounds per pool.
    pub(crate) rounds: usize,
    /// Warm-up time of a round.
    pub(crate) warm_up: Duration,
    /// Measured time of a round.
    pub(crate) window: Duration,
    /// A round that takes longer counts as hanging.
    pub(crate) patience: Duration,
    /// Run a few operations only, to check that the benchmark works.
    pub(crate) smoke: bool,
}

impl Budget {
    /// For figures to quote.
    pub(crate) const FULL: Budget = Budget {
        rounds: 7,
        warm_up: Duration::from_millis(30),
        window: Duration::from_millis(150),
        patience: Duration::from_secs(10),
        smoke: false,
    };

    /// For a quick look.
    pub(crate) const QUICK: Budget = Budget {
        rounds: 3,
        warm_up: Duration::from_millis(10),
        window: Duration::from_millis(50),
        patience: Duration::from_secs(4),
        smoke: false,
    };

    /// For a check that everything works.
    pub(crate) const SMOKE: Budget = Budget {
        rounds: 1,
        warm_up: Duration::ZERO,
        window: Duration::ZERO,
        patience: Duration::from_secs(1),
        smoke: true,
    };

    /// Returns `count`, or a small number in a smoke run.
    pub(crate) fn size(self, count: usize) -> usize {
        if self.smoke { count.min(8) } else { count }
    }
}
