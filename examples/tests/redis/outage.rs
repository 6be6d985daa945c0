//! A Redis that goes away and comes back.

use connpool_core::CloseReason;

use crate::load::{Load, Patience};
use crate::support::{Adapter, LIMIT, ask, assert_closed, lend, pool_of, start_redis, until};

pub(crate) async fn a_crash_under_load_costs_requests_but_no_reply_is_wrong<A: Adapter>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server)
        .max_size(4)
        .fail_fast(false)
        .get_timeout(LIMIT)
        .build()
        .await
        .unwrap();
    let load = Load::start::<A, _>(&pool, 16, Patience::Endless);
    load.everybody_has_answers(20).await;

    server.kill();
    until("a refused connect", || pool.stats().connect_failed > 0).await;
    server.restart().unwrap();
    load.calm();
    load.everybody_has_answers(20).await;

    let failed = load.stop().await;
    let stats = pool.stats();
    assert_eq!(stats.request, stats.success, "every get had a connection");
    let unfinished = stats.closed.get(CloseReason::Unfinished);
    assert_eq!(failed, unfinished, "{stats}");
}

pub(crate) async fn a_restart_while_nobody_asks_is_not_noticed<A: Adapter>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server)
        .min_size(4)
        .max_size(4)
        .build()
        .await
        .unwrap();
    server.stop();
    server.restart().unwrap();
    for mut conn in lend(&pool, 4).await {
        assert_eq!(ask(&mut *conn, &["PING"]).await.unwrap(), "PONG");
    }
    assert_closed(&pool, &[(CloseReason::Dead, 4)]);
}
