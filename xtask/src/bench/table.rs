//! The table of medians: a row for each benchmark, two columns for each runtime.

use comfy_table::{Cell, CellAlignment, LineStyle, Row, Table, presets};

/// What one benchmark came to on one runtime.
#[derive(Debug, PartialEq)]
pub(crate) struct Figure {
    /// `GetPut_Parallel`
    pub(crate) benchmark: String,
    /// `2-workers`, or nothing
    pub(crate) variant: String,
    /// `tokio`
    pub(crate) runtime: String,
    /// Of one operation.
    pub(crate) nanoseconds: f64,
}

impl Figure {
    /// Takes apart criterion's name, such as `GetPut_Parallel/tokio-2-workers`.
    pub(crate) fn new(name: &str, nanoseconds: f64) -> Self {
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
}

/// Rows and columns come in the order in which the figures first name them.
pub(crate) fn of(figures: &[Figure]) -> Table {
    let runtimes = in_order(figures.iter().map(|figure| figure.runtime.as_str()));
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));

    let mut header = Row::from(["median"]);
    for runtime in &runtimes {
        header
            .add_cell(number(runtime))
            .add_cell(number("per second"));
    }
    table.set_header(header);

    for (benchmark, variant) in in_order(figures.iter().map(Figure::row)) {
        let mut row = Row::new();
        row.add_cell(Cell::new(match variant {
            "" => benchmark.to_owned(),
            _ => format!("  {variant}"),
        }));
        for runtime in &runtimes {
            let figure = figures
                .iter()
                .find(|figure| figure.row() == (benchmark, variant) && figure.runtime == *runtime);
            let [time, rate] = match figure {
                Some(figure) => [time(figure.nanoseconds), rate(figure.nanoseconds)],
                None => [String::new(), String::new()],
            };
            row.add_cell(number(&time)).add_cell(number(&rate));
        }
        table.add_row(row);
    }
    table
}

fn number(text: &str) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// Each of the items once, at its first place.
fn in_order<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

fn time(nanoseconds: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
    scaled(nanoseconds, &units)
}

/// Operations a second, of tasks that take so long for one.
fn rate(nanoseconds: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")];
    scaled(1e9 / nanoseconds, &units)
}

/// Three digits, in the largest of the units of which there is at least one.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    let fitting = units.iter().find(|(size, _)| value >= *size);
    let (size, unit) = fitting.or(units.last()).unwrap_or(&(1.0, ""));
    let value = value / size;
    let decimals = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that hold text, with one space between their words.
    fn lines(figures: &[Figure]) -> Vec<String> {
        let words = |line: String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut lines: Vec<_> = of(figures).lines().map(words).collect();
        lines.retain(|line| line.contains(char::is_alphanumeric));
        lines
    }

    #[test]
    fn a_name_says_benchmark_runtime_and_variant() {
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
    fn the_runtimes_stand_side_by_side_and_the_variants_below() {
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
                "median tokio per second smol per second",
                "GetPut_Sequential 140 ns 7.14 M 109 ns 9.17 M",
                "tcp 712 ns 1.40 M 573 ns 1.75 M",
                "GetPut_WithPing 22.1 µs 45.2 k 25.1 µs 39.9 k",
            ]
        );
    }

    #[test]
    fn what_was_not_measured_is_left_blank() {
        let table = lines(&[
            Figure::new("GetPut_Sequential/smol", 109.0),
            Figure::new("GetPut_Parallel/tokio", 158.0),
        ]);
        assert_eq!(
            table,
            [
                "median smol per second tokio per second",
                "GetPut_Sequential 109 ns 9.17 M",
                "GetPut_Parallel 158 ns 6.33 M",
            ]
        );
    }

    #[test]
    fn a_figure_has_three_digits() {
        assert_eq!(time(6.789), "6.79 ns");
        assert_eq!(time(139.9), "140 ns");
        assert_eq!(time(5_571.0), "5.57 µs");
        assert_eq!(time(1.115e6), "1.11 ms");
        assert_eq!(time(0.25), "0.25 ns");
        assert_eq!(rate(139.9), "7.15 M");
        assert_eq!(rate(2e9), "0.50");
    }
}
