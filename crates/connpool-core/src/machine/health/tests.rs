mod model;

use super::*;
use crate::machine::disposition::{Disposition, GuardFlags, on_return};
use CloseReason::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const VERSIONS: Versions = Versions { current: 12, cleared: 7, suspect: 11, leapt: 11, home: None };

fn at(seconds: u64) -> Instant {
    Instant::ORIGIN.checked_add(SECOND * seconds as u32).unwrap()
}

fn meta() -> ConnMeta {
    ConnMeta {
        id: ConnId::new(1),
        created_at: at(0),
        expires_at: Instant::NEVER,
        idle_since: at(0),
        last_alive: at(0),
        uses: 1,
        origin: Origin::new(7, None),
        verified: VerifiedAt::new(11, true),
        round_trips: RoundTrips::default(),
    }
}

fn rules() -> Rules {
    Rules {
        idle_timeout: Nanos::NEVER,
        max_lifetime: Nanos::NEVER,
        max_uses: u64::MAX,
        ping_after: SECOND.into(),
        liveness_after: Nanos::ZERO,
        keepalive: Nanos::NEVER,
        needs_reset: true,
    }
}

fn begin(kind: CheckKind, meta: &ConnMeta, rules: &Rules, now: u64) -> Step {
    Check::begin(kind, meta, rules, VERSIONS, true, at(now)).step
}

#[test]
fn check_is_its_table() {
    use StepResult::*;
    let all = [Quiet, Closed, Unsolicited, Done, Failed, TimedOut, CutShort, StepResult::Panicked];
    for due in 0..8 {
        let (ping_due, reset_due, probes) = (due & 1 != 0, due & 2 != 0, due & 4 != 0);
        let after_reset = if probes { Step::Probe } else { Step::Pass };
        let (after_look, after_ping) = match (ping_due, reset_due) {
            (true, true) => (Step::Ping, Step::Reset),
            (true, false) => (Step::Ping, after_reset),
            (false, true) => (Step::Reset, Step::Reset),
            (false, false) => (Step::Pass, after_reset),
        };
        let table = [
            (Step::Probe, Quiet, after_look),
            (Step::Probe, Closed, Step::Close(Dead)),
            (Step::Probe, Unsolicited, Step::Close(CloseReason::Unsolicited)),
            (Step::Ping, Done, after_ping),
            (Step::Ping, Failed, Step::Close(PingFailed)),
            (Step::Ping, TimedOut, Step::Close(PingTimeout)),
            (Step::Reset, Done, after_reset),
            (Step::Reset, Failed, Step::Close(ResetFailed)),
            (Step::Reset, TimedOut, Step::Close(ResetTimeout)),
        ];
        let steps = [Step::Probe, Step::Ping, Step::Reset, Step::Pass, Step::Close(Marked)];
        for (step, result) in steps.iter().flat_map(|step| all.map(|result| (*step, result))) {
            let check = Check { step, ping_due, reset_due, probes };
            let row = table.iter().find(|row| (row.0, row.1) == (step, result));
            let expected = match (step, row) {
                (Step::Pass | Step::Close(_), _) => step,
                (_, Some(row)) => row.2,
                (_, None) if result == StepResult::Panicked => Step::Close(CloseReason::Panicked),
                (_, None) => Step::Close(Cancelled),
            };
            assert_eq!(check.after(result).step, expected, "{check:?} {result:?}");
        }
    }
}

#[test]
fn what_the_answer_to_a_ping_or_a_reset_left_unread_is_found() {
    let mut rules = rules();
    let check = Check::begin(CheckKind::Reused, &meta(), &rules, VERSIONS, true, at(9));
    let asked = check.after(StepResult::Quiet).after(StepResult::Done).after(StepResult::Done);
    assert_eq!(asked.step, Step::Probe);
    assert_eq!(asked.after(StepResult::Quiet).step, Step::Pass);
    let unread = asked.after(StepResult::Unsolicited).step;
    assert_eq!(unread, Step::Close(CloseReason::Unsolicited));
    rules.liveness_after = Nanos::NEVER;
    let check = Check::begin(CheckKind::Reused, &meta(), &rules, VERSIONS, true, at(9));
    assert_eq!(check.after(StepResult::Done).after(StepResult::Done).step, Step::Pass);
}

