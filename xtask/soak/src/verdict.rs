//! Whether everything held.

use connpool_core::{CloseReport, Stats};

use crate::client_stats::ClientStats;
use crate::pool::MAX_SIZE;
use crate::process_stats::ProcessStats;

/// A runtime may keep so many descriptors more than it began with.
const SPARE_DESCRIPTORS: usize = 4;

/// Memory may grow by so much after the warm-up: what the allocator rounds up, not what leaks.
const GROWTH: f64 = 0.05;
const SPARE_KIB: f64 = 256.0;

/// Everything that the end of a soak is judged by.
pub(crate) struct Verdict {
    /// How many clients did not stop.
    pub(crate) hang: usize,
    pub(crate) before: ProcessStats,
    pub(crate) after: ProcessStats,
    pub(crate) samples: Vec<ProcessStats>,
    /// The pool when the clients had stopped.
    pub(crate) at_rest: Stats,
    /// The pool after its close.
    pub(crate) closed: Stats,
    pub(crate) report: CloseReport,
}

impl Verdict {
    /// Prints each judgement, and says whether all are good.
    pub(crate) fn print(&self, counted: &ClientStats) -> bool {
        let judgements = [
            self.replies(counted),
            self.clients(),
            self.descriptors(),
            self.memory(),
            connections("connections at rest", &self.at_rest, counted),
            connections("connections at the end", &self.closed, counted),
            self.gets(counted),
        ];
        println!("{}", self.closed);
        for (holds, what, figures) in &judgements {
            let holds = if *holds { "held  " } else { "BROKEN" };
            println!("{holds} {what}: {figures}");
        }
        judgements.iter().all(|(holds, ..)| *holds)
    }

    fn replies(&self, counted: &ClientStats) -> Judgement {
        let (right, wrong) = (counted.replies(), counted.wrong());
        let figures = format!("{right} right, {wrong} wrong");
        (right > 0 && wrong == 0, "replies", figures)
    }

    fn clients(&self) -> Judgement {
        let figures = format!(
            "{} hang; {} connections still out",
            self.hang,
            self.report.still_out.len()
        );
        let holds = self.hang == 0 && self.report.still_out.is_empty() && !self.report.timed_out;
        (holds, "clients", figures)
    }

    fn descriptors(&self) -> Judgement {
        let count = |process: &ProcessStats| process.descriptors;
        let most = self.samples.iter().map(count).max().unwrap_or(0);
        let (before, after) = (count(&self.before), count(&self.after));
        let figures = format!("{before} before, {most} at most, {after} after");
        // The pool's own, and as many that were detached and not closed yet.
        let allowed = before + 2 * MAX_SIZE + SPARE_DESCRIPTORS;
        let holds = after <= before + SPARE_DESCRIPTORS && most <= allowed;
        (holds, "descriptors", figures)
    }

    /// The first fifth is the warm-up. The second is held against the last.
    fn memory(&self) -> Judgement {
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
        (
            late <= early * (1.0 + GROWTH) + SPARE_KIB,
            "memory",
            figures,
        )
    }

    fn gets(&self, counted: &ClientStats) -> Judgement {
        let failed = counted.failed();
        let in_all = failed.iter().map(|(_, count)| count).sum::<u64>();
        let kinds: Vec<_> = failed.map(|(kind, n)| format!("{kind} {n}")).into();
        let Stats {
            request, success, ..
        } = self.closed;
        let (lent, cancelled) = (counted.lent(), counted.cancelled());
        let figures = format!(
            "{request} = {lent} lent + {in_all} failed ({}) + {cancelled} cancelled",
            kinds.join(", ")
        );
        let holds = request == lent + in_all + cancelled && success == lent;
        (holds, "gets", figures)
    }
}

/// Whether something holds, what it is, and the figures that say so.
type Judgement = (bool, &'static str, String);

fn connections(what: &'static str, stats: &Stats, counted: &ClientStats) -> Judgement {
    let (created, size, closed) = (stats.created, stats.size as u64, stats.closed.total());
    let detached = stats.detached;
    let figures = format!("{created} = {size} open + {closed} closed + {detached} detached");
    let holds = created == size + closed + detached && detached == counted.detached_in_all();
    (holds, what, figures)
}
