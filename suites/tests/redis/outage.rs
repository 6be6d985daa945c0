//! Redis goes down and comes back.

use connpool_core::CloseReason;

use crate::load::{Load, Patience};
use crate::support::{Adapter, LIMIT, ask, assert_closed, borrow, pool_of, start_redis, until};

pub(crate) async fn a_crash_under_load_costs_requests_but_no_reply_is_wrong<A: Adapter>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server)
        .max_size(4)
        .fail_fast_after(None)
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    let load = Load::start::<A, _>(&pool, 16, Patience::Endless);
    load.wait_for_replies(20).await;

    server.kill();
    until("a refused connect", || pool.stats().connect_failed > 0).await;
    server.restart().unwrap();
    load.forbid_failures();
    load.wait_for_replies(20).await;

    let failed = load.stop().await;
    let stats = pool.stats();
    assert_eq!(stats.request, stats.success, "every get had a connection");
    let unfinished = stats.closed.get(CloseReason::Unfinished);
    assert_eq!(failed, unfinished, "{stats}");
}

pub(crate) async fn a_restart_while_the_pool_is_idle_fails_no_get<A: Adapter>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server).min_size(4).max_size(4).build().await.unwrap();
    server.stop();
    server.restart().unwrap();
    for mut conn in borrow(&pool, 4).await {
        assert_eq!(ask(&mut *conn, &["PING"]).await.unwrap(), "PONG");
    }
    assert_closed(&pool, &[(CloseReason::Dead, 4)]);
}
