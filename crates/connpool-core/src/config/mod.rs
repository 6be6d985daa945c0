//! The settings of a pool, their defaults, and what is not allowed.

pub(crate) mod builder;
#[cfg(feature = "serde")]
pub(crate) mod or_off;
#[cfg(feature = "serde")]
pub(crate) mod serde;

use std::fmt;
use std::time::Duration;

/// Every setting of a pool. `PoolConfig::default()` is a pool of at most ten connections that
/// opens them as needed.
///
/// All durations from zero to `Duration::MAX` are legal: zero means "at once" (or as often as makes
/// sense, which is a millisecond for `evict_interval`), too long to be told means "never", and so
/// does `None`.
///
/// With the feature `serde`, durations read as `"30s"` or `"1h 5m"`, and `None` as `"off"`.
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
    /// What the pool is called in errors and statistics. Default: `pool-` and eight random digits.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub name: Option<String>,
    /// The most connections that are ever open or being opened, whoever has them. Default: 10.
    pub max_size: usize,
    /// How many connections are opened by `build` and kept open in the background. Default: 0.
    pub min_size: usize,
    /// How many connections are opened at once when the pool has to grow. Default: 1.
    pub increment: usize,
    /// A connection that nobody wanted for this long is closed, as long as more than `min_size`
    /// are open. Default: `None`.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub idle_timeout: Option<Duration>,
    /// A connection older than this is closed when it is next not in use. Default: `None`.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub max_lifetime: Option<Duration>,
    /// By how much of it, at most, each connection's `max_lifetime` is shortened at random, so
    /// that connections opened together do not expire together. Default: 0.1.
    pub lifetime_jitter: f64,
    /// How often all idle connections are looked at. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub evict_interval: Option<Duration>,
    /// How long a `get` may take, all in all. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub get_timeout: Option<Duration>,
    /// How long one attempt to connect may take. Default: 5 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub connect_timeout: Option<Duration>,
    /// How long a ping may take. Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub ping_timeout: Option<Duration>,
    /// How long a reset may take. Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub reset_timeout: Option<Duration>,
    /// How long a goodbye may take. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub close_timeout: Option<Duration>,
    /// A connection whose last proof of life is at least this old is pinged before it is lent.
    /// Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub ping_after: Option<Duration>,
    /// A connection whose last proof of life is at least this old is looked at before it is lent.
    /// Default: 0, always.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub liveness_after: Option<Duration>,
    /// How many may stand in line beyond those for whom a connection is being opened. Default:
    /// `None`, any number.
    pub max_waiters: Option<usize>,
    /// How many connections may be idle. Default: `None`, `max_size`.
    pub max_idle: Option<usize>,
    /// How often a connection may be lent. Default: `None`.
    pub max_uses: Option<u64>,
    /// How many connections may be under way at once. Default: `None`, as many as there is room
    /// for.
    pub max_connecting: Option<usize>,
    /// Whether a failed connect answers the first in line with its error. Default: true.
    pub fail_fast: bool,
    /// How long to wait after failed connects. Default: 50 ms doubling up to 5 s.
    pub backoff: Backoff,
    /// When to stop dialling a backend that is down, and only probe it. Default: after 5 failures
    /// in a row, once a second. `None`: never.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::or_off"))]
    pub breaker: Option<Breaker>,
    /// An idle connection whose last proof of life is about this old is pinged in the background.
    /// Default: `None`, never.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub keepalive: Option<Duration>,
    /// Which idle connection is lent first. Default: the one used last.
    pub idle_order: IdleOrder,
    /// A `get` that took this long is told to the [`Observer`](crate::Observer). Default: 1 s.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub slow_get_warning: Option<Duration>,
    /// A connection that was lent for this long is told to the [`Observer`](crate::Observer), once, and
    /// again when it comes back. Default: `None`.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde"))]
    pub leak_warning: Option<Duration>,
}

