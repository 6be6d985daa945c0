//! A projection of the machine for a model checker: equal for states with the same future.
//!
//! Times are relative to now and capped, and versions are replaced by their ranks, so that a search over
//! all states ends.

use std::time::Duration;

use super::super::PoolMachine;
use crate::machine::breaker::BreakerState;
use crate::machine::wait_queue::Accepts;
use crate::time::Instant;

/// Times further away than this are not told apart.
const HORIZON: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Projection {
    slots: [usize; 3],
    waiters: Vec<(Accepts, Option<Duration>)>,
    breaker: BreakerState,
    failures: usize,
    permanent: bool,
    retry_in: Option<Duration>,
    due_in: Option<Duration>,
    tells_in: Option<Duration>,
    fresh_connects: usize,
    told: bool,
    connect_limit: usize,
    sweep_in: Option<Duration>,
    probing: bool,
    pinging: usize,
    closed: bool,
    paused: bool,
    /// The ranks of the current, cleared, suspect and leapt versions, and of those of connections.
    versions: Vec<usize>,
}

impl<W> PoolMachine<W> {
    /// Projects the machine at `now`. `versions` are those that connections carry.
    pub(crate) fn projection(&self, now: Instant, versions: &[u64]) -> Projection {
        let until = |at: Instant| at.since(now).min(HORIZON);
        let mine = self.versions;
        let mut all = vec![mine.current, mine.cleared, mine.suspect, mine.leapt];
        all.extend(versions);
        let mut ranks = all.clone();
        ranks.sort_unstable();
        ranks.dedup();
        let rank = |version: &u64| ranks.partition_point(|other| other < version);
        Projection {
            slots: [
                self.capacity.open.get(),
                self.capacity.connecting.get(),
                self.capacity.closing.get(),
            ],
            waiters: self
                .queue
                .queued()
                .into_iter()
                .map(|(accepts, deadline)| (accepts, deadline.map(until)))
                .collect(),
            breaker: self.backoff.breaker,
            failures: self.backoff.failures.get(),
            permanent: self.backoff.is_permanent(),
            retry_in: self.backoff.retry_at.map(until),
            due_in: self.backoff.due_at(true).map(until),
            tells_in: self.tells_at(now).map(until),
            fresh_connects: self.connects.fresh(),
            told: self.told,
            connect_limit: self.backoff.connect_limit(),
            sweep_in: self.schedule.sweep_at.map(until),
            probing: self.schedule.probing,
            pinging: self.schedule.pinging.get(),
            closed: self.closed,
            paused: self.paused,
            versions: all.iter().map(rank).collect(),
        }
    }
}

#[test]
fn projection_does_not_depend_on_the_epoch_nor_on_the_count_of_versions() {
    let at = |start: u64, millis: u64| Instant::from_nanos((start + millis) * 1_000_000);
    let run = |start: u64, clears: usize| {
        let mut machine = PoolMachine::<()>::new(&crate::config::PoolConfig::default());
        (0..clears).for_each(|_| _ = machine.clear());
        let ticket = machine.connect_started(at(start, 0));
        machine.clear();
        let deadline = Some(at(start, 500));
        assert!(machine.enqueue(at(start, 1), deadline, Accepts::Any, ()).is_ok());
        machine.dead_on_arrival(at(start, 1), at(start, 2), u64::MAX);
        let copy = machine.clone();
        machine.pause();
        let version = [ticket.version];
        let paused = machine.projection(at(start, 3), &version);
        assert_ne!(copy.projection(at(start, 3), &version), paused);
        paused
    };
    assert_eq!(run(0, 1), run(123_456, 7));
    assert_ne!(run(0, 1), run(0, 0), "the first clear makes the third version");
}
