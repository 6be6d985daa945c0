//! `cargo xtask seeded-bugs`: checks that the tests catch bugs that other pools had.
//!
//! Each patch in `xtask/seeded-bugs` seeds one bug into a copy of the sources. This tests the tests,
//! not the pool. The text before the first `diff` is a header of `key: value` lines; lines that start
//! with a space continue a value.
//!
//! | key         | value |
//! |-------------|-------|
//! | `row`       | the number of the bug in the catalogue of bugs in other pools |
//! | `breaks`    | the failure and its mechanism |
//! | `seen`      | where the bug occurred |
//! | `tests`     | the arguments that select the test program, such as `-p connpool-core --test pool` |
//! | `caught-by` | the full names of the tests that fail, separated by commas |

use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

use crate::common::Result;

const FOLDER: &str = "xtask/seeded-bugs";
const SOURCE: &str = "target/seeded-bugs/source";
const TARGET: &str = "target/seeded-bugs/target";

/// How nextest says that tests failed, rather than that they could not be built or found.
const TESTS_FAILED: i32 = 100;

/// The arguments of `cargo xtask seeded-bugs`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// The numbers of the bugs, such as 4 or 16; the default is all
    rows: Vec<u32>,
}

struct Bug {
    name: String,
    patch: PathBuf,
    row: u32,
    tests: Vec<String>,
    caught_by: Vec<String>,
}

/// Checks that every bug is caught by the tests that its patch names.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    let mut bugs = Vec::new();
    for path in sh.read_dir(FOLDER)? {
        let bug = read(sh, &path).map_err(|error| format!("{}: {error}", path.display()))?;
        bugs.push(bug);
    }
    if let Some(unknown) = args.rows.iter().find(|row| bugs.iter().all(|bug| bug.row != **row)) {
        return Err(format!("{FOLDER}: there is no patch for row {unknown}").into());
    }
    bugs.retain(|bug| args.rows.is_empty() || args.rows.contains(&bug.row));

    // The working tree as a commit, or HEAD if nothing was changed.
    let changed = cmd!(sh, "git stash create").quiet().read()?;
    let commit = if changed.is_empty() { "HEAD".to_owned() } else { changed };
    let commit = cmd!(sh, "git rev-parse {commit}").quiet().read()?;
    if !Path::new(SOURCE).join(".git").exists() {
        cmd!(sh, "git worktree prune").quiet().run()?;
        cmd!(sh, "git worktree add --quiet --force --detach {SOURCE} {commit}").quiet().run()?;
    }
    // Writes only files that differ, since cargo rebuilds what was written.
    let restore =
        || cmd!(sh, "git -C {SOURCE} checkout --quiet --force --detach {commit}").quiet().run();

    restore()?;
    for bug in &bugs {
        for test in &bug.caught_by {
            if !passes(sh, bug, test)? {
                return Err(format!("{test} does not pass without any bug").into());
            }
        }
    }
    let mut missed = Vec::new();
    for bug in &bugs {
        restore()?;
        let patch = &bug.patch;
        cmd!(sh, "git -C {SOURCE} apply --whitespace=nowarn {patch}").quiet().run().map_err(|_| {
            format!(
                "{}: it no longer applies; repeat the change in the current sources and refresh it \
                 with `git diff`",
                bug.name
            )
        })?;
        for test in &bug.caught_by {
            let passes = passes(sh, bug, test).map_err(|error| format!("{}: {error}", bug.name))?;
            println!("{:<34} {} {test}", bug.name, if passes { "MISSED by" } else { "caught by" });
            if passes {
                missed.push(bug.name.as_str());
            }
        }
    }
    restore()?;
    missed.dedup();
    println!("{} of {} caught", bugs.len() - missed.len(), bugs.len());
    if missed.is_empty() { Ok(()) } else { Err(format!("missed: {}", missed.join(", ")).into()) }
}

/// Runs one test in the copy. A compile error is an error: it proves nothing about the test. A test
/// that hangs is ended by nextest and counts as failed.
fn passes(sh: &Shell, bug: &Bug, test: &str) -> Result<bool> {
    let program = &bug.tests;
    let _in_copy = sh.push_dir(SOURCE);
    let target = std::path::absolute(TARGET)?;
    let output = cmd!(sh, "cargo nextest run --cargo-quiet {program...} -E test(={test})")
        .env("CARGO_TARGET_DIR", target)
        // Debug info is not needed, and the build is faster without it.
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .quiet()
        .ignore_status()
        .output()?;
    match output.status.code() {
        Some(0) => Ok(true),
        Some(TESTS_FAILED) => Ok(false),
        _ => Err(format!("{test}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn read(sh: &Shell, path: &Path) -> Result<Bug> {
    let text = sh.read_file(path)?;
    let head = text.split("\ndiff ").next().unwrap_or_default().replace("\n ", " ");
    let value = |key: &str| {
        let found = head.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        found.map(str::trim).ok_or_else(|| format!("the header has no `{key}:`"))
    };
    Ok(Bug {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into(),
        patch: path.to_owned(),
        row: value("row")?.parse().map_err(|error| format!("row: {error}"))?,
        tests: value("tests")?.split_whitespace().map(str::to_owned).collect(),
        caught_by: value("caught-by")?.split(',').map(|test| test.trim().to_owned()).collect(),
    })
}
