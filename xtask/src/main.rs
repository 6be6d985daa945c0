//! The commands of this project, run as `cargo xtask <COMMAND>`.

mod bench;
mod ci;
mod common;
mod examples;
mod model;
mod seeded_bugs;
mod sim;
mod soak;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use xshell::Shell;

use crate::common::Result;

/// The commands of this project
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// Run all checks: format, lints, tests, models, benchmarks, docs, examples, packages
    Ci,
    /// Run the benchmarks on both runtimes, optionally on other pools too
    Bench(bench::Args),
    /// Count the instructions of a get and a return with valgrind, and compare them with limits
    Counts,
    /// Check the small models of the core in all thread schedules with loom
    Loom(model::Loom),
    /// Check the large model of the core in random task schedules with shuttle
    Shuttle(model::Shuttle),
    /// Check the machine of the core in all its states with stateright
    Stateright(model::Stateright),
    /// Run every example in release mode
    Examples,
    /// Run random operations in virtual time; a violation prints its seed and a short history
    Sim(sim::Args),
    /// Check that a release can be published, with cargo-semver-checks
    Release,
    /// Check that the tests catch bugs seeded into a copy of the sources
    SeededBugs(seeded_bugs::Args),
    /// Run clients against a faulty server for a long time, and check for leaks and drift
    Soak(soak::Args),
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // All paths and cargo calls are relative to the workspace root.
    std::env::set_current_dir(&root).map_err(|e| format!("{}: {e}", root.display()))?;
    let sh = Shell::new()?;

    match command {
        Command::Ci => ci::run(&sh),
        Command::Bench(args) => bench::run(&sh, &args),
        Command::Counts => ci::counts(&sh),
        Command::Loom(args) => model::loom(&sh, &args),
        Command::Shuttle(args) => model::shuttle(&sh, &args),
        Command::Stateright(args) => model::stateright(&sh, &args),
        Command::Examples => examples::run(&sh),
        Command::Sim(args) => sim::run(&sh, &args),
        Command::Release => ci::release(&sh),
        Command::SeededBugs(args) => seeded_bugs::run(&sh, &args),
        Command::Soak(args) => soak::run(&sh, &args),
    }
}
