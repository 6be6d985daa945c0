//! The errors of `get` and `build`.

pub(crate) mod add_error;
pub(crate) mod connect_error;
pub(crate) mod diagnosis;
pub(crate) mod failed_check;

use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::config::ConfigError;
use crate::error::connect_error::ConnectError;
use crate::error::diagnosis::{Diagnosis, Phase};

/// Why a `get` returned no connection.
///
/// Cheap to clone: one failed connect can answer several waiters. The text names the cause, so
/// [`source`](Error::source) returns what is below that cause. The manager's error itself is in
/// [`connect_error`](GetError::connect_error) or [`prepare_error`](GetError::prepare_error); its `Debug` is
/// never printed.
///
/// # Examples
///
/// ```
/// # use connpool_core::{object_fn, Pool};
/// # let sim = connpool_testkit::SimRuntime::new(1);
/// # let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
/// # let pool = Pool::builder(manager, sim.clone()).build_lazy()?;
/// # sim.block_on(async {
/// match pool.get().await {
///     Ok(conn) => println!("{}", *conn),
///     Err(error) if error.is_timeout() => eprintln!("try later: {error}"),
///     Err(error) => eprintln!("{error}"),
/// }
/// # });
/// # Ok::<_, connpool_core::ConfigError>(())
/// ```
#[non_exhaustive]
pub enum GetError<E> {
    /// The pool is closed, or is being [drained](crate::Pool::drain).
    Closed,
    /// Nothing was idle, and waiting was not allowed: by `max_waiters`, or because it was a
    /// [`try_get`](crate::Pool::try_get).
    Exhausted(Box<Diagnosis>),
    /// The time was up.
    Timeout {
        /// The phase of the `get`.
        phase: Phase,
        /// The state of the pool.
        diagnosis: Box<Diagnosis>,
    },
    /// More connections were requested at once than the pool may have.
    #[non_exhaustive]
    TooMany {
        /// The number of requested connections.
        wanted: usize,
        /// The number of connections there may be.
        max_size: usize,
    },
    /// Connects bring no usable connection, and no open one can come back; this is the last error.
    ///
    /// See [`fail_fast_after`](crate::PoolConfig::fail_fast_after) for when a caller is told.
    Connect(ConnectError<E>),
    /// The preparation of [`get_with`](crate::Pool::get_with) returned this error.
    Prepare(Arc<E>),
}

impl<E> GetError<E> {
    /// Returns whether the time was up.
    pub fn is_timeout(&self) -> bool {
        matches!(self, GetError::Timeout { .. })
    }

    /// Returns whether the pool is closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, GetError::Closed)
    }

    /// Returns the manager's error, if the connect failed with one.
    pub fn connect_error(&self) -> Option<&E> {
        match self {
            GetError::Connect(ConnectError::Failed(error)) => Some(error),
            _ => None,
        }
    }

    /// Returns the error of a preparation that failed.
    pub fn prepare_error(&self) -> Option<&E> {
        match self {
            GetError::Prepare(error) => Some(error),
            _ => None,
        }
    }
}

impl<E> Clone for GetError<E> {
    fn clone(&self) -> Self {
        match self {
            GetError::Closed => GetError::Closed,
            GetError::Exhausted(diagnosis) => GetError::Exhausted(diagnosis.clone()),
            GetError::Timeout { phase, diagnosis } => {
                GetError::Timeout { phase: *phase, diagnosis: diagnosis.clone() }
            }
            &GetError::TooMany { wanted, max_size } => GetError::TooMany { wanted, max_size },
            GetError::Connect(error) => GetError::Connect(error.clone()),
            GetError::Prepare(error) => GetError::Prepare(Arc::clone(error)),
        }
    }
}

impl<E: fmt::Display> fmt::Debug for GetError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::Closed => f.write_str("Closed"),
            GetError::Exhausted(diagnosis) => f.debug_tuple("Exhausted").field(diagnosis).finish(),
            GetError::Timeout { phase, diagnosis } => f
                .debug_struct("Timeout")
                .field("phase", phase)
                .field("diagnosis", diagnosis)
                .finish(),
            GetError::TooMany { wanted, max_size } => f
                .debug_struct("TooMany")
                .field("wanted", wanted)
                .field("max_size", max_size)
                .finish(),
            GetError::Connect(error) => f.debug_tuple("Connect").field(error).finish(),
            GetError::Prepare(error) => write!(f, "Prepare({error})"),
        }
    }
}

