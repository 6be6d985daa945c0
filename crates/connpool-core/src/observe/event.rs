//! What a pool tells of what it does.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::machine::breaker::BreakerState;
use crate::observe::close_reason::CloseReason;
use crate::observe::holders::Holder;

/// Whoever is told what a pool does: a closure of two arguments, or a type of one's own. Set with
/// [`Builder::observer`](crate::Builder::observer).
///
/// It is called by whichever task or thread does the thing, and holds it up: count, log or send the
/// event on, and leave. The pool's lock is not held, so that it may use the pool; a panic is caught
/// and goes no further. Events that the observer itself causes are told to it as well, but no deeper
/// than four within one another. To have the pool at hand without keeping it open, give it a
/// [`WeakPool`](crate::WeakPool).
///
/// ```
/// use connpool_core::{object_fn, Event, Pool};
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::sync::Arc;
/// # let sim = connpool_testkit::SimRuntime::new(1);
///
/// let opened = Arc::new(AtomicU64::new(0));
/// let count = Arc::clone(&opened);
/// let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
/// let pool = Pool::builder(manager, sim.clone())
///     .observer(move |_pool: &str, event: &Event<'_>| {
///         if let Event::Opened { .. } = event {
///             count.fetch_add(1, Ordering::Relaxed);
///         }
///     })
///     .build_lazy()?;
/// drop(sim.block_on(pool.get()));
/// assert_eq!(opened.load(Ordering::Relaxed), 1);
/// # Ok::<_, connpool_core::ConfigError>(())
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Something has happened in the pool of this name.
    fn on_event(&self, pool: &str, event: &Event<'_>);
}

impl<F: Fn(&str, &Event<'_>) + Send + Sync + 'static> Observer for F {
    fn on_event(&self, pool: &str, event: &Event<'_>) {
        self(pool, event);
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn on_event(&self, pool: &str, event: &Event<'_>) {
        (**self).on_event(pool, event);
    }
}

/// Something that happened in a pool. Prints as a short sentence.
///
/// Of one connection, `Opened` comes first, `Closed` or `Detached` last, and `Lent` and `Returned`
/// in turns between them. Of two connections, or of two threads, nothing is said about the order.
/// `id` is that of [`PooledConnection::id`](crate::PooledConnection::id).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection was opened.
    #[non_exhaustive]
    Opened {
        /// Which.
        id: u64,
        /// How long the connect took.
        took: Duration,
    },
    /// A connect failed, took longer than `connect_timeout` or panicked.
    #[non_exhaustive]
    ConnectFailed {
        /// Why: the manager's error, or a text.
        error: &'a (dyn Error + 'static),
        /// How long the connect took.
        took: Duration,
        /// How many pauses after failures there have been in a row, this one included.
        failures: usize,
    },
    /// A get has to wait: for a connect, or in line.
    Waiting,
    /// A connection was lent.
    #[non_exhaustive]
    Lent {
        /// Which.
        id: u64,
        /// How long the get took: waiting and checking.
        waited: Duration,
    },
    /// A guard was dropped. Whether its connection is kept or closed comes after it.
    #[non_exhaustive]
    Returned {
        /// Which.
        id: u64,
        /// For how long it was out.
        held: Option<Duration>,
    },
    /// A connection was taken out of the pool for good.
    #[non_exhaustive]
    Detached {
        /// Which.
        id: u64,
    },
    /// A connection was closed.
    #[non_exhaustive]
    Closed {
        /// Which.
        id: u64,
        /// Why.
        reason: CloseReason,
        /// How long after it was opened.
        age: Duration,
    },
    /// The goodbye to a connection was given up. It is closed all the same.
    #[non_exhaustive]
    GracefulCloseFailed {
        /// Which.
        id: u64,
        /// Whether `close_timeout` was over; else somebody waited for the slot.
        timed_out: bool,
    },
    /// [`clear`](crate::Pool::clear) was called.
    Cleared,
    /// Settings were changed, with [`reconfigure`](crate::Pool::reconfigure) or
    /// [`resize`](crate::Pool::resize).
    Reconfigured,
    /// A get took `slow_get_warning` or longer, whatever came of it.
    #[non_exhaustive]
    SlowGet {
        /// How long it took.
        waited: Duration,
        /// What it got; `None`: nothing, or nobody waited for it any more.
        id: Option<u64>,
    },
    /// The breaker has changed its state.
    #[non_exhaustive]
    Breaker {
        /// What it was.
        from: BreakerState,
        /// What it is.
        to: BreakerState,
    },
    /// Several connections were found broken in a short time: those that have not proved good since are
    /// pinged before they are lent.
    Burst,
    /// [`pause`](crate::Pool::pause) was called.
    Paused,
    /// [`resume`](crate::Pool::resume) was called, or the paused pool was closed.
    Resumed,
    /// Somebody has had a connection for `leak_warning`; told once for each lending.
    #[non_exhaustive]
    LeakSuspected {
        /// Who.
        holder: Holder,
    },
    /// A connection came back of which a `Leak` was told.
    #[non_exhaustive]
    LeakReturned {
        /// Who had it, and for how long.
        holder: Holder,
    },
    /// Code of the manager, or a waker, panicked, and the panic was caught.
    #[non_exhaustive]
    Panicked {
        /// What panicked: `connect`, `liveness`, `ping`, `reset`, `is_reusable`, `close`, `drop` or
        /// `wake`.
        step: &'static str,
        /// The panic's message.
        message: &'a str,
    },
}

