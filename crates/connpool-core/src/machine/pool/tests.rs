mod model;

use super::*;

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn config(change: impl FnOnce(&mut PoolConfig)) -> PoolConfig {
    let mut config = PoolConfig::default();
    change(&mut config);
    config
}

fn ledger(change: impl FnOnce(&mut PoolConfig)) -> Ledger {
    let mut config = PoolConfig::default();
    change(&mut config);
    assert_eq!(config.validate(), Ok(()));
    Ledger::new(&config)
}

fn join(ledger: &mut Ledger) -> Key {
    ledger
        .join(at(0), None, Wants::Any)
        .expect("let into the line")
}

fn begin_all(ledger: &mut Ledger, now: Instant) -> usize {
    let wanted = ledger.wanted(now);
    for _ in 0..wanted {
        ledger.connect_begins(now);
    }
    wanted
}

#[test]
fn one_connect_for_each_in_line_and_no_more() {
    let mut ledger = ledger(|_| ());
    for _ in 0..3 {
        join(&mut ledger);
        assert_eq!(begin_all(&mut ledger, at(0)), 1);
    }
    assert_eq!(begin_all(&mut ledger, at(0)), 0);
}

#[test]
fn growth_comes_in_batches_up_to_max_size() {
    let mut ledger = ledger(|c| (c.increment, c.max_size) = (4, 6));
    join(&mut ledger);
    assert_eq!(begin_all(&mut ledger, at(0)), 4);
    for _ in 0..4 {
        join(&mut ledger);
    }
    assert_eq!(begin_all(&mut ledger, at(0)), 2, "room for two of four");
    assert_eq!(ledger.figures().connecting, 6);
}

#[test]
fn connects_at_once_are_capped_and_the_rest_follow() {
    let mut ledger = ledger(|c| c.max_connecting = Some(2));
    for _ in 0..3 {
        join(&mut ledger);
    }
    assert_eq!(begin_all(&mut ledger, at(0)), 2);
    ledger.connected();
    ledger.serve(Supply::New, at(0), |_| ());
    assert_eq!(begin_all(&mut ledger, at(0)), 1);
}

#[test]
fn the_least_is_opened_without_anyone_in_line() {
    let mut ledger = ledger(|c| c.min_size = 3);
    assert_eq!(begin_all(&mut ledger, at(0)), 3);
    assert!(!ledger.has_min_size());
    for _ in 0..3 {
        ledger.connected();
    }
    assert!(ledger.has_min_size());
    assert!(!ledger.can_spare_one());
    ledger.slot_freed(Hold::Open);
    assert_eq!(ledger.wanted(at(0)), 1);
}

#[test]
fn after_a_failure_nothing_is_dialled_until_the_pause_is_over() {
    let mut ledger = ledger(|_| ());
    join(&mut ledger);
    begin_all(&mut ledger, at(0));
    ledger.connect_failed(at(0), u64::MAX);
    ledger.slot_freed(Hold::Connecting);
    assert_eq!(ledger.wanted(at(49)), 0);
    let retry = ledger
        .next_deadline()
        .expect("somebody waits for the retry");
    assert!(retry > at(49) && retry <= at(50));
    assert_eq!(ledger.wanted(retry), 1);
}

#[test]
fn a_pause_that_nobody_waits_for_is_no_deadline() {
    let mut ledger = ledger(|c| c.evict_interval = None);
    ledger.connect_failed(at(0), u64::MAX);
    assert_eq!(ledger.next_deadline(), None);
}

#[test]
fn a_pause_without_room_is_no_deadline() {
    let mut ledger = ledger(|c| (c.max_size, c.evict_interval) = (1, None));
    ledger.connect_begins(at(0));
    ledger.connected();
    ledger.connect_failed(at(0), u64::MAX);
    join(&mut ledger);
    assert_eq!(ledger.next_deadline(), None);
    ledger.slot_freed(Hold::Open);
    assert!(ledger.next_deadline().is_some());
}

#[test]
fn max_waiters_bounds_those_without_a_connect() {
    let mut ledger = ledger(|c| (c.max_size, c.max_waiters) = (2, Some(1)));
    for _ in 0..2 {
        join(&mut ledger);
        begin_all(&mut ledger, at(0));
    }
    let third = ledger.join(at(0), None, Wants::Any);
    assert!(third.is_ok(), "one may wait beyond the connects");
    assert_eq!(
        ledger.join(at(0), None, Wants::Any),
        Err(Refused::Exhausted)
    );
    assert_eq!(ledger.waiting(), 3);
}

