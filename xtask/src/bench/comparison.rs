//! Compares pools: absolute figures for this pool, multiples for the others.

use super::figures::in_order;
use super::footnotes::Footnotes;
use super::plot::{Bar, Plot};
use super::record::{OURS, Outcome, POOLS, Record, Unit};
use super::table::Table;
use super::units;

/// The rows of the short table.
const FEW: &[&str] = &[
    "sequential",
    "sequential-limits",
    "parallel-64-yield",
    "contended-64-yield",
    "tcp-look",
    "memory-idle",
    "allocations",
];

/// Returns two tables per runtime: all workloads, and the waits of those that have any.
pub(super) fn tables(records: &[Record]) -> Vec<Table> {
    let runtimes = in_order(records.iter().map(|record| record.runtime.as_str()));
    let both = |runtime| {
        let here: Vec<_> = records.iter().filter(|record| record.runtime == runtime).collect();
        [figures(runtime, &here), waits(runtime, &here)]
    };
    let tables = runtimes.into_iter().flat_map(both);
    tables.filter(|table| !table.rows.is_empty()).collect()
}

/// Returns the table of a few rows on the first runtime.
pub(super) fn short_table(records: &[Record]) -> Table {
    let runtime = records.first().map_or("", |record| &record.runtime);
    let few =
        |record: &&Record| record.runtime == runtime && FEW.contains(&record.workload.as_str());
    figures(runtime, &records.iter().filter(few).collect::<Vec<_>>())
}

/// Returns a plot per workload and runtime.
pub(super) fn plots(records: &[Record]) -> Vec<Plot> {
    fn place(record: &Record) -> (&str, &str) {
        (&record.runtime, &record.workload)
    }
    let plot = |(runtime, workload)| {
        let here = records.iter().filter(|record| place(record) == (runtime, workload));
        Plot { title: format!("{workload}, {runtime}"), bars: here.map(bar).collect() }
    };
    in_order(records.iter().map(place)).into_iter().map(plot).collect()
}

fn bar(record: &Record) -> Bar {
    Bar {
        name: record.pool.clone(),
        value: record.value(),
        figure: record.figure(),
        ours: record.pool.starts_with(OURS),
    }
}

fn figures(runtime: &str, records: &[&Record]) -> Table {
    let pools = pools(records);
    let mut notes = Footnotes::default();
    let mut rows = Vec::new();
    for workload in in_order(records.iter().map(|record| &record.workload)) {
        let ours = find(records, workload, OURS).and_then(Record::value);
        rows.push(row(workload, &pools, |pool| {
            let record = find(records, workload, pool)?;
            let figure = if pool == OURS { record.figure() } else { beside(record, ours) };
            Some(notes.marked(figure, record.note.as_deref()))
        }));
        let here = records.iter().filter(|record| record.workload == *workload);
        for record in here.filter(|record| !POOLS.contains(&record.pool.as_str())) {
            let figure = notes.marked(record.figure(), record.note.as_deref());
            let name = format!("  {}", record.pool);
            rows.push(row(&name, &pools, |pool| (pool == OURS).then(|| figure.clone())));
        }
    }
    Table {
        title: format!("On {runtime}: connpool, and the others as multiples of it"),
        header: header("median", &pools, records),
        rows,
        notes: notes.lines(),
    }
}

/// Formats a figure as a multiple of this pool's, where that is possible.
fn beside(record: &Record, ours: Option<f64>) -> String {
    match (record.value(), ours) {
        _ if record.unit == Unit::Allocations => record.figure(),
        (Some(value), Some(ours)) if value > 0.0 && ours > 0.0 => units::multiple(value / ours),
        _ => record.figure(),
    }
}

fn waits(runtime: &str, records: &[&Record]) -> Table {
    let records: Vec<_> = records
        .iter()
        .filter(|record| record.p50_ns.is_some() && record.outcome == Outcome::Ok)
        .copied()
        .collect();
    let pools = pools(&records);
    let mut rows = Vec::new();
    for workload in in_order(records.iter().map(|record| &record.workload)) {
        let mut add = |name: &str, figure: fn(&Record) -> Option<String>| {
            rows.push(row(name, &pools, |pool| figure(find(&records, workload, pool)?)));
        };
        add(&format!("{workload} p50"), |record| record.p50_ns.map(units::time));
        add("  p99.9", |record| record.p999_ns.map(units::time));
        add("  most over fewest", |record| record.fairness.map(units::ratio));
    }
    Table {
        title: format!(
            "On {runtime}: the time to get a connection, and the most gets of a task over the fewest"
        ),
        header: header("wait", &pools, &records),
        rows,
        notes: Vec::new(),
    }
}

