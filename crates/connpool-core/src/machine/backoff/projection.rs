//! Projects a [`BackoffState`] to what later decisions can see of it.

use std::time::Duration;

use crate::machine::backoff::BackoffState;
use crate::machine::projection::Projector;

impl BackoffState {
    /// `something_is_open` as in [`tells_at`](BackoffState::tells_at), and `lendings` as in
    /// [`count_lendings`](BackoffState::count_lendings). The settings must be the same in all states.
    pub(crate) fn project(&self, into: &mut Projector, something_is_open: bool, lendings: u64) {
        let BackoffState {
            backoff: _,
            breaker_config,
            fail_fast_after,
            breaker,
            failures,
            failing_since,
            failed_at,
            was_dropped,
            succeeded_at,
            has_connected,
            opened_at,
            permanent,
            retry_at,
            // Together they are `due_at`.
            paused_at: _,
            draw: _,
            limit,
            // A ticket carries one and is compared with the last.
            limit_epochs: _,
            lendings: counted,
            lent_at,
        } = self;
        let enough = breaker_config.map_or(1, |breaker| breaker.failures.max(1));
        let enough = usize::try_from(enough).unwrap_or(usize::MAX);
        into.number(*breaker as usize);
        into.number(failures.get().min(enough));
        into.length(self.ceiling());
        into.order(*failed_at);
        into.order(*succeeded_at);
        if failures.get() > 0 {
            into.time(*failing_since);
            into.time(*failed_at);
            into.flag(*was_dropped);
        }
        into.flag(*has_connected);
        let patience = fail_fast_after.unwrap_or(Duration::MAX);
        into.age(opened_at.filter(|_| something_is_open), patience);
        into.age(*lent_at, patience);
        into.number(usize::from(*permanent));
        into.due(*retry_at);
        into.due(self.due_at(true));
        into.number(limit.unwrap_or(usize::MAX));
        into.flag(*counted == lendings);
    }
}