#[test]
fn a_check_that_outlasts_the_lifetime_ends_it() {
    for step in [Step::Ping, Step::Reset] {
        let mut meta = meta();
        meta.expires_at = at(9);
        let check =
            Check::begin(CheckKind::Reused, &meta, &rules(), VERSIONS, true, at(8)).at(step);
        meta.last_alive = at(8);
        assert_ne!(check.after_success(&meta, &rules()).step, Step::Close(Lifetime));
        meta.last_alive = at(9);
        assert_eq!(check.after_success(&meta, &rules()).step, Step::Close(Lifetime));
    }
}

#[test]
fn the_cheapest_check_comes_first() {
    let mut meta = meta();
    let mut rules = rules();
    rules.idle_timeout = (SECOND * 5).into();
    meta.expires_at = at(9);
    assert_eq!(begin(CheckKind::Reused, &meta, &rules, 9), Step::Close(Lifetime));
    meta.expires_at = Instant::NEVER;
    assert_eq!(begin(CheckKind::Reused, &meta, &rules, 9), Step::Close(Idle));
    rules.idle_timeout = Nanos::NEVER;
    let check = Check::begin(CheckKind::Reused, &meta, &rules, VERSIONS, true, at(9));
    assert_eq!(check.step, Step::Probe);
    assert_eq!(check.after(StepResult::Quiet).step, Step::Ping);
    assert_eq!(check.after(StepResult::Quiet).after(StepResult::Done).step, Step::Reset);
    meta.origin = Origin::new(6, None);
    assert_eq!(begin(CheckKind::Reused, &meta, &rules, 9), Step::Close(Cleared));
}

#[test]
fn limits_act_at_their_time_and_not_before() {
    let mut meta = meta();
    let mut rules = rules();
    rules.idle_timeout = (SECOND * 5).into();
    assert_eq!(begin(CheckKind::Sweep, &meta, &rules, 4), Step::Probe);
    assert_eq!(begin(CheckKind::Sweep, &meta, &rules, 5), Step::Close(Idle));
    meta.expires_at = at(3);
    assert_eq!(begin(CheckKind::Sweep, &meta, &rules, 2), Step::Probe);
    assert_eq!(begin(CheckKind::Sweep, &meta, &rules, 3), Step::Close(Lifetime));
    assert_eq!(on_return(&meta, &rules, VERSIONS, at(2)), Disposition::Reuse);
    assert_eq!(on_return(&meta, &rules, VERSIONS, at(3)), Disposition::Close(Lifetime));
}

#[test]
fn limits_that_were_made_tighter_reach_what_was_opened_before() {
    let mut meta = meta();
    let mut rules = rules();
    meta.expires_at = at(9);
    rules.max_lifetime = (SECOND * 5).into();
    assert_eq!(begin(CheckKind::Sweep, &meta, &rules, 4), Step::Probe);
    let over = Step::Close(Lifetime);
    assert_eq!(begin(CheckKind::Sweep, &meta, &rules, 5), over);
    assert_eq!(begin(CheckKind::Immediate, &meta, &rules, 5), over);
    assert_eq!(on_return(&meta, &rules, VERSIONS, at(4)), Disposition::Reuse);
    assert_eq!(on_return(&meta, &rules, VERSIONS, at(5)), Disposition::Close(Lifetime));
    let check =
        Check::begin(CheckKind::Reused, &meta, &rules, VERSIONS, true, at(4)).at(Step::Ping);
    meta.last_alive = at(5);
    assert_eq!(check.after_success(&meta, &rules).step, over);
    rules.max_lifetime = Nanos::NEVER;
    rules.max_uses = 2;
    meta.uses = 1;
    assert_eq!(begin(CheckKind::Reused, &meta, &rules, 4), Step::Probe);
    meta.uses = 2;
    for kind in [CheckKind::Reused, CheckKind::Immediate, CheckKind::Sweep] {
        let step = begin(kind, &meta, &rules, 4);
        assert_eq!(step, Step::Close(MaxUses));
    }
}

