//! Cancellation tests: dropping a future at every await point.

use std::task::{Context, Waker};

use connpool_core::BoxFuture;

/// Drops a future after 0, 1, 2, ... polls, until it completes.
///
/// `make` creates a test case and a future in it. `between` runs after each poll that returned
/// pending, with the index of the poll, and lets the rest of the case make progress. `after` checks
/// the case once the future has been dropped.
///
/// Stops after `max_polls` polls. Returns true if the future completed; if it did not, some await
/// points were not reached.
///
/// To fail or panic at the k-th poll of a manager's future, use
/// [`Behavior::YieldThenFail`](crate::Behavior::YieldThenFail) and
/// [`Behavior::YieldThenPanic`](crate::Behavior::YieldThenPanic).
///
/// ```
/// use connpool_testkit::{Behavior, FaultyManager, Call, SimRuntime, assert_at_rest, drop_at_every_poll};
///
/// let completed = drop_at_every_poll(
///     100,
///     |k| {
///         let sim = SimRuntime::new(k as u64);
///         let backend = FaultyManager::new(sim.clone());
///         backend.always(Call::Connect, Behavior::Yield(3));
///         let pool = backend.pool().max_size(1).build_lazy().unwrap();
///         let get = pool.get_owned();
///         ((sim, backend, pool), Box::pin(async move { drop(get.await) }))
///     },
///     |(sim, ..), _| sim.settle(),
///     |(sim, backend, pool)| {
///         sim.settle();
///         drop(sim.block_on(pool.get()).unwrap());
///         assert_at_rest(&pool, &backend, 0);
///     },
/// );
/// assert!(completed);
/// ```
#[must_use = "false means that not every await point was reached"]
pub fn drop_at_every_poll<Case>(
    max_polls: usize,
    mut make: impl FnMut(usize) -> (Case, BoxFuture),
    mut between: impl FnMut(&mut Case, usize),
    mut after: impl FnMut(Case),
) -> bool {
    for polls in 0..max_polls {
        let (mut case, mut future) = make(polls);
        let mut completed = false;
        for poll in 0..polls {
            let mut cx = Context::from_waker(Waker::noop());
            completed = future.as_mut().poll(&mut cx).is_ready();
            if completed {
                break;
            }
            between(&mut case, poll);
        }
        drop(future);
        after(case);
        if completed {
            return true;
        }
    }
    false
}
