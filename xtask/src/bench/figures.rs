//! The medians of this pool: a row per benchmark, two columns per runtime.

use super::plot::{Bar, Plot};
use super::table::Table;
use super::units::{rate, time};

/// The median of one benchmark on one runtime.
#[derive(Debug, PartialEq)]
pub(super) struct Figure {
    /// `GetPut_Parallel`
    pub(super) benchmark: String,
    /// `2-workers`, or nothing
    pub(super) variant: String,
    /// `tokio`
    pub(super) runtime: String,
    /// The time of one operation.
    pub(super) nanoseconds: f64,
}

impl Figure {
    /// Parses criterion's name, such as `GetPut_Parallel/tokio-2-workers`.
    pub(super) fn new(name: &str, nanoseconds: f64) -> Self {
        let (benchmark, rest) = name.split_once('/').unwrap_or((name, ""));
        let (runtime, variant) = rest.split_once('-').unwrap_or((rest, ""));
        Figure {
            benchmark: benchmark.to_owned(),
            variant: variant.to_owned(),
            runtime: runtime.to_owned(),
            nanoseconds,
        }
    }

    fn row(&self) -> (&str, &str) {
        (&self.benchmark, &self.variant)
    }

    fn bar(&self) -> Bar {
        Bar {
            name: format!("{} {}", self.runtime, self.variant).trim_end().to_owned(),
            value: Some(self.nanoseconds),
            figure: time(self.nanoseconds),
            ours: true,
        }
    }
}

/// Returns the table. Rows and columns are in the order of their first figure.
pub(super) fn table(figures: &[Figure]) -> Table {
    let runtimes = in_order(figures.iter().map(|figure| figure.runtime.as_str()));
    let mut header = vec!["median".to_owned()];
    for runtime in &runtimes {
        header.extend([(*runtime).to_owned(), "per second".to_owned()]);
    }

    let mut rows = Vec::new();
    for (benchmark, variant) in in_order(figures.iter().map(Figure::row)) {
        let mut row = vec![match variant {
            "" => benchmark.to_owned(),
            _ => format!("  {variant}"),
        }];
        for runtime in &runtimes {
            let figure = figures
                .iter()
                .find(|figure| figure.row() == (benchmark, variant) && figure.runtime == *runtime);
            row.extend(match figure {
                Some(figure) => [time(figure.nanoseconds), rate(figure.nanoseconds)],
                None => [String::new(), String::new()],
            });
        }
        rows.push(row);
    }
    Table {
        title: "connpool alone: one get and return".to_owned(),
        header,
        rows,
        notes: Vec::new(),
    }
}

/// Returns a plot per benchmark.
pub(super) fn plots(figures: &[Figure]) -> Vec<Plot> {
    let benchmarks = in_order(figures.iter().map(|figure| figure.benchmark.as_str()));
    let plot = |benchmark: &str| {
        let variants = figures.iter().filter(|it| it.benchmark == benchmark);
        Plot { title: benchmark.to_owned(), bars: variants.map(Figure::bar).collect() }
    };
    benchmarks.into_iter().map(plot).collect()
}

/// Removes duplicates and keeps the order.
pub(super) fn in_order<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the header and the rows, each joined to a line.
    fn lines(figures: &[Figure]) -> Vec<String> {
        let table = table(figures);
        let lines = [&table.header].into_iter().chain(&table.rows);
        lines.map(|line| line.join("|")).collect()
    }

    #[test]
    fn a_name_is_split_into_benchmark_runtime_and_variant() {
        let figure = |benchmark: &str, runtime: &str, variant: &str| Figure {
            benchmark: benchmark.to_owned(),
            variant: variant.to_owned(),
            runtime: runtime.to_owned(),
            nanoseconds: 7.0,
        };
        assert_eq!(
            Figure::new("GetPut_Sequential/smol", 7.0),
            figure("GetPut_Sequential", "smol", "")
        );
        assert_eq!(
            Figure::new("GetPut_Parallel/tokio-2-workers-no-yield", 7.0),
            figure("GetPut_Parallel", "tokio", "2-workers-no-yield")
        );
    }

    #[test]
    fn runtimes_are_columns_and_variants_are_rows() {
        let table = lines(&[
            Figure::new("GetPut_Sequential/tokio", 140.0),
            Figure::new("GetPut_Sequential/tokio-tcp", 712.0),
            Figure::new("GetPut_Sequential/smol", 109.0),
            Figure::new("GetPut_Sequential/smol-tcp", 573.0),
            Figure::new("GetPut_WithPing/tokio", 22_101.0),
            Figure::new("GetPut_WithPing/smol", 25_072.0),
        ]);
        assert_eq!(
            table,
            [
                "median|tokio|per second|smol|per second",
                "GetPut_Sequential|140 ns|7.14 M|109 ns|9.17 M",
                "  tcp|712 ns|1.40 M|573 ns|1.75 M",
                "GetPut_WithPing|22.1 µs|45.2 k|25.1 µs|39.9 k",
            ]
        );
    }
}
