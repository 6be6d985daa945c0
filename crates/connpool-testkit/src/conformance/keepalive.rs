//! `keepalive`: pings of idle connections that nobody asks for.

use connpool_core::{Builder, CloseReason};

use super::host::{Host, LONG, MILLI, closed};
use crate::{Behavior, Call, FaultyManager};

/// Nobody asks, and they are pinged again and again.
pub async fn idle_connections_are_pinged_in_the_background(host: Host) {
    let backend = host.backend();
    let pool = kept_alive(&backend).build_lazy().unwrap();
    drop(host.hold(&pool, 2).await);
    host.until(|| backend.calls(Call::Ping) >= 6).await;
    let report = pool.close(LONG).await;
    assert_eq!((report.closed, report.timed_out), (2, false));
    assert_eq!((backend.alive(), pool.stats().created), (0, 2));
}

/// One that does not answer makes room for another.
pub async fn a_connection_that_fails_its_keepalive_is_replaced(host: Host) {
    for (act, reason) in [
        (Behavior::Fail, CloseReason::PingFailed),
        (Behavior::Hang, CloseReason::PingTimeout),
        (Behavior::Panic, CloseReason::Panicked),
    ] {
        let backend = host.backend();
        backend.next(Call::Ping, [act]);
        let build = kept_alive(&backend).min_size(1).ping_timeout(MILLI);
        let pool = build.build().await.unwrap();
        host.until(|| closed(&pool, reason) == 1).await;
        host.until_stats(&pool, |stats| stats.created >= 2).await;
        assert!(!pool.close(LONG).await.timed_out);
        assert_eq!(backend.alive(), 0);
    }
}

/// Whoever comes meanwhile gets another one.
pub async fn nobody_waits_for_what_is_being_pinged(host: Host) {
    let backend = host.backend();
    backend.next(Call::Ping, [Behavior::Hold]);
    let pool = kept_alive(&backend)
        .ping_timeout(LONG)
        .build_lazy()
        .unwrap();
    drop(pool.get().await.unwrap());
    host.until(|| backend.held(Call::Ping) == 1).await;
    assert_eq!(pool.get().await.unwrap().id(), 2);
    assert!(!pool.close(LONG).await.timed_out);
}

/// A close does not wait for the end of a ping, and what it cuts short is not clean.
pub async fn a_close_ends_a_keepalive(host: Host) {
    let backend = host.backend();
    backend.always(Call::Ping, Behavior::Hang);
    let pool = kept_alive(&backend)
        .ping_timeout(LONG)
        .build_lazy()
        .unwrap();
    drop(host.hold(&pool, 2).await);
    host.until(|| backend.calls(Call::Ping) == 1).await;
    assert!(!pool.close(LONG).await.timed_out);
    assert_eq!(closed(&pool, CloseReason::Cancelled), 1);
    assert_eq!((backend.goodbyes().len(), backend.alive()), (1, 0));
}

/// A pool that pings what was idle for two milliseconds, and checks nothing else.
fn kept_alive(backend: &FaultyManager) -> Builder<FaultyManager> {
    backend
        .pool()
        .keepalive(2 * MILLI)
        .evict_interval(None)
        .ping_after(None)
}