#[test]
fn connection_that_was_never_borrowed_lives_for_a_millisecond() {
    let mut meta = meta();
    let mut rules = rules();
    let step = |meta: &ConnMeta, rules: &Rules, uses, nanos| {
        let meta = ConnMeta { uses, ..meta.clone() };
        let now = Instant::from_nanos(meta.created_at.as_nanos() + nanos);
        Check::begin(CheckKind::Reused, &meta, rules, VERSIONS, true, now).step
    };
    rules.idle_timeout = Nanos::ZERO;
    for reason in [Idle, Lifetime] {
        assert_eq!(step(&meta, &rules, 0, 0), Step::Probe);
        assert_eq!(step(&meta, &rules, 0, 999_999), Step::Probe);
        assert_eq!(step(&meta, &rules, 0, 1_000_000), Step::Close(reason));
        assert_eq!(step(&meta, &rules, 1, 0), Step::Close(reason));
        meta.expires_at = meta.created_at;
    }
}

#[test]
fn connection_that_cannot_be_spared_is_not_idle_too_long() {
    let mut rules = rules();
    rules.idle_timeout = SECOND.into();
    let check = Check::begin(CheckKind::Sweep, &meta(), &rules, VERSIONS, false, at(9));
    assert_eq!(check.step, Step::Probe);
}

#[test]
fn recent_sign_of_life_saves_the_probe_and_the_ping() {
    let mut rules = rules();
    rules.needs_reset = false;
    rules.liveness_after = (SECOND * 2).into();
    rules.ping_after = (SECOND * 4).into();
    let check = |now| Check::begin(CheckKind::Reused, &meta(), &rules, VERSIONS, true, at(now));
    assert_eq!(check(1).step, Step::Pass);
    assert_eq!(check(2).step, Step::Probe);
    assert_eq!(check(3).after(StepResult::Quiet).step, Step::Pass);
    assert_eq!(check(4).after(StepResult::Quiet).step, Step::Ping);
}

#[test]
fn zero_means_always_and_none_means_never() {
    let mut rules = rules();
    rules.needs_reset = false;
    (rules.liveness_after, rules.ping_after) = (Nanos::ZERO, Nanos::ZERO);
    let check = Check::begin(CheckKind::Reused, &meta(), &rules, VERSIONS, true, at(0));
    assert_eq!(check.step, Step::Probe);
    assert_eq!(check.after(StepResult::Quiet).step, Step::Ping);
    (rules.liveness_after, rules.ping_after) = (Nanos::NEVER, Nanos::NEVER);
    assert_eq!(begin(CheckKind::Reused, &meta(), &rules, 999), Step::Pass);
}

#[test]
fn sweep_pings_after_keepalive_less_a_quarter_at_most() {
    let mut rules = rules();
    rules.keepalive = (SECOND * 100).into();
    let first_ping = |id| {
        let meta = ConnMeta { id: ConnId::new(id), ..meta() };
        let pings = |now: &u64| {
            let check = Check::begin(CheckKind::Sweep, &meta, &rules, VERSIONS, true, at(*now));
            check.after(StepResult::Quiet).step == Step::Ping
        };
        (0..200).find(pings).expect("is pinged some time")
    };
    let first: Vec<u64> = (1..200).map(first_ping).collect();
    assert!(first.iter().all(|at| (75..=100).contains(at)), "{first:?}");
    assert!((76..99).all(|at| first.contains(&at)), "spread: {first:?}");
    assert_eq!(first_ping(7), first_ping(7));
}

