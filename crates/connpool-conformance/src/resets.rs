//! Resets after a return.

use connpool_core::{CloseReason, ResetWhen};

use crate::env::{Env, MILLI, SHORT, closed, waiting};
use connpool_testkit::{Behavior, Call};

/// What a user left behind ends without another `get`.
pub(crate) async fn returned_connection_is_reset_while_the_pool_is_idle(env: Env) {
    let backend = env.backend();
    backend.require_reset().always(Call::Reset, Behavior::Hold);
    let pool = backend.pool().max_size(2).evict_interval(None).build_lazy().unwrap();
    for resets in 1..4 {
        drop(pool.get().await.unwrap());
        env.until(|| backend.held(Call::Reset) == 1).await;
        let stats = pool.stats();
        assert_eq!((stats.resetting, stats.active, stats.available), (1, 1, 0), "{stats}");
        env.release(&backend, Call::Reset, Behavior::Succeed).await;
        env.until_stats(&pool, |stats| stats.available == 1).await;
        assert_eq!((backend.calls(Call::Reset), pool.stats().created), (resets, 1));
    }
}

/// It needs no other reset before it is checked out.
pub(crate) async fn try_get_returns_a_connection_that_was_reset(env: Env) {
    let backend = env.backend();
    backend.require_reset().always(Call::Reset, Behavior::Yield(3));
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    drop(pool.get().await.unwrap());
    env.until_stats(&pool, |stats| stats.available == 1).await;
    assert_eq!(pool.try_get().unwrap().uses(), 2);
    env.until_stats(&pool, |stats| stats.available == 1).await;
    assert_eq!(backend.calls(Call::Reset), 2);
}

/// The waiter has it reset.
pub(crate) async fn returned_connection_that_is_to_be_reset_goes_to_a_waiter(env: Env) {
    let backend = env.backend();
    backend.require_reset().always(Call::Reset, Behavior::Hold);
    let pool = backend.pool().max_size(1).build_lazy().unwrap();
    let guard = pool.get_owned().await.unwrap();
    let get = waiting(pool.get_owned()).await;
    drop(guard);
    assert_eq!(pool.stats().resetting, 0);
    let get = env.spawn(get);
    env.until(|| backend.held(Call::Reset) == 1).await;
    backend.clear_script();
    env.release(&backend, Call::Reset, Behavior::Succeed).await;
    let guard = get.await.unwrap();
    assert_eq!((guard.id(), backend.calls(Call::Reset)), (1, 1));
}

/// Covers a reset that fails, hangs and panics.
pub(crate) async fn connection_that_fails_its_reset_after_a_return_is_closed(env: Env) {
    for (behavior, reason) in [
        (Behavior::Fail, CloseReason::ResetFailed),
        (Behavior::Hang, CloseReason::ResetTimeout),
        (Behavior::Panic, CloseReason::Panicked),
    ] {
        let backend = env.backend();
        backend.require_reset().next(Call::Reset, [behavior]);
        let pool = backend.pool().max_size(1).reset_timeout(MILLI).build_lazy().unwrap();
        drop(pool.get().await.unwrap());
        env.until(|| closed(&pool, reason) == 1).await;
        assert_eq!(pool.get().await.unwrap().id(), 2, "{reason:?}");
        env.until_stats(&pool, |stats| stats.resetting == 0).await;
        env.assert_full_capacity(&pool, &backend).await;
    }
}

/// Nothing is reset until the next `get`.
pub(crate) async fn reset_when_on_get_leaves_an_idle_connection_alone(env: Env) {
    let backend = env.backend();
    backend.require_reset().always(Call::Reset, Behavior::Yield(3));
    let pool = backend.pool().max_size(1).reset_when(ResetWhen::OnGet).build_lazy().unwrap();
    for resets in 0..3 {
        drop(pool.get().await.unwrap());
        env.sleep(SHORT).await;
        assert_eq!((backend.calls(Call::Reset), pool.stats().available), (resets, 1));
    }
}

/// A reset under way ends with the pool.
pub(crate) async fn close_does_not_wait_for_resets(env: Env) {
    let backend = env.backend();
    backend.require_reset().always(Call::Reset, Behavior::Hang);
    let pool = backend.pool().reset_timeout(None).build_lazy().unwrap();
    drop(env.hold(&pool, 6).await);
    env.until(|| backend.calls(Call::Reset) == 4).await;
    let report = pool.close(crate::env::LONG).await;
    assert_eq!((report.closed, report.timed_out, backend.alive()), (6, false, 0));
}
