//! Opens the first `min_size` connections of a pool.

use crate::error::BuildError;
use crate::manager::Manager;
use crate::pool::background::spawn_wanted;
use crate::pool::shared::{Shared, TaskState};
use crate::util::timeout::{Deadline, timed_out};

/// Waits until `min_size` connections are open, for `get_timeout` at most.
pub(crate) async fn open_min_size<M: Manager>(
    shared: &Shared<M>,
) -> Result<(), BuildError<M::Error>> {
    let mut deadline = Deadline::new(shared.snapshot.settings.get_timeout.get());
    loop {
        let changed = shared.signals.state_changed.listen();
        let now = shared.runtime.now();
        deadline.begin(now);
        spawn_wanted(shared, now);
        let (done, has_runtime, failure) = shared.peek(|state| {
            let failed = state.machine.fail_fast && state.machine.backoff.failures.get() > 0;
            let failure = state.last_failure.clone().filter(|_| failed);
            let done = state.machine.capacity.has_min_size();
            (done, state.maintenance != TaskState::Absent, failure)
        });
        if done {
            return Ok(());
        }
        if !has_runtime {
            return Err(BuildError::NoRuntime);
        }
        if let Some(failure) = failure {
            return Err(BuildError::Connect(failure));
        }
        let time_is_up = deadline.passed(&*shared.runtime);
        if timed_out(changed, time_is_up).await {
            let failure = shared.peek(|state| state.last_failure.clone());
            return Err(failure.map_or(BuildError::Timeout, BuildError::Connect));
        }
    }
}
