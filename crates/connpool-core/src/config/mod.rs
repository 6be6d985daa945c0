//! Settings of a pool, their defaults and their validation.

pub(crate) mod builder;
#[cfg(feature = "serde")]
pub(crate) mod serde;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

/// Settings of a pool.
///
/// `PoolConfig::default()` describes a pool of at most ten connections that opens them as needed.
/// The setters of [`Builder`](crate::Builder) have the names of these fields.
///
/// Every duration from zero to `Duration::MAX` is valid. Unless the field says otherwise, zero means
/// immediately or always, and `None` or a duration above 584 years disables the setting.
/// Combinations that contradict each other, such as a `min_size` above `max_size`, are rejected by
/// [`validate`](PoolConfig::validate).
///
/// With the feature `serde`, durations are written as `"30s"` or `"1h 5m"`, and `None` as `"off"`.
/// Fields left out keep their defaults; unknown fields are errors.
///
/// # Examples
///
/// ```
/// use connpool_core::PoolConfig;
///
/// let mut config = PoolConfig::default();
/// config.max_size = 4;
/// config.min_size = 5;
/// assert_eq!(
///     config.validate().unwrap_err().to_string(),
///     "min_size is 5: it must be at most max_size, which is 4"
/// );
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(::serde::Serialize, ::serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct PoolConfig {
    /// Name of the pool in errors, events and statistics. Default: `None`, which generates `pool-`
    /// and eight random digits.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub name: Option<String>,

    /// Maximum number of connections, open or being opened. Default: 10. Zero is an error.
    ///
    /// If it is too small, callers wait for each other. If it is too large, the backend has more
    /// connections than it can serve at once.
    pub max_size: usize,

    /// Number of connections that [`Builder::build`](crate::Builder::build) opens and the
    /// maintenance task keeps open. Default: 0. More than `max_size` is an error.
    ///
    /// A `min_size` equal to `max_size` makes a pool of fixed size.
    ///
    /// With this or `min_idle`, the last idle connection is replaced a connect's time before its lifetime
    /// ends, if there is room for another one, so that the next caller need not wait for a connect.
    pub min_size: usize,

    /// Number of idle connections that the maintenance task keeps for the next callers, whatever is in use:
    /// it opens one when a `get` leaves fewer, within `max_size`. Default: 0. More than `max_size` or
    /// `max_idle` is an error.
    ///
    /// [`min_size`](PoolConfig::min_size) counts what is open, this counts what is spare.
    /// [`Builder::build`](crate::Builder::build) does not wait for them, and `idle_timeout` leaves them.
    /// Checkouts of such a pool are slower by some nanoseconds.
    pub min_idle: usize,

    /// Number of connections to open at once when the pool has to grow. Default: 1. Zero is an
    /// error.
    ///
    /// A larger number prepares for a rise in load. Connections that no caller has taken by then
    /// become idle. The pool never grows beyond `max_size`.
    pub increment: usize,

    /// Time after which an unused idle connection is closed, as long as more than `min_size`
    /// connections are open. Default: `None`, never.
    ///
    /// Set it below the idle limit of the firewalls and load balancers between pool and backend.
    /// Zero means that connections beyond `min_size` are never used twice.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub idle_timeout: Option<Duration>,

    /// Age at which a connection is closed, as soon as it is not borrowed. Default: `None`, never.
    ///
    /// Each connection's own limit is shorter by a random part, see
    /// [`lifetime_jitter`](PoolConfig::lifetime_jitter). Zero means that every connection is used
    /// once. A connection that was never borrowed is kept for a millisecond, so that it can be.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub max_lifetime: Option<Duration>,

    /// Largest fraction by which each connection's `max_lifetime` is shortened at random. Drawn
    /// once, when the connection is opened. Default: 0.1. A value outside of 0.0 to 1.0 is an error.
    ///
    /// With 0.0, connections that were opened together expire together and are reopened together.
    /// 1.0 spreads the expiry over the whole lifetime, so that some connections expire at once.
    pub lifetime_jitter: f64,

    /// Interval at which the maintenance task sweeps over all idle connections: it enforces their
    /// limits and probes whether they are alive. Default: 30 s. Less than 1 ms counts as 1 ms.
    ///
    /// It is also the longest delay until a limit affects a connection that no caller requests.
    /// `None` disables the sweeps. Connections are then checked only on checkout and on return.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub evict_interval: Option<Duration>,

    /// Time limit for a whole [`get`](crate::Pool::get), including waiting, connecting and health
    /// checks. Default: 10 s.
    ///
    /// With zero, `get` returns an idle connection or fails immediately. With `None` it waits
    /// forever.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub get_timeout: Option<Duration>,

    /// Time limit for one attempt to connect. Default: 5 s.
    ///
    /// With `None`, an attempt that hangs keeps its slot forever. After a failure the pool makes
    /// one attempt at a time, so an attempt that hangs then blocks all others.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub connect_timeout: Option<Duration>,

    /// Time limit for a whole [`ping`](crate::Manager::ping). A connection that exceeds it counts
    /// as dead. Default: 1 s.
    ///
    /// While a `get` waits for it, a ping takes at most a third of the time that the `get` has left,
    /// and at most 250 ms, or four times as long as the connect or the last ping of this connection if
    /// that is longer. After a ping without an answer, the `get` opens a new connection. With `None`,
    /// only these limits apply. With zero, a ping has to succeed without waiting. A value that is not
    /// below `get_timeout` is reported as [`Event::ConfigWarning`](crate::Event::ConfigWarning).
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub ping_timeout: Option<Duration>,

    /// Time limit for a whole [`reset`](crate::Manager::reset). A connection that exceeds it is
    /// closed. Default: 1 s.
    ///
    /// A reset takes at most a third of the time that its `get` has left. After one without an answer,
    /// the `get` opens a new connection. With `None`, only that limit applies. With zero, a reset has
    /// to succeed without waiting.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub reset_timeout: Option<Duration>,

    /// When a returned connection is reset. Default: as the manager says, see
    /// [`Manager::reset_when`](crate::Manager::reset_when).
    pub reset_when: Option<ResetWhen>,

    /// Time limit for [`Manager::close`](crate::Manager::close), except of a connection with unfinished
    /// work. Default: 10 s.
    ///
    /// With `None`, a close that hangs keeps its slot until a caller waits for it.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub close_timeout: Option<Duration>,

    /// Time limit for [`Manager::close`](crate::Manager::close) of a connection that its user left with
    /// unfinished work, see [`CloseReason`](crate::CloseReason). Default: 1 s.
    ///
    /// Callers wait for its slot meanwhile, so that no more work goes on at the server than `max_size`
    /// allows. With `None`, a close that hangs keeps its slot for good. With zero, it is polled once.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub abandon_timeout: Option<Duration>,

    /// Time since a connection was last known to be alive (opened, used, pinged or reset) after
    /// which it is pinged before checkout. Default: 1 s.
    ///
    /// With zero, every checkout except that of a new connection costs a ping, which is one round
    /// trip. `None` disables these pings.
    ///
    /// After a suspend of the machine, everything idle is pinged, or only probed with `None`, if the
    /// pause was longer than this and than 1 s, and the [`wall`](crate::Runtime::wall) clock shows it.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub ping_after: Option<Duration>,

    /// Time since a connection was last known to be alive after which it is probed
    /// ([`Manager::liveness`](crate::Manager::liveness)) before checkout. Default: 0, always.
    ///
    /// A liveness probe of a TCP connection is one system call and takes less than a microsecond.
    /// `None` disables these probes, so that callers get connections that the peer has closed.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub liveness_after: Option<Duration>,

    /// Maximum number of waiters, not counting those for which a connection is being opened. A
    /// `get` beyond it fails immediately with [`GetError::Exhausted`](crate::GetError::Exhausted).
    /// Default: `None`, unlimited.
    ///
    /// With zero, no caller waits for a return. Idle connections are still handed out and the pool
    /// still grows.
    pub max_waiters: Option<usize>,

    /// Maximum number of idle connections. A connection returned beyond it is closed. Default:
    /// `None`, which is `max_size`. Less than `min_size` is an error.
    ///
    /// With a value far below `max_size`, the pool keeps closing and reopening connections.
    pub max_idle: Option<usize>,

    /// Number of checkouts after which a connection is closed. Default: `None`, unlimited. Zero is
    /// an error. With 1, no connection is used twice.
    pub max_uses: Option<u64>,

    /// Maximum number of connects in progress. Default: `None`, limited only by `max_size`. Zero is
    /// an error.
    ///
    /// If it is too small, a cold pool warms up slowly. Whatever this setting says, the pool limits
    /// itself after trouble: after a failed connect, or after several connections were found broken,
    /// it makes one attempt at a time, and one more for each that succeeds. After callers have lost
    /// several connections within a second, it starts with four.
    pub max_connecting: Option<usize>,

    /// Time for which connects may fail before callers hear of it. Default: 3 s.
    ///
    /// Until then callers wait, and a restart of the backend fails none of them. Afterwards all waiters
    /// and new callers get the last error at once, while the pool goes on to probe the backend. A caller
    /// that an open connection can still serve hears nothing: one that was checked out for less than this time
    /// counts. A connect that has neither succeeded nor failed for this long counts as failed. New
    /// callers hear of a failure for 1.1 s after it; one that comes later waits for the next attempt.
    ///
    /// A pool that was never connected, so that its address may be wrong, reports the first error at
    /// once, in `get` and in [`build`](crate::Builder::build). So does every pool after an error that
    /// the manager calls permanent ([`Manager::severity`](crate::Manager::severity)).
    ///
    /// With zero, every caller hears the first error. With `None`, callers hear only permanent errors
    /// and otherwise wait for their time limit; the timeout's [`Diagnosis`](crate::Diagnosis) then has
    /// the last error.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub fail_fast_after: Option<Duration>,

    /// Pause after failed connects. Default: 250 ms, doubling up to 5 s.
    pub backoff: Backoff,

    /// When to stop connecting to a backend that is down and probe it instead. Default: after 5
    /// failures in a row, one probe per second.
    ///
    /// `None` keeps connecting, with the pauses of [`backoff`](PoolConfig::backoff).
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde::or_off"))]
    pub breaker: Option<Breaker>,

    /// Time since an idle connection was last known to be alive, shortened by up to a quarter at
    /// random, after which the maintenance task pings it. Default: `None`, never.
    ///
    /// Use it for peers that disconnect silent clients, and for firewalls that forget them. It
    /// applies to idle connections only: [`ping_after`](PoolConfig::ping_after) is the check before
    /// checkout, and TCP's own keepalive is up to the manager.
    ///
    /// The maintenance task pings as many connections at once as it must for a round over all of them
    /// to take half of this duration, judged by how long earlier pings took: at least one, at most a
    /// tenth of the idle connections, and none while a caller waits. A connection being pinged is not
    /// available until the ping ends, which takes at most `ping_timeout`, or this duration if that is
    /// `None`. Idle connections are inspected twice per duration, whatever `evict_interval` says, so a
    /// ping may be late by half of it, and by the time of a round. If it is too short, the backend
    /// handles more pings than work. Zero pings every millisecond.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub keepalive: Option<Duration>,

    /// Order in which idle connections are handed out. Default: the one used last comes first.
    pub idle_order: IdleOrder,

    /// Duration from which a `get`, successful or not, is reported to the
    /// [`Observer`](crate::Observer) as [`Event::SlowGet`](crate::Event::SlowGet). Default: 1 s.
    ///
    /// Zero reports every `get`, `None` disables the report. Without an observer nothing is measured.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub slow_get_warning: Option<Duration>,

    /// Duration of a checkout after which it is reported, once, to the
    /// [`Observer`](crate::Observer) as [`Event::LeakSuspected`](crate::Event::LeakSuspected), and as
    /// [`Event::LeakReturned`](crate::Event::LeakReturned) on its return. Also counted in
    /// [`Stats::leaked`](crate::Stats::leaked). Default: `None`, never. 60 s suits most pools.
    ///
    /// A value below the duration of a regular request causes false reports. Less than 1 ms counts
    /// as 1 ms, which keeps the maintenance task busy.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub leak_warning: Option<Duration>,

    /// Whether the backtrace of each checkout is recorded, for [`Holder::backtrace`](crate::Holder::backtrace)
    /// and the text of [`Event::LeakSuspected`](crate::Event::LeakSuspected). Default: `false`.
    ///
    /// It names the callers of a helper that calls `get` for them. A checkout then takes some microseconds
    /// more. To name them without that cost, put `#[track_caller]` on the helper, see
    /// [`holders`](crate::Pool::holders).
    pub leak_backtrace: bool,

    /// Whether the pool keeps [`histograms`](crate::Pool::histograms) of waits, uses and connects. Default:
    /// `false`. They cost a `get` and its return some nanoseconds, and 2.3 KiB for each of up to eight threads.
    pub histograms: bool,
}

/// Pauses after failed connects.
///
/// The pause after the first failure is `first`, after the next one `first * factor`, and so on up to
/// `max`. A working connection resets it. Each pause is shortened by up to 15 % at random, and the first one
/// while a caller waits by up to 40 %, so that many pools do not connect at the same time.
///
/// While a caller waits, no pause is longer than 250 ms in the first five seconds of an outage, and than
/// 1 s afterwards. Whatever the settings say, at most 20 connects fail in any second.
///
/// If connects fail and succeed by turns within 10 s, the backend is up but accepts fewer than its clients
/// start. A pool that has a connection then starts one connect at a time, 1 s apart, or half of that for
/// each that succeeded since the last failure. The success that ends an outage holds up the next connect
/// for half a second, and the second one for a quarter. Neither applies while the pool has no open connection.
///
/// # Examples
///
/// ```
/// use connpool_core::{Backoff, PoolConfig};
/// use std::time::Duration;
///
/// let mut config = PoolConfig::default();
/// config.backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1), 1.5);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(::serde::Serialize, ::serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Backoff {
    /// Longest pause after the first failure. Default: 250 ms. More than `max` is an error.
    ///
    /// No pause is shorter than 1 ms.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde::duration"))]
    pub first: Duration,
    /// Longest pause after any failure. Default: 5 s. If no caller waits, it is also the longest delay
    /// until the pool notices that the backend is back.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde::duration"))]
    pub max: Duration,
    /// Factor by which the longest pause grows with each failure. Default: 2. Less than 1 is an
    /// error.
    pub factor: f64,
}

