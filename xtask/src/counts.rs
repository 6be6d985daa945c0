//! `cargo xtask counts`: how many instructions one operation takes, held to a budget.
//!
//! Times shake with whatever else the machine does; a count of instructions does not, so that a few
//! per cent are seen at once.

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

/// The package by itself: the whole workspace would turn on tokio's clock for tests, a slower one.
const TARGET: &[&str] = &["--package", "connpool-benches", "--bin", "counts"];

const FILE: &str = "benches/counts.json";

/// Counted is this many and twice as many: what differs is that of so many operations, and of
/// nothing that comes before or after.
const OPERATIONS: u64 = 5_000;

/// The least of so many runs counts: now and then smol's second thread is in the way of the first.
const RUNS: usize = 3;

/// What `cargo xtask counts` is asked for.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Make what is counted now the budget, in benches/counts.json
    #[arg(long)]
    save: bool,
}

/// Counts, prints the table, and wants nothing to be over its budget.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    let version = cmd!(sh, "valgrind --version").quiet().ignore_stderr();
    let valgrind = version.read().map_err(
        |_| "valgrind is not on the PATH; it counts the instructions: `apt-get install valgrind`",
    )?;
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
    // The C library copies memory in another way on another processor, and with other cores smol's
    // threads get in each other's way at other times.
    let processor = environment::processor();
    let cores = available_parallelism().map_or(0, NonZero::get);
    let compiler = format!("{compiler}, {valgrind}, {processor}, {cores} cores");
    println!("{}", table(list.lines(), &counts, budget.as_ref()));
    println!("Instructions of one operation; benches/src/bin/counts.rs says of which.");
    let Some(budget) = budget else {
        Budget::new(compiler, counts).write(path)?;
        println!("Saved as the budget: {FILE}");
        return Ok(());
    };
    if compiler != budget.compiler {
        println!(
            "The budget was made with {} and this is {compiler}: compared loosely, {} % are allowed.",
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

/// How many instructions the whole of a run takes, on all its threads.
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
        _ => Err(format!("{scenario}: nothing was counted; valgrind printed:\n{printed}").into()),
    }
}

/// The sum that callgrind closes with.
fn count(printed: &str) -> Option<u64> {
    let (_, sum) = printed.split_once("Collected :")?;
    sum.split_whitespace().next()?.parse().ok()
}

/// What made the code, from what `rustc -vV` prints: the version and the kind of machine.
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
    fn the_count_is_the_sum_that_callgrind_closes_with() {
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