#[test]
fn max_waiters_zero_still_grows() {
    let mut ledger = ledger(|c| (c.max_size, c.max_waiters) = (1, Some(0)));
    assert!(ledger.join(at(0), None, Wants::Any).is_ok());
    assert_eq!(begin_all(&mut ledger, at(0)), 1);
    assert_eq!(
        ledger.join(at(0), None, Wants::Any),
        Err(Refused::Exhausted)
    );
}

#[test]
fn whoever_comes_during_a_look_needs_no_connect() {
    let mut ledger = ledger(|_| ());
    assert!(ledger.look_begins());
    join(&mut ledger);
    assert_eq!(ledger.wanted(at(0)), 0);
    join(&mut ledger);
    assert_eq!(ledger.wanted(at(0)), 1);
    ledger.look_ends();
    assert_eq!(ledger.wanted(at(0)), 2);
    assert!(!ledger.look_begins(), "not while somebody waits");
    assert_eq!(ledger.wanted(at(0)), 2);
}

#[test]
fn sweeps_come_once_an_interval_and_missed_ones_are_not_made_up_for() {
    let mut ledger = ledger(|c| c.evict_interval = Some(Duration::from_millis(10)));
    assert!(!ledger.sweep_is_due(at(0)));
    assert_eq!(ledger.next_deadline(), Some(at(10)));
    assert!(!ledger.sweep_is_due(at(9)));
    assert!(ledger.sweep_is_due(at(10)));
    assert!(ledger.sweep_is_due(at(500)));
    assert!(!ledger.sweep_is_due(at(500)));
    assert_eq!(ledger.next_deadline(), Some(at(510)));
}

#[test]
fn the_extremes_of_the_evict_interval_neither_spin_nor_overflow() {
    for (every, next) in [
        (Some(Duration::ZERO), Some(at(1))),
        (Some(Duration::from_nanos(1)), Some(at(1))),
        (Some(Duration::MAX), None),
        (None, None),
    ] {
        let mut ledger = ledger(|c| c.evict_interval = every);
        assert!(!ledger.sweep_is_due(at(0)));
        assert_eq!(ledger.next_deadline(), next, "{every:?}");
    }
}

#[test]
fn another_evict_interval_counts_from_now_on_and_the_same_one_changes_nothing() {
    let every = |millis| config(|c| c.evict_interval = Some(Duration::from_millis(millis)));
    let mut ledger = Ledger::new(&every(10));
    assert!(!ledger.sweep_is_due(at(0)));
    ledger.reconfigure(&every(10));
    assert_eq!(ledger.next_deadline(), Some(at(10)));
    ledger.reconfigure(&every(3));
    assert!(!ledger.sweep_is_due(at(5)));
    assert_eq!(ledger.next_deadline(), Some(at(8)));
    ledger.reconfigure(&config(|c| c.evict_interval = None));
    assert!(!ledger.sweep_is_due(at(99)));
    assert_eq!(ledger.next_deadline(), None);
}

#[test]
fn a_closed_pool_wants_nothing_and_lets_nobody_in() {
    let mut ledger = ledger(|c| c.min_size = 2);
    let key = join(&mut ledger);
    begin_all(&mut ledger, at(0));
    assert_eq!(ledger.close(), [key]);
    assert_eq!(ledger.join(at(0), None, Wants::Any), Err(Refused::Closed));
    assert_eq!(ledger.rejoin(key, Wants::Any), Err(Refused::Closed));
    assert_eq!((ledger.wanted(at(0)), ledger.next_deadline()), (0, None));
    assert!(!ledger.is_vacant());
    ledger.slot_freed(Hold::Connecting);
    ledger.slot_freed(Hold::Connecting);
    assert!(ledger.is_vacant());
}

