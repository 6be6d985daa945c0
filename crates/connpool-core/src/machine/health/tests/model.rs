//! Compares the checks with a naive model: a list of the steps that are due, in order.

use std::time::Duration;

use proptest::option::of;
use proptest::prelude::*;

use super::super::*;
use super::at;
use crate::machine::disposition::{Disposition, on_return};

/// One connection that is checked out, returned or swept.
#[derive(Debug, Clone)]
struct Case {
    kind: CheckKind,
    meta: ConnMeta,
    rules: Rules,
    versions: Versions,
    spare: bool,
    now: Instant,
    result: [StepResult; 4],
}

fn moment() -> impl Strategy<Value = Instant> {
    let close_by = (0..3_u64).prop_map(|half| Instant::from_nanos(half * 500_000));
    prop_oneof![3 => (0..8_u64).prop_map(at), 1 => close_by]
}

/// Longer than any time span of these tests.
const AN_AGE: Duration = Duration::from_secs(1_000_000);

fn span() -> impl Strategy<Value = Nanos> {
    of((0..8_u64).prop_map(Duration::from_secs)).prop_map(Nanos::from)
}

prop_compose! {
    fn meta()(
        (created_at, idle_since, last_alive) in (moment(), moment(), moment()),
        expires_at in of(moment()),
        uses in 0..4_u64,
        (version, verified_at) in (0..2_u64, 0..3_u64),
    ) -> ConnMeta {
        let expires_at = expires_at.unwrap_or(Instant::NEVER);
        ConnMeta { id: ConnId::new(1), created_at, expires_at, idle_since, last_alive, uses, origin: Origin::new(version, None), verified: VerifiedAt::new(verified_at, true), round_trips: RoundTrips::default() }
    }
}

prop_compose! {
    fn rules()(
        (idle_timeout, max_lifetime, ping_after, liveness_after) in (span(), span(), span(), span()),
        keepalive in prop_oneof![Just(Nanos::NEVER), Just(Nanos::ZERO), Just(Nanos::from(AN_AGE))],
        max_uses in of(1..4_u64).prop_map(|most| most.unwrap_or(u64::MAX)),
        needs_reset in any::<bool>(),
    ) -> Rules {
        Rules { idle_timeout, max_lifetime, max_uses, ping_after, liveness_after, keepalive, needs_reset }
    }
}

/// Mostly good results, so that later steps are reached.
fn result() -> impl Strategy<Value = StepResult> {
    use StepResult::*;
    let bad = vec![Closed, Unsolicited, Failed, TimedOut, CutShort, StepResult::Panicked];
    let bad = prop::sample::select(bad);
    prop_oneof![4 => Just(Quiet), 4 => Just(Done), 1 => bad]
}

prop_compose! {
    fn case()(
        kind in prop::sample::select(vec![
            CheckKind::Reused, CheckKind::Fresh, CheckKind::Immediate, CheckKind::Sweep,
        ]),
        (meta, rules, cleared) in (meta(), rules(), 0..2_u64),
        (suspect, leapt) in (0..3_u64, 0..3_u64),
        spare in any::<bool>(),
        now in moment(),
        result in [result(), result(), result(), result()],
    ) -> Case {
        let versions = Versions { current: 2, cleared, suspect, leapt, home: None };
        Case { kind, meta, rules, versions, spare, now, result }
    }
}

impl Case {
    fn is_older_than(&self, since: Instant, limit: Nanos) -> bool {
        let limit = limit.as_duration();
        limit.is_some_and(|limit| self.now.since(since) >= limit)
    }

    /// Returns whether its lifetime is over.
    fn is_over_age(&self) -> bool {
        let Case { meta, rules, now, .. } = self;
        let over =
            meta.expires_at <= *now || self.is_older_than(meta.created_at, rules.max_lifetime);
        over && (meta.uses > 0 || now.since(meta.created_at) >= Duration::from_millis(1))
    }

    fn fault(&self) -> Option<CloseReason> {
        let Case { meta, rules, .. } = self;
        let is_new = self.kind == CheckKind::Fresh;
        let over_age = self.is_over_age();
        let over_idle = self.is_older_than(meta.idle_since, rules.idle_timeout)
            && (meta.uses > 0 || self.now.since(meta.created_at) >= Duration::from_millis(1));
        if meta.origin.version() < self.versions.cleared {
            Some(CloseReason::Cleared)
        } else if over_age && !is_new {
            Some(CloseReason::Lifetime)
        } else if meta.uses >= rules.max_uses && !is_new {
            Some(CloseReason::MaxUses)
        } else if over_idle && self.spare && !is_new {
            Some(CloseReason::Idle)
        } else {
            None
        }
    }

