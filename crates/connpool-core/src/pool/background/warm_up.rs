//! Opens the first `min_size` connections of a pool.

use std::pin::pin;

use futures_lite::future::or;

use crate::error::connect_error::ConnectError;
use crate::manager::Manager;
use crate::pool::background::attend::attend;
use crate::pool::background::spawn_wanted;
use crate::pool::shared::{Shared, TaskState};
use crate::util::timeout::{Deadline, timed_out};

/// Asks for connections as a waiting caller does.
struct Asker<'a, M: Manager>(&'a Shared<M>);

impl<'a, M: Manager> Asker<'a, M> {
    fn new(shared: &'a Shared<M>) -> Self {
        shared.with(|locked| locked.state.machine.askers.inc());
        Asker(shared)
    }
}

impl<M: Manager> Drop for Asker<'_, M> {
    fn drop(&mut self) {
        self.0.with(|locked| locked.state.machine.askers.dec());
    }
}

/// Why `min_size` connections are not open.
pub(crate) enum Shortfall<E> {
    Closed,
    Paused,
    /// The runtime takes no tasks.
    NoRuntime,
    Connect(ConnectError<E>),
    /// The time was up. Has the error of the last connect, if it failed.
    TimedOut(Option<ConnectError<E>>),
}

/// Waits until `min_size` connections are open, for `get_timeout` at most. Hears of failed connects
/// as a waiting caller does.
pub(crate) async fn open_min_size<M: Manager>(
    shared: &Shared<M>,
    deadline: &mut Deadline,
) -> Result<(), Shortfall<M::Error>> {
    let _asker = Asker::new(shared);
    let mut attends = pin!(attend(shared));
    loop {
        let changed = shared.signals.state_changed.listen();
        let now = shared.runtime.now();
        deadline.begin(now);
        spawn_wanted(shared, now);
        let tells_at = shared.peek(|state| {
            let machine = &state.machine;
            let tells_at = machine.tells_at(now);
            if machine.capacity.has_min_size() {
                Ok(None)
            } else if machine.closed || machine.is_draining() {
                Err(Shortfall::Closed)
            } else if machine.paused {
                Err(Shortfall::Paused)
            } else if state.maintenance == TaskState::Absent {
                Err(Shortfall::NoRuntime)
            } else if tells_at.is_some_and(|at| at <= now) {
                Err(Shortfall::Connect(state.last_failure()))
            } else {
                Ok(Some(tells_at))
            }
        })?;
        let Some(tells_at) = tells_at else {
            shared.with(|locked| locked.state.machine.warmed_up());
            return Ok(());
        };
        let woken = async {
            match tells_at {
                Some(at) => _ = timed_out(changed, shared.runtime.sleep_until(at)).await,
                None => changed.await,
            }
        };
        if timed_out(or(woken, &mut attends), deadline.passed(&*shared.runtime)).await {
            return Err(Shortfall::TimedOut(shared.peek(|state| state.last_failure.clone())));
        }
    }
}
