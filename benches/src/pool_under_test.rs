//! A pool under test.

use std::future::Future;

use connpool_core::{Manager, Pool};

/// A handle to a pool under test, cloned for every task.
pub trait PoolUnderTest: Clone + Send + Sync + 'static {
    /// Borrows a connection. Dropping the guard returns it. Panics on an error: no measured get
    /// should fail.
    fn get(&self) -> impl Future<Output = impl Send> + Send;
}

impl<M: Manager> PoolUnderTest for Pool<M> {
    async fn get(&self) -> impl Send {
        match Pool::get(self).await {
            Ok(conn) => conn,
            Err(error) => panic!("{error}"),
        }
    }
}