/// Circuit breaker: when the pool stops connecting to a backend that is down and only probes it.
///
/// After `failures` failed connects in a row the breaker opens, see
/// [`BreakerState`](crate::BreakerState). The pool then makes one connect at a time, `probe_every`
/// apart, until a new connection proves to be good. If the connection made by a probe is lost before
/// it was used, and no other connection is open, the next probe is due at once. While a caller waits,
/// probes are as close as the pauses of [`Backoff`].
///
/// Whether callers hear of the failures is up to [`PoolConfig::fail_fast_after`].
///
/// # Examples
///
/// ```
/// use connpool_core::{Breaker, PoolConfig};
/// use std::time::Duration;
///
/// let mut config = PoolConfig::default();
/// config.breaker = Some(Breaker::new(3, Duration::from_secs(10)));
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(::serde::Serialize, ::serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Breaker {
    /// Number of failed connects in a row that opens the breaker. Simultaneous failures count as
    /// one. Default: 5. Zero is an error: to disable the breaker, set
    /// [`PoolConfig::breaker`] to `None`.
    pub failures: u32,
    /// Time from a failure to the next probe, shortened by up to 15 % at random. Default: 1 s.
    /// Less than 1 ms counts as 1 ms. While a caller waits, at most 1 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde::duration"))]
    pub probe_every: Duration,
}

/// When a connection is reset that was borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(::serde::Serialize, ::serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum ResetWhen {
    /// After its return, in the background, unless a caller waits for it, who then has it reset. Locks and
    /// transactions that its user left behind end within milliseconds, and the next `get` pays no round
    /// trip. A pool whose first reset was ready at once leaves the next ones to `get`, where they cost nothing,
    /// until one has to wait.
    #[default]
    OnReturn,
    /// Before it is checked out again. What its user left behind stays as long as it is idle.
    OnGet,
}

