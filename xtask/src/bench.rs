//! `cargo xtask bench`: the benchmarks, and the median of each in one table.

mod table;

use std::env;
use std::io::{BufRead, BufReader};
use std::num::NonZero;
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use xshell::{Cmd, Shell, cmd};

use crate::{Result, files};
use table::Figure;

/// The package by itself: the whole workspace would turn on tokio's clock for tests, a slower one.
const TARGET: &[&str] = &["--package", "connpool-benches", "--bench", "get_put"];

const QUICK: &[&str] = &[
    "--warm-up-time=0.3",
    "--measurement-time=0.6",
    "--sample-size=20",
    "--noplot",
];

/// How criterion begins a line that says what it is doing.
const STATUS: &str = "Benchmarking ";

/// What to measure, and how well.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// One second for each benchmark instead of four, and no plots: to look at, not to quote
    #[arg(long)]
    quick: bool,
    /// Only this runtime
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Runtime {
    Tokio,
    Smol,
}

/// Measures one benchmark after another and prints the table.
pub(crate) fn run(sh: &Shell, args: &Args) -> Result {
    // First of all and by itself, so that cargo is heard while it builds.
    cmd!(sh, "cargo bench {TARGET...} --no-run").run()?;

    let pace = if args.quick { QUICK } else { &[] };
    let chosen = args.runtime.map(|runtime| match runtime {
        Runtime::Tokio => "/tokio",
        Runtime::Smol => "/smol",
    });
    let list = cmd!(sh, "cargo bench --quiet {TARGET...} -- --list {chosen...}");
    let listed = list.quiet().ignore_stderr().read()?;
    let names: Vec<_> = listed.lines().filter_map(listed_name).collect();

    let load = load();
    let home = criterion_home()?;
    let bench = cmd!(
        sh,
        "cargo bench --quiet {TARGET...} -- {pace...} {chosen...}"
    );
    measure(bench.env("CRITERION_HOME", &home), names.len())?;

    let figures: Vec<_> = names
        .iter()
        .map(|name| figure(&home, name))
        .collect::<Result<_>>()?;
    println!("{}", table::of(&figures));
    println!("Medians of one get and return; benches/README.md says what each includes.");
    println!("{}", surroundings(sh, load));
    if !args.quick {
        println!("Plots: {}", home.join("report/index.html").display());
    }
    Ok(())
}

/// Runs every benchmark once and measures nothing, to see that they work.
pub(crate) fn run_each_once(sh: &Shell) -> Result {
    // Built like the tests, so that nothing is built twice.
    Ok(cmd!(sh, "cargo test --workspace --all-features --bench *").run()?)
}

/// Where criterion is to keep its estimates.
fn criterion_home() -> Result<PathBuf> {
    // Absolute, since cargo runs a benchmark in the folder of its package.
    Ok(absolute(files::target().join("criterion"))?)
}

/// Runs the benchmarks, of which there are `count`, and says which of them it is at.
fn measure(bench: Cmd<'_>, count: usize) -> Result {
    let shown = bench.to_string();
    let mut child = Command::from(bench)
        .stdin(Stdio::null())
        // Criterion's results. They are read from its files.
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`{shown}`: {error}"))?;

    let style = ProgressStyle::with_template("{elapsed:>4} [{bar:24}] {pos}/{len} {msg}")?;
    let bar = ProgressBar::new(count as u64).with_style(style);
    let mut others = Vec::new();
    let mut at = 0;
    let stderr = child.stderr.take().into_iter();
    for line in stderr.flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line?;
        if let Some(name) = begun(&line) {
            bar.set_message(name.to_owned());
            bar.set_position(at);
            at += 1;
            // Where there is no terminal to draw a bar on.
            if bar.is_hidden() {
                eprintln!("{at}/{count} {name}");
            }
        } else if !line.starts_with(STATUS) {
            others.push(line);
        }
    }
    bar.finish_and_clear();

    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    eprintln!("{}", others.join("\n"));
    Err(format!("`{shown}`: {status}; the benchmark that failed says why above").into())
}

