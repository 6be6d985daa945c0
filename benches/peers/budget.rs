//! How long to measure.

use std::time::Duration;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// How often each pool has its turn.
    pub(crate) rounds: usize,
    /// How long it runs before anything counts.
    pub(crate) warm_up: Duration,
    /// How long it runs then.
    pub(crate) window: Duration,
    /// When a turn that has not ended counts as hanging.
    pub(crate) patience: Duration,
    /// Whether to do a handful of everything, only to see that it works.
    pub(crate) smoke: bool,
}

impl Budget {
    /// To quote.
    pub(crate) const FULL: Budget = Budget {
        rounds: 7,
        warm_up: Duration::from_millis(30),
        window: Duration::from_millis(150),
        patience: Duration::from_secs(10),
        smoke: false,
    };

    /// To look at.
    pub(crate) const QUICK: Budget = Budget {
        rounds: 3,
        warm_up: Duration::from_millis(10),
        window: Duration::from_millis(50),
        patience: Duration::from_secs(4),
        smoke: false,
    };

    /// To see that everything works.
    pub(crate) const SMOKE: Budget = Budget {
        rounds: 1,
        warm_up: Duration::ZERO,
        window: Duration::ZERO,
        patience: Duration::from_secs(1),
        smoke: true,
    };

    /// So many of something, or a handful.
    pub(crate) fn size(self, count: usize) -> usize {
        if self.smoke { count.min(8) } else { count }
    }
}