    fn questions(&self) -> Vec<Step> {
        let Case { meta, rules, .. } = self;
        let suspect = meta.verified.version() < self.versions.suspect;
        let leapt = meta.verified.version() < self.versions.leapt;
        let mut questions = Vec::new();
        if self.kind == CheckKind::Fresh
            || suspect
            || leapt
            || self.is_older_than(meta.last_alive, rules.liveness_after)
        {
            questions.push(Step::Probe);
        }
        if self.kind == CheckKind::Reused || self.kind == CheckKind::Sweep {
            let before = questions.len();
            let is_checkout = self.kind == CheckKind::Reused;
            let kept_alive = rules.keepalive == Nanos::ZERO
                || ((suspect || leapt) && rules.keepalive != Nanos::NEVER);
            let too_old = suspect
                || (leapt && rules.ping_after != Nanos::NEVER)
                || self.is_older_than(meta.last_alive, rules.ping_after);
            if (is_checkout && too_old) || (!is_checkout && kept_alive) {
                questions.push(Step::Ping);
            }
            if is_checkout && rules.needs_reset && meta.uses > 0 {
                questions.push(Step::Reset);
            }
            if questions.len() > before && rules.liveness_after != Nanos::NEVER {
                questions.push(Step::Probe);
            }
        }
        questions
    }

    /// Returns every step of its check; the last one ends it.
    fn steps(&self) -> Vec<Step> {
        if let Some(fault) = self.fault() {
            return vec![Step::Close(fault)];
        }
        let mut steps = Vec::new();
        for (question, result) in self.questions().into_iter().zip(self.result) {
            steps.push(question);
            if let Some(reason) = verdict(question, result) {
                steps.push(Step::Close(reason));
                return steps;
            }
        }
        steps.push(Step::Pass);
        steps
    }
}

/// Returns why a result closes the connection.
fn verdict(question: Step, answer: StepResult) -> Option<CloseReason> {
    match (question, answer) {
        (Step::Probe, StepResult::Quiet) | (Step::Ping | Step::Reset, StepResult::Done) => None,
        (_, StepResult::Panicked) => Some(CloseReason::Panicked),
        (Step::Probe, StepResult::Closed) => Some(CloseReason::Dead),
        (Step::Probe, StepResult::Unsolicited) => Some(CloseReason::Unsolicited),
        (Step::Ping, StepResult::Failed) => Some(CloseReason::PingFailed),
        (Step::Ping, StepResult::TimedOut) => Some(CloseReason::PingTimeout),
        (Step::Reset, StepResult::Failed) => Some(CloseReason::ResetFailed),
        (Step::Reset, StepResult::TimedOut) => Some(CloseReason::ResetTimeout),
        _ => Some(CloseReason::Cancelled),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4096,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn check_takes_the_steps_of_the_model(case in case()) {
        let Case { kind, meta, rules, versions, spare, now, result } = &case;
        let mut check = Check::begin(*kind, meta, rules, *versions, *spare, *now);
        let mut steps = vec![check.step];
        for result in result {
            check = check.after(*result);
            steps.push(check.step);
        }
        let mut expected = case.steps();
        // Results after the end change nothing.
        let end = expected[expected.len() - 1];
        expected.resize(steps.len(), end);
        prop_assert_eq!(steps, expected);
    }

    /// Under one version the rules do not change, but the connection may have drawn its lifetime, been
    /// borrowed and aged under others. Only its return is judged: a ping shows only that it is alive.
    #[test]
    fn connection_fit_for_the_fast_path_passes_the_full_check(
        case in case(),
        proven_at in moment(),
        is_ping in any::<bool>(),
    ) {
        let Case { rules, versions, now, .. } = &case;
        let mut meta = case.meta.clone();
        meta.uses = meta.uses.max(1);
        let proven_at = match is_ping {
            true => proven_at.max(meta.created_at).max(meta.idle_since),
            false => proven_at.max(meta.created_at),
        };
        if !is_ping {
            meta.returned(proven_at);
        }
        meta.verified(proven_at, *versions, rules);
        let kept = on_return(&meta, rules, *versions, proven_at) == Disposition::Reuse;
        let most = rules.max_uses;
        prop_assert!(kept || !meta.may_return(versions.current, most, proven_at));
        let now = (*now).max(proven_at).max(meta.idle_since);
        if (kept || is_ping) && meta.is_fit(versions.current, rules.fresh_for(), now) {
            for kind in [CheckKind::Reused, CheckKind::Immediate] {
                let check = Check::begin(kind, &meta, rules, *versions, case.spare, now);
                let probes = now.is_past(meta.last_alive, rules.liveness_after);
                prop_assert_eq!(check.step, if probes { Step::Probe } else { Step::Pass });
                if probes {
                    for result in [StepResult::Quiet, StepResult::Closed, StepResult::Unsolicited, StepResult::Panicked] {
                        prop_assert_eq!(check.after(result).step, Check::probe_only(result));
                    }
                }
            }
        }
    }

    #[test]
    fn return_is_classified_as_by_the_model(case in case()) {
        let Case { meta, rules, versions, now, .. } = &case;
        let reasons = [
            (meta.origin.version() < versions.cleared, CloseReason::Cleared),
            (case.is_over_age(), CloseReason::Lifetime),
            (meta.uses >= rules.max_uses, CloseReason::MaxUses),
        ];
        let first = reasons.iter().find(|reason| reason.0);
        let expected = first.map_or(Disposition::Reuse, |reason| Disposition::Close(reason.1));
        prop_assert_eq!(on_return(meta, rules, *versions, *now), expected);
    }
}
