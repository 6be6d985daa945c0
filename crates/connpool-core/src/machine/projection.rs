//! Projects a state to a list of numbers, for a search over all states.
//!
//! Two states with equal projections have the same future: counters that only grow, versions and
//! clock readings are replaced by what later decisions can see of them.

use std::time::Duration;

use crate::time::Instant;

/// Older times differ only in their order.
const HORIZON: Duration = Duration::from_secs(10);

/// Collects the numbers of one state.
pub(crate) struct Projector {
    now: Instant,
    numbers: Vec<u64>,
    /// The times whose order matters, now among them.
    times: Vec<Instant>,
}

impl Projector {
    pub(crate) fn new(now: Instant) -> Self {
        Projector { now, numbers: Vec::with_capacity(96), times: vec![now] }
    }

    pub(crate) fn number(&mut self, number: usize) {
        self.numbers.push(number as u64);
    }

    pub(crate) fn flag(&mut self, holds: bool) {
        self.numbers.push(u64::from(holds));
    }

    pub(crate) fn length(&mut self, span: Duration) {
        self.numbers.push(span.as_nanos() as u64);
    }

    /// Adds a time that decisions compare with now plus a constant, and with other times.
    pub(crate) fn time(&mut self, at: Instant) {
        self.order(at);
        self.length(self.now.since(at).min(HORIZON));
    }

    /// Adds a time that decisions compare with other times only.
    pub(crate) fn order(&mut self, at: Instant) {
        self.times.push(at);
    }

    /// Adds a time of which decisions see only if it is `span` ago.
    pub(crate) fn age(&mut self, at: Option<Instant>, span: Duration) {
        let age = at.map(|at| self.now.since(at));
        match age.filter(|age| span == Duration::MAX || *age < span) {
            Some(age) if span < Duration::MAX => self.length(age),
            Some(_) => self.numbers.push(u64::MAX - 1),
            None => self.numbers.push(u64::MAX),
        }
    }

    /// Adds a time of which decisions see only how far it is ahead.
    pub(crate) fn due(&mut self, at: Option<Instant>) {
        let ahead = at.map(|at| at.since(self.now).as_nanos() as u64);
        self.numbers.push(ahead.unwrap_or(u64::MAX));
    }

    pub(crate) fn finish(mut self) -> Vec<u64> {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let rank = |at: &Instant| sorted.partition_point(|other| other < at) as u64;
        self.numbers.extend(self.times.iter().map(rank));
        self.numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn times(now: u64, times: [u64; 2]) -> Vec<u64> {
        let mut projector = Projector::new(at(now));
        times.map(at).into_iter().for_each(|at| projector.time(at));
        projector.finish()
    }

    #[test]
    fn times_are_relative_and_old_ones_differ_in_their_order() {
        assert_eq!(times(20_000, [19_000, 18_000]), times(30_000, [29_000, 28_000]));
        assert_ne!(times(20_000, [19_000, 18_000]), times(20_000, [19_000, 18_001]));
        assert_eq!(times(20_000, [1_000, 2_000]), times(90_000, [1_000, 70_000]));
        assert_ne!(times(20_000, [1_000, 2_000]), times(20_000, [2_000, 1_000]));
        assert_ne!(times(20_000, [1_000, 2_000]), times(20_000, [2_000, 2_000]));
    }

    #[test]
    fn time_that_is_only_ordered_is_ranked_among_the_others() {
        let ordered = |first: u64, second: u64| {
            let mut projector = Projector::new(at(9_000));
            projector.order(at(first));
            projector.time(at(second));
            projector.finish()
        };
        assert_eq!(ordered(1_000, 5_000), ordered(2_000, 5_000));
        assert_ne!(ordered(5_000, 5_000), ordered(2_000, 5_000));
        assert_ne!(ordered(9_000, 5_000), ordered(6_000, 5_000));
    }
}
