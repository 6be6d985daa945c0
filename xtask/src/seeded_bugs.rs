//! `cargo xtask seeded-bugs`: checks that the tests catch bugs that other pools had.
//!
//! Each patch in `xtask/seeded-bugs` seeds one bug into a copy of the sources and names the tests
//! that must fail. This tests the tests, not the pool.

mod bug;
mod worktree;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use xshell::Shell;

use crate::binary::Outcome;
use crate::result::Result;
use bug::{Bug, By};
use worktree::Worktree;

const FOLDER: &str = "xtask/seeded-bugs";

/// Time limit of the named tests, after which they count as hanging.
const LIMIT: Duration = Duration::from_secs(60);

/// The arguments of `cargo xtask seeded-bugs`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// The numbers of the bugs, such as 4 or 16; the default is all
    rows: Vec<u32>,
}

/// Checks that every bug is caught by the tests that its patch names.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    let bugs = chosen(bug::all(Path::new(FOLDER))?, &args.rows)?;
    let worktree = Worktree::new(sh)?;
    check_baseline(&worktree, &bugs)?;

    let mut table = String::new();
    let mut missed = Vec::new();
    for bug in &bugs {
        eprintln!("\nwith {}", bug.name);
        let start = Instant::now();
        let miss = try_bug(&worktree, bug).map_err(|error| format!("{}: {error}", bug.path()))?;
        let seconds = start.elapsed().as_secs_f64();
        table += &rows_of(bug, miss.is_none(), seconds);
        missed.extend(miss.map(|miss| format!("{}: {miss}", bug.name)));
    }
    println!("\n{:<34} {:>7}  caught by", "bug", "seconds");
    print!("{table}");
    let caught = bugs.len().saturating_sub(missed.len());
    println!("{caught} of {} caught", bugs.len());
    if missed.is_empty() { Ok(()) } else { Err(missed.join("\n  ").into()) }
}

fn chosen(mut bugs: Vec<Bug>, rows: &[u32]) -> Result<Vec<Bug>> {
    if let Some(unknown) = rows.iter().find(|row| bugs.iter().all(|bug| bug.row != **row)) {
        return Err(format!("{FOLDER}: there is no patch for row {unknown}").into());
    }
    bugs.retain(|bug| rows.is_empty() || rows.contains(&bug.row));
    if bugs.is_empty() {
        return Err(format!("{FOLDER}: there is no patch").into());
    }
    Ok(bugs)
}

/// Checks that the named tests pass without a bug; otherwise their failure would mean nothing.
fn check_baseline(worktree: &Worktree, bugs: &[Bug]) -> Result {
    eprintln!("\nwithout a bug");
    let mut runs: BTreeMap<&bug::Run, Vec<&str>> = BTreeMap::new();
    for bug in bugs {
        let tests = bug.caught_by.iter().map(String::as_str);
        runs.entry(&bug.run).or_default().extend(tests);
    }
    worktree.restore()?;
    for (run, tests) in runs {
        let outcome = worktree.test(run, &tests, LIMIT)?;
        for test in tests {
            match outcome.passed(test) {
                Some(true) => {}
                Some(false) => return Err(format!("{test} fails without any bug").into()),
                None if outcome.hangs => return Err(format!("{test} hangs without any bug").into()),
                None => return Err(format!("`{run}` knows no test {test}").into()),
            }
        }
    }
    Ok(())
}

/// Seeds the bug and returns `None` if the tests caught it, or how they missed it.
fn try_bug(worktree: &Worktree, bug: &Bug) -> Result<Option<String>> {
    worktree.restore()?;
    worktree.apply(&bug.patch)?;
    let tests: Vec<&str> = bug.caught_by.iter().map(String::as_str).collect();
    let outcome = worktree.test(&bug.run, &tests, LIMIT)?;
    Ok(miss(bug, &outcome))
}

fn miss(bug: &Bug, outcome: &Outcome) -> Option<String> {
    for test in &bug.caught_by {
        let miss = match (outcome.passed(test), bug.by, outcome.hangs) {
            (Some(false), By::Failure, _) | (None, By::Hang, true) => continue,
            (Some(true), ..) => "passes despite the bug".to_owned(),
            (Some(false), By::Hang, _) => "fails instead of hanging".to_owned(),
            (None, By::Failure, true) => format!("hangs instead of failing within {LIMIT:?}"),
            (None, _, false) => "did not finish: the test program died".to_owned(),
        };
        return Some(format!("{test} {miss}"));
    }
    None
}

fn rows_of(bug: &Bug, caught: bool, seconds: f64) -> String {
    let mut rows = String::new();
    let mut head = format!("{:<34} {seconds:>7.1}", bug.name);
    for test in &bug.caught_by {
        let test = if caught { test } else { "NOT CAUGHT" };
        rows += &format!("{head:<42}  {test}\n");
        head.clear();
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bug(by: &str) -> Bug {
        let text = format!("row: 1\nrun: cargo test\ncaught-by: a,\n  b\n{by}\ndiff --git\n");
        Bug::read(Path::new("01-x.patch"), &text).expect("a header")
    }

    fn outcome(printed: &str, hangs: bool) -> Outcome {
        let mut outcome = Outcome::read(printed);
        outcome.hangs = hangs;
        outcome
    }

    #[test]
    fn a_bug_is_caught_if_all_named_tests_fail() {
        let both = outcome("test a ... FAILED\ntest b ... FAILED\n", false);
        assert_eq!(miss(&bug(""), &both), None);
        let one = outcome("test a ... FAILED\ntest b ... ok\n", false);
        assert_eq!(miss(&bug(""), &one).as_deref(), Some("b passes despite the bug"));
    }

    #[test]
    fn a_hang_counts_only_where_it_is_expected() {
        let hang = outcome("running 2 tests\n", true);
        let text = miss(&bug(""), &hang).unwrap_or_default();
        assert_eq!(text, "a hangs instead of failing within 60s");
        assert_eq!(miss(&bug("by: hang\n"), &hang), None);
        let failure = outcome("test a ... FAILED\ntest b ... FAILED\n", false);
        assert!(miss(&bug("by: hang\n"), &failure).is_some());
    }

    #[test]
    fn a_test_program_that_dies_catches_nothing() {
        let dead = outcome("test a ... FAILED\n", false);
        let text = miss(&bug(""), &dead).unwrap_or_default();
        assert_eq!(text, "b did not finish: the test program died");
    }
}
