//! A manager whose type is erased, to be chosen at run time.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::config::ResetWhen;
use crate::manager::{Manager, Severity};
use crate::observe::close_reason::CloseReason;
use crate::stream::{Liveness, StreamOf};

/// Holds any [`Manager`] with connections `C` and errors `E`, so that pools over different managers have
/// one type, `Pool<BoxManager<C, E>>`.
///
/// Allocates a box for each connect, ping, reset and close, and calls each liveness probe dynamically.
///
/// # Examples
///
/// ```
/// use connpool_core::{object_fn, BoxManager};
/// use std::io::Error;
///
/// let primary = BoxManager::new(object_fn(|| async { Ok::<_, Error>(1) }));
/// let replica = BoxManager::new(object_fn(|| async { Ok::<_, Error>(2) }));
/// let either: [BoxManager<i32, Error>; 2] = [primary, replica];
/// # let _ = either;
/// ```
pub struct BoxManager<C, E>(Box<dyn DynManager<C, E>>);

impl<C: Send + 'static, E: Error + Send + Sync + 'static> BoxManager<C, E> {
    /// Erases the type of `manager`.
    pub fn new(manager: impl Manager<Connection = C, Error = E>) -> Self {
        BoxManager(Box::new(manager))
    }
}

impl<C: Send + 'static, E: Error + Send + Sync + 'static> Manager for BoxManager<C, E> {
    type Connection = C;
    type Error = E;

    fn connect(&self) -> impl Future<Output = Result<C, E>> + Send {
        self.0.dyn_connect(None)
    }

    fn stream(&self) -> Option<StreamOf<C>> {
        self.0.dyn_stream()
    }

    fn connect_within(&self, limit: Option<Duration>) -> impl Future<Output = Result<C, E>> + Send {
        self.0.dyn_connect(limit)
    }

    fn severity(&self, error: &E) -> Severity {
        self.0.dyn_severity(error)
    }

    async fn ping(&self, conn: &mut C) -> Result<(), E> {
        self.0.dyn_ping(conn).await
    }

    async fn reset(&self, conn: &mut C) -> Result<(), E> {
        self.0.dyn_reset(conn).await
    }

    fn needs_reset(&self) -> bool {
        self.0.dyn_needs_reset()
    }

    fn reset_when(&self) -> ResetWhen {
        self.0.dyn_reset_when()
    }

    fn liveness(&self, conn: &mut C) -> Liveness {
        self.0.dyn_liveness(conn)
    }

    fn has_liveness(&self) -> bool {
        self.0.dyn_has_liveness()
    }

    fn is_reusable(&self, conn: &mut C) -> bool {
        self.0.dyn_is_reusable(conn)
    }

    fn expires_in(&self, conn: &C) -> Option<Duration> {
        self.0.dyn_expires_in(conn)
    }

    fn close(&self, conn: C, reason: CloseReason) -> impl Future<Output = ()> + Send {
        self.0.dyn_close(conn, reason)
    }

    fn has_close(&self) -> bool {
        self.0.dyn_has_close()
    }
}

impl<C, E> fmt::Debug for BoxManager<C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxManager")
    }
}

/// The dyn-compatible form of [`Manager`]. Distinct names keep method calls unambiguous.
#[async_trait]
trait DynManager<C, E>: Send + Sync {
    async fn dyn_connect(&self, limit: Option<Duration>) -> Result<C, E>;
    fn dyn_stream(&self) -> Option<StreamOf<C>>;
    fn dyn_severity(&self, error: &E) -> Severity;
    async fn dyn_ping(&self, conn: &mut C) -> Result<(), E>;
    async fn dyn_reset(&self, conn: &mut C) -> Result<(), E>;
    fn dyn_needs_reset(&self) -> bool;
    fn dyn_reset_when(&self) -> ResetWhen;
    fn dyn_liveness(&self, conn: &mut C) -> Liveness;
    fn dyn_has_liveness(&self) -> bool;
    fn dyn_is_reusable(&self, conn: &mut C) -> bool;
    fn dyn_expires_in(&self, conn: &C) -> Option<Duration>;
    async fn dyn_close(&self, conn: C, reason: CloseReason);
    fn dyn_has_close(&self) -> bool;
}

#[async_trait]
impl<M: Manager> DynManager<M::Connection, M::Error> for M {
    async fn dyn_connect(&self, limit: Option<Duration>) -> Result<M::Connection, M::Error> {
        self.connect_within(limit).await
    }

    fn dyn_stream(&self) -> Option<StreamOf<M::Connection>> {
        self.stream()
    }

    fn dyn_severity(&self, error: &M::Error) -> Severity {
        self.severity(error)
    }

    async fn dyn_ping(&self, conn: &mut M::Connection) -> Result<(), M::Error> {
        self.ping(conn).await
    }

    async fn dyn_reset(&self, conn: &mut M::Connection) -> Result<(), M::Error> {
        self.reset(conn).await
    }

    fn dyn_needs_reset(&self) -> bool {
        self.needs_reset()
    }

    fn dyn_reset_when(&self) -> ResetWhen {
        self.reset_when()
    }

    fn dyn_liveness(&self, conn: &mut M::Connection) -> Liveness {
        self.liveness(conn)
    }

    fn dyn_has_liveness(&self) -> bool {
        self.has_liveness()
    }

    fn dyn_is_reusable(&self, conn: &mut M::Connection) -> bool {
        self.is_reusable(conn)
    }

    fn dyn_expires_in(&self, conn: &M::Connection) -> Option<Duration> {
        self.expires_in(conn)
    }

    async fn dyn_close(&self, conn: M::Connection, reason: CloseReason) {
        self.close(conn, reason).await;
    }

    fn dyn_has_close(&self) -> bool {
        self.has_close()
    }
}
