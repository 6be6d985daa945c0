//! Figures of one moment: statistics and diagnoses.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::error::GetError;
use crate::error::diagnosis::{Diagnosis, Phase};
use crate::machine::pool::Gauges;
use crate::manager::Manager;
use crate::observe::stats::Stats;
use crate::pool::idle::IdleCount;
use crate::pool::shared::Shared;
use crate::util::sync::Arc;
use crate::util::timeout::Deadline;

/// Returns the gauges and the number of idle connections, of one moment.
pub(crate) fn gauges<M: Manager>(shared: &Shared<M>) -> (Gauges, IdleCount) {
    // Under the lock no slot can be freed, so no idle connection goes uncounted.
    shared.peek(|state| (state.machine.gauges(), shared.idle.count()))
}

pub(crate) fn stats<M: Manager>(shared: &Shared<M>) -> Stats {
    let (gauges, idle) = gauges(shared);
    shared.counters.snapshot(
        || shared.all_get_counters(),
        Stats {
            size: gauges.size,
            available: idle.idle,
            active: gauges.size.saturating_sub(idle.idle),
            resetting: gauges.resetting,
            closing: gauges.closing,
            connecting: gauges.connecting,
            waiting: gauges.waiting,
            breaker: gauges.breaker,
            paused: gauges.paused,
            // The fast path counts where it takes a connection.
            request: idle.checked_out,
            success: idle.checked_out,
            ..Stats::default()
        },
    )
}

/// Where a failing `get` stood.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct QueuePlace {
    /// `true` if it was queued until its deadline.
    pub(crate) queued: bool,
    /// `true` if a connect was under way then, or about to be.
    pub(crate) is_connecting: bool,
    /// Its position, counted from one, unless it was too far back.
    pub(crate) position: Option<NonZeroU16>,
}

/// Describes the pool for a `get` that failed after `waited`.
pub(crate) fn diagnosis<M: Manager>(
    shared: &Shared<M>,
    waited: Duration,
    place: QueuePlace,
) -> Box<Diagnosis> {
    let now = shared.runtime.now();
    let (gauges, available, last_error, failed_at, failed_check) = shared.peek(|state| {
        (
            state.machine.gauges(),
            shared.idle.count().idle,
            state.last_failure.clone(),
            state.machine.backoff.last_failure_at(),
            state.failed_checks.last.clone(),
        )
    });
    Box::new(Diagnosis {
        pool: Arc::clone(&shared.events.pool),
        waited,
        queue_position: place.position.map(|position| position.get().into()),
        max_size: gauges.max_size,
        size: gauges.size,
        active: gauges.size.saturating_sub(available),
        available,
        connecting: gauges.connecting,
        waiting: gauges.waiting.saturating_add(usize::from(place.queued)),
        paused: gauges.paused,
        breaker: gauges.breaker,
        last_error_ago: last_error.as_ref().and(failed_at).map(|at| now.since(at)),
        last_error: last_error.map(|error| Arc::new(error) as _),
        last_failed_check_ago: failed_check.as_ref().map(|(_, at)| now.since(*at)),
        last_failed_check: failed_check.map(|(check, _)| check),
        longest_held: shared.leases.longest(3, now),
    })
}

pub(crate) fn timeout<M: Manager>(
    shared: &Shared<M>,
    phase: Phase,
    deadline: &Deadline,
    place: QueuePlace,
) -> GetError<M::Error> {
    let waited = deadline.elapsed(shared.runtime.now());
    GetError::Timeout { phase, diagnosis: diagnosis(shared, waited, place) }
}

pub(crate) fn exhausted<M: Manager>(shared: &Shared<M>, place: QueuePlace) -> GetError<M::Error> {
    GetError::Exhausted(diagnosis(shared, Duration::ZERO, place))
}
