//! `get_with`.

use connpool_core::{CloseReason, GetError};
use connpool_testkit::{Behavior, Call, ScriptedError};
use futures_lite::future::yield_now;
use futures_lite::{AsyncReadExt, AsyncWriteExt};

use crate::env::{Env, MILLI, SHORT, closed};

/// Twenty tenants share four connections, at first none. Each connection answers with the role that was
/// last set on it.
pub(crate) async fn every_tenant_gets_its_role(env: Env) {
    let backend = env.backend();
    backend.always(Call::Connect, Behavior::Take(MILLI));
    let pool = backend.pool().max_size(4).build_lazy().unwrap();
    let peers = {
        let (backend, env_) = (backend.clone(), env.clone());
        move |id| {
            let peer = backend.take_peer(id);
            if let Some(mut peer) = peer {
                drop(env_.spawn(async move {
                    let mut role = [0];
                    while peer.read_exact(&mut role).await.is_ok() {
                        if peer.write_all(&role).await.is_err() {
                            return;
                        }
                    }
                }));
            }
        }
    };
    let tenants = env.run_tasks(20, |tenant| {
        let (pool, peers) = (pool.clone(), peers.clone());
        async move {
            let role = [u8::try_from(tenant).unwrap()];
            for _ in 0..10 {
                let get = pool.get_with(async |conn| {
                    peers(conn.id());
                    conn.write_all(&role).await.map_err(|_| ScriptedError(0))?;
                    yield_now().await;
                    Ok(())
                });
                let mut conn = get.await.unwrap();
                let mut reply = [0];
                conn.read_exact(&mut reply).await.unwrap();
                assert_eq!(reply, role);
            }
        }
    });
    tenants.await;
    let stats = env.until_at_rest(&pool, &backend, 0).await;
    assert_eq!((stats.request, stats.success), (200, 200));
    assert!(!pool.close(crate::env::LONG).await.timed_out);
}

/// So does one that takes too long, and one that is given up.
pub(crate) async fn failed_preparation_destroys_its_connection(env: Env) {
    let backend = env.backend();
    let pool = backend.pool().max_size(1).get_timeout(SHORT * 10).build_lazy().unwrap();
    let error = pool.get_with(async |_| Err(ScriptedError(7))).await.unwrap_err();
    assert!(matches!(error, GetError::Prepare(_)), "{error}");
    let error = pool.get_with(async |_| std::future::pending().await).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    env.until_stats(&pool, |stats| stats.size == 0).await;
    assert_eq!(closed(&pool, CloseReason::Unfinished), 2);
    env.assert_full_capacity(&pool, &backend).await;
}
