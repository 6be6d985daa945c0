//! The results, as JSON and as text.

use serde::Serialize;

/// The result of one pool in one workload.
#[derive(Default, Serialize)]
pub(crate) struct Record {
    /// The name of the workload.
    pub(crate) workload: String,
    /// `tokio` or `smol`.
    pub(crate) runtime: &'static str,
    /// The name of the pool.
    pub(crate) pool: &'static str,
    /// The version of its crate.
    pub(crate) version: Option<String>,
    /// The unit of the figures.
    pub(crate) unit: &'static str,
    /// The median of all rounds.
    pub(crate) median: Option<f64>,
    /// The best round.
    pub(crate) best: Option<f64>,
    /// The 50th percentile of the time of a get.
    pub(crate) p50_ns: Option<u64>,
    /// The 99th percentile.
    pub(crate) p99_ns: Option<u64>,
    /// The 99.9th percentile.
    pub(crate) p999_ns: Option<u64>,
    /// The highest number of gets of a task over the lowest.
    pub(crate) fairness: Option<f64>,
    /// How the workload ended.
    pub(crate) outcome: Outcome,
    /// A note.
    pub(crate) note: Option<String>,
}

/// How a workload ended.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It completed.
    #[default]
    Ok,
    /// It did not complete in time.
    Hangs,
    /// It panicked or failed.
    Breaks,
    /// The pool does not support it.
    Cannot,
}

/// All results.
#[derive(Serialize)]
pub(crate) struct Report {
    /// Ordered by workload, this pool first.
    pub(crate) records: Vec<Record>,
}

/// Formats the records of one workload.
pub(crate) fn lines(records: &[Record]) -> Vec<String> {
    let Some(first) = records.first() else {
        return Vec::new();
    };
    let heading = format!(
        "{:<30}{:>11}{:>11}{:>10}{:>10}{:>10}{:>7}  {}",
        first.workload, "median", "best", "p50", "p99", "p99.9", "fair", first.unit,
    );
    let rows = records.iter().map(|record| {
        let median = match record.outcome {
            Outcome::Ok => figure(record.median),
            outcome => format!("{outcome:?}").to_lowercase(),
        };
        let fair = record.fairness.map(|ratio| format!("{ratio:.2}"));
        let row = format!(
            "  {:<28}{median:>11}{:>11}{:>10}{:>10}{:>10}{:>7}  {}",
            record.pool,
            figure(record.best),
            figure(record.p50_ns.map(|wait| wait as f64)),
            figure(record.p99_ns.map(|wait| wait as f64)),
            figure(record.p999_ns.map(|wait| wait as f64)),
            fair.unwrap_or_default(),
            record.note.as_deref().unwrap_or_default(),
        );
        row.trim_end().to_owned()
    });
    [heading].into_iter().chain(rows).collect()
}

fn figure(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}
