//! All pools do a workload, in turns.

use std::time::Duration;

use connpool_benches::figures::{median, percentile, rotation};
use connpool_benches::{Smol, Tokio};

use crate::pace::Pace;
use crate::peer::Peer;
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
use crate::sockets::Runtime;
use crate::turn::{Failure, take};
use crate::workloads::{Kind, Sample, Workload};

/// A [`Peer`] among others of its kind.
trait Contestant {
    fn name(&self) -> &'static str;
    fn package(&self) -> Option<&'static str>;
    fn remark(&self, kind: Kind) -> Option<&'static str>;
    fn take_turn(&self, kind: Kind, runtime: Runtime, pace: Pace) -> Result<Sample, Failure>;
}

impl<P: Peer> Contestant for P {
    fn name(&self) -> &'static str {
        Peer::name(*self)
    }

    fn package(&self) -> Option<&'static str> {
        Peer::package(*self)
    }

    fn remark(&self, kind: Kind) -> Option<&'static str> {
        Peer::remark(*self, kind)
    }

    fn take_turn(&self, kind: Kind, runtime: Runtime, pace: Pace) -> Result<Sample, Failure> {
        match runtime {
            Runtime::Tokio => take::<P, Tokio>(*self, kind, pace),
            Runtime::Smol => take::<P, Smol>(*self, kind, pace),
        }
    }
}

/// Lets all pools do a workload, one after the other, several times, and each time in another
/// order: what the machine does meanwhile is then the same for all of them.
pub(crate) fn hold(workload: &Workload, runtime: Runtime, pace: Pace) -> Vec<Record> {
    let contestants = contestants(workload.kind);
    let rounds = match workload.kind.is_a_count() {
        true => 1,
        false => pace.rounds,
    };
    let mut samples: Vec<Vec<Sample>> = contestants.iter().map(|_| Vec::new()).collect();
    let mut failures: Vec<Option<Failure>> = contestants.iter().map(|_| None).collect();
    for round in 0..rounds {
        for at in rotation(contestants.len(), round) {
            // Once is enough: what hangs takes its time.
            if failures[at].is_some() {
                continue;
            }
            match contestants[at].take_turn(workload.kind, runtime, pace) {
                Ok(sample) => samples[at].push(sample),
                Err(failure) => failures[at] = Some(failure),
            }
        }
    }
    let results = samples.into_iter().zip(failures);
    let results = contestants.iter().zip(results);
    results
        .map(|(contestant, (samples, failure))| {
            let record = Record {
                workload: workload.name.clone(),
                runtime: runtime.name(),
                pool: contestant.name(),
                version: contestant.package().map(version),
                unit: workload.kind.unit(),
                ..Record::default()
            };
            match failure {
                None => figures(record, samples, contestant.remark(workload.kind)),
                Some(failure) => without(record, failure, samples.len()),
            }
        })
        .collect()
}

/// Who does a workload, this pool first.
fn contestants(kind: Kind) -> Vec<Box<dyn Contestant>> {
    let connpool = |look_after| Box::new(Connpool { look_after });
    let mut all: Vec<Box<dyn Contestant>> = vec![connpool(Duration::ZERO)];
    if kind == Kind::TcpLook {
        all.push(connpool(Duration::from_secs(1)));
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
    let fairness: Vec<f64> = samples
        .iter()
        .filter_map(|sample| sample.fairness)
        .collect();
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
        Failure::Hangs => (Outcome::Hangs, "was not done in time".to_owned()),
        Failure::Breaks(message) => (Outcome::Breaks, message),
        Failure::Cannot(why) => (Outcome::Cannot, why.to_owned()),
    };
    let note = match done {
        0 => note,
        _ => format!("{note}, in round {}", done + 1),
    };
    Record {
        outcome,
        note: Some(note),
        ..record
    }
}

/// The version of a crate that is compiled in.
fn version(package: &str) -> String {
    let locked = include_str!("../../Cargo.lock");
    let entry = format!("name = \"{package}\"\nversion = \"");
    let version = locked.split(&entry).nth(1);
    let version = version.and_then(|rest| rest.split('"').next());
    version.expect("the crate is in Cargo.lock").to_owned()
}
