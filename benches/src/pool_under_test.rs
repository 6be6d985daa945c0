//! A pool under test.

use std::future::Future;

use connpool_core::{Manager, Pool};

/// A pool under test, as a handle that every task has a clone of.
pub trait PoolUnderTest: Clone + Send + Sync + 'static {
    /// Borrows a connection. Dropping what comes out returns it. Panics if there is none to be had:
    /// nothing that is measured should fail.
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