#[test]
fn suspect_connection_is_probed_and_pinged_whatever_the_rules_say() {
    let mut rules = rules();
    rules.needs_reset = false;
    for after in [None, Some(Duration::MAX)] {
        (rules.liveness_after, rules.ping_after) = (after.into(), after.into());
        let mut meta = meta();
        assert_eq!(begin(CheckKind::Reused, &meta, &rules, 1), Step::Pass);
        meta.verified = VerifiedAt::new(10, true);
        let check = Check::begin(CheckKind::Reused, &meta, &rules, VERSIONS, true, at(1));
        assert_eq!(check.step, Step::Probe);
        assert_eq!(check.after(StepResult::Quiet).step, Step::Ping);
        for kind in [CheckKind::Immediate, CheckKind::Sweep] {
            let check = Check::begin(kind, &meta, &rules, VERSIONS, true, at(1));
            assert_eq!(check.step, Step::Probe);
            assert_eq!(check.after(StepResult::Quiet).step, Step::Pass);
        }
        meta.verified(at(1), VERSIONS, &rules);
        assert_eq!(begin(CheckKind::Reused, &meta, &rules, 1), Step::Pass);
    }
}

#[test]
fn connection_idle_since_a_leap_is_probed_and_pinged_unless_pings_are_off() {
    let mut rules = rules();
    rules.needs_reset = false;
    let versions = Versions { suspect: 0, ..VERSIONS };
    for (ping_after, last) in [(None, Step::Pass), (Some(SECOND * 9), Step::Ping)] {
        for liveness_after in [None, Some(SECOND * 9)] {
            (rules.liveness_after, rules.ping_after) = (liveness_after.into(), ping_after.into());
            let mut meta = meta();
            assert_eq!(begin(CheckKind::Reused, &meta, &rules, 1), Step::Pass);
            meta.verified = VerifiedAt::new(10, true);
            let check = Check::begin(CheckKind::Reused, &meta, &rules, versions, true, at(1));
            assert_eq!((check.step, check.after(StepResult::Quiet).step), (Step::Probe, last));
            for kind in [CheckKind::Immediate, CheckKind::Sweep] {
                let check = Check::begin(kind, &meta, &rules, versions, true, at(1));
                let next = check.after(StepResult::Quiet).step;
                assert_eq!((check.step, next), (Step::Probe, Step::Pass));
            }
            meta.verified(at(1), versions, &rules);
            assert_eq!(begin(CheckKind::Reused, &meta, &rules, 1), Step::Pass);
        }
    }
}

#[test]
fn fresh_connection_is_only_probed() {
    let mut meta = meta();
    meta.uses = 0;
    meta.expires_at = at(0);
    let mut rules = rules();
    rules.ping_after = Nanos::ZERO;
    rules.liveness_after = Nanos::NEVER;
    let check = Check::begin(CheckKind::Fresh, &meta, &rules, VERSIONS, true, at(0));
    assert_eq!(check.step, Step::Probe);
    assert_eq!(check.after(StepResult::Quiet).step, Step::Pass);
}

#[test]
fn unused_connection_needs_no_reset() {
    let mut meta = meta();
    meta.uses = 0;
    let check = Check::begin(CheckKind::Reused, &meta, &rules(), VERSIONS, true, at(0));
    assert_eq!(check.after(StepResult::Quiet).step, Step::Pass);
}

#[test]
fn panic_outweighs_a_mark_and_a_mark_an_exchange() {
    let spoiled = |panicking, marked, unfinished| {
        let flag = |set, flag| if set { flag } else { GuardFlags::NONE };
        GuardFlags::NONE
            .with(flag(marked, GuardFlags::UNUSABLE))
            .with(flag(unfinished, GuardFlags::UNFINISHED))
            .spoiled(panicking)
    };
    assert_eq!(spoiled(true, true, true), Some(CloseReason::Panicked));
    assert_eq!(spoiled(false, true, true), Some(Marked));
    assert_eq!(spoiled(false, false, true), Some(Unfinished));
    assert_eq!(spoiled(false, false, false), None);
}

#[test]
fn connection_is_closed_after_max_uses() {
    let mut rules = rules();
    rules.max_uses = 3;
    let mut meta = meta();
    meta.uses = 2;
    assert_eq!(on_return(&meta, &rules, VERSIONS, at(0)), Disposition::Reuse);
    meta.uses = 3;
    assert_eq!(on_return(&meta, &rules, VERSIONS, at(0)), Disposition::Close(MaxUses));
    let cleared = Versions { cleared: 8, ..VERSIONS };
    let disposition = on_return(&meta, &rules, cleared, at(0));
    assert_eq!(disposition, Disposition::Close(Cleared));
}
