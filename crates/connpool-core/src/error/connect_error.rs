//! Why a connect failed, in the one form that waiters, `build`, diagnoses and events share.

use std::error::Error;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::observe::close_reason::CloseReason;

/// Why a connect brought no usable connection.
///
/// Prints the cause. [`source`](Error::source) returns the source of the manager's error, since that
/// error itself is in the text. `{:?}` prints the manager's error as `{}` does.
#[non_exhaustive]
pub enum ConnectError<E> {
    /// The manager returned this error.
    Failed(Arc<E>),
    /// It took longer than `connect_timeout`, or has neither succeeded nor failed for
    /// `fail_fast_after`.
    TimedOut,
    /// The manager panicked. [`Event::Panicked`](crate::Event::Panicked) has the message.
    Panicked,
    /// The runtime dropped the connect before it ended.
    Dropped,
    /// The new connection failed its first check, for this reason.
    DeadOnArrival(CloseReason),
}

// Errors do not change once they are made.
impl<E> UnwindSafe for ConnectError<E> {}
impl<E> RefUnwindSafe for ConnectError<E> {}

impl<E> Clone for ConnectError<E> {
    fn clone(&self) -> Self {
        match self {
            ConnectError::Failed(error) => ConnectError::Failed(Arc::clone(error)),
            ConnectError::TimedOut => ConnectError::TimedOut,
            ConnectError::Panicked => ConnectError::Panicked,
            ConnectError::Dropped => ConnectError::Dropped,
            &ConnectError::DeadOnArrival(reason) => ConnectError::DeadOnArrival(reason),
        }
    }
}

impl<E: fmt::Display> fmt::Debug for ConnectError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Failed(error) => write!(f, "Failed({error})"),
            ConnectError::TimedOut => f.write_str("TimedOut"),
            ConnectError::Panicked => f.write_str("Panicked"),
            ConnectError::Dropped => f.write_str("Dropped"),
            ConnectError::DeadOnArrival(reason) => write!(f, "DeadOnArrival({reason:?})"),
        }
    }
}

impl<E: fmt::Display> fmt::Display for ConnectError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnectError::Failed(error) => return error.fmt(f),
            ConnectError::TimedOut => "it took longer than connect_timeout or fail_fast_after",
            ConnectError::Panicked => "it panicked; the event `Panicked` has the message",
            ConnectError::Dropped => {
                "the runtime dropped the connect task; call `get` from a runtime that keeps running"
            }
            ConnectError::DeadOnArrival(CloseReason::Unsolicited) => {
                "the server spoke first; read its greeting in Manager::connect"
            }
            ConnectError::DeadOnArrival(CloseReason::Dead) => {
                "the server closed the connection before its first use"
            }
            ConnectError::DeadOnArrival(reason) => {
                return write!(f, "the connection failed its first check: {}", reason.label());
            }
        })
    }
}

impl<E: Error> Error for ConnectError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ConnectError::Failed(error) => error.source(),
            ConnectError::TimedOut
            | ConnectError::Panicked
            | ConnectError::Dropped
            | ConnectError::DeadOnArrival(_) => None,
        }
    }
}
