//! The errors of `get` and `build`.

pub(crate) mod add_error;
pub(crate) mod connect_failure;
pub(crate) mod diagnosis;

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::config::ConfigError;
use crate::error::diagnosis::{Diagnosis, Phase};

/// Why a `get` returned no connection.
///
/// Cheap to clone: one failed connect can answer several waiters.
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
#[derive(Debug)]
#[non_exhaustive]
pub enum GetError<E> {
    /// The pool is closed.
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
    /// The connect that this `get` waited for failed. Only with `fail_fast`.
    Connect(Arc<E>),
    /// The connect that this `get` waited for panicked. Only with `fail_fast`.
    Panicked {
        /// The step that panicked: `"connect"`. After other panics the pool tries another connection.
        step: &'static str,
        /// The panic's message.
        message: String,
    },
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
            GetError::Connect(error) => GetError::Connect(Arc::clone(error)),
            GetError::Panicked { step, message } => {
                GetError::Panicked { step, message: message.clone() }
            }
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
            GetError::Panicked { step, message } => write!(f, "{step} panicked: {message}"),
        }
    }
}

impl<E: Error + 'static> Error for GetError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            GetError::Connect(error) => Some(&**error),
            GetError::Exhausted(diagnosis) | GetError::Timeout { diagnosis, .. } => {
                diagnosis.last_error.as_ref().map(|error| &**error as &(dyn Error + 'static))
            }
            GetError::Closed | GetError::TooMany { .. } | GetError::Panicked { .. } => None,
        }
    }
}

/// Lets functions that return [`io::Error`] use `?` on a `get`.
///
/// The kind is that of the connect's own error if that is an [`io::Error`], else `TimedOut`,
/// `WouldBlock` for [`Exhausted`](GetError::Exhausted), `NotConnected` for
/// [`Closed`](GetError::Closed), or `Other`. The error itself is inside.
impl<E: Error + Send + Sync + 'static> From<GetError<E>> for io::Error {
    fn from(error: GetError<E>) -> Self {
        let kind = match &error {
            GetError::Closed => io::ErrorKind::NotConnected,
            GetError::Exhausted(_) => io::ErrorKind::WouldBlock,
            GetError::Timeout { .. } => io::ErrorKind::TimedOut,
            GetError::Connect(cause) => (&**cause as &(dyn Error + 'static))
                .downcast_ref::<io::Error>()
                .map_or(io::ErrorKind::Other, io::Error::kind),
            GetError::Panicked { .. } | GetError::TooMany { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// Why a pool could not be built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError<E> {
    /// A setting is not allowed.
    Config(ConfigError),
    /// One of the first `min_size` connections could not be opened.
    Connect(Arc<E>),
    /// The first `min_size` connections were not open in time.
    Timeout,
    /// A connect panicked with this message.
    Panicked(String),
    /// The runtime dropped a connect instead of running it: it has ended, or there is none.
    NoRuntime,
}

impl<E> From<ConfigError> for BuildError<E> {
    fn from(error: ConfigError) -> Self {
        BuildError::Config(error)
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
            BuildError::Panicked(message) => write!(f, "connect panicked: {message}"),
            BuildError::NoRuntime => f.write_str(
                "the runtime did not run the pool's task: build the pool inside of a running one",
            ),
        }
    }
}

impl<E: Error + 'static> Error for BuildError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BuildError::Config(error) => Some(error),
            BuildError::Connect(error) => Some(&**error),
            BuildError::Timeout | BuildError::Panicked(_) | BuildError::NoRuntime => None,
        }
    }
}