/// Returns the pools that have records, in the order of their columns.
fn pools(records: &[&Record]) -> Vec<&'static str> {
    let measured = |pool: &str| records.iter().any(|record| record.pool == pool);
    // This pool always has a column: it also holds figures that belong to no pool.
    POOLS.iter().copied().filter(|pool| *pool == OURS || measured(pool)).collect()
}

fn header(corner: &str, pools: &[&str], records: &[&Record]) -> Vec<String> {
    row(corner, pools, |pool| {
        let record = records.iter().find(|record| record.pool == pool);
        let version = record.and_then(|record| record.version.as_deref());
        Some(format!("{pool}\n{}", version.unwrap_or_default()))
    })
}

/// Returns a row: its name, and a cell per pool.
fn row(name: &str, pools: &[&str], cell: impl FnMut(&str) -> Option<String>) -> Vec<String> {
    let cells = pools.iter().copied().map(cell).map(Option::unwrap_or_default);
    [name.to_owned()].into_iter().chain(cells).collect()
}

fn find<'a>(records: &[&'a Record], workload: &str, pool: &str) -> Option<&'a Record> {
    records.iter().copied().find(|record| record.workload == workload && record.pool == pool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::sample;

    /// Returns the rows, each joined to a line.
    fn rows(table: &Table) -> Vec<String> {
        table.rows.iter().map(|row| row.join("|")).collect()
    }

    #[test]
    fn this_pool_comes_first_and_the_others_are_multiples_of_it() {
        let tables = tables(&sample());
        let header = tables[0].header.join("|").replace('\n', " ");
        assert_eq!(
            header,
            "median|connpool 0.1.0|deadpool 0.13.1|mobc 0.9.0|fast_pool 1.0.4|qp 0.2.1|r2d2 0.8.10"
        );
        assert_eq!(rows(&tables[0])[0], "sequential|50.0 ns|3.1x|||0.64x ¹|");
    }

    #[test]
    fn a_failed_run_shows_its_outcome_and_a_footnote() {
        let table = &tables(&sample())[0];
        let expected = "contended-64-yield|440 ns|1.0x||breaks ²|hangs ³|13x";
        assert_eq!(rows(table)[1], expected);
        assert_eq!(table.notes[1], "² opens 5 connections at max 4");
        assert_eq!(table.notes[2], "³ did not finish in time");
    }

    #[test]
    fn a_figure_of_zero_has_no_multiples() {
        let rows = rows(&tables(&sample())[0]);
        assert_eq!(rows[5], "memory-idle|128 B|0.44x||||");
        assert_eq!(rows[6], "allocations|0||1.5|||- ³");
    }

    #[test]
    fn waits_have_their_own_table() {
        let table = &tables(&sample())[1];
        assert_eq!(table.header.len(), 4, "{:?}", table.header);
        assert_eq!(
            rows(table),
            [
                "contended-64-yield p50|28.0 µs|28.0 µs|200 ns",
                "  p99.9|91.0 µs|91.0 µs|2.54 ms",
                "  most over fewest|1.00|1.00|1.30",
            ]
        );
    }

    #[test]
    fn each_runtime_has_its_own_tables() {
        let tables = tables(&sample());
        let [_, _, smol] = &tables[..] else {
            panic!("{tables:?}");
        };
        assert!(smol.title.starts_with("On smol"), "{}", smol.title);
        assert_eq!(rows(smol), ["sequential|45.0 ns|4.2x"]);
    }

    #[test]
    fn the_short_table_has_few_rows_of_one_runtime() {
        let mut records = sample();
        records[0].workload = "idle-100".to_owned();
        let names: Vec<_> =
            short_table(&records).rows.into_iter().map(|row| row[0].clone()).collect();
        assert!(!names.contains(&"idle-100".to_owned()), "{names:?}");
        assert_eq!(names.last().map(String::as_str), Some("allocations"));
    }

    #[test]
    fn a_plot_has_a_bar_per_record() {
        let plots = plots(&sample());
        assert_eq!(plots[1].title, "contended-64-yield, tokio");
        let bars: Vec<_> = plots[1]
            .bars
            .iter()
            .map(|bar| (bar.name.as_str(), bar.figure.as_str(), bar.ours))
            .collect();
        assert_eq!(bars[0], ("connpool", "440 ns", true));
        assert_eq!(bars[3], ("qp", "hangs", false));
    }
}
