//! This pool's own benchmarks, measured by criterion.

use std::path::{Path, PathBuf, absolute};

use serde::Deserialize;
use xshell::{Shell, cmd};

use super::args::{Args, Runtime};
use super::figures::Figure;
use super::progress;
use crate::files;
use crate::result::Result;

/// The package by itself: the whole workspace would turn on tokio's clock for tests, a slower one.
const TARGET: &[&str] = &["--package", "connpool-benches", "--bench", "get_put"];

const QUICK: &[&str] = &[
    "--warm-up-time=0.3",
    "--measurement-time=0.6",
    "--sample-size=20",
    "--noplot",
];

/// By itself and before all else, so that cargo is heard while it builds.
pub(super) fn build(sh: &Shell) -> Result {
    Ok(cmd!(sh, "cargo bench {TARGET...} --no-run").run()?)
}

/// Measures one benchmark after another.
pub(super) fn measure(sh: &Shell, args: &Args) -> Result<Vec<Figure>> {
    let pace = if args.quick { QUICK } else { &[] };
    let chosen = args.runtime.map(|runtime| match runtime {
        Runtime::Tokio => "/tokio",
        Runtime::Smol => "/smol",
    });
    let list = cmd!(sh, "cargo bench --quiet {TARGET...} -- --list {chosen...}");
    let listed = list.quiet().ignore_stderr().read()?;
    let names: Vec<_> = listed.lines().filter_map(listed_name).collect();

    let home = home()?;
    let bench = cmd!(
        sh,
        "cargo bench --quiet {TARGET...} -- {pace...} {chosen...}"
    );
    let bench = bench.env("CRITERION_HOME", &home);
    progress::watch(bench, "Benchmarking ", names.len())?;
    names.iter().map(|name| figure(&home, name)).collect()
}

/// Criterion's own page, below the folder that cargo builds in, if the run has made one.
pub(super) fn page(args: &Args) -> Option<&'static str> {
    (!args.quick).then_some("criterion/report/index.html")
}

/// Where criterion is to keep its estimates.
fn home() -> Result<PathBuf> {
    // Absolute, since cargo runs a benchmark in the folder of its package.
    Ok(absolute(files::target().join("criterion"))?)
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
}
