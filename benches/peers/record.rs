//! What comes out, for programs and for people.

use serde::Serialize;

/// What one pool made of one workload.
#[derive(Default, Serialize)]
pub(crate) struct Record {
    /// The workload's name.
    pub(crate) workload: String,
    /// `tokio` or `smol`.
    pub(crate) runtime: &'static str,
    /// The pool's name.
    pub(crate) pool: &'static str,
    /// The version of its crate.
    pub(crate) version: Option<String>,
    /// What the figures count.
    pub(crate) unit: &'static str,
    /// The median of all rounds.
    pub(crate) median: Option<f64>,
    /// The best round.
    pub(crate) best: Option<f64>,
    /// How long half of all gets took at most.
    pub(crate) p50_ns: Option<u64>,
    /// How long 99 of 100 took at most.
    pub(crate) p99_ns: Option<u64>,
    /// How long 999 of 1,000 took at most.
    pub(crate) p999_ns: Option<u64>,
    /// The most gets that one task had in the time, over the fewest.
    pub(crate) fairness: Option<f64>,
    /// Whether there are figures.
    pub(crate) outcome: Outcome,
    /// What else is to be known.
    pub(crate) note: Option<String>,
}

/// Whether there are figures.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// There are.
    #[default]
    Ok,
    /// It did not end.
    Hangs,
    /// It panicked or failed.
    Breaks,
    /// It is not made for it.
    Cannot,
}

/// All that came out.
#[derive(Serialize)]
pub(crate) struct Report {
    /// By workload, this pool first.
    pub(crate) records: Vec<Record>,
}

/// The records of one workload as lines of text.
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
