//! Describes the pool at a failed `get`, with a remedy.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::failed_check::FailedCheck;
use crate::machine::breaker::BreakerState;
use crate::observe::holders::Holder;
use crate::time::HumanDuration;

/// The state of the pool when a `get` failed. Prints as one paragraph that ends with the likely remedy.
///
/// Neither the manager nor a connection is formatted; the errors of a connect and of a check are, in `{:?}`
/// as in `{}`.
///
/// # Examples
///
/// ```
/// # use connpool_core::{GetError, Pool};
/// # let sim = connpool_testkit::SimRuntime::new(1);
/// # let manager = connpool_testkit::FaultyManager::new(sim.clone());
/// # let pool = Pool::builder(manager, sim.clone()).max_size(1).build_lazy()?;
/// let _conn = sim.block_on(pool.get())?;
/// let Err(GetError::Exhausted(diagnosis)) = pool.try_get() else {
///     panic!("another connection is idle");
/// };
/// assert_eq!((diagnosis.active, diagnosis.max_size), (1, 1));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The pool's name.
    pub pool: Arc<str>,
    /// How long the `get` had taken.
    pub waited: Duration,
    /// Its position in the wait queue, counted from 1; `None` if it was not queued, or beyond position
    /// 128.
    pub queue_position: Option<usize>,
    /// The largest number of connections.
    pub max_size: usize,
    /// Open connections.
    pub size: usize,
    /// Open connections that were not idle.
    pub active: usize,
    /// Idle connections.
    pub available: usize,
    /// Connections being opened.
    pub connecting: usize,
    /// Queued callers, this `get` included.
    pub waiting: usize,
    /// `true` if the pool is paused.
    pub paused: bool,
    /// The state of the circuit breaker.
    pub breaker: BreakerState,
    /// Why the last connect failed, as a [`ConnectError`](crate::ConnectError) of the manager's error;
    /// `None` if a connection opened later has passed a check.
    pub last_error: Option<Arc<dyn Error + Send + Sync>>,
    /// How long ago that was.
    pub last_error_ago: Option<Duration>,
    /// The last ping or reset that failed, unless one has succeeded since.
    pub last_failed_check: Option<FailedCheck>,
    /// How long ago that was.
    pub last_failed_check_ago: Option<Duration>,
    /// The three holders that have had a connection for longest.
    pub longest_held: Vec<Holder>,
}

/// The phase of a `get` in which its time was up.
// As wide as a pointer: with a one-byte discriminant the compiler moves every result of a `get` as one
// byte and 23 others, which costs more than the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
#[non_exhaustive]
pub enum Phase {
    /// It waited for a connection to be returned.
    Wait,
    /// It waited for a connection that was being opened.
    Connect,
    /// It had a connection whose ping or reset had not ended.
    Check,
    /// It had a connection that the closure of [`get_with`](crate::Pool::get_with) was preparing.
    Prepare,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Wait => "waiting for a connection to come back",
            Phase::Connect => "connecting",
            Phase::Check => "checking a connection",
            Phase::Prepare => "preparing a connection",
        })
    }
}

impl Diagnosis {
    /// Writes the whole paragraph for a `get` whose time was up in `phase`, or that was not allowed
    /// to wait.
    pub(crate) fn explain(&self, phase: Option<Phase>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {:?}: no connection ", &*self.pool)?;
        match phase {
            Some(phase) => {
                write!(f, "after {}", HumanDuration(self.waited))?;
                match phase {
                    Phase::Wait => {}
                    Phase::Connect => f.write_str(", while connecting")?,
                    Phase::Check => f.write_str(", while checking one")?,
                    Phase::Prepare => f.write_str(", while preparing one")?,
                }
            }
            None => f.write_str("idle, and waiting is not allowed")?,
        }
        write!(f, ": {self}; {}", self.remedy(phase))
    }

    fn remedy(&self, phase: Option<Phase>) -> &'static str {
        let all_in_use = self.active >= self.max_size;
        let backend_fails = self.last_error.is_some() || self.breaker != BreakerState::Closed;
        let last_check = self.last_failed_check.as_ref();
        let is_check_doubtful = last_check.is_some_and(FailedCheck::is_doubtful);
        match phase {
            Some(Phase::Prepare) => "see that the closure of get_with ends within get_timeout",
            _ if self.paused => "call `resume`, or raise get_timeout",
            Some(_) if is_check_doubtful && !backend_fails => {
                "see that the ping and the reset of the manager are what the backend understands"
            }
            Some(Phase::Check) => {
                "see that the backend answers pings and resets within get_timeout"
            }
            _ if backend_fails && (!all_in_use || phase == Some(Phase::Connect)) => {
                "see that the backend is up and accepts connections"
            }
            Some(Phase::Connect) => {
                "see that the backend answers within connect_timeout and get_timeout"
            }
            Some(Phase::Wait) if all_in_use => match self.longest_held.len() {
                0 => "raise max_size or get_timeout",
                1 => "raise max_size, or check that holder",
                _ => "raise max_size, or check those holders",
            },
            Some(Phase::Wait) => "raise get_timeout, or return connections sooner",
            None => "raise max_size or max_waiters, or use get",
        }
    }
}

