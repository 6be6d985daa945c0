mod model;

use super::*;
use crate::CloseReason;
use CloseReason::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const ERA: Era = Era {
    generation: 7,
    seal: 12,
    suspicion: 11,
};

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN
        .checked_add(SECOND * seconds as u32)
        .unwrap()
}

fn stamps() -> Stamps {
    Stamps {
        id: 1,
        born: at(0),
        expires: Instant::NEVER,
        idle_since: at(0),
        proven: at(0),
        uses: 1,
        generation: 7,
        proof: Proof::new(11, true),
    }
}

fn rules() -> Rules {
    Rules {
        idle_timeout: Nanos::NEVER,
        max_lifetime: Nanos::NEVER,
        max_uses: None,
        ping_after: SECOND.into(),
        liveness_after: Nanos::ZERO,
        keepalive: Nanos::NEVER,
        resets: true,
    }
}

fn begin(purpose: Purpose, stamps: &Stamps, rules: &Rules, now: u64) -> Step {
    Check::begin(purpose, stamps, rules, ERA, true, at(now)).step()
}

#[test]
fn the_machine_is_its_table() {
    use Found::*;
    let all = [
        Quiet,
        Closed,
        Unsolicited,
        Done,
        Failed,
        TimedOut,
        Found::Panicked,
    ];
    for due in 0..8 {
        let (ping_due, reset_due, looks) = (due & 1 != 0, due & 2 != 0, due & 4 != 0);
        let after_reset = if looks { Step::Look } else { Step::Pass };
        let (after_look, after_ping) = match (ping_due, reset_due) {
            (true, true) => (Step::Ping, Step::Reset),
            (true, false) => (Step::Ping, after_reset),
            (false, true) => (Step::Reset, Step::Reset),
            (false, false) => (Step::Pass, after_reset),
        };
        let table = [
            (Step::Look, Quiet, after_look),
            (Step::Look, Closed, Step::Close(Dead)),
            (
                Step::Look,
                Unsolicited,
                Step::Close(CloseReason::Unsolicited),
            ),
            (Step::Ping, Done, after_ping),
            (Step::Ping, Failed, Step::Close(PingFailed)),
            (Step::Ping, TimedOut, Step::Close(PingTimeout)),
            (Step::Reset, Done, after_reset),
            (Step::Reset, Failed, Step::Close(ResetFailed)),
            (Step::Reset, TimedOut, Step::Close(ResetTimeout)),
        ];
        let steps = [
            Step::Look,
            Step::Ping,
            Step::Reset,
            Step::Pass,
            Step::Close(Marked),
        ];
        for (step, found) in steps
            .iter()
            .flat_map(|step| all.map(|found| (*step, found)))
        {
            let check = Check {
                step,
                ping_due,
                reset_due,
                looks,
            };
            let row = table.iter().find(|row| (row.0, row.1) == (step, found));
            let expected = match (step, row) {
                (Step::Pass | Step::Close(_), _) => step,
                (_, Some(row)) => row.2,
                (_, None) if found == Found::Panicked => Step::Close(CloseReason::Panicked),
                (_, None) => Step::Close(Cancelled),
            };
            assert_eq!(check.found(found).step(), expected, "{check:?} {found:?}");
        }
    }
}

#[test]
fn what_the_answer_to_a_ping_or_a_reset_left_unread_is_found() {
    let mut rules = rules();
    let check = Check::begin(Purpose::Lend, &stamps(), &rules, ERA, true, at(9));
    let asked = check
        .found(Found::Quiet)
        .found(Found::Done)
        .found(Found::Done);
    assert_eq!(asked.step(), Step::Look);
    assert_eq!(asked.found(Found::Quiet).step(), Step::Pass);
    let unread = asked.found(Found::Unsolicited).step();
    assert_eq!(unread, Step::Close(CloseReason::Unsolicited));
    rules.liveness_after = Nanos::NEVER;
    let check = Check::begin(Purpose::Lend, &stamps(), &rules, ERA, true, at(9));
    assert_eq!(
        check.found(Found::Done).found(Found::Done).step(),
        Step::Pass
    );
}

#[test]
fn a_check_that_outlasts_the_lifetime_ends_it() {
    for step in [Step::Ping, Step::Reset] {
        let mut stamps = stamps();
        stamps.expires = at(9);
        let check = Check::begin(Purpose::Lend, &stamps, &rules(), ERA, true, at(8)).at(step);
        stamps.proven = at(8);
        assert_ne!(check.done(&stamps, &rules()).step(), Step::Close(Lifetime));
        stamps.proven = at(9);
        assert_eq!(check.done(&stamps, &rules()).step(), Step::Close(Lifetime));
    }
}

