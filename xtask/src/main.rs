//! The project's own commands, run as `cargo xtask <COMMAND>`.

mod architecture;
mod bench;
mod binary;
mod ci;
mod counts;
mod deny;
mod examples;
mod files;
mod model;
mod process;
mod result;
mod seeded_bugs;
mod sim;
mod soak;
mod test;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use xshell::Shell;

use result::Result;

/// The project's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// Everything a change must pass: format, lints, architecture, tests, benches, docs, examples
    Ci,
    /// Every test of the workspace, doctests among them
    Test(test::Args),
    /// The benchmarks on both runtimes, and beside other pools, as tables and as a page
    Bench(bench::Args),
    /// How many instructions a get and a return take, counted by valgrind and held to a budget
    Counts(counts::Args),
    /// The core's small models, in every schedule of their threads, by loom
    Loom(model::Loom),
    /// The core's large model, in random schedules of its tasks, by shuttle
    Shuttle(model::Shuttle),
    /// The rules that hold the crates apart
    Architecture,
    /// Every example, run to its end in release mode
    Examples,
    /// Random traffic in virtual time; a violation prints its seed and a short history
    Sim(sim::Args),
    /// The licenses, versions and sources of the dependencies, by cargo-deny
    Deny,
    /// Bugs that other pools had, each put into a copy of this one, must be caught by its tests
    SeededBugs(seeded_bugs::Args),
    /// Clients of a server that misbehaves, for as long as one likes: nothing leaks, nothing drifts
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
    // Every path and every cargo call below is meant from the workspace root.
    std::env::set_current_dir(&root).map_err(|e| format!("{}: {e}", root.display()))?;
    let sh = Shell::new()?;

    match command {
        Command::Ci => ci::run(&sh),
        Command::Test(args) => {
            println!("{}", test::run(&args)?);
            Ok(())
        }
        Command::Bench(args) => bench::run(&sh, &args),
        Command::Counts(args) => counts::run(&sh, &args),
        Command::Loom(args) => model::loom(&sh, &args),
        Command::Shuttle(args) => model::shuttle(&sh, &args),
        Command::Architecture => architecture::run(&sh),
        Command::Examples => examples::run(&sh),
        Command::Sim(args) => sim::run(&sh, &args),
        Command::Deny => deny::run(&sh),
        Command::SeededBugs(args) => seeded_bugs::run(&sh, &args),
        Command::Soak(args) => soak::run(&sh, &args),
    }
}
