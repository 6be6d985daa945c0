//! Random traffic in virtual time, with everything checked after every step.

mod callers;
mod history;
mod settings;
mod witness;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use history::History;
use world::World;

/// Runs `steps` random moves against a pool over a [`FaultyManager`](crate::FaultyManager): gets of
/// one and of several that are polled, cancelled and served, connections that are returned, marked,
/// labelled, taken out, added and left half used, `clear`, `resize`, `reconfigure`, `pause`, `retain`
/// and `close`, leaps of time, an observer that panics and uses the pool, backends that fail, hang,
/// panic, speak out of turn and restart. Settings, moves and schedule all follow from `seed`.
///
/// After every move [`assert_invariants`](crate::assert_invariants) holds, every connection that was
/// lent was fit to be lent, the holders are those who have one, and the pool's counters are those of
/// the caller and of the observer. While paused nothing is lent; after a failure one connect is tried
/// at a time. In the end the backend is well again, and everybody is served and all capacity there.
///
/// Returns the [trace hash](crate::SimRuntime::trace_hash) of the run: the same for the same
/// arguments.
///
/// # Errors
///
/// What did not hold, and the moves that lead to it, as few as could be found.
pub fn fuzz(seed: u64, steps: usize) -> Result<u64, Violation> {
    let history = History::draw(seed, steps);
    run(&history).map_err(|message| {
        let history = shrink(history, |shorter| run(shorter).is_err());
        Violation {
            // The shortest history may fail for a reason of its own, which is then the one to see.
            message: run(&history).err().unwrap_or(message),
            history: Box::new(history),
        }
    })
}

/// What [`fuzz`] found.
#[derive(Debug, Clone)]
pub struct Violation {
    message: String,
    history: Box<History>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.history.seed, self.message)?;
        writeln!(f, "{:?}", self.history.ground)?;
        writeln!(f, "{:#?}", self.history.settings)?;
        writeln!(f, "after these {} moves:", self.history.moves.len())?;
        self.history
            .moves
            .iter()
            .try_for_each(|step| writeln!(f, "  {step:?}"))
    }
}

impl std::error::Error for Violation {}

fn run(history: &History) -> Result<u64, String> {
    let whole = || {
        let mut world = World::new(history);
        for step in &history.moves {
            world.make(step);
        }
        world.end()
    };
    catch_unwind(AssertUnwindSafe(whole)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
        text.unwrap_or_else(|| String::from("a panic without a message"))
    })
}

/// Takes moves out, in halves, quarters and so on, for as long as `fails` still does.
fn shrink(mut history: History, fails: impl Fn(&History) -> bool) -> History {
    let mut chunk = history.moves.len() / 2;
    while chunk > 0 {
        let mut start = 0;
        while start < history.moves.len() {
            let end = (start + chunk).min(history.moves.len());
            let shorter = history.without(start..end);
            if fails(&shorter) {
                history = shorter;
            } else {
                start = end;
            }
        }
        chunk /= 2;
    }
    history
}

#[cfg(test)]
mod tests {
    use super::history::Move;
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_trace() {
        for seed in 0..20 {
            let trace = fuzz(seed, 300).unwrap();
            assert_eq!(fuzz(seed, 300).unwrap(), trace);
        }
        assert_ne!(fuzz(1, 300).unwrap(), fuzz(2, 300).unwrap());
    }

    #[test]
    fn a_failing_history_is_cut_down_to_what_matters() {
        let long = History::draw(3, 1_000);
        let closes = |history: &History| {
            let is_close = |step: &&Move| matches!(step, Move::Clear);
            history.moves.iter().filter(is_close).count()
        };
        assert!(closes(&long) > 3);
        let short = shrink(long, |history| closes(history) >= 3);
        assert_eq!((short.moves.len(), closes(&short)), (3, 3));
    }
}
