//! Redis closes individual connections.

use connpool_core::CloseReason;

use crate::support::{Adapter, Spy, ask, assert_closed, borrow, client_id, pool_of, start_redis};

pub(crate) async fn connections_killed_while_idle_are_all_replaced<A: Adapter>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server).max_size(8).build().await.unwrap();
    let mut spies = Vec::new();
    for mut conn in borrow(&pool, 8).await {
        assert_eq!(ask(&mut *conn, &["PING"]).await.unwrap(), "PONG");
        spies.push(Spy::on::<A>(&conn));
    }
    let kill = ["CLIENT", "KILL", "TYPE", "normal"];
    assert_eq!(server.command(&kill).unwrap(), "8");
    spies.into_iter().for_each(Spy::sees_something);

    for mut conn in borrow(&pool, 8).await {
        assert_eq!(ask(&mut *conn, &["PING"]).await.unwrap(), "PONG");
    }
    assert_eq!(pool.stats().created, 16);
    assert_closed(&pool, &[(CloseReason::Dead, 8)]);
}

pub(crate) async fn killed_borrowed_connections_fail_only_their_users<A: Adapter>() {
    let mut server = start_redis();
    let pool = pool_of::<A>(&server).max_size(4).build().await.unwrap();
    let [mut spared, mut asked, mut in_exchange, mut unused] =
        <[_; 4]>::try_from(borrow(&pool, 4).await).unwrap();
    let good = client_id(&mut *spared).await;
    for conn in [&mut asked, &mut in_exchange, &mut unused] {
        let id = client_id(&mut **conn).await.to_string();
        let spy = Spy::on::<A>(conn);
        assert_eq!(server.command(&["CLIENT", "KILL", "ID", &id]).unwrap(), "1");
        spy.sees_something();
    }

    assert_eq!(client_id(&mut *spared).await, good);
    ask(&mut *asked, &["PING"]).await.unwrap_err();
    let exchange = in_exchange.exchange(async |redis| ask(redis, &["PING"]).await);
    exchange.await.unwrap_err();
    drop((spared, asked, in_exchange, unused));

    let mut ids = Vec::new();
    for mut conn in borrow(&pool, 4).await {
        ids.push(client_id(&mut *conn).await);
    }
    assert_eq!(ids.iter().filter(|id| **id == good).count(), 1);
    assert_closed(
        &pool,
        &[(CloseReason::NotReusable, 1), (CloseReason::Unfinished, 1), (CloseReason::Dead, 1)],
    );
}
