//! The events of a pool, and the trait that receives them.

use std::error::Error;
use std::fmt;
use std::ops::BitOr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::failed_check::FailedCheck;
use crate::machine::breaker::BreakerState;
use crate::observe::close_reason::CloseReason;
use crate::observe::holders::Holder;

/// Receives the events of a pool. Implemented for `Fn(&str, &Event<'_>)`, and set with
/// [`Builder::observer`](crate::Builder::observer).
///
/// The observer runs in the task or thread that causes the event and delays it, so it should only
/// count, log or forward the event. It may use the pool, whose lock is not held. Its panics are caught.
/// Events that the observer itself causes are delivered as well, nested up to four deep. To reach the
/// pool without keeping it open, give the observer a [`WeakPool`](crate::WeakPool).
///
/// # Examples
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an observer of a pool",
    label = "does not implement `Observer`",
    note = "pass a closure that is `Send`, `Sync` and `'static`: `|pool: &str, event: &Event<'_>| ..`"
)]
pub trait Observer: Send + Sync + 'static {
    /// Receives an event of the pool named `pool`.
    fn on_event(&self, pool: &str, event: &Event<'_>);

    /// Returns which events this observer receives. Default: all. Asked once, when the pool is built.
    ///
    /// Without [`EventKinds::GETS`], a `get` of an idle connection and its return cost no more than without an
    /// observer.
    fn kinds(&self) -> EventKinds {
        EventKinds::ALL
    }
}

/// A set of kinds of events.
///
/// # Examples
///
/// An observer that costs gets nothing:
///
/// ```
/// use connpool_core::{object_fn, Event, EventKinds, Pool};
/// # let sim = connpool_testkit::SimRuntime::new(1);
/// # let manager = object_fn(|| async { Ok::<_, std::io::Error>("a client") });
/// let kinds = EventKinds::CONNECTIONS | EventKinds::INCIDENTS;
/// let pool = Pool::builder(manager, sim.clone())
///     .observer(kinds.to(|pool: &str, event: &Event<'_>| println!("{pool}: {event}")))
///     .build_lazy()?;
/// # drop(sim.block_on(pool.get()));
/// # Ok::<_, connpool_core::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventKinds(u8);

impl EventKinds {
    /// No events.
    pub const NONE: EventKinds = EventKinds(0);
    /// What happens at each get: `Waiting`, `Lent` and `Returned`. While an observer receives these, each get and
    /// each return reads a precise clock and takes a longer way.
    pub const GETS: EventKinds = EventKinds(1);
    /// The life of each connection: `Opened`, `Closed` and `Detached`.
    pub const CONNECTIONS: EventKinds = EventKinds(2);
    /// All others: what fails, is slow or suspicious, and what is done to the pool as a whole.
    pub const INCIDENTS: EventKinds = EventKinds(4);
    /// All events.
    pub const ALL: EventKinds = EventKinds(7);

    /// Returns whether some kind is in both sets.
    pub const fn intersects(self, other: EventKinds) -> bool {
        self.0 & other.0 != 0
    }

    /// Returns an observer that passes these kinds of events on to `observer`, as far as that receives them.
    pub fn to(self, observer: impl Observer) -> impl Observer {
        Limited { kinds: EventKinds(self.0 & observer.kinds().0), observer }
    }
}

impl BitOr for EventKinds {
    type Output = EventKinds;

    fn bitor(self, other: EventKinds) -> EventKinds {
        EventKinds(self.0 | other.0)
    }
}

struct Limited<O> {
    kinds: EventKinds,
    observer: O,
}

impl<O: Observer> Observer for Limited<O> {
    fn on_event(&self, pool: &str, event: &Event<'_>) {
        self.observer.on_event(pool, event);
    }

    fn kinds(&self) -> EventKinds {
        self.kinds
    }
}

