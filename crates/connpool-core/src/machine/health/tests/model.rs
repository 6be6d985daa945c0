//! The health of a connection beside a naive account of it: a list of what is asked, in order.

use std::time::Duration;

use proptest::option::of;
use proptest::prelude::*;

use super::super::*;
use super::at;

/// One connection on its way to be lent, kept or left idle.
#[derive(Debug, Clone)]
struct Case {
    purpose: Purpose,
    stamps: Stamps,
    rules: Rules,
    era: Era,
    spare: bool,
    now: Instant,
    found: [Found; 4],
}

fn moment() -> impl Strategy<Value = Instant> {
    let close_by = (0..3_u64).prop_map(|half| Instant::from_nanos(half * 500_000));
    prop_oneof![3 => (0..8_u64).prop_map(at), 1 => close_by]
}

/// Longer than anything here lasts.
const AN_AGE: Duration = Duration::from_secs(1_000_000);

fn span() -> impl Strategy<Value = Nanos> {
    of((0..8_u64).prop_map(Duration::from_secs)).prop_map(Nanos::from)
}

prop_compose! {
    fn stamps()(
        (born, idle_since, proven) in (moment(), moment(), moment()),
        expires in of(moment()),
        uses in 0..4_u64,
        (generation, seal) in (0..2_u64, 0..3_u64),
    ) -> Stamps {
        let expires = expires.unwrap_or(Instant::NEVER);
        Stamps { id: 1, born, expires, idle_since, proven, uses, generation, proof: Proof::new(seal, true) }
    }
}

prop_compose! {
    fn rules()(
        (idle_timeout, max_lifetime, ping_after, liveness_after) in (span(), span(), span(), span()),
        keepalive in prop_oneof![Just(Nanos::NEVER), Just(Nanos::ZERO), Just(Nanos::from(AN_AGE))],
        max_uses in of(1..4_u64),
        resets in any::<bool>(),
    ) -> Rules {
        Rules { idle_timeout, max_lifetime, max_uses, ping_after, liveness_after, keepalive, resets }
    }
}

/// Mostly good, so that later questions are reached.
fn found() -> impl Strategy<Value = Found> {
    use Found::*;
    let bad = prop::sample::select(vec![Closed, Unsolicited, Failed, TimedOut, Found::Panicked]);
    prop_oneof![4 => Just(Quiet), 4 => Just(Done), 1 => bad]
}

prop_compose! {
    fn case()(
        purpose in prop::sample::select(vec![
            Purpose::Lend, Purpose::LendNew, Purpose::TryLend, Purpose::Sweep,
        ]),
        (stamps, rules, generation, suspicion) in (stamps(), rules(), 0..2_u64, 0..3_u64),
        spare in any::<bool>(),
        now in moment(),
        found in [found(), found(), found(), found()],
    ) -> Case {
        let era = Era { generation, seal: 2, suspicion };
        Case { purpose, stamps, rules, era, spare, now, found }
    }
}

impl Case {
    fn is_older_than(&self, since: Instant, limit: Nanos) -> bool {
        let limit = limit.as_duration();
        limit.is_some_and(|limit| self.now.since(since) >= limit)
    }

    /// What is wrong with it before anybody asks.
    fn is_over_age(&self) -> bool {
        let Case {
            stamps, rules, now, ..
        } = self;
        let over = stamps.expires <= *now || self.is_older_than(stamps.born, rules.max_lifetime);
        over && (stamps.uses > 0 || now.since(stamps.born) >= Duration::from_millis(1))
    }

    fn fault(&self) -> Option<CloseReason> {
        let Case { stamps, rules, .. } = self;
        let is_new = self.purpose == Purpose::LendNew;
        let over_age = self.is_over_age();
        let over_idle = self.is_older_than(stamps.idle_since, rules.idle_timeout)
            && (stamps.uses > 0 || self.now.since(stamps.born) >= Duration::from_millis(1));
        if stamps.generation != self.era.generation {
            Some(CloseReason::Cleared)
        } else if over_age && !is_new {
            Some(CloseReason::Lifetime)
        } else if rules.max_uses.is_some_and(|most| stamps.uses >= most) && !is_new {
            Some(CloseReason::MaxUses)
        } else if over_idle && self.spare && !is_new {
            Some(CloseReason::Idle)
        } else {
            None
        }
    }

