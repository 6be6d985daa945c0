//! Why a connection was not added to a pool.

use std::error::Error;
use std::fmt;

/// Why [`Pool::add`](crate::Pool::add) did not take a connection. It holds the connection.
#[non_exhaustive]
pub enum AddError<C> {
    /// `max_size` connections are open or being opened, or `max_idle` are idle.
    Full(C),
    /// The pool is closed.
    Closed(C),
}

impl<C> AddError<C> {
    /// Returns the connection that was not added.
    pub fn into_inner(self) -> C {
        match self {
            AddError::Full(conn) | AddError::Closed(conn) => conn,
        }
    }
}

/// The connection is not formatted.
impl<C> fmt::Debug for AddError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddError::Full(_) => "Full(..)",
            AddError::Closed(_) => "Closed(..)",
        })
    }
}

impl<C> fmt::Display for AddError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddError::Full(_) => "the pool is full: raise max_size or max_idle",
            AddError::Closed(_) => "the pool is closed",
        })
    }
}

impl<C> Error for AddError<C> {}
