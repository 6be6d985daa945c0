//! Every state of the real `PoolMachine`, as its shell uses it, by stateright: three callers, two
//! slots, failures, cancels, changes from outside, and time.
//!
//! Each critical section of the shell is one action, and the actions come in every order. What is
//! below, the order of memory and the fast paths without a lock, is loom's.

mod actions;
mod defect;
mod history;
mod properties;
mod setup;
mod shell;
mod state;

use std::collections::{BTreeSet, HashMap};
use std::env;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use stateright::{Checker, HasDiscoveries, Model, Property};

use actions::Action;
use defect::Defect;
use setup::{SEARCHES, Seen, Setup, Sight};
use state::Shell;

/// A pool under the checker.
struct Checked(Arc<Setup>);

impl Hash for Shell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.project().hash(state);
    }
}

impl PartialEq for Shell {
    fn eq(&self, other: &Self) -> bool {
        self.project() == other.project()
    }
}

impl Model for Checked {
    type State = Shell;
    type Action = Action;

    /// A new pool, one with an idle connection, and one with two borrowed ones.
    fn init_states(&self) -> Vec<Shell> {
        let new = Shell::new(Arc::clone(&self.0));
        let get = |shell: &mut Shell, caller| {
            let steps = [
                Action::Queue(caller),
                Action::Dial(0),
                Action::Connected(0),
                Action::Poll(caller),
                Action::Pass(caller),
            ];
            steps.into_iter().for_each(|step| shell.perform(step));
        };
        let mut one_idle = new.clone();
        get(&mut one_idle, 0);
        one_idle.perform(Action::Return(0));
        let mut two_borrowed = new.clone();
        get(&mut two_borrowed, 0);
        get(&mut two_borrowed, 1);
        vec![new, one_idle, two_borrowed]
    }

    fn actions(&self, state: &Shell, actions: &mut Vec<Action>) {
        state.actions(actions);
    }

    fn next_state(&self, state: &Shell, action: Action) -> Option<Shell> {
        let mut next = state.clone();
        next.perform(action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::ALL.iter().map(|(name, holds)| Property::always(name, *holds)).collect()
    }
}

/// The depth of the searches that do not end by themselves, unless `CONNPOOL_DEPTH` says.
const DEPTH: usize = 8;
const LARGE_DEPTH: usize = 10;

/// The number of random walks that compare projections.
const WALKS: usize = 2_000;

#[test]
fn properties_hold_in_every_state() {
    let is_large = env::var("CONNPOOL_LARGE").is_ok();
    let depth = env::var("CONNPOOL_DEPTH").map(|text| text.parse().expect("a depth"));
    let depth = depth.unwrap_or(if is_large { LARGE_DEPTH } else { DEPTH });
    let seen = Arc::new(Seen::default());
    for search in SEARCHES.iter().filter(|search| search.is_large == is_large) {
        let setup = Setup { seen: Arc::clone(&seen), ..(search.setup)() };
        let name = search.name;
        let model = Checked(Arc::new(setup)).checker().threads(2);
        let limited = match search.deeper {
            Some(deeper) => model.target_max_depth(depth + deeper),
            None => model,
        };
        // The time of the search itself.
        #[allow(clippy::disallowed_methods)]
        let start = SystemTime::now();
        let checker = limited.spawn_bfs().join();
        let seconds = start.elapsed().unwrap_or_default().as_secs_f64();
        let (unique, all) = (checker.unique_state_count(), checker.state_count());
        let depth = checker.max_depth();
        println!("{name}: {unique} states, {all} transitions, depth {depth}, {seconds:.1} s");
        if let Some((property, path)) = checker.discoveries().into_iter().next() {
            panic!("{name}: not so: {property}: {:?}", path.into_actions());
        }
    }
    for sight in Sight::ALL {
        println!("{sight:?}: {}", seen.count(sight));
        assert!(seen.count(sight) > 0, "{sight:?} never happened");
    }
}

/// Each property fails for a defect.
#[test]
fn checker_finds_each_defect() {
    use properties::*;
    let twins = [
        (Defect::ConnectsBeyondTheRoom, SIZE),
        (Defect::ReturnsPastTheQueue, SERVED),
        (Defect::LosesItsPlace, FIFO),
        (Defect::BargesIn, FIFO),
        (Defect::KeepsTheSlot, FREED),
        (Defect::IgnoresTheClose, CLOSED),
        (Defect::IgnoresCheckouts, COMES_BACK),
        (Defect::TellsEachFailure, TOO_EARLY),
        (Defect::FreesWithoutServing, EXPECTED),
        (Defect::ForgetsTheMaintenance, EXPECTED),
    ];
    for (name, _) in ALL {
        assert!(twins.iter().any(|(_, broken)| *broken == name), "{name} has no twin");
    }
    for (defect, property) in twins {
        let found = HasDiscoveries::AnyOf([property].into());
        let model = Checked(Arc::new(Setup::with(defect))).checker().threads(2);
        let checker = model.finish_when(found).spawn_bfs().join();
        let path = checker.assert_any_discovery(property).into_actions();
        println!("{defect:?}: {property}: {path:?}");
    }
}

/// States with equal projections have equal futures, so that a search may take either for both.
#[test]
fn equal_projections_have_equal_futures() {
    let model = Checked(Arc::new(Setup::of_everything()));
    let successors = |state: &Shell| {
        let mut actions = Vec::new();
        state.actions(&mut actions);
        let next = |action: &Action| model.next_state(state, *action);
        let nexts: Vec<_> = actions.iter().filter_map(next).collect();
        let projections: BTreeSet<_> = nexts.iter().map(Shell::project).collect();
        (nexts, projections)
    };
    let mut known = HashMap::new();
    let mut met_again = 0;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for walk in 0..WALKS {
        let mut state = model.init_states().swap_remove(walk % 3);
        for _ in 0..40 {
            let (nexts, projections) = successors(&state);
            if let Some((projections_before, before)) = known.get(&state.project()) {
                met_again += 1;
                assert!(projections == *projections_before, "{before:#?}\nand {state:#?}");
            } else {
                known.insert(state.project(), (projections, state));
            }
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let pick = (seed >> 32) as usize % nexts.len().max(1);
            let Some(next) = nexts.into_iter().nth(pick) else { break };
            state = next;
        }
    }
    println!("{} states, met again {met_again} times", known.len());
}
