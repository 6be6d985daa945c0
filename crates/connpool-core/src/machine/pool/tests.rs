mod model;

use std::time::Duration;

use super::*;
use crate::machine::wait_queue::{Accepts, Place};

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn config(change: impl FnOnce(&mut PoolConfig)) -> PoolConfig {
    let mut config = PoolConfig::default();
    change(&mut config);
    config
}

fn machine(change: impl FnOnce(&mut PoolConfig)) -> PoolMachine<u32> {
    let mut config = PoolConfig::default();
    change(&mut config);
    assert_eq!(config.validate(), Ok(()));
    PoolMachine::new(&config)
}

fn enqueue(
    machine: &mut PoolMachine<u32>,
    deadline: Option<Instant>,
    accepts: Accepts,
) -> Result<Place, Rejected> {
    let queued = machine.enqueue(at(0), deadline, accepts, 0);
    queued.map_err(|(rejected, _)| rejected)
}

fn join(machine: &mut PoolMachine<u32>) -> Place {
    enqueue(machine, None, Accepts::Any).expect("is queued")
}

fn fail(machine: &mut PoolMachine<u32>) {
    machine.succeeded(at(0), at(0));
    machine.connects.end(1);
    machine.dead_on_arrival(at(0), at(0), u64::MAX);
}

/// Ends the connect with this number, counted from one, with a connection.
fn succeed(machine: &mut PoolMachine<u32>, id: u64) {
    machine.connected(ConnectTicket { version: 0, id, limit_epoch: 0 }, at(0));
}

fn open(machine: &mut PoolMachine<u32>) {
    let ticket = machine.connect_started(at(0));
    machine.connected(ticket, at(0));
}

fn begin_all(machine: &mut PoolMachine<u32>, now: Instant) -> usize {
    let wanted = machine.connects_wanted(now);
    for _ in 0..wanted {
        machine.connect_started(now);
    }
    wanted
}

#[test]
fn one_connect_starts_for_each_waiter() {
    let mut machine = machine(|_| ());
    for _ in 0..3 {
        join(&mut machine);
        assert_eq!(begin_all(&mut machine, at(0)), 1);
    }
    assert_eq!(begin_all(&mut machine, at(0)), 0);
}

#[test]
fn growth_comes_in_batches_up_to_max_size() {
    let mut machine = machine(|c| (c.increment, c.max_size) = (4, 6));
    join(&mut machine);
    assert_eq!(begin_all(&mut machine, at(0)), 4);
    for _ in 0..4 {
        join(&mut machine);
    }
    assert_eq!(begin_all(&mut machine, at(0)), 2, "room for two of four");
    assert_eq!(machine.gauges().connecting, 6);
}

#[test]
fn connects_at_once_are_capped_and_the_rest_follow() {
    let mut machine = machine(|c| c.max_connecting = Some(2));
    for _ in 0..3 {
        join(&mut machine);
    }
    assert_eq!(begin_all(&mut machine, at(0)), 2);
    succeed(&mut machine, 1);
    machine.assign(Source::Fresh, at(0), |_| ());
    assert_eq!(begin_all(&mut machine, at(0)), 1);
}

#[test]
fn min_size_is_opened_without_a_waiter() {
    let mut machine = machine(|c| c.min_size = 3);
    assert_eq!(begin_all(&mut machine, at(0)), 3);
    assert!(!machine.capacity.has_min_size());
    for id in 1..=3 {
        succeed(&mut machine, id);
    }
    assert!(machine.capacity.has_min_size());
    assert!(!machine.capacity.is_above_min_size());
    machine.slot_freed(SlotState::Open);
    assert_eq!(machine.connects_wanted(at(0)), 1);
}

#[test]
fn no_connect_starts_during_a_backoff_pause() {
    let mut machine = machine(|_| ());
    join(&mut machine);
    begin_all(&mut machine, at(0));
    fail(&mut machine);
    machine.slot_freed(SlotState::Connecting);
    assert_eq!(machine.connects_wanted(at(149)), 0);
    let retry = machine.next_deadline(at(149)).expect("a waiter needs the retry");
    assert!(retry >= at(150) && retry <= at(151), "{retry:?}");
    assert_eq!(machine.connects_wanted(retry), 1);
}