#[test]
fn the_cheapest_check_comes_first() {
    let mut stamps = stamps();
    let mut rules = rules();
    rules.idle_timeout = (SECOND * 5).into();
    stamps.expires = at(9);
    assert_eq!(
        begin(Purpose::Lend, &stamps, &rules, 9),
        Step::Close(Lifetime)
    );
    stamps.expires = Instant::NEVER;
    assert_eq!(begin(Purpose::Lend, &stamps, &rules, 9), Step::Close(Idle));
    rules.idle_timeout = Nanos::NEVER;
    let check = Check::begin(Purpose::Lend, &stamps, &rules, ERA, true, at(9));
    assert_eq!(check.step(), Step::Look);
    assert_eq!(check.found(Found::Quiet).step(), Step::Ping);
    assert_eq!(
        check.found(Found::Quiet).found(Found::Done).step(),
        Step::Reset
    );
    stamps.generation = 6;
    assert_eq!(
        begin(Purpose::Lend, &stamps, &rules, 9),
        Step::Close(Cleared)
    );
}

#[test]
fn limits_act_at_their_moment_and_not_before() {
    let mut stamps = stamps();
    let mut rules = rules();
    rules.idle_timeout = (SECOND * 5).into();
    assert_eq!(begin(Purpose::Sweep, &stamps, &rules, 4), Step::Look);
    assert_eq!(begin(Purpose::Sweep, &stamps, &rules, 5), Step::Close(Idle));
    stamps.expires = at(3);
    assert_eq!(begin(Purpose::Sweep, &stamps, &rules, 2), Step::Look);
    assert_eq!(
        begin(Purpose::Sweep, &stamps, &rules, 3),
        Step::Close(Lifetime)
    );
    assert_eq!(on_return(&stamps, &rules, 7, at(2)), None);
    assert_eq!(on_return(&stamps, &rules, 7, at(3)), Some(Lifetime));
}

#[test]
fn limits_that_were_made_tighter_reach_what_was_opened_before() {
    let mut stamps = stamps();
    let mut rules = rules();
    stamps.expires = at(9);
    rules.max_lifetime = (SECOND * 5).into();
    assert_eq!(begin(Purpose::Sweep, &stamps, &rules, 4), Step::Look);
    let over = Step::Close(Lifetime);
    assert_eq!(begin(Purpose::Sweep, &stamps, &rules, 5), over);
    assert_eq!(begin(Purpose::TryLend, &stamps, &rules, 5), over);
    assert_eq!(on_return(&stamps, &rules, 7, at(4)), None);
    assert_eq!(on_return(&stamps, &rules, 7, at(5)), Some(Lifetime));
    let check = Check::begin(Purpose::Lend, &stamps, &rules, ERA, true, at(4)).at(Step::Ping);
    stamps.proven = at(5);
    assert_eq!(check.done(&stamps, &rules).step(), over);
    rules.max_lifetime = Nanos::NEVER;
    rules.max_uses = Some(2);
    stamps.uses = 1;
    assert_eq!(begin(Purpose::Lend, &stamps, &rules, 4), Step::Look);
    stamps.uses = 2;
    for purpose in [Purpose::Lend, Purpose::TryLend, Purpose::Sweep] {
        let step = begin(purpose, &stamps, &rules, 4);
        assert_eq!(step, Step::Close(MaxUses));
    }
}

#[test]
fn a_connection_that_was_never_lent_has_a_millisecond_to_be_lent_in() {
    let mut stamps = stamps();
    let mut rules = rules();
    let step = |stamps: &Stamps, rules: &Rules, uses, nanos| {
        let stamps = Stamps {
            uses,
            ..stamps.clone()
        };
        let now = Instant::from_nanos(stamps.born.as_nanos() + nanos);
        Check::begin(Purpose::Lend, &stamps, rules, ERA, true, now).step()
    };
    rules.idle_timeout = Nanos::ZERO;
    for reason in [Idle, Lifetime] {
        assert_eq!(step(&stamps, &rules, 0, 0), Step::Look);
        assert_eq!(step(&stamps, &rules, 0, 999_999), Step::Look);
        assert_eq!(step(&stamps, &rules, 0, 1_000_000), Step::Close(reason));
        assert_eq!(step(&stamps, &rules, 1, 0), Step::Close(reason));
        stamps.expires = stamps.born;
    }
}

#[test]
fn what_the_pool_cannot_spare_is_not_idle_too_long() {
    let mut rules = rules();
    rules.idle_timeout = SECOND.into();
    let check = Check::begin(Purpose::Sweep, &stamps(), &rules, ERA, false, at(9));
    assert_eq!(check.step(), Step::Look);
}

#[test]
fn a_fresh_proof_of_life_saves_the_look_and_the_ping() {
    let mut rules = rules();
    rules.resets = false;
    rules.liveness_after = (SECOND * 2).into();
    rules.ping_after = (SECOND * 4).into();
    let check = |now| Check::begin(Purpose::Lend, &stamps(), &rules, ERA, true, at(now));
    assert_eq!(check(1).step(), Step::Pass);
    assert_eq!(check(2).step(), Step::Look);
    assert_eq!(check(3).found(Found::Quiet).step(), Step::Pass);
    assert_eq!(check(4).found(Found::Quiet).step(), Step::Ping);
}