/// The pause after a failed connect: a random part of `first`, of `first * factor` after the next
/// failure, and so on up to `max`; a connection that works ends it.
///
/// A random part of the whole ("full jitter") spreads the attempts of many pools best, see
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(::serde::Serialize, ::serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Backoff {
    /// The longest pause after the first failure. Default: 50 ms. No pause is shorter than 1 ms:
    /// with zero here, a dead backend is dialled that often.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde::plain"))]
    pub first: Duration,
    /// The longest pause ever. Default: 5 s. It is also how late the pool may notice that the
    /// backend is back.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde::plain"))]
    pub max: Duration,
    /// What the longest pause is multiplied by after each failure, at least 1. Default: 2.
    pub factor: f64,
}

/// When the pool stops dialling a backend that is down, and only probes it.
///
/// After so many failed connects in a row the breaker opens, see
/// [`BreakerState`](crate::BreakerState): there is one connect at a time and `probe_every` between
/// one and the next, until a new connection proves good. If what a probe made is gone before anybody
/// had a use for it, and nothing else is open, the next one is due at once. With `fail_fast`, and no
/// connection open that could come back, everybody in line and whoever comes is answered at once
/// with the last error; who comes when a probe is due waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(::serde::Serialize, ::serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct Breaker {
    /// How many connects fail in a row before the breaker opens. Default: 5. Zero is an error:
    /// `None` in place of the whole switches the breaker off. Failures of one moment count as one.
    pub failures: u32,
    /// The time from a failure to the next probe, less up to a tenth of it at random. Default:
    /// 1 s; less than 1 ms is 1 ms. It is also how late the pool may notice that the backend is
    /// back; `Duration::MAX` has it never notice.
    #[cfg_attr(feature = "serde", serde(with = "crate::config::serde::plain"))]
    pub probe_every: Duration,
}

/// Which idle connection is lent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(::serde::Serialize, ::serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum IdleOrder {
    /// The one used last: few connections stay warm, the others become old and are closed.
    #[default]
    LastUsedFirst,
    /// The one that waited longest: all connections stay in use, and none ever gets idle for long.
    RoundRobin,
}

/// A setting that is not allowed: which, its value, and what would be.
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
            increment: 1,
            idle_timeout: None,
            max_lifetime: None,
            lifetime_jitter: 0.1,
            evict_interval: Some(Duration::from_secs(30)),
            get_timeout: Some(Duration::from_secs(10)),
            connect_timeout: Some(Duration::from_secs(5)),
            ping_timeout: Some(Duration::from_secs(1)),
            reset_timeout: Some(Duration::from_secs(1)),
            close_timeout: Some(Duration::from_secs(10)),
            ping_after: Some(Duration::from_secs(1)),
            liveness_after: Some(Duration::ZERO),
            max_waiters: None,
            max_idle: None,
            max_uses: None,
            max_connecting: None,
            fail_fast: true,
            backoff: Backoff::default(),
            breaker: Some(Breaker::default()),
            keepalive: None,
            idle_order: IdleOrder::default(),
            slow_get_warning: Some(Duration::from_secs(1)),
            leak_warning: None,
        }
    }
}

impl Backoff {
    /// Creates a backoff from its three settings.
    pub const fn new(first: Duration, max: Duration, factor: f64) -> Self {
        Backoff { first, max, factor }
    }
}

impl Breaker {
    /// Creates a breaker that opens after `failures` and probes every `probe_every`.
    pub const fn new(failures: u32, probe_every: Duration) -> Self {
        Breaker {
            failures,
            probe_every,
        }
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            first: Duration::from_millis(50),
            max: Duration::from_secs(5),
            factor: 2.0,
        }
    }
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker {
            failures: 5,
            probe_every: Duration::from_secs(1),
        }
    }
}

impl PoolConfig {
    /// Whether these settings make sense together.
    ///
    /// # Errors
    ///
    /// The first setting that does not, with its value and the rule it breaks.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let max = self.max_size;
        require(max >= 1, "max_size", max, "it must be at least 1")?;
        require(
            self.min_size <= max,
            "min_size",
            self.min_size,
            format_args!("it must be at most max_size, which is {max}"),
        )?;
        require(
            self.increment >= 1,
            "increment",
            self.increment,
            "it must be at least 1",
        )?;
        require(
            (0.0..=1.0).contains(&self.lifetime_jitter),
            "lifetime_jitter",
            self.lifetime_jitter,
            "it must lie between 0.0 and 1.0",
        )?;
        if let Some(max_idle) = self.max_idle {
            let min = self.min_size;
            require(
                max_idle >= min,
                "max_idle",
                max_idle,
                format_args!("it must be at least min_size, which is {min}"),
            )?;
        }
        if let Some(uses) = self.max_uses {
            require(
                uses >= 1,
                "max_uses",
                uses,
                "it must be at least 1, or None",
            )?;
        }
        if let Some(most) = self.max_connecting {
            require(
                most >= 1,
                "max_connecting",
                most,
                "it must be at least 1, or None",
            )?;
        }
        if let Some(breaker) = self.breaker {
            require(
                breaker.failures >= 1,
                "breaker.failures",
                breaker.failures,
                "it must be at least 1, or breaker None",
            )?;
        }
        let Backoff { first, max, factor } = self.backoff;
        require(
            first <= max,
            "backoff.first",
            format_args!("{first:?}"),
            format_args!("it must be at most backoff.max, which is {max:?}"),
        )?;
        require(
            factor >= 1.0 && factor.is_finite(),
            "backoff.factor",
            factor,
            "it must be a number of at least 1.0",
        )
    }

    /// Whether the name is that of the pool, or none.
    pub(crate) fn check_same_name(&self, current: Option<&str>) -> Result<(), ConfigError> {
        let wanted = self.name.as_deref().or(current);
        require(
            wanted == current,
            "name",
            format_args!("{:?}", wanted.unwrap_or_default()),
            format_args!("it must stay {:?}, or be None", current.unwrap_or_default()),
        )
    }
}