#[diagnostic::do_not_recommend]
impl<F: Fn(&str, &Event<'_>) + Send + Sync + 'static> Observer for F {
    fn on_event(&self, pool: &str, event: &Event<'_>) {
        self(pool, event);
    }
}

impl<O: Observer + ?Sized> Observer for Arc<O> {
    fn on_event(&self, pool: &str, event: &Event<'_>) {
        (**self).on_event(pool, event);
    }

    fn kinds(&self) -> EventKinds {
        (**self).kinds()
    }
}

/// An event of a pool. Prints as a short sentence; `{:?}` prints the same, so no secret that the `Debug` of
/// an error contains.
///
/// For one connection, `Opened` comes first, `Closed` or `Detached` last, and `Lent` and `Returned`
/// alternate between them. Between two connections, or two threads, no order is guaranteed.
///
/// The field `id` is the connection's [`id`](crate::PooledConnection::id), and `holder` its holder.
#[derive(Clone)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are described once, on the enum and its variants")]
pub enum Event<'a> {
    /// A connection was opened. The connect took `took`.
    #[non_exhaustive]
    Opened { id: u64, took: Duration },
    /// A connect failed, took longer than `connect_timeout`, or panicked. `error` is a
    /// [`ConnectError`](crate::ConnectError), and `failures` the number of backoff pauses in a row, this
    /// one included.
    #[non_exhaustive]
    ConnectFailed { error: &'a (dyn Error + 'static), took: Duration, failures: usize },
    /// A ping or a reset failed or was not answered in time, and its connection is closed. A panic is
    /// reported as `Panicked` instead.
    #[non_exhaustive]
    CheckFailed { check: &'a FailedCheck },
    /// A `get` has to wait, for a connect or for a return.
    Waiting,
    /// A connection was checked out. The `get` took `waited` for waiting and checking.
    #[non_exhaustive]
    Lent { id: u64, waited: Duration },
    /// A guard was dropped after `held`. Whether its connection is kept or closed follows.
    #[non_exhaustive]
    Returned { id: u64, held: Option<Duration> },
    /// A connection was taken out of the pool for good.
    #[non_exhaustive]
    Detached { id: u64 },
    /// A connection was closed, `age` after it was opened.
    #[non_exhaustive]
    Closed { id: u64, reason: CloseReason, age: Duration },
    /// [`Manager::close`](crate::Manager::close) was ended before it was done, and the connection dropped:
    /// because of `close_timeout` or `abandon_timeout` if `timed_out`, else because a caller waits for the
    /// slot, which is told for healthy connections only.
    #[non_exhaustive]
    CloseCutShort { id: u64, reason: CloseReason, timed_out: bool },
    /// [`clear`](crate::Pool::clear) was called, or a connection was
    /// [condemned](crate::PooledConnection::condemn) whose generation was not cleared yet.
    Cleared,
    /// Settings were changed, with [`reconfigure`](crate::Pool::reconfigure) or
    /// [`resize`](crate::Pool::resize).
    Reconfigured,
    /// Settings were accepted that probably are a mistake.
    #[non_exhaustive]
    ConfigWarning { message: &'static str },
    /// A `get` took `slow_get_warning` or longer. `id` is `None` if it returned no connection, or was
    /// dropped.
    #[non_exhaustive]
    SlowGet { waited: Duration, id: Option<u64> },
    /// The breaker changed its state.
    #[non_exhaustive]
    Breaker { from: BreakerState, to: BreakerState },
    /// Several connections were found broken within a short time. Those that have shown no sign of life
    /// since are pinged before they are checked out.
    Burst,
    /// The monotonic clock stood still for about `by`, while the machine was suspended perhaps: the
    /// [`wall`](crate::Runtime::wall) clock has run ahead of it by as much. Connections that have been idle
    /// since are pinged before they are checked out, or only probed if `ping_after` is `None`.
    #[non_exhaustive]
    ClockLeap { by: Duration },
    /// The pool moved to the runtime of a caller: its own has ended if `ended`, and has else not answered
    /// for 2 s. See [`Runtime::current`](crate::Runtime::current).
    #[non_exhaustive]
    TakenOver { ended: bool },
    /// After `TakenOver`, the pool's own runtime went on, and the pool is back on it.
    MovedBack,
    /// [`pause`](crate::Pool::pause) was called.
    Paused,
    /// [`resume`](crate::Pool::resume) was called, or the paused pool was closed.
    Resumed,
    /// A connection has been borrowed for `leak_warning`. Reported once for each checkout.
    #[non_exhaustive]
    LeakSuspected { holder: Holder },
    /// A connection was returned after `LeakSuspected` was reported for it.
    #[non_exhaustive]
    LeakReturned { holder: Holder },
    /// Code of the manager, a connection or a waker panicked, and the panic was caught. `step` is
    /// `connect`, `severity`, `liveness`, `ping`, `reset`, `is_reusable`, `expires_in`, `close`, `drop` or
    /// `wake`.
    #[non_exhaustive]
    Panicked { step: &'static str, message: &'a str },
}

impl Event<'_> {
    /// Returns the name used in metrics, such as `connect_failed`.
    pub fn label(&self) -> &'static str {
        match self {
            Event::Opened { .. } => "opened",
            Event::ConnectFailed { .. } => "connect_failed",
            Event::CheckFailed { .. } => "check_failed",
            Event::Waiting => "waiting",
            Event::Lent { .. } => "lent",
            Event::Returned { .. } => "returned",
            Event::Detached { .. } => "detached",
            Event::Closed { .. } => "closed",
            Event::CloseCutShort { .. } => "close_cut_short",
            Event::Cleared => "cleared",
            Event::Reconfigured => "reconfigured",
            Event::ConfigWarning { .. } => "config_warning",
            Event::SlowGet { .. } => "slow_get",
            Event::Breaker { .. } => "breaker",
            Event::Burst => "burst",
            Event::ClockLeap { .. } => "clock_leap",
            Event::TakenOver { .. } => "taken_over",
            Event::MovedBack => "moved_back",
            Event::Paused => "paused",
            Event::Resumed => "resumed",
            Event::LeakSuspected { .. } => "leak_suspected",
            Event::LeakReturned { .. } => "leak_returned",
            Event::Panicked { .. } => "panicked",
        }
    }

    /// Returns the kind of the event.
    pub fn kind(&self) -> EventKinds {
        match self {
            Event::Waiting | Event::Lent { .. } | Event::Returned { .. } => EventKinds::GETS,
            Event::Opened { .. } | Event::Closed { .. } | Event::Detached { .. } => {
                EventKinds::CONNECTIONS
            }
            Event::ConnectFailed { .. }
            | Event::CheckFailed { .. }
            | Event::CloseCutShort { .. }
            | Event::Cleared
            | Event::Reconfigured
            | Event::ConfigWarning { .. }
            | Event::SlowGet { .. }
            | Event::Breaker { .. }
            | Event::Burst
            | Event::ClockLeap { .. }
            | Event::TakenOver { .. }
            | Event::MovedBack
            | Event::Paused
            | Event::Resumed
            | Event::LeakSuspected { .. }
            | Event::LeakReturned { .. }
            | Event::Panicked { .. } => EventKinds::INCIDENTS,
        }
    }

    /// Returns the id of the connection that the event is about, if there is one.
    pub fn id(&self) -> Option<u64> {
        match self {
            Event::Opened { id, .. }
            | Event::Lent { id, .. }
            | Event::Returned { id, .. }
            | Event::Detached { id }
            | Event::Closed { id, .. }
            | Event::CloseCutShort { id, .. } => Some(*id),
            Event::CheckFailed { check } => Some(check.id),
            Event::SlowGet { id, .. } => *id,
            Event::LeakSuspected { holder } | Event::LeakReturned { holder } => Some(holder.id),
            Event::ConnectFailed { .. }
            | Event::Waiting
            | Event::Cleared
            | Event::Reconfigured
            | Event::ConfigWarning { .. }
            | Event::Breaker { .. }
            | Event::Burst
            | Event::ClockLeap { .. }
            | Event::TakenOver { .. }
            | Event::MovedBack
            | Event::Paused
            | Event::Resumed
            | Event::Panicked { .. } => None,
        }
    }
}

impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({self})")
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Opened { id, took } => write!(f, "opened connection {id} in {took:.1?}"),
            Event::ConnectFailed { error, took, failures } => {
                write!(f, "cannot connect (failure {failures} in a row, after {took:.1?}): {error}")
            }
            Event::CheckFailed { check } => write!(f, "{check}"),
            Event::Waiting => f.write_str("a get has to wait"),
            Event::Lent { id, waited } => {
                write!(f, "checked out connection {id} after {waited:.1?}")
            }
            Event::Returned { id, held: None } => write!(f, "connection {id} returned"),
            Event::Returned { id, held: Some(held) } => {
                write!(f, "connection {id} returned after {held:.1?}")
            }
            Event::Detached { id } => write!(f, "connection {id} was detached"),
            Event::Closed { id, reason, age } => {
                write!(f, "closed connection {id} ({}) {age:.1?} old", reason.label())
            }
            Event::CloseCutShort { id, reason, timed_out } => {
                let because = match timed_out {
                    true if reason.is_unfinished() => "it took longer than abandon_timeout",
                    true => "it took longer than close_timeout",
                    false => "a caller waits for its slot",
                };
                write!(f, "close of connection {id} ({}) cut short: {because}", reason.label())
            }
            Event::Cleared => f.write_str("cleared: connections opened before are not used again"),
            Event::Reconfigured => f.write_str("settings changed"),
            Event::ConfigWarning { message } => f.write_str(message),
            Event::SlowGet { waited, id } => {
                let got = id.map_or(String::from("no connection"), |id| format!("connection {id}"));
                write!(f, "slow get: {got} after {waited:.1?}; check max_size and backend latency")
            }
            Event::Breaker { from, to } => write!(f, "the breaker was {from} and is {to}"),
            Event::Burst => {
                f.write_str("several connections broke: all others are pinged before use")
            }
            Event::ClockLeap { by } => write!(
                f,
                "the clock stood still for {by:.1?}: idle connections are checked before use"
            ),
            Event::TakenOver { ended } => {
                let because = if *ended { "has ended" } else { "does not answer" };
                write!(f, "the pool's runtime {because}: the pool moves to that of a caller")
            }
            Event::MovedBack => {
                f.write_str("the pool's runtime answers again: the pool moves back")
            }
            Event::Paused => f.write_str("paused: no connection is checked out"),
            Event::Resumed => f.write_str("resumed"),
            Event::LeakSuspected { holder } => {
                write!(f, "connection {} may be leaked: {holder}", holder.id)?;
                holder.backtrace().map_or(Ok(()), |backtrace| write!(f, "\n{backtrace}"))
            }
            Event::LeakReturned { holder } => {
                write!(f, "connection {} returned after a leak warning: {holder}", holder.id)
            }
            Event::Panicked { step, message } => write!(f, "{step} panicked: {message}"),
        }
    }
}