#[test]
fn backoff_pause_without_a_waiter_is_no_deadline() {
    let mut machine = machine(|c| c.evict_interval = None);
    fail(&mut machine);
    assert_eq!(machine.next_deadline(at(0)), None);
}

#[test]
fn backoff_pause_without_room_is_no_deadline() {
    let mut machine = machine(|c| (c.max_size, c.evict_interval) = (1, None));
    open(&mut machine);
    fail(&mut machine);
    join(&mut machine);
    assert_eq!(machine.next_deadline(at(0)), None);
    machine.slot_freed(SlotState::Open);
    assert!(machine.next_deadline(at(0)).is_some());
}

#[test]
fn max_waiters_bounds_waiters_without_a_connect() {
    let mut machine = machine(|c| (c.max_size, c.max_waiters) = (2, Some(1)));
    for _ in 0..2 {
        join(&mut machine);
        begin_all(&mut machine, at(0));
    }
    let third = enqueue(&mut machine, None, Accepts::Any);
    assert!(third.is_ok(), "one may wait beyond the connects");
    assert_eq!(enqueue(&mut machine, None, Accepts::Any), Err(Rejected::Exhausted));
    assert_eq!(machine.queue.len(), 3);
}

#[test]
fn max_waiters_zero_still_grows() {
    let mut machine = machine(|c| (c.max_size, c.max_waiters) = (1, Some(0)));
    assert!(enqueue(&mut machine, None, Accepts::Any).is_ok());
    assert_eq!(begin_all(&mut machine, at(0)), 1);
    assert_eq!(enqueue(&mut machine, None, Accepts::Any), Err(Rejected::Exhausted));
}

#[test]
fn waiter_that_comes_during_a_sweep_probe_needs_no_connect() {
    let mut machine = machine(|_| ());
    assert!(machine.sweep_probe_started());
    join(&mut machine);
    assert_eq!(machine.connects_wanted(at(0)), 0);
    join(&mut machine);
    assert_eq!(machine.connects_wanted(at(0)), 1);
    machine.schedule.probing = false;
    assert_eq!(machine.connects_wanted(at(0)), 2);
    assert!(!machine.sweep_probe_started(), "not while a caller waits");
    assert_eq!(machine.connects_wanted(at(0)), 2);
}

#[test]
fn sweeps_are_due_once_an_interval_and_missed_ones_are_skipped() {
    let mut machine = machine(|c| c.evict_interval = Some(Duration::from_millis(10)));
    assert!(!machine.schedule.sweep_is_due(at(0)));
    assert_eq!(machine.next_deadline(at(0)), Some(at(10)));
    assert!(!machine.schedule.sweep_is_due(at(9)));
    assert!(machine.schedule.sweep_is_due(at(10)));
    assert!(machine.schedule.sweep_is_due(at(500)));
    assert!(!machine.schedule.sweep_is_due(at(500)));
    assert_eq!(machine.next_deadline(at(0)), Some(at(510)));
}

#[test]
fn the_extremes_of_the_evict_interval_neither_spin_nor_overflow() {
    for (every, next) in [
        (Some(Duration::ZERO), Some(at(1))),
        (Some(Duration::from_nanos(1)), Some(at(1))),
        (Some(Duration::MAX), None),
        (None, None),
    ] {
        let mut machine = machine(|c| c.evict_interval = every);
        assert!(!machine.schedule.sweep_is_due(at(0)));
        assert_eq!(machine.next_deadline(at(0)), next, "{every:?}");
    }
}

#[test]
fn new_evict_interval_counts_from_now_and_the_same_one_changes_nothing() {
    let every = |millis| config(|c| c.evict_interval = Some(Duration::from_millis(millis)));
    let mut machine = PoolMachine::<u32>::new(&every(10));
    assert!(!machine.schedule.sweep_is_due(at(0)));
    machine.reconfigure(&every(10));
    assert_eq!(machine.next_deadline(at(0)), Some(at(10)));
    machine.reconfigure(&every(3));
    assert!(!machine.schedule.sweep_is_due(at(5)));
    assert_eq!(machine.next_deadline(at(0)), Some(at(8)));
    machine.reconfigure(&config(|c| c.evict_interval = None));
    assert!(!machine.schedule.sweep_is_due(at(99)));
    assert_eq!(machine.next_deadline(at(0)), None);
}