#[test]
fn zero_means_always_and_none_means_never() {
    let mut rules = rules();
    rules.resets = false;
    (rules.liveness_after, rules.ping_after) = (Nanos::ZERO, Nanos::ZERO);
    let check = Check::begin(Purpose::Lend, &stamps(), &rules, ERA, true, at(0));
    assert_eq!(check.step(), Step::Look);
    assert_eq!(check.found(Found::Quiet).step(), Step::Ping);
    (rules.liveness_after, rules.ping_after) = (Nanos::NEVER, Nanos::NEVER);
    assert_eq!(begin(Purpose::Lend, &stamps(), &rules, 999), Step::Pass);
}

#[test]
fn a_sweep_pings_what_was_not_proven_for_keepalive_less_a_quarter_at_most() {
    let mut rules = rules();
    rules.keepalive = (SECOND * 100).into();
    let first_ping = |id| {
        let stamps = Stamps { id, ..stamps() };
        let pings = |now: &u64| {
            let check = Check::begin(Purpose::Sweep, &stamps, &rules, ERA, true, at(*now));
            check.found(Found::Quiet).step() == Step::Ping
        };
        (0..200).find(pings).expect("is pinged some time")
    };
    let first: Vec<u64> = (1..200).map(first_ping).collect();
    assert!(first.iter().all(|at| (75..=100).contains(at)), "{first:?}");
    assert!((76..99).all(|at| first.contains(&at)), "spread: {first:?}");
    assert_eq!(first_ping(7), first_ping(7));
}

#[test]
fn a_suspect_is_looked_at_and_pinged_whatever_the_rules_say() {
    let mut rules = rules();
    rules.resets = false;
    for after in [None, Some(Duration::MAX)] {
        (rules.liveness_after, rules.ping_after) = (after.into(), after.into());
        let mut stamps = stamps();
        assert_eq!(begin(Purpose::Lend, &stamps, &rules, 1), Step::Pass);
        stamps.proof = Proof::new(10, true);
        let check = Check::begin(Purpose::Lend, &stamps, &rules, ERA, true, at(1));
        assert_eq!(check.step(), Step::Look);
        assert_eq!(check.found(Found::Quiet).step(), Step::Ping);
        for purpose in [Purpose::TryLend, Purpose::Sweep] {
            let check = Check::begin(purpose, &stamps, &rules, ERA, true, at(1));
            assert_eq!(check.step(), Step::Look);
            assert_eq!(check.found(Found::Quiet).step(), Step::Pass);
        }
        stamps.proves_alive(at(1), ERA, &rules);
        assert_eq!(begin(Purpose::Lend, &stamps, &rules, 1), Step::Pass);
    }
}

#[test]
fn a_new_connection_is_only_looked_at() {
    let mut stamps = stamps();
    stamps.uses = 0;
    stamps.expires = at(0);
    let mut rules = rules();
    rules.ping_after = Nanos::ZERO;
    rules.liveness_after = Nanos::NEVER;
    let check = Check::begin(Purpose::LendNew, &stamps, &rules, ERA, true, at(0));
    assert_eq!(check.step(), Step::Look);
    assert_eq!(check.found(Found::Quiet).step(), Step::Pass);
}

#[test]
fn an_unused_connection_needs_no_reset() {
    let mut stamps = stamps();
    stamps.uses = 0;
    let check = Check::begin(Purpose::Lend, &stamps, &rules(), ERA, true, at(0));
    assert_eq!(check.found(Found::Quiet).step(), Step::Pass);
}

#[test]
fn a_panic_outweighs_a_mark_and_a_mark_an_exchange() {
    let conduct = |panicking, marked, unfinished| {
        Conduct {
            marked,
            unfinished,
            panicking,
        }
        .spoiled()
    };
    assert_eq!(conduct(true, true, true), Some(CloseReason::Panicked));
    assert_eq!(conduct(false, true, true), Some(Marked));
    assert_eq!(conduct(false, false, true), Some(Unfinished));
    assert_eq!(conduct(false, false, false), None);
}

#[test]
fn enough_uses_are_enough() {
    let mut rules = rules();
    rules.max_uses = Some(3);
    let mut stamps = stamps();
    stamps.uses = 2;
    assert_eq!(on_return(&stamps, &rules, 7, at(0)), None);
    stamps.uses = 3;
    assert_eq!(on_return(&stamps, &rules, 7, at(0)), Some(MaxUses));
    assert_eq!(on_return(&stamps, &rules, 8, at(0)), Some(Cleared));
}
