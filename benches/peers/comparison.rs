//! Runs a workload on all pools, in rounds.

use connpool_benches::figures::{median, percentile, rotation};
use connpool_benches::{Smol, Tokio};

use crate::budget::Budget;
use crate::competitor::Competitor;
use crate::kind::Kind;
use crate::pools::bare::Bare;
use crate::pools::bb8::Bb8;
use crate::pools::connpool::Connpool;
use crate::pools::deadpool::Deadpool;
use crate::pools::fast_pool::FastPool;
use crate::pools::fastpool::Fastpool;
use crate::pools::mobc::Mobc;
use crate::pools::qp::Qp;
use crate::pools::r2d2::R2d2;
use crate::pools::sqlx::Sqlx;
use crate::record::{Outcome, Record};
use crate::round::{self, Failure};
use crate::sockets::Runtime;
use crate::workloads::{Case, Sample};

/// An object-safe [`Competitor`].
trait ErasedCompetitor {
    fn name(&self) -> &'static str;
    fn package(&self) -> Option<&'static str>;
    fn remark(&self, kind: Kind) -> Option<&'static str>;
    fn run_round(&self, kind: Kind, runtime: Runtime, budget: Budget) -> Result<Sample, Failure>;
}

impl<P: Competitor> ErasedCompetitor for P {
    fn name(&self) -> &'static str {
        Competitor::name(*self)
    }

    fn package(&self) -> Option<&'static str> {
        Competitor::package(*self)
    }

    fn remark(&self, kind: Kind) -> Option<&'static str> {
        Competitor::remark(*self, kind)
    }

    fn run_round(&self, kind: Kind, runtime: Runtime, budget: Budget) -> Result<Sample, Failure> {
        match runtime {
            Runtime::Tokio => round::run::<P, Tokio>(*self, kind, budget),
            Runtime::Smol => round::run::<P, Smol>(*self, kind, budget),
        }
    }
}

/// Runs a workload on all pools, several times and in a different order each time, so that other
/// load on the machine affects all of them alike. If `only` names any, only on those.
pub(crate) fn run(case: &Case, runtime: Runtime, budget: Budget, only: &[String]) -> Vec<Record> {
    let mut competitors = competitors(case.kind);
    competitors.retain(|pool| only.is_empty() || only.iter().any(|name| name == pool.name()));
    let rounds = match case.kind.is_a_count() {
        true => 1,
        false => budget.rounds,
    };
    let mut samples: Vec<Vec<Sample>> = competitors.iter().map(|_| Vec::new()).collect();
    let mut failures: Vec<Option<Failure>> = competitors.iter().map(|_| None).collect();
    for round in 0..rounds {
        for at in rotation(competitors.len(), round) {
            // Once is enough: a hang costs the full time limit.
            if failures[at].is_some() {
                continue;
            }
            match competitors[at].run_round(case.kind, runtime, budget) {
                Ok(sample) => samples[at].push(sample),
                Err(failure) => failures[at] = Some(failure),
            }
        }
    }
    let results = samples.into_iter().zip(failures);
    let results = competitors.iter().zip(results);
    results
        .map(|(competitor, (samples, failure))| {
            let record = Record {
                workload: case.name.clone(),
                runtime: runtime.name(),
                pool: competitor.name(),
                version: competitor.package().map(version),
                unit: case.kind.unit(),
                ..Record::default()
            };
            match failure {
                None => figures(record, samples, competitor.remark(case.kind)),
                Some(failure) => without(record, failure, samples.len()),
            }
        })
        .collect()
}

/// Returns the competitors of a workload, this pool first.
fn competitors(kind: Kind) -> Vec<Box<dyn ErasedCompetitor>> {
    let mut all: Vec<Box<dyn ErasedCompetitor>> = vec![Box::new(Connpool::Plain)];
    match kind {
        Kind::TcpLook => all.push(Box::new(Connpool::LooksSeldom)),
        Kind::Sequential => {
            all.push(Box::new(Connpool::Histograms));
            all.push(Box::new(Connpool::Observer));
            all.push(Box::new(Connpool::ObserverOfGets));
        }
        _ => {}
    }
    if matches!(kind, Kind::TcpLook | Kind::TcpPing) {
        all.push(Box::new(Bare));
    }
    all.push(Box::new(Deadpool));
    all.push(Box::new(Bb8));
    all.push(Box::new(Mobc));
    all.push(Box::new(FastPool));
    all.push(Box::new(Fastpool));
    all.push(Box::new(Qp));
    all.push(Box::new(Sqlx));
    all.push(Box::new(R2d2));
    all
}

fn figures(record: Record, samples: Vec<Sample>, remark: Option<&'static str>) -> Record {
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    let fairness: Vec<f64> = samples.iter().filter_map(|sample| sample.fairness).collect();
    let mut notes: Vec<String> = remark.map(str::to_owned).into_iter().collect();
    let mut waits = Vec::new();
    for sample in samples {
        waits.extend(sample.waits);
        notes.extend(sample.note.filter(|note| !notes.contains(note)));
    }
    waits.sort_unstable();
    Record {
        median: median(&values),
        best: values.iter().copied().min_by(f64::total_cmp),
        p50_ns: percentile(&waits, 0.5),
        p99_ns: percentile(&waits, 0.99),
        p999_ns: percentile(&waits, 0.999),
        fairness: median(&fairness),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
        ..record
    }
}

fn without(record: Record, failure: Failure, done: usize) -> Record {
    let (outcome, note) = match failure {
        Failure::Hangs => (Outcome::Hangs, "did not finish in time".to_owned()),
        Failure::Breaks(message) => (Outcome::Breaks, message),
        Failure::Cannot(why) => (Outcome::Cannot, why.to_owned()),
    };
    let note = match done {
        0 => note,
        _ => format!("{note}, in round {}", done + 1),
    };
    Record { outcome, note: Some(note), ..record }
}

/// Returns the version of a crate in Cargo.lock.
fn version(package: &str) -> String {
    let locked = include_str!("../../Cargo.lock");
    let entry = format!("name = \"{package}\"\nversion = \"");
    let version = locked.split(&entry).nth(1);
    let version = version.and_then(|rest| rest.split('"').next());
    version.expect("the crate is in Cargo.lock").to_owned()
}