impl Event<'_> {
    /// The event in one lower-case word, as it is used for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Event::Opened { .. } => "opened",
            Event::ConnectFailed { .. } => "connect_failed",
            Event::Waiting => "waiting",
            Event::Lent { .. } => "lent",
            Event::Returned { .. } => "returned",
            Event::Detached { .. } => "detached",
            Event::Closed { .. } => "closed",
            Event::GracefulCloseFailed { .. } => "graceful_close_failed",
            Event::Cleared => "cleared",
            Event::Reconfigured => "reconfigured",
            Event::SlowGet { .. } => "slow_get",
            Event::Breaker { .. } => "breaker",
            Event::Burst => "burst",
            Event::Paused => "paused",
            Event::Resumed => "resumed",
            Event::LeakSuspected { .. } => "leak_suspected",
            Event::LeakReturned { .. } => "leak_returned",
            Event::Panicked { .. } => "panicked",
        }
    }

    /// Which connection it is about, if it is about one.
    pub fn id(&self) -> Option<u64> {
        match self {
            Event::Opened { id, .. }
            | Event::Lent { id, .. }
            | Event::Returned { id, .. }
            | Event::Detached { id }
            | Event::Closed { id, .. }
            | Event::GracefulCloseFailed { id, .. } => Some(*id),
            Event::SlowGet { id, .. } => *id,
            Event::LeakSuspected { holder } | Event::LeakReturned { holder } => Some(holder.id),
            Event::ConnectFailed { .. }
            | Event::Waiting
            | Event::Cleared
            | Event::Reconfigured
            | Event::Breaker { .. }
            | Event::Burst
            | Event::Paused
            | Event::Resumed
            | Event::Panicked { .. } => None,
        }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Opened { id, took } => write!(f, "opened connection {id} in {took:.1?}"),
            Event::ConnectFailed {
                error,
                took,
                failures,
            } => write!(
                f,
                "cannot connect (failure {failures} in a row, after {took:.1?}): {error}"
            ),
            Event::Waiting => f.write_str("a get has to wait"),
            Event::Lent { id, waited } => write!(f, "lent connection {id} after {waited:.1?}"),
            Event::Returned { id, held } => {
                write!(f, "connection {id} came back")?;
                match held {
                    Some(held) => write!(f, " after {held:.1?}"),
                    None => Ok(()),
                }
            }
            Event::Detached { id } => write!(f, "connection {id} was detached"),
            Event::Closed { id, reason, age } => {
                let reason = reason.label();
                write!(f, "closed connection {id} ({reason}) {age:.1?} old")
            }
            Event::GracefulCloseFailed { id, timed_out } => {
                let because = if *timed_out {
                    "it took longer than close_timeout"
                } else {
                    "somebody waits for its slot"
                };
                write!(f, "gave up the goodbye to connection {id}: {because}")
            }
            Event::Cleared => f.write_str("cleared: nothing opened until now is lent again"),
            Event::Reconfigured => f.write_str("settings changed"),
            Event::SlowGet { waited, id } => {
                write!(f, "a get took {waited:.1?} and ")?;
                match id {
                    Some(id) => write!(f, "got connection {id}"),
                    None => f.write_str("got no connection"),
                }?;
                f.write_str("; see the pool's statistics, and max_size or the backend")
            }
            Event::Breaker { from, to } => write!(f, "the breaker was {from} and is {to}"),
            Event::Burst => {
                f.write_str("several connections broke: all others are pinged before they are lent")
            }
            Event::Paused => f.write_str("paused: nothing is lent"),
            Event::Resumed => f.write_str("resumed"),
            Event::LeakSuspected { holder } => {
                write!(f, "connection {} is still out: {holder}", holder.id)
            }
            Event::LeakReturned { holder } => {
                write!(f, "connection {} came back at last: {holder}", holder.id)
            }
            Event::Panicked { step, message } => write!(f, "{step} panicked: {message}"),
        }
    }
}
