//! `cargo xtask ci`: runs all checks, and stops at the first failure.

use xshell::{Shell, cmd};

use crate::architecture;
use crate::bench;
use crate::counts;
use crate::deny;
use crate::examples;
use crate::model;
use crate::result::Result;
use crate::seeded_bugs;
use crate::sim;
use crate::soak;
use crate::test;

/// Runs every step in order and prints the test summary.
pub(crate) fn run(sh: &Shell) -> Result {
    step("format", || Ok(cmd!(sh, "cargo fmt --all --check").run()?))?;
    step("clippy", || clippy(sh))?;
    step("architecture", || architecture::run(sh))?;
    if deny::is_installed(sh) {
        step("dependencies", || deny::run(sh))?;
    }
    let summary = step("tests", || test::run(&test::Args::default()))?;
    step("benches", || bench::run_each_once(sh))?;
    step("instructions", || counts::run(sh, &counts::Args::default()))?;
    step("simulation", || sim::run(sh, &sim::Args::for_every_change()))?;
    step("seeded bugs", || seeded_bugs::run(sh, &seeded_bugs::Args::default()))?;
    step("loom", || model::loom(sh, &model::Loom::default()))?;
    step("shuttle", || model::shuttle(sh, &model::Shuttle::default()))?;
    step("docs", || docs(sh))?;
    step("examples", || examples::run(sh))?;
    step("soak", || soak::run(sh, &soak::Args::short()))?;

    println!("\n{summary}");
    Ok(())
}

fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("\n==> {name}");
    work().map_err(|error| format!("the step `{name}` failed: {error}").into())
}

fn clippy(sh: &Shell) -> Result {
    cmd!(sh, "cargo clippy --workspace --all-targets --all-features -- -D warnings").run()?;
    // The library alone: its dev-dependencies would re-enable the features.
    cmd!(sh, "cargo clippy -p connpool-core --no-default-features -- -D warnings").run()?;
    Ok(())
}

fn docs(sh: &Shell) -> Result {
    cmd!(sh, "cargo doc --workspace --all-features --no-deps")
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    Ok(())
}
