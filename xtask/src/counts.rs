//! `cargo xtask counts`: counts the instructions of one operation and compares them with a budget.
//!
//! Times depend on the load of the machine. Instruction counts do not, so a change of a few percent
//! is visible.

mod budget;

use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, presets};
use xshell::{Shell, cmd};

use crate::bench::environment;
use crate::files;
use crate::result::Result;
use budget::{Budget, Counts};

/// This package alone: building the whole workspace would enable tokio's test clock, which is
/// slower.
const TARGET: &[&str] = &["--package", "connpool-benches", "--bin", "counts"];

const FILE: &str = "benches/counts.json";

/// Runs with this many and with twice as many operations: the difference excludes startup and
/// shutdown.
const OPERATIONS: u64 = 5_000;

/// The minimum of this many runs counts: sometimes the second smol thread disturbs the first.
const RUNS: usize = 3;

/// The arguments of `cargo xtask counts`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Save the current counts as the budget, in benches/counts.json
    #[arg(long)]
    save: bool,
}

/// Counts, prints the table, and fails if a count exceeds its budget.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    let version = cmd!(sh, "valgrind --version").quiet().ignore_stderr();
    let valgrind =
        version.read().map_err(|_| "valgrind is not installed: `apt-get install valgrind`")?;
    let path = Path::new(FILE);
    let budget = match args.save {
        true => None,
        false => Some(Budget::read(path)?),
    };
    cmd!(sh, "cargo build --release {TARGET...}").run()?;
    let program = files::target().join("release/counts");
    let list = cmd!(sh, "{program} --list").quiet().read()?;
    let mut counts = Counts::new();
    for scenario in list.lines() {
        let once = least(sh, &program, scenario, OPERATIONS)?;
        let twice = least(sh, &program, scenario, 2 * OPERATIONS)?;
        let each = twice.saturating_sub(once) as f64 / OPERATIONS as f64;
        counts.insert(scenario.to_owned(), each.round() as u64);
    }

    let compiler = compiler(&cmd!(sh, "rustc -vV").quiet().read()?);
    // The C library copies memory differently on other processors, and with other core counts the
    // threads of smol interleave differently.
    let processor = environment::processor();
    let cores = available_parallelism().map_or(0, NonZero::get);
    let compiler = format!("{compiler}, {valgrind}, {processor}, {cores} cores");
    println!("{}", table(list.lines(), &counts, budget.as_ref()));
    println!("Instructions per operation; benches/src/bin/counts.rs defines the scenarios.");
    let Some(budget) = budget else {
        Budget::new(compiler, counts).write(path)?;
        println!("Saved as the budget: {FILE}");
        return Ok(());
    };
    if compiler != budget.compiler {
        println!(
            "The budget was made with {}, this is {compiler}: {} % more are allowed.",
            budget.compiler,
            budget.tolerance(&compiler),
        );
    }
    let verdict = budget.judge(&counts, &compiler);
    for note in &verdict.notes {
        println!("{note}");
    }
    if verdict.errors.is_empty() {
        return Ok(());
    }
    Err(verdict.errors.join("\n  ").into())
}

fn least(sh: &Shell, program: &Path, scenario: &str, operations: u64) -> Result<u64> {
    let run = |_| collected(sh, program, scenario, operations);
    let runs: Vec<_> = (0..RUNS).map(run).collect::<Result<_>>()?;
    Ok(runs.into_iter().min().unwrap_or_default())
}

/// Returns the instructions of a whole run, on all threads.
fn collected(sh: &Shell, program: &Path, scenario: &str, operations: u64) -> Result<u64> {
    let operations = operations.to_string();
    let valgrind = cmd!(
        sh,
        "valgrind --tool=callgrind --callgrind-out-file=/dev/null {program} {scenario} {operations}"
    );
    let output = valgrind.quiet().ignore_status().output()?;
    let printed = String::from_utf8_lossy(&output.stderr);
    match count(&printed) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("{scenario}: no count; valgrind printed:\n{printed}").into()),
    }
}

/// Parses the total that callgrind prints last.
fn count(printed: &str) -> Option<u64> {
    let (_, sum) = printed.split_once("Collected :")?;
    sum.split_whitespace().next()?.parse().ok()
}

/// Formats the compiler version and host from the output of `rustc -vV`.
fn compiler(printed: &str) -> String {
    let version = printed.lines().next().unwrap_or_default();
    let host = printed.lines().find_map(|line| line.strip_prefix("host: "));
    format!("{version} for {}", host.unwrap_or("an unknown host"))
}

fn table<'a>(
    scenarios: impl Iterator<Item = &'a str>,
    counts: &Counts,
    budget: Option<&Budget>,
) -> Table {
    let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
    table.set_header(["scenario", "instructions", "budget", "ratio"]);
    for scenario in scenarios {
        let count = counts.get(scenario).copied().unwrap_or_default();
        let allowed = budget.and_then(|budget| budget.instructions.get(scenario));
        table.add_row([
            Cell::new(scenario),
            number(count.to_string()),
            number(allowed.map(u64::to_string).unwrap_or_default()),
            number(allowed.map_or_else(String::new, |allowed| {
                format!("{:.3}", count as f64 / *allowed as f64)
            })),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_the_total_that_callgrind_prints() {
        let printed = "==7== Events    : Ir\n==7== Collected : 4033151\n==7== \n";
        assert_eq!(count(printed), Some(4_033_151));
        assert_eq!(count("==7== Events    : Ir\n"), None);
    }

    #[test]
    fn a_compiler_is_its_version_and_its_host() {
        let printed = "rustc 1.95.0 (5980 2026-04-14)\nbinary: rustc\nhost: x86_64-linux\n";
        let expected = "rustc 1.95.0 (5980 2026-04-14) for x86_64-linux";
        assert_eq!(compiler(printed), expected);
    }
}