#[test]
fn closed_pool_wants_no_connects_and_queues_no_waiters() {
    let mut machine = machine(|c| c.min_size = 2);
    let place = join(&mut machine);
    begin_all(&mut machine, at(0));
    assert_eq!(machine.close(), [0]);
    assert_eq!(enqueue(&mut machine, None, Accepts::Any), Err(Rejected::Closed));
    assert_eq!(machine.requeue(place, None, Accepts::Any, 0), Err(Rejected::Closed));
    assert_eq!((machine.connects_wanted(at(0)), machine.next_deadline(at(0))), (0, None));
    assert!(!machine.is_drained());
    machine.slot_freed(SlotState::Connecting);
    machine.slot_freed(SlotState::Connecting);
    assert!(machine.is_drained());
}

#[test]
fn smaller_pool_has_a_surplus_until_enough_are_closing() {
    let mut machine = machine(|c| c.min_size = 1);
    for _ in 0..3 {
        open(&mut machine);
    }
    machine.reconfigure(&config(|c| (c.max_size, c.min_size) = (2, 1)));
    assert_eq!(machine.capacity.surplus(), 1);
    machine.close_started();
    assert_eq!(machine.capacity.surplus(), 0, "one on its way out is enough");
    join(&mut machine);
    assert_eq!(machine.connects_wanted(at(0)), 0, "but its slot is not free yet");
    assert_eq!(machine.held_up_by_closing(), 1);
    machine.slot_freed(SlotState::Closing);
    assert_eq!(machine.held_up_by_closing(), 0);
    assert_eq!(machine.gauges().size, 2);
}

#[test]
fn opened_connection_takes_one_slot_throughout() {
    let mut machine = machine(|c| c.max_size = 1);
    join(&mut machine);
    assert_eq!(begin_all(&mut machine, at(0)), 1);
    join(&mut machine);
    assert_eq!(begin_all(&mut machine, at(0)), 0);
    succeed(&mut machine, 1);
    assert_eq!(
        machine.gauges(),
        Gauges {
            max_size: 1,
            size: 1,
            closing: 0,
            resetting: 0,
            connecting: 0,
            waiting: 2,
            breaker: BreakerState::Closed,
            paused: false,
            suspect: 0,
        }
    );
    assert_eq!(begin_all(&mut machine, at(0)), 0);
}

#[test]
fn slot_of_a_closing_connection_counts_for_max_waiters() {
    let mut machine = machine(|c| (c.max_size, c.max_waiters) = (1, Some(0)));
    open(&mut machine);
    assert_eq!(enqueue(&mut machine, None, Accepts::Any), Err(Rejected::Exhausted));
    machine.close_started();
    assert!(enqueue(&mut machine, None, Accepts::Any).is_ok());
    assert_eq!(enqueue(&mut machine, None, Accepts::Any), Err(Rejected::Exhausted));
}

#[test]
fn slot_beyond_a_smaller_max_size_does_not_count_for_max_waiters() {
    let mut machine = machine(|c| (c.max_size, c.max_waiters) = (5, Some(0)));
    for _ in 0..5 {
        open(&mut machine);
    }
    machine.reconfigure(&config(|c| (c.max_size, c.max_waiters) = (1, Some(0))));
    (0..4).for_each(|_| machine.close_started());
    assert_eq!(enqueue(&mut machine, None, Accepts::Any), Err(Rejected::Exhausted));
}

#[test]
fn connection_out_for_a_sweep_probe_counts_for_max_waiters() {
    let mut machine = machine(|c| (c.max_size, c.max_waiters) = (1, Some(0)));
    open(&mut machine);
    assert!(machine.sweep_probe_started());
    assert!(enqueue(&mut machine, None, Accepts::Any).is_ok());
    assert_eq!(enqueue(&mut machine, None, Accepts::Any), Err(Rejected::Exhausted));
}