#[test]
fn a_smaller_pool_has_a_surplus_until_enough_are_on_their_way_out() {
    let mut ledger = ledger(|c| c.min_size = 1);
    for _ in 0..3 {
        ledger.connect_begins(at(0));
        ledger.connected();
    }
    ledger.reconfigure(&config(|c| (c.max_size, c.min_size) = (2, 1)));
    assert_eq!(ledger.surplus(), 1);
    ledger.leaves();
    assert_eq!(ledger.surplus(), 0, "one on its way out is enough");
    join(&mut ledger);
    assert_eq!(ledger.wanted(at(0)), 0, "but its slot is not free yet");
    assert_eq!(ledger.held_up_by_goodbyes(), 1);
    ledger.slot_freed(Hold::Leaving);
    assert_eq!(ledger.held_up_by_goodbyes(), 0);
    assert_eq!(ledger.figures().size, 2);
}

#[test]
fn an_opened_connection_takes_one_slot_all_along() {
    let mut ledger = ledger(|c| c.max_size = 1);
    join(&mut ledger);
    assert_eq!(begin_all(&mut ledger, at(0)), 1);
    join(&mut ledger);
    assert_eq!(begin_all(&mut ledger, at(0)), 0);
    ledger.connected();
    assert_eq!(
        ledger.figures(),
        Figures {
            max_size: 1,
            size: 1,
            leaving: 0,
            connecting: 0,
            waiting: 2,
            breaker: BreakerState::Closed,
            paused: false,
        }
    );
    assert_eq!(begin_all(&mut ledger, at(0)), 0);
}

#[test]
fn a_slot_on_its_way_to_be_free_is_worth_waiting_for() {
    let mut ledger = ledger(|c| (c.max_size, c.max_waiters) = (1, Some(0)));
    ledger.connect_begins(at(0));
    ledger.connected();
    assert_eq!(
        ledger.join(at(0), None, Wants::Any),
        Err(Refused::Exhausted)
    );
    ledger.leaves();
    assert!(ledger.join(at(0), None, Wants::Any).is_ok());
    assert_eq!(
        ledger.join(at(0), None, Wants::Any),
        Err(Refused::Exhausted)
    );
}

#[test]
fn a_slot_that_a_smaller_pool_will_not_have_is_not_worth_waiting_for() {
    let mut ledger = ledger(|c| (c.max_size, c.max_waiters) = (5, Some(0)));
    for _ in 0..5 {
        ledger.connect_begins(at(0));
        ledger.connected();
    }
    ledger.reconfigure(&config(|c| (c.max_size, c.max_waiters) = (1, Some(0))));
    (0..4).for_each(|_| ledger.leaves());
    assert_eq!(
        ledger.join(at(0), None, Wants::Any),
        Err(Refused::Exhausted)
    );
}

#[test]
fn a_connection_out_for_a_look_is_worth_waiting_for() {
    let mut ledger = ledger(|c| (c.max_size, c.max_waiters) = (1, Some(0)));
    ledger.connect_begins(at(0));
    ledger.connected();
    assert!(ledger.look_begins());
    assert!(ledger.join(at(0), None, Wants::Any).is_ok());
    assert_eq!(
        ledger.join(at(0), None, Wants::Any),
        Err(Refused::Exhausted)
    );
}

#[test]
fn who_wants_a_new_one_is_not_served_a_used_one_while_there_is_room() {
    let mut ledger = ledger(|c| c.max_size = 1);
    let key = ledger.join(at(0), None, Wants::New).unwrap();
    assert!(!ledger.wants_used(at(0)), "a connect can begin");
    begin_all(&mut ledger, at(0));
    assert!(!ledger.wants_used(at(0)), "a connect is under way");
    ledger.connect_failed(at(0), u64::MAX);
    ledger.slot_freed(Hold::Connecting);
    assert!(
        ledger.wants_used(at(0)),
        "no connect can begin during the pause"
    );
    assert_eq!(ledger.serve(Supply::Used, at(0), |_| ()), Some(key));
}

#[test]
fn nothing_is_coming_for_those_who_are_late() {
    let mut ledger = ledger(|_| ());
    assert!(ledger.look_begins());
    let late = ledger.join(at(0), Some(at(1)), Wants::Any).unwrap();
    let new = ledger.join(at(0), None, Wants::New).unwrap();
    let mut expired = Vec::new();
    let served = ledger.serve(Supply::Used, at(1), |key| expired.push(key));
    assert_eq!((served, expired), (Some(new), vec![late]));
}
