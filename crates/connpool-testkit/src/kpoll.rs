//! Dropping a future at every point at which it can be dropped.

use std::task::{Context, Waker};

use connpool_core::BoxFuture;

/// Makes a case and a future in it, polls the future k times and drops it, for k = 0, 1, 2 and so
/// on until the future ends by itself. `between` is called after each poll that left it pending,
/// with the number of that poll, to let the rest of the world go on; `after` judges what is left.
///
/// Ends after `most` polls at the latest. Says whether the future ever ended by itself: if not, not
/// every point was reached.
///
/// For an error or a panic at the k-th poll of a manager's future there are
/// [`Behavior::PendThenFail`](crate::Behavior::PendThenFail) and
/// [`Behavior::PendThenPanic`](crate::Behavior::PendThenPanic).
///
/// ```
/// use connpool_testkit::{Behavior, FaultyManager, Call, SimRuntime, assert_at_rest, drop_at_every_poll};
///
/// let ended = drop_at_every_poll(
///     100,
///     |k| {
///         let sim = SimRuntime::new(k as u64);
///         let backend = FaultyManager::new(sim.clone());
///         backend.always(Call::Connect, Behavior::Pend(3));
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
/// assert!(ended);
/// ```
#[must_use = "false says that not every point was reached"]
pub fn drop_at_every_poll<Case>(
    most: usize,
    mut make: impl FnMut(usize) -> (Case, BoxFuture),
    mut between: impl FnMut(&mut Case, usize),
    mut after: impl FnMut(Case),
) -> bool {
    for polls in 0..most {
        let (mut case, mut future) = make(polls);
        let mut ended = false;
        for poll in 0..polls {
            let mut cx = Context::from_waker(Waker::noop());
            ended = future.as_mut().poll(&mut cx).is_ready();
            if ended {
                break;
            }
            between(&mut case, poll);
        }
        drop(future);
        after(case);
        if ended {
            return true;
        }
    }
    false
}
