//! The checks at the end of a run.

use connpool_core::{CloseReport, Stats};

use crate::client_stats::ClientStats;
use crate::pool::MAX_SIZE;
use crate::process_stats::ProcessStats;

/// Descriptors that a runtime may keep beyond those at the start.
const SPARE_DESCRIPTORS: usize = 4;

/// Allowed growth of memory after the warm-up, for the slack of the allocator.
const GROWTH: f64 = 0.05;
const SPARE_KIB: f64 = 256.0;

/// The data of the checks.
pub(crate) struct Verdict {
    /// The number of clients that did not stop.
    pub(crate) hang: usize,
    pub(crate) before: ProcessStats,
    pub(crate) after: ProcessStats,
    pub(crate) samples: Vec<ProcessStats>,
    /// The pool after the clients stopped.
    pub(crate) at_rest: Stats,
    /// The pool after its close.
    pub(crate) closed: Stats,
    pub(crate) report: CloseReport,
}

impl Verdict {
    /// Prints each check and returns whether all passed.
    pub(crate) fn print(&self, counted: &ClientStats) -> bool {
        let checks = [
            self.replies(counted),
            self.clients(),
            self.descriptors(),
            self.memory(),
            connections("connections at rest", &self.at_rest, counted),
            connections("connections at the end", &self.closed, counted),
            self.gets(counted),
        ];
        println!("{}", self.closed);
        for (holds, what, figures) in &checks {
            let holds = if *holds { "ok    " } else { "FAILED" };
            println!("{holds} {what}: {figures}");
        }
        checks.iter().all(|(holds, ..)| *holds)
    }

    fn replies(&self, counted: &ClientStats) -> CheckResult {
        let (right, wrong) = (counted.replies(), counted.wrong());
        let figures = format!("{right} right, {wrong} wrong");
        (right > 0 && wrong == 0, "replies", figures)
    }

    fn clients(&self) -> CheckResult {
        let figures = format!(
            "{} clients hang; {} connections still in use",
            self.hang,
            self.report.still_out.len()
        );
        let holds = self.hang == 0 && self.report.still_out.is_empty() && !self.report.timed_out;
        (holds, "clients", figures)
    }

    fn descriptors(&self) -> CheckResult {
        let count = |process: &ProcessStats| process.descriptors;
        let most = self.samples.iter().map(count).max().unwrap_or(0);
        let (before, after) = (count(&self.before), count(&self.after));
        let figures = format!("{before} before, {most} at most, {after} after");
        // The connections of the pool, and as many detached ones that are not closed yet.
        let allowed = before + 2 * MAX_SIZE + SPARE_DESCRIPTORS;
        let holds = after <= before + SPARE_DESCRIPTORS && most <= allowed;
        (holds, "descriptors", figures)
    }

    /// Compares the second fifth of the samples with the last. The first fifth is the warm-up.
    fn memory(&self) -> CheckResult {
        let fifth = (self.samples.len() / 5).max(1);
        let mean = |part: Option<&[ProcessStats]>| {
            let part = part.unwrap_or_default();
            let sum: u64 = part.iter().map(|process| process.resident_kib).sum();
            sum as f64 / part.len().max(1) as f64
        };
        let early = mean(self.samples.chunks(fifth).nth(1));
        let late = mean(self.samples.rchunks(fifth).next());
        let figures = format!(
            "{:.1} MiB after the warm-up, {:.1} MiB at the end",
            early / 1024.0,
            late / 1024.0
        );
        (late <= early * (1.0 + GROWTH) + SPARE_KIB, "memory", figures)
    }

    fn gets(&self, counted: &ClientStats) -> CheckResult {
        let failed = counted.failed();
        let in_all = failed.iter().map(|(_, count)| count).sum::<u64>();
        let kinds: Vec<_> = failed.map(|(kind, n)| format!("{kind} {n}")).into();
        let Stats { request, success, .. } = self.closed;
        let (succeeded, cancelled) = (counted.succeeded(), counted.cancelled());
        let figures = format!(
            "{request} = {succeeded} succeeded + {in_all} failed ({}) + {cancelled} cancelled",
            kinds.join(", ")
        );
        let holds = request == succeeded + in_all + cancelled && success == succeeded;
        (holds, "gets", figures)
    }
}

/// The result of a check: passed or not, its name, and its figures.
type CheckResult = (bool, &'static str, String);

fn connections(what: &'static str, stats: &Stats, counted: &ClientStats) -> CheckResult {
    let (created, size, closed) = (stats.created, stats.size as u64, stats.closed.total());
    let detached = stats.detached;
    let figures = format!("{created} = {size} open + {closed} closed + {detached} detached");
    let holds = created == size + closed + detached && detached == counted.detached_in_all();
    (holds, what, figures)
}