/// Order in which idle connections are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(::serde::Serialize, ::serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum IdleOrder {
    /// Hands out the connection used last. A few connections stay warm; the others reach their
    /// `idle_timeout` and are closed.
    #[default]
    LastUsedFirst,
    /// Hands out the connection that has been idle longest. All connections stay in use and none is
    /// idle for long.
    RoundRobin,
}

/// A setting that is not valid. Names the setting, its value and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    value: String,
    rule: String,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig {
            name: None,
            max_size: 10,
            min_size: 0,
            min_idle: 0,
            increment: 1,
            idle_timeout: None,
            max_lifetime: None,
            lifetime_jitter: 0.1,
            evict_interval: Some(Duration::from_secs(30)),
            get_timeout: Some(Duration::from_secs(10)),
            connect_timeout: Some(Duration::from_secs(5)),
            ping_timeout: Some(Duration::from_secs(1)),
            reset_timeout: Some(Duration::from_secs(1)),
            reset_when: None,
            close_timeout: Some(Duration::from_secs(10)),
            abandon_timeout: Some(Duration::from_secs(1)),
            ping_after: Some(Duration::from_secs(1)),
            liveness_after: Some(Duration::ZERO),
            max_waiters: None,
            max_idle: None,
            max_uses: None,
            max_connecting: None,
            fail_fast_after: Some(Duration::from_secs(3)),
            backoff: Backoff::default(),
            breaker: Some(Breaker::default()),
            keepalive: None,
            idle_order: IdleOrder::default(),
            slow_get_warning: Some(Duration::from_secs(1)),
            leak_warning: None,
            leak_backtrace: false,
            histograms: false,
        }
    }
}