fn require(
    holds: bool,
    field: &'static str,
    value: impl fmt::Display,
    rule: impl fmt::Display,
) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError {
        field,
        value: value.to_string(),
        rule: rule.to_string(),
    })
}

impl ConfigError {
    /// The name of the setting, as in [`PoolConfig`].
    pub fn field(&self) -> &'static str {
        self.field
    }

    pub(crate) fn check_max_size(max_size: usize, min_size: usize) -> Result<(), ConfigError> {
        require(max_size >= 1, "max_size", max_size, "it must be at least 1")?;
        require(
            max_size >= min_size,
            "max_size",
            max_size,
            format_args!("it must be at least min_size, which is {min_size}"),
        )
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}: {}", self.field, self.value, self.rule)
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(change: impl FnOnce(&mut PoolConfig)) -> String {
        let mut config = PoolConfig::default();
        change(&mut config);
        config
            .validate()
            .expect_err("should not be allowed")
            .to_string()
    }

    #[test]
    fn every_error_names_the_field_the_value_and_the_rule() {
        type Change = fn(&mut PoolConfig);
        let cases: [(Change, &str); 11] = [
            (|c| c.max_size = 0, "max_size is 0: it must be at least 1"),
            (
                |c| c.min_size = 11,
                "min_size is 11: it must be at most max_size, which is 10",
            ),
            (|c| c.increment = 0, "increment is 0: it must be at least 1"),
            (
                |c| c.lifetime_jitter = 1.5,
                "lifetime_jitter is 1.5: it must lie between 0.0 and 1.0",
            ),
            (
                |c| c.lifetime_jitter = f64::NAN,
                "lifetime_jitter is NaN: it must lie between 0.0 and 1.0",
            ),
            (
                |c| (c.min_size, c.max_idle) = (3, Some(2)),
                "max_idle is 2: it must be at least min_size, which is 3",
            ),
            (
                |c| c.max_uses = Some(0),
                "max_uses is 0: it must be at least 1, or None",
            ),
            (
                |c| c.max_connecting = Some(0),
                "max_connecting is 0: it must be at least 1, or None",
            ),
            (
                |c| {
                    c.breaker = Some(Breaker {
                        failures: 0,
                        ..Breaker::default()
                    })
                },
                "breaker.failures is 0: it must be at least 1, or breaker None",
            ),
            (
                |c| c.backoff.first = Duration::from_secs(6),
                "backoff.first is 6s: it must be at most backoff.max, which is 5s",
            ),
            (
                |c| c.backoff.factor = 0.5,
                "backoff.factor is 0.5: it must be a number of at least 1.0",
            ),
        ];
        for (change, text) in cases {
            assert_eq!(error_of(change), text);
        }
    }

    #[test]
    fn the_extremes_of_every_duration_and_number_are_legal() {
        for span in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let mut config = PoolConfig::default();
            for field in [
                &mut config.idle_timeout,
                &mut config.max_lifetime,
                &mut config.evict_interval,
                &mut config.get_timeout,
                &mut config.connect_timeout,
                &mut config.ping_timeout,
                &mut config.reset_timeout,
                &mut config.close_timeout,
                &mut config.ping_after,
                &mut config.liveness_after,
                &mut config.slow_get_warning,
                &mut config.leak_warning,
                &mut config.keepalive,
            ] {
                *field = Some(span);
            }
            (config.backoff.first, config.backoff.max) = (span, span);
            config.breaker = Some(Breaker {
                failures: u32::MAX,
                probe_every: span,
            });
            config.max_size = usize::MAX;
            config.increment = usize::MAX;
            config.max_waiters = Some(0);
            config.max_idle = Some(0);
            assert_eq!(config.validate(), Ok(()));
        }
    }
}
