//! The table of figures, for the terminal and for Markdown.

use std::time::Duration;

use crate::figures::Figures;

const HEADER: [&str; 11] = [
    "scenario",
    "backlog full",
    "peak attempts/s",
    "attempts per pool and s of the outage, from 5 s",
    "most refused/s, from 2 s",
    "50 % serve",
    "99 % serve",
    "100 % serve",
    "99 % have all",
    "failed gets: connect",
    "timeout",
];

/// Formats the figures as a Markdown table, with aligned columns.
pub fn table(figures: &[Figures]) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(figures.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEADER.len()).map(width).collect();
    let line = |row: &[String; HEADER.len()]| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(at, (cell, width))| match at {
            0 | 1 => format!(" {cell:<width$} |"),
            _ => format!(" {cell:>width$} |"),
        });
        format!("|{}\n", cells.collect::<String>())
    };
    let rule = widths.iter().enumerate().map(|(at, width)| match at {
        0 | 1 => format!("{}|", "-".repeat(width + 2)),
        _ => format!("{}:|", "-".repeat(width + 1)),
    });
    let rule = format!("|{}\n", rule.collect::<String>());
    let mut lines = rows.iter().map(line);
    let header = lines.next().unwrap_or_default();
    header + &rule + &lines.collect::<String>()
}

fn row(figures: &Figures) -> [String; HEADER.len()] {
    let [half, most, all] = figures.served.map(seconds);
    [
        figures.scenario.to_string(),
        figures.overflow.to_string(),
        figures.peak.to_string(),
        figures.outage_rate.map_or("–".to_owned(), |rate| format!("{rate:.2}")),
        figures.refused.to_string(),
        half,
        most,
        all,
        seconds(figures.full),
        figures.failed.connect.to_string(),
        figures.failed.timeout.to_string(),
    ]
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or("never".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
}