/// Writes the state of the pool alone.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} in use, {} idle", self.active, self.max_size, self.available)?;
        if self.connecting > 0 {
            write!(f, ", {} connecting", self.connecting)?;
        }
        write!(f, ", {} waiting", self.waiting)?;
        if let Some(place) = self.queue_position {
            write!(f, " (this request: {place}{})", ordinal_ending(place))?;
        }
        if self.paused {
            f.write_str("; the pool is paused")?;
        }
        if let Some(error) = &self.last_error {
            f.write_str("; the last connect failed")?;
            if let Some(ago) = self.last_error_ago {
                write!(f, " {} ago", HumanDuration(ago))?;
            }
            write!(f, ": {error}")?;
        }
        if let (Some(check), Some(ago)) = (&self.last_failed_check, self.last_failed_check_ago) {
            write!(f, "; {} ago, the {check}", HumanDuration(ago))?;
        }
        if self.breaker != BreakerState::Closed {
            write!(f, "; the breaker is {}", self.breaker)?;
        }
        let mut separator = "; held longest: ";
        for holder in &self.longest_held {
            write!(f, "{separator}{holder}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Returns the ending of 1st, 2nd, 3rd, 4th.
fn ordinal_ending(n: usize) -> &'static str {
    match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis() -> Diagnosis {
        Diagnosis {
            pool: Arc::from("orders"),
            waited: Duration::from_secs(5),
            queue_position: Some(4),
            max_size: 20,
            size: 20,
            active: 20,
            available: 0,
            connecting: 0,
            waiting: 13,
            paused: false,
            breaker: BreakerState::Closed,
            last_error: None,
            last_error_ago: None,
            last_failed_check: None,
            last_failed_check_ago: None,
            longest_held: vec![holder("monthly", 32_100)],
        }
    }

    fn holder(label: &str, millis: u64) -> Holder {
        Holder::labeled(label, Duration::from_millis(millis))
    }

    struct Explained<'a>(&'a Diagnosis, Option<Phase>);

    impl fmt::Display for Explained<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.explain(self.1, f)
        }
    }

    fn text(wanted: Option<Phase>, change: impl FnOnce(&mut Diagnosis)) -> String {
        let mut diagnosis = diagnosis();
        change(&mut diagnosis);
        Explained(&diagnosis, wanted).to_string()
    }

    const WAIT: Option<Phase> = Some(Phase::Wait);

    #[test]
    fn failed_wait_names_the_holder() {
        assert_eq!(
            text(WAIT, |_| ()),
            "pool \"orders\": no connection after 5.0 s: 20 of 20 in use, 0 idle, 13 waiting (this request: \
             4th); held longest: <unknown call site> \"monthly\" for 32.1 s; raise max_size, or check that \
             holder"
        );
        let two = |d: &mut Diagnosis| d.longest_held.push(holder("weekly", 1_000));
        assert!(text(WAIT, two).ends_with(
            "\"monthly\" for 32.1 s, <unknown call site> \"weekly\" for 1.0 s; raise max_size, or check \
             those holders"
        ));
    }

    #[test]
    fn remedy_for_a_failing_backend_names_the_backend() {
        let failing = |d: &mut Diagnosis| {
            (d.active, d.connecting) = (3, 1);
            d.last_error = Some(Arc::from(Box::<dyn Error + Send + Sync>::from("refused")));
            d.last_error_ago = Some(Duration::from_millis(1_200));
            d.breaker = BreakerState::HalfOpen;
            d.longest_held.clear();
        };
        assert_eq!(
            text(Some(Phase::Connect), failing),
            "pool \"orders\": no connection after 5.0 s, while connecting: 3 of 20 in use, 0 idle, \
             1 connecting, 13 waiting (this request: 4th); the last connect failed 1.2 s ago: refused; the \
             breaker is half open; see that the backend is up and accepts connections"
        );
    }

    #[test]
    fn every_remedy_fits_the_state() {
        type Change = fn(&mut Diagnosis);
        let cases: [(Option<Phase>, Change, &str); 10] = [
            (WAIT, |d| d.paused = true, "call `resume`"),
            (WAIT, |d| d.longest_held.clear(), "raise max_size or get_timeout"),
            (WAIT, |d| d.active = 3, "return connections sooner"),
            (WAIT, |d| d.breaker = BreakerState::Open, "check that holder"),
            (
                WAIT,
                |d| (d.active, d.breaker) = (3, BreakerState::Open),
                "is up and accepts connections",
            ),
            (Some(Phase::Check), |_| (), "answers pings and resets"),
            (Some(Phase::Prepare), |d| d.paused = true, "the closure of get_with"),
            (Some(Phase::Connect), |_| (), "within connect_timeout and get_timeout"),
            (Some(Phase::Connect), |d| d.breaker = BreakerState::Open, "is up and accepts"),
            (None, |_| (), "raise max_size or max_waiters"),
        ];
        for (wanted, change, remedy) in cases {
            let text = text(wanted, change);
            let last = text.rsplit("; ").next().unwrap();
            assert!(last.contains(remedy), "{text}");
        }
    }

    #[test]
    fn positions_print_as_ordinals() {
        let places =
            [1, 2, 3, 4, 11, 12, 13, 21, 22, 101, 111].map(|n| format!("{n}{}", ordinal_ending(n)));
        let expected =
            ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "101st", "111th"];
        assert_eq!(places, expected);
    }
}
