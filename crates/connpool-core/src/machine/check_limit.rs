//! How long a ping or a reset may take, so that no single check uses up the time of a `get`.

use std::time::Duration;

use crate::time::earliest;

/// A ping that a `get` waits for may always take this long.
const SHORTEST_PING_LIMIT: Duration = Duration::from_millis(250);

/// A ping may take this many times as long as earlier round trips of its connection.
const ROUND_TRIPS: u32 = 4;

/// A check may take this part of the time that its `get` has left.
const SHARES: u32 = 3;

/// The unit of [`RoundTrips`].
const UNIT: Duration = Duration::from_millis(20);

/// How long the connect and the last ping of a connection took, in units of 20 ms, rounded up. A byte
/// each, since every connection has them. Longer than five seconds counts as five seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RoundTrips {
    connect: u8,
    ping: u8,
}

impl RoundTrips {
    pub(crate) fn connected(took: Duration) -> Self {
        RoundTrips { connect: units(took), ping: 0 }
    }

    pub(crate) fn pinged(&mut self, took: Duration) {
        self.ping = units(took);
    }

    /// Returns how long the connect took, rounded up.
    pub(crate) fn connect_takes(self) -> Duration {
        UNIT.saturating_mul(self.connect.max(1).into())
    }

    /// Returns how long a ping may take at most while a `get` waits for it.
    pub(crate) fn ping_limit(self) -> Duration {
        let longest = UNIT.saturating_mul(self.connect.max(self.ping).into());
        longest.saturating_mul(ROUND_TRIPS).max(SHORTEST_PING_LIMIT)
    }
}

fn units(took: Duration) -> u8 {
    u8::try_from(took.as_millis().div_ceil(UNIT.as_millis())).unwrap_or(u8::MAX)
}

/// The time limit of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CheckLimit {
    pub(crate) limit: Option<Duration>,
    /// The `get` has too little time left for the whole check, so exceeding the limit says nothing about
    /// the connection.
    pub(crate) is_cut_short: bool,
}

impl CheckLimit {
    /// Limits a check that may take `own` by itself, for a `get` that has `left`.
    pub(crate) fn new(own: Option<Duration>, left: Option<Duration>) -> Self {
        let share = left.and_then(|left| left.checked_div(SHARES));
        let is_cut_short = share.is_some_and(|share| own.is_none_or(|own| share < own));
        CheckLimit { limit: earliest([own, share]), is_cut_short }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn ping_may_take_four_round_trips_and_at_least_a_quarter_of_a_second() {
        let mut trips = RoundTrips::connected(MILLI);
        assert_eq!(trips.ping_limit(), 250 * MILLI);
        trips.pinged(90 * MILLI);
        assert_eq!(trips.ping_limit(), 400 * MILLI);
        // The last ping counts, not the longest one.
        trips.pinged(MILLI);
        assert_eq!(trips.ping_limit(), 250 * MILLI);
        let slow_connect = RoundTrips::connected(100 * MILLI);
        assert_eq!(slow_connect.ping_limit(), 400 * MILLI);
        let slowest = RoundTrips::connected(Duration::MAX);
        assert_eq!(slowest.ping_limit(), 4 * 5_100 * MILLI);
    }

    #[test]
    fn check_takes_at_most_a_third_of_the_time_that_is_left() {
        let limit = |own: Option<u32>, left: Option<u32>| {
            let limit = CheckLimit::new(own.map(|own| own * MILLI), left.map(|left| left * MILLI));
            (limit.limit.map(|limit| limit.as_millis()), limit.is_cut_short)
        };
        assert_eq!(limit(Some(250), Some(10_000)), (Some(250), false));
        assert_eq!(limit(Some(250), Some(750)), (Some(250), false));
        assert_eq!(limit(Some(250), Some(600)), (Some(200), true));
        assert_eq!(limit(Some(250), Some(0)), (Some(0), true));
        assert_eq!(limit(None, Some(600)), (Some(200), true));
        assert_eq!(limit(Some(250), None), (Some(250), false));
        assert_eq!(limit(None, None), (None, false));
    }
}