    fn questions(&self) -> Vec<Step> {
        let Case { stamps, rules, .. } = self;
        let suspect = stamps.proof.seal() < self.era.suspicion;
        let mut questions = Vec::new();
        if self.purpose == Purpose::LendNew
            || suspect
            || self.is_older_than(stamps.proven, rules.liveness_after)
        {
            questions.push(Step::Look);
        }
        if self.purpose == Purpose::Lend || self.purpose == Purpose::Sweep {
            let before = questions.len();
            let lends = self.purpose == Purpose::Lend;
            let kept_alive =
                rules.keepalive == Nanos::ZERO || (suspect && rules.keepalive != Nanos::NEVER);
            let too_old = suspect || self.is_older_than(stamps.proven, rules.ping_after);
            if (lends && too_old) || (!lends && kept_alive) {
                questions.push(Step::Ping);
            }
            if lends && rules.resets && stamps.uses > 0 {
                questions.push(Step::Reset);
            }
            if questions.len() > before && rules.liveness_after != Nanos::NEVER {
                questions.push(Step::Look);
            }
        }
        questions
    }

    /// Every step of its check, the last of which ends it.
    fn steps(&self) -> Vec<Step> {
        if let Some(fault) = self.fault() {
            return vec![Step::Close(fault)];
        }
        let mut steps = Vec::new();
        for (question, found) in self.questions().into_iter().zip(self.found) {
            steps.push(question);
            if let Some(reason) = verdict(question, found) {
                steps.push(Step::Close(reason));
                return steps;
            }
        }
        steps.push(Step::Pass);
        steps
    }
}

/// What an answer says against a connection.
fn verdict(question: Step, answer: Found) -> Option<CloseReason> {
    match (question, answer) {
        (Step::Look, Found::Quiet) | (Step::Ping | Step::Reset, Found::Done) => None,
        (_, Found::Panicked) => Some(CloseReason::Panicked),
        (Step::Look, Found::Closed) => Some(CloseReason::Dead),
        (Step::Look, Found::Unsolicited) => Some(CloseReason::Unsolicited),
        (Step::Ping, Found::Failed) => Some(CloseReason::PingFailed),
        (Step::Ping, Found::TimedOut) => Some(CloseReason::PingTimeout),
        (Step::Reset, Found::Failed) => Some(CloseReason::ResetFailed),
        (Step::Reset, Found::TimedOut) => Some(CloseReason::ResetTimeout),
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
    fn a_check_takes_the_steps_of_a_naive_one(case in case()) {
        let Case { purpose, stamps, rules, era, spare, now, found } = &case;
        let mut check = Check::begin(*purpose, stamps, rules, *era, *spare, *now);
        let mut steps = vec![check.step()];
        for found in found {
            check = check.found(*found);
            steps.push(check.step());
        }
        let mut expected = case.steps();
        // The end is the end, whatever else is found.
        let end = expected[expected.len() - 1];
        expected.resize(steps.len(), end);
        prop_assert_eq!(steps, expected);
    }

    /// Under one seal the rules do not change, but it may have drawn its lifetime, been lent and grown
    /// old under others. Only that it comes back is judged; a ping proves no more than that it is alive.
    #[test]
    fn what_is_fit_on_the_shortest_way_passes_the_long_one(
        case in case(),
        proven_at in moment(),
        is_ping in any::<bool>(),
    ) {
        let Case { rules, era, now, .. } = &case;
        let mut stamps = case.stamps.clone();
        stamps.uses = stamps.uses.max(1);
        let proven_at = match is_ping {
            true => proven_at.max(stamps.born).max(stamps.idle_since),
            false => proven_at.max(stamps.born),
        };
        if !is_ping {
            stamps.comes_back(proven_at);
        }
        stamps.proves_alive(proven_at, *era, rules);
        let kept = on_return(&stamps, rules, era.generation, proven_at).is_none();
        let most = rules.max_uses.unwrap_or(u64::MAX);
        prop_assert!(kept || !stamps.may_return(era.seal, most, proven_at));
        let now = (*now).max(proven_at).max(stamps.idle_since);
        if (kept || is_ping) && stamps.is_fit(era.seal, rules.fresh_for(), now) {
            for purpose in [Purpose::Lend, Purpose::TryLend] {
                let check = Check::begin(purpose, &stamps, rules, *era, case.spare, now);
                let looks = now.is_past(stamps.proven, rules.liveness_after);
                prop_assert_eq!(check.step(), if looks { Step::Look } else { Step::Pass });
                if looks {
                    for found in [Found::Quiet, Found::Closed, Found::Unsolicited, Found::Panicked] {
                        prop_assert_eq!(check.found(found).step(), Check::only_a_look(found));
                    }
                }
            }
        }
    }

    #[test]
    fn a_return_is_judged_as_by_a_naive_judge(case in case()) {
        let Case { stamps, rules, era: Era { generation, .. }, now, .. } = &case;
        let reasons = [
            (stamps.generation != *generation, CloseReason::Cleared),
            (case.is_over_age(), CloseReason::Lifetime),
            (rules.max_uses.is_some_and(|most| stamps.uses >= most), CloseReason::MaxUses),
        ];
        let first = reasons.iter().find(|reason| reason.0).map(|reason| reason.1);
        prop_assert_eq!(on_return(stamps, rules, *generation, *now), first);
    }
}
