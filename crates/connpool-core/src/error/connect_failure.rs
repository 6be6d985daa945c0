//! Why a connect failed, in the one form that waiters, `build` and diagnoses share.

use std::error::Error;
use std::sync::Arc;

use crate::error::BuildError;
use crate::observe::close_reason::CloseReason;

/// The outcome of a connect that brought no usable connection. `E` is the manager's error in an `Arc`.
#[derive(Clone)]
pub(crate) enum ConnectFailure<E> {
    Error(E),
    TimedOut,
    Panicked(String),
    /// The runtime dropped the connect.
    Dropped,
    /// The first check of the connection failed.
    DeadOnArrival(CloseReason),
}

impl<E: Error + Send + Sync + 'static> ConnectFailure<Arc<E>> {
    /// Returns the failure as an error to be printed.
    pub(crate) fn as_error(&self) -> Arc<dyn Error + Send + Sync> {
        let text = match self {
            ConnectFailure::Error(error) => return Arc::clone(error) as _,
            ConnectFailure::TimedOut => String::from("it took longer than connect_timeout"),
            ConnectFailure::Panicked(message) => format!("it panicked: {message}"),
            ConnectFailure::Dropped => String::from(
                "the runtime dropped the connect task; call `get` from a runtime that keeps running",
            ),
            ConnectFailure::DeadOnArrival(CloseReason::Unsolicited) => {
                String::from("the server spoke first; read its greeting in Manager::connect")
            }
            ConnectFailure::DeadOnArrival(CloseReason::Dead) => {
                String::from("the server closed the connection before its first use")
            }
            ConnectFailure::DeadOnArrival(reason) => {
                format!("the connection failed its first check: {}", reason.label())
            }
        };
        Arc::from(Box::<dyn Error + Send + Sync>::from(text))
    }
}

impl<E> From<ConnectFailure<Arc<E>>> for BuildError<E> {
    fn from(failure: ConnectFailure<Arc<E>>) -> Self {
        match failure {
            ConnectFailure::Error(error) => BuildError::Connect(error),
            ConnectFailure::TimedOut | ConnectFailure::DeadOnArrival(_) => BuildError::Timeout,
            ConnectFailure::Panicked(message) => BuildError::Panicked(message),
            ConnectFailure::Dropped => BuildError::NoRuntime,
        }
    }
}
