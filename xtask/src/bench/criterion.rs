//! The benchmarks of this pool, measured by criterion.

use std::path::Path;

use xshell::{Shell, cmd};

use super::Args;
use super::figures::Figure;
use crate::common::Result;

/// This package alone: building the whole workspace would enable tokio's test clock, which is
/// slower.
const TARGET: &[&str] = &["--package", "connpool-benches", "--bench", "get_put"];

const QUICK: &[&str] =
    &["--warm-up-time=0.3", "--measurement-time=0.6", "--sample-size=20", "--noplot"];

/// Builds the benchmarks first, so that the output of cargo stays visible.
pub(super) fn build(sh: &Shell) -> Result {
    Ok(cmd!(sh, "cargo bench {TARGET...} --no-run").run()?)
}

/// Runs the benchmarks one after another.
pub(super) fn measure(sh: &Shell, args: &Args) -> Result<Vec<Figure>> {
    let options = if args.quick { QUICK } else { &[] };
    let chosen = &args.runtime.as_ref().map(|runtime| format!("/{runtime}"));
    let list = cmd!(sh, "cargo bench --quiet {TARGET...} -- --list {chosen...}");
    let listed = list.quiet().ignore_stderr().read()?;
    let names: Vec<_> =
        listed.lines().filter_map(|line| line.strip_suffix(": benchmark")).collect();

    let home = super::target("criterion")?;
    cmd!(sh, "cargo bench --quiet {TARGET...} -- {options...} {chosen...}")
        .env("CRITERION_HOME", &home)
        .run()?;
    names.iter().map(|name| figure(sh, &home, name)).collect()
}

/// Reads criterion's estimate for a benchmark.
fn figure(sh: &Shell, home: &Path, name: &str) -> Result<Figure> {
    let path = home.join(name).join("new/estimates.json");
    let json = sh.read_file(&path)?;
    let median = median(&json).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Figure::new(name, median))
}

/// Parses the median in nanoseconds from criterion's `estimates.json`.
fn median(json: &str) -> Result<f64> {
    let estimates: serde_json::Value = serde_json::from_str(json)?;
    let median = estimates["median"]["point_estimate"].as_f64();
    Ok(median.ok_or("no median with a point estimate")?)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn estimates_without_a_median_are_an_error_that_names_it() {
        let error = median(r#"{"mean": {"point_estimate": 2.0}}"#).expect_err("there is none");
        assert!(error.to_string().contains("median"), "{error}");
    }

    #[test]
    fn missing_estimates_are_an_error_that_names_the_file() {
        let sh = Shell::new().expect("a current directory");
        let home = Path::new("no/such/folder");
        let error = figure(&sh, home, "GetPut_Parallel/tokio").expect_err("there is none");
        let place = "no/such/folder/GetPut_Parallel/tokio/new/estimates.json";
        assert!(error.to_string().contains(place), "{error}");
    }
}