#[test]
fn waiter_for_a_fresh_connection_gets_no_reused_one_while_there_is_room() {
    let mut machine = machine(|c| c.max_size = 1);
    enqueue(&mut machine, None, Accepts::Fresh).unwrap();
    assert!(!machine.wants_reused(at(0)), "a connect can begin");
    begin_all(&mut machine, at(0));
    assert!(!machine.wants_reused(at(0)), "a connect is under way");
    fail(&mut machine);
    machine.slot_freed(SlotState::Connecting);
    assert!(machine.wants_reused(at(0)), "no connect can begin during the pause");
    assert_eq!(machine.assign(Source::Reused, at(0), |_| ()), Some(0));
}

#[test]
fn no_connect_is_coming_for_a_waiter_past_its_deadline() {
    let mut machine = machine(|_| ());
    assert!(machine.sweep_probe_started());
    let late = machine.enqueue(at(0), Some(at(1)), Accepts::Any, 1);
    let fresh = machine.enqueue(at(0), None, Accepts::Fresh, 2);
    assert!(late.is_ok() && fresh.is_ok());
    let mut expired = Vec::new();
    let assigned = machine.assign(Source::Reused, at(1), |id| expired.push(id));
    assert_eq!((assigned, expired), (Some(2), vec![1]));
}

#[test]
fn clear_makes_older_connects_stale_and_a_burst_makes_older_checks_suspect() {
    let mut machine = machine(|_| ());
    let before = machine.connect_started(at(0));
    machine.clear();
    let after = machine.connect_started(at(0));
    let versions = machine.versions;
    assert!(before.version < versions.cleared && after.version >= versions.cleared);
    machine.reconfigure(&PoolConfig::default());
    let suspect = machine.versions.suspect;
    (0..3).for_each(|_| _ = machine.found_broken(at(0)));
    let versions = machine.versions;
    assert!(suspect < versions.suspect && versions.suspect == versions.current);
    assert!(after.version >= versions.cleared, "a burst clears nothing");
}

#[test]
fn leap_puts_connections_in_doubt_and_is_no_burst() {
    let mut machine = machine(|_| ());
    let at_rest = machine.versions;
    assert_eq!(machine.compare_clocks(at(0), at(100)), None);
    assert_eq!(machine.compare_clocks(at(1), at(101)), None);
    assert_eq!(machine.versions, at_rest);
    assert_eq!(machine.compare_clocks(at(2), at(10_102)), Some(Duration::from_secs(10)));
    let versions = machine.versions;
    assert!(versions.leapt == versions.current && versions.current > at_rest.current);
    assert_eq!((versions.suspect, versions.cleared), (at_rest.suspect, at_rest.cleared));
    let config = PoolConfig { ping_after: Some(Duration::from_secs(60)), ..PoolConfig::default() };
    machine.reconfigure(&config);
    assert_eq!(machine.compare_clocks(at(3), at(70_103)), None);
}

#[test]
fn resume_does_not_forget_what_is_borrowed() {
    let mut machine = machine(|c| (c.max_size, c.fail_fast_after) = (2, Some(3 * SECOND)));
    open(&mut machine);
    machine.succeeded(at(0), at(0));
    join(&mut machine);
    let hanging = machine.connect_started(at(0));
    machine.backoff.count_lendings(1, at(4_000));
    machine.pause();
    machine.resume();
    assert!(machine.connect_failed(hanging, false, false, at(4_001), 0));
    assert!(machine.give_up(at(4_001)).is_empty(), "the connection was just borrowed");
}

#[test]
fn failure_of_a_connect_counts_if_it_was_started_after_the_last_success() {
    let mut machine = machine(|_| ());
    open(&mut machine);
    machine.succeeded(at(10), at(10));
    // By a caller that had read the clock before.
    let ticket = machine.connect_started(at(5));
    assert!(machine.connect_failed(ticket, false, false, at(20), 0));
    assert_eq!(machine.backoff.failures.get(), 1);
}
