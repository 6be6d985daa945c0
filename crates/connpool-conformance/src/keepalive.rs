//! `keepalive`: background pings of idle connections.

use connpool_core::{Builder, CloseReason};

use crate::env::{Env, LONG, MILLI, closed};
use connpool_testkit::FaultyManager;
use connpool_testkit::{Behavior, Call};

/// Idle connections are pinged repeatedly without a `get`.
pub(crate) async fn keepalive_pings_idle_connections(env: Env) {
    let backend = env.backend();
    let pool = kept_alive(&backend).build_lazy().unwrap();
    drop(env.hold(&pool, 2).await);
    env.until(|| backend.calls(Call::Ping) >= 6).await;
    let report = pool.close(LONG).await;
    assert_eq!((report.closed, report.timed_out), (2, false));
    assert_eq!((backend.alive(), pool.stats().created), (0, 2));
}

/// Covers a ping that fails, hangs and panics.
pub(crate) async fn connection_that_fails_its_keepalive_is_replaced(env: Env) {
    for (behavior, reason) in [
        (Behavior::Fail, CloseReason::PingFailed),
        (Behavior::Hang, CloseReason::PingTimeout),
        (Behavior::Panic, CloseReason::Panicked),
    ] {
        let backend = env.backend();
        backend.next(Call::Ping, [behavior]);
        let build = kept_alive(&backend).min_size(1).ping_timeout(MILLI);
        let pool = build.build().await.unwrap();
        env.until(|| closed(&pool, reason) == 1).await;
        env.until_stats(&pool, |stats| stats.created >= 2).await;
        assert!(!pool.close(LONG).await.timed_out);
        assert_eq!(backend.alive(), 0);
    }
}

/// A `get` during the ping opens another connection.
pub(crate) async fn get_does_not_wait_for_a_keepalive_ping(env: Env) {
    let backend = env.backend();
    backend.next(Call::Ping, [Behavior::Hold]);
    let pool = kept_alive(&backend).ping_timeout(LONG).build_lazy().unwrap();
    drop(pool.get().await.unwrap());
    env.until(|| backend.held(Call::Ping) == 1).await;
    assert_eq!(pool.get().await.unwrap().id(), 2);
    assert!(!pool.close(LONG).await.timed_out);
}

/// `close` does not wait for a ping, and drops its connection without a graceful close.
pub(crate) async fn close_cancels_a_keepalive_ping(env: Env) {
    let backend = env.backend();
    backend.always(Call::Ping, Behavior::Hang);
    let pool = kept_alive(&backend).ping_timeout(LONG).build_lazy().unwrap();
    drop(env.hold(&pool, 2).await);
    env.until(|| backend.calls(Call::Ping) == 1).await;
    assert!(!pool.close(LONG).await.timed_out);
    assert_eq!(closed(&pool, CloseReason::Cancelled), 1);
    assert_eq!((backend.graceful_closes().len(), backend.alive()), (1, 0));
}

/// As many pings run at once as their duration demands, and no more than a tenth of the idle connections.
pub(crate) async fn many_idle_connections_are_pinged_several_at_once(env: Env) {
    let backend = env.backend();
    backend.always(Call::Ping, Behavior::Hold);
    let builder = kept_alive(&backend).max_size(40).ping_timeout(LONG);
    let pool = builder.build_lazy().unwrap();
    drop(env.hold(&pool, 40).await);
    // How long a ping takes is not known yet.
    env.until(|| backend.held(Call::Ping) == 1).await;
    env.sleep(MILLI * 50).await;
    env.release(&backend, Call::Ping, Behavior::Succeed).await;
    env.until(|| backend.held(Call::Ping) >= 3).await;
    assert!(backend.held(Call::Ping) <= 4, "{}", backend.held(Call::Ping));
    assert!(!pool.close(LONG).await.timed_out);
}

/// Builds a pool that pings connections idle for 2 ms and makes no other check.
fn kept_alive(backend: &FaultyManager) -> Builder<FaultyManager> {
    backend.pool().keepalive(2 * MILLI).evict_interval(None).ping_after(None)
}