/// The name of a benchmark that begins, in a line of criterion's.
fn begun(line: &str) -> Option<&str> {
    line.strip_prefix(STATUS)
        .filter(|rest| !rest.contains(": "))
}

/// The name in a line of criterion's `--list`.
fn listed_name(line: &str) -> Option<&str> {
    line.strip_suffix(": benchmark")
}

/// What criterion found for one benchmark.
fn figure(home: &Path, name: &str) -> Result<Figure> {
    let path = home.join(name).join("new/estimates.json");
    let json = files::read(&path)?;
    let median = median(&json).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Figure::new(name, median))
}

/// The median in criterion's `estimates.json`, in nanoseconds.
fn median(json: &str) -> serde_json::Result<f64> {
    #[derive(Deserialize)]
    struct Estimates {
        median: Estimate,
    }
    #[derive(Deserialize)]
    struct Estimate {
        point_estimate: f64,
    }
    let estimates: Estimates = serde_json::from_str(json)?;
    Ok(estimates.median.point_estimate)
}

/// What the figures hold for: the machine, the compiler, the commit and the command.
fn surroundings(sh: &Shell, load: Option<String>) -> String {
    let cpu_info = files::read(Path::new("/proc/cpuinfo")).unwrap_or_default();
    let cores = available_parallelism().map_or(0, NonZero::get);
    let rustc = cmd!(sh, "rustc --version").quiet().read();
    let commit = cmd!(sh, "git describe --always --dirty --exclude *").quiet();
    let typed: Vec<_> = env::args().skip(1).collect();
    let parts = [
        cpu_model(&cpu_info).map(str::to_owned),
        Some(format!("{cores} cores")),
        load.map(|load| format!("load {load} at the start")),
        rustc.ok(),
        commit.read().ok().map(|commit| format!("commit {commit}")),
        Some(format!("`cargo xtask {}`", typed.join(" "))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How many tasks of others the machine was busy with in the last minute, where that is known.
fn load() -> Option<String> {
    let averages = files::read(Path::new("/proc/loadavg")).ok()?;
    averages.split_whitespace().next().map(str::to_owned)
}

/// The first model in the text of Linux's `/proc/cpuinfo`.
fn cpu_model(cpu_info: &str) -> Option<&str> {
    let line = cpu_info
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_benchmark_is_taken_from_the_list() {
        let list = "GetPut_Sequential/tokio: benchmark\n\nlib::works: test\n";
        let names: Vec<_> = list.lines().filter_map(listed_name).collect();
        assert_eq!(names, ["GetPut_Sequential/tokio"]);
    }

    #[test]
    fn the_median_is_read_from_the_estimates() {
        let json = r#"{
            "mean": {"point_estimate": 2.0, "standard_error": 0.1},
            "median": {"confidence_interval": {"lower_bound": 1.0}, "point_estimate": 140.5},
            "slope": null
        }"#;
        assert_eq!(median(json).expect("reading the estimates"), 140.5);
    }

    #[test]
    fn estimates_without_a_median_are_an_error_that_says_so() {
        let error = median(r#"{"mean": {"point_estimate": 2.0}}"#).expect_err("there is none");
        assert!(error.to_string().contains("median"), "{error}");
    }

    #[test]
    fn estimates_that_are_not_there_are_an_error_that_names_the_file() {
        let home = Path::new("no/such/folder");
        let error = figure(home, "GetPut_Parallel/tokio").expect_err("there is none");
        let place = "no/such/folder/GetPut_Parallel/tokio/new/estimates.json";
        assert!(error.to_string().contains(place), "{error}");
    }

    #[test]
    fn a_benchmark_is_named_once_when_it_begins() {
        let lines = [
            "Benchmarking GetPut_Parallel/smol",
            "Benchmarking GetPut_Parallel/smol: Warming up for 300.00 ms",
            "thread 'main' panicked",
        ];
        assert_eq!(lines.map(begun), [Some("GetPut_Parallel/smol"), None, None]);
    }

    #[test]
    fn the_cpu_is_named_by_its_model() {
        let info = "processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\n";
        assert_eq!(cpu_model(info), Some("AMD EPYC"));
        assert_eq!(cpu_model("processor\t: 0\n"), None);
    }
}