impl Backoff {
    /// Creates a backoff from its three settings.
    pub const fn new(first: Duration, max: Duration, factor: f64) -> Self {
        Backoff { first, max, factor }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::new(Duration::from_millis(250), Duration::from_secs(5), 2.0)
    }
}

impl Breaker {
    /// Creates a breaker that opens after `failures` failures in a row and then probes every
    /// `probe_every`.
    pub const fn new(failures: u32, probe_every: Duration) -> Self {
        Breaker { failures, probe_every }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker::new(5, Duration::from_secs(1))
    }
}

/// Checks `holds, "setting" = value, "rule"` in order and returns the first violation.
macro_rules! check {
    ($($holds:expr, $field:literal = $value:expr, $rule:literal;)+) => {
        $(if !$holds {
            return Err(ConfigError {
                field: $field,
                value: $value.to_string(),
                rule: format!($rule),
            });
        })+
    };
}

impl PoolConfig {
    /// Checks that each setting is valid and that no two settings contradict each other.
    ///
    /// # Errors
    ///
    /// Returns the first setting that is not valid, with its value and the rule it breaks.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let (size, min, jitter) = (self.max_size, self.min_size, self.lifetime_jitter);
        let (idle, failures) = (self.max_idle.unwrap_or(min), self.breaker.map(|b| b.failures));
        let (min_idle, most_idle) = (self.min_idle, self.max_idle.unwrap_or(size));
        let Backoff { first, max, factor } = self.backoff;
        check! {
            size >= 1, "max_size" = size, "it must be at least 1";
            min <= size, "min_size" = min, "it must be at most max_size, which is {size}";
            self.increment >= 1, "increment" = 0, "it must be at least 1";
            (0.0..=1.0).contains(&jitter), "lifetime_jitter" = jitter, "it must lie between 0.0 and 1.0";
            min_idle <= size, "min_idle" = min_idle, "it must be at most max_size, which is {size}";
            min_idle <= most_idle, "min_idle" = min_idle, "it must be at most max_idle, which is {most_idle}";
            idle >= min, "max_idle" = idle, "it must be at least min_size, which is {min}";
            self.max_uses != Some(0), "max_uses" = 0, "it must be at least 1, or None";
            self.max_connecting != Some(0), "max_connecting" = 0, "it must be at least 1, or None";
            failures != Some(0), "breaker.failures" = 0, "it must be at least 1, or breaker None";
            first <= max, "backoff.first" = format!("{first:?}"), "it must be at most backoff.max, which is {max:?}";
            factor >= 1.0 && factor.is_finite(), "backoff.factor" = factor, "it must be a number of at least 1.0";
        }
        Ok(())
    }

    /// Returns what is allowed and probably a mistake.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        (self.ping_timeout? >= self.get_timeout?).then_some(
            "ping_timeout is not below get_timeout: a get ends before a ping that hangs; lower \
             ping_timeout or raise get_timeout",
        )
    }

    /// Checks that the configured name, if any, is the pool's current one.
    pub(crate) fn check_same_name(&self, current: Option<&str>) -> Result<(), ConfigError> {
        let current = current.unwrap_or_default();
        let wanted = self.name.as_deref().unwrap_or(current);
        check! {
            wanted == current, "name" = format!("{wanted:?}"), "it must stay {current:?}, or be None";
        }
        Ok(())
    }
}

impl ConfigError {
    /// Returns the name of the setting, as in [`PoolConfig`], or of the method whose value is not allowed.
    pub fn field(&self) -> &'static str {
        self.field
    }

    pub(crate) fn no_runtime() -> Self {
        ConfigError {
            field: "runtime",
            value: String::from("not running"),
            rule: String::from("it must take tasks; call `start` on a runtime that runs"),
        }
    }

    pub(crate) fn unprobed(remedy: &str) -> Self {
        ConfigError {
            field: "Manager::stream",
            value: String::from("None"),
            rule: format!("closed and half-used connections would be lent; {remedy}"),
        }
    }

    pub(crate) fn check_max_size(
        max_size: usize,
        min_size: usize,
        min_idle: usize,
    ) -> Result<(), ConfigError> {
        check! {
            max_size >= 1, "max_size" = max_size, "it must be at least 1";
            max_size >= min_size, "max_size" = max_size, "it must be at least min_size, which is {min_size}";
            max_size >= min_idle, "max_size" = max_size, "it must be at least min_idle, which is {min_idle}";
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: {}", self.field, self.value, self.rule)
    }
}

impl std::error::Error for ConfigError {}