impl<E: fmt::Display> fmt::Display for GetError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::Closed => f.write_str("the pool is closed"),
            GetError::Exhausted(diagnosis) => diagnosis.explain(None, f),
            GetError::Timeout { phase, diagnosis } => diagnosis.explain(Some(*phase), f),
            GetError::TooMany { wanted, max_size } => write!(
                f,
                "cannot get {wanted} connections at once: max_size is {max_size}; raise max_size \
                 or request fewer"
            ),
            GetError::Connect(error) => write!(f, "cannot connect: {error}"),
            GetError::Prepare(error) => write!(f, "cannot prepare a connection: {error}"),
        }
    }
}

impl<E: Error + 'static> Error for GetError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            GetError::Connect(error) => error.source(),
            GetError::Prepare(error) => error.source(),
            GetError::Exhausted(diagnosis) | GetError::Timeout { diagnosis, .. } => {
                diagnosis.last_error.as_ref()?.source()
            }
            GetError::Closed | GetError::TooMany { .. } => None,
        }
    }
}

// Errors do not change once they are made.
impl<E> UnwindSafe for GetError<E> {}
impl<E> RefUnwindSafe for GetError<E> {}
impl<E> UnwindSafe for BuildError<E> {}
impl<E> RefUnwindSafe for BuildError<E> {}

/// Lets functions that return [`io::Error`] use `?` on a `get`.
///
/// The kind is that of the manager's error if that is an [`io::Error`]; `TimedOut` for
/// [`Timeout`](GetError::Timeout) and a connect that timed out; `ConnectionAborted` for a connection
/// that was dead on arrival; `WouldBlock` for [`Exhausted`](GetError::Exhausted); `NotConnected` for
/// [`Closed`](GetError::Closed); else `Other`. The error itself is inside.
impl<E: Error + Send + Sync + 'static> From<GetError<E>> for io::Error {
    fn from(error: GetError<E>) -> Self {
        let kind = match &error {
            GetError::Closed => io::ErrorKind::NotConnected,
            GetError::Exhausted(_) => io::ErrorKind::WouldBlock,
            GetError::Timeout { .. } | GetError::Connect(ConnectError::TimedOut) => {
                io::ErrorKind::TimedOut
            }
            GetError::Connect(ConnectError::Failed(cause)) | GetError::Prepare(cause) => (&**cause
                as &(dyn Error + 'static))
                .downcast_ref::<io::Error>()
                .map_or(io::ErrorKind::Other, io::Error::kind),
            GetError::Connect(ConnectError::DeadOnArrival(_)) => io::ErrorKind::ConnectionAborted,
            GetError::Connect(_) | GetError::TooMany { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// Why a pool could not be built. Prints its cause as [`GetError`] does.
#[non_exhaustive]
pub enum BuildError<E> {
    /// A setting is not allowed.
    Config(ConfigError),
    /// One of the first `min_size` connections could not be opened.
    Connect(ConnectError<E>),
    /// The first `min_size` connections were not open within `get_timeout`, and no connect had failed.
    Timeout,
    /// The runtime did not run the pool's task: it has ended, or there is none.
    NoRuntime,
}

impl<E> BuildError<E> {
    /// Returns the manager's error, if a connect failed with one.
    pub fn connect_error(&self) -> Option<&E> {
        match self {
            BuildError::Connect(ConnectError::Failed(error)) => Some(error),
            _ => None,
        }
    }
}

impl<E> From<ConfigError> for BuildError<E> {
    fn from(error: ConfigError) -> Self {
        BuildError::Config(error)
    }
}

impl<E: fmt::Display> fmt::Debug for BuildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Config(error) => f.debug_tuple("Config").field(error).finish(),
            BuildError::Connect(error) => f.debug_tuple("Connect").field(error).finish(),
            BuildError::Timeout => f.write_str("Timeout"),
            BuildError::NoRuntime => f.write_str("NoRuntime"),
        }
    }
}

impl<E: fmt::Display> fmt::Display for BuildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Config(error) => error.fmt(f),
            BuildError::Connect(error) => write!(f, "cannot connect: {error}"),
            BuildError::Timeout => f.write_str(
                "min_size connections were not open in time: see that the backend answers within \
                 connect_timeout and get_timeout, or use build_lazy",
            ),
            BuildError::NoRuntime => f.write_str(
                "the runtime did not run the pool's task: build the pool inside of a running one",
            ),
        }
    }
}

impl<E: Error + 'static> Error for BuildError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BuildError::Config(error) => error.source(),
            BuildError::Connect(error) => error.source(),
            BuildError::Timeout | BuildError::NoRuntime => None,
        }
    }
}
