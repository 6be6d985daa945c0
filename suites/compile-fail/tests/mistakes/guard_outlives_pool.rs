//! A guard of `get` borrows the pool; that of `get_owned` does not.

use connpool_tokio::{PooledConnection, TcpManager, builder};

async fn connection() -> PooledConnection<'static, TcpManager> {
    let pool = builder(TcpManager::new("127.0.0.1:17")).build_lazy().unwrap();
    pool.get().await.unwrap()
}

fn main() {}
