//! Random operations in virtual time, with all invariants checked after every step.

#![forbid(unsafe_code)]

mod callers;
mod harness;
mod history;
mod observer;
mod settings;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::harness::Harness;
use crate::history::History;

/// Runs `steps` random operations against a pool over a [`FaultyManager`](connpool_testkit::FaultyManager).
///
/// The operations are `get`, `get_many`, `try_get` and `exchange`, polled and cancelled at random;
/// returning, marking, labelling, detaching, adding and half using connections; `clear`, `resize`,
/// `reconfigure`, `pause`, `retain` and `close`; and advancing the clock. The observer panics and
/// calls the pool. The backend fails, hangs, panics, sends unsolicited bytes and restarts. Settings,
/// operations and schedule follow from `seed`.
///
/// After every step the harness checks [`assert_invariants`](connpool_testkit::assert_invariants), the health of
/// every connection checked out, the holders, and the statistics against its own counts and those of
/// the observer. A paused pool hands out no connection, and after a failure one connect is pending at
/// a time. At the end the backend recovers, and every waiter is served with full capacity.
///
/// Returns the [trace hash](connpool_testkit::SimRuntime::trace_hash) of the run, which is the same for the same
/// arguments.
///
/// # Errors
///
/// Returns a [`Violation`] if a check fails, with a minimized list of steps that leads to it.
pub fn fuzz(seed: u64, steps: usize) -> Result<u64, Violation> {
    let history = History::draw(seed, steps);
    run(&history).map_err(|message| {
        let history = minimize(history, |shorter| run(shorter).is_err());
        Violation {
            // The minimized history may fail for another reason, which is then the one to report.
            message: run(&history).err().unwrap_or(message),
            history: Box::new(history),
        }
    })
}

/// A failed check found by [`fuzz`], with the steps that lead to it.
#[derive(Debug, Clone)]
pub struct Violation {
    message: String,
    history: Box<History>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.history.seed, self.message)?;
        writeln!(f, "{:?}", self.history.fixed)?;
        writeln!(f, "{:#?}", self.history.settings)?;
        writeln!(f, "after these {} steps:", self.history.steps.len())?;
        self.history.steps.iter().try_for_each(|step| writeln!(f, "  {step:?}"))
    }
}

impl std::error::Error for Violation {}

fn run(history: &History) -> Result<u64, String> {
    let whole = || {
        let mut harness = Harness::new(history);
        for step in &history.steps {
            harness.apply(step);
        }
        harness.finish()
    };
    catch_unwind(AssertUnwindSafe(whole)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
        text.unwrap_or_else(|| String::from("a panic without a message"))
    })
}

/// Removes steps, in halves, quarters and so on, while `fails` still returns true.
fn minimize(mut history: History, fails: impl Fn(&History) -> bool) -> History {
    let mut chunk = history.steps.len() / 2;
    while chunk > 0 {
        let mut start = 0;
        while start < history.steps.len() {
            let end = (start + chunk).min(history.steps.len());
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
    use super::history::Step;
    use super::*;

    #[test]
    fn same_seed_gives_the_same_trace() {
        for seed in 0..20 {
            let trace = fuzz(seed, 300).unwrap();
            assert_eq!(fuzz(seed, 300).unwrap(), trace);
        }
        assert_ne!(fuzz(1, 300).unwrap(), fuzz(2, 300).unwrap());
    }

    #[test]
    fn failing_history_is_minimized() {
        let long = History::draw(3, 1_000);
        let clears = |history: &History| {
            let is_clear = |step: &&Step| matches!(step, Step::Clear);
            history.steps.iter().filter(is_clear).count()
        };
        assert!(clears(&long) > 3);
        let short = minimize(long, |history| clears(history) >= 3);
        assert_eq!((short.steps.len(), clears(&short)), (3, 3));
    }
}
