//! The records written by the bench target `peers`.

use std::path::Path;

use serde::Deserialize;
use xshell::Shell;

use super::units;
use crate::common::Result;

/// The name of this pool.
pub(super) const OURS: &str = "connpool";

/// All pools, in the order of their columns. Records under other names are references, such as the
/// bare system call.
pub(super) const POOLS: &[&str] =
    &[OURS, "deadpool", "bb8", "mobc", "fast_pool", "fastpool", "qp", "sqlx", "r2d2"];

/// The result of one pool in one workload.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Record {
    pub(super) workload: String,
    pub(super) runtime: String,
    pub(super) pool: String,
    pub(super) version: Option<String>,
    pub(super) unit: Unit,
    pub(super) median: Option<f64>,
    pub(super) p50_ns: Option<f64>,
    pub(super) p999_ns: Option<f64>,
    /// The highest number of gets of a task over the lowest.
    pub(super) fairness: Option<f64>,
    pub(super) outcome: Outcome,
    pub(super) note: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    Ns,
    Bytes,
    Allocations,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// It completed.
    Ok,
    /// It did not complete in time.
    Hangs,
    /// It panicked or failed.
    Breaks,
    /// The pool does not support it.
    Cannot,
}

impl Record {
    /// Returns the figure, if the workload completed.
    pub(super) fn value(&self) -> Option<f64> {
        match self.outcome {
            Outcome::Ok => self.median,
            Outcome::Hangs | Outcome::Breaks | Outcome::Cannot => None,
        }
    }

    /// Formats the figure, or the outcome if there is none.
    pub(super) fn figure(&self) -> String {
        match self.outcome {
            Outcome::Hangs => "hangs".to_owned(),
            Outcome::Breaks => "breaks".to_owned(),
            Outcome::Cannot => "-".to_owned(),
            Outcome::Ok => self.median.map(|it| self.unit.text(it)).unwrap_or_default(),
        }
    }
}

impl Unit {
    fn text(self, value: f64) -> String {
        match self {
            Unit::Ns => units::time(value),
            Unit::Bytes => units::bytes(value),
            Unit::Allocations => units::count(value),
        }
    }
}

/// Reads the records from a file.
pub(super) fn read(sh: &Shell, path: &Path) -> Result<Vec<Record>> {
    let records = parse(&sh.read_file(path)?);
    Ok(records.map_err(|error| format!("{}: {error}", path.display()))?)
}

fn parse(json: &str) -> serde_json::Result<Vec<Record>> {
    #[derive(Deserialize)]
    struct Report {
        records: Vec<Record>,
    }
    let report: Report = serde_json::from_str(json)?;
    Ok(report.records)
}

/// Fictitious records of every kind.
#[cfg(test)]
pub(super) fn sample() -> Vec<Record> {
    parse(include_str!("sample.json")).expect("reading the sample")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_record_shows_its_outcome() {
        let figure = |workload: &str, pool: &str| {
            let sample = sample().into_iter();
            let mut found = sample.filter(|it| it.workload == workload && it.pool == pool);
            found.next().map(|record| record.figure())
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(figure("sequential", "connpool"), some("50.0 ns"));
        assert_eq!(figure("contended-64-yield", "qp"), some("hangs"));
        assert_eq!(figure("contended-64-yield", "fast_pool"), some("breaks"));
        assert_eq!(figure("allocations", "r2d2"), some("-"));
        assert_eq!(figure("allocations", "mobc"), some("1.5"));
        assert_eq!(figure("memory-idle", "connpool"), some("128 B"));
    }
}
