//! The report: a self-contained page without scripts.

use std::fmt::Write;
use std::path::PathBuf;

use xshell::Shell;

use super::plot::Plot;
use super::table::{Table, in_html};
use crate::common::Result;

const STYLE: &str = "
body { font: 15px/1.5 sans-serif; max-width: 1400px; margin: 2em auto; padding: 0 1em; color: #222 }
h2 { font-size: 1.1em; margin-top: 2em }
h3 { font-size: 1em; margin: 0 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .15em .9em; text-align: right; vertical-align: bottom; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
tr:hover { background: #f3f6f9 }
.note { margin: 0; color: #555; font-size: .9em }
.plots { display: grid; grid-template-columns: repeat(auto-fill, 640px); gap: 1.5em }
footer { margin-top: 3em; color: #555; font-size: .9em }
";

/// The content of the page.
pub(super) struct Report<'a> {
    pub(super) tables: &'a [Table],
    pub(super) plots: Vec<Plot>,
    /// Set if criterion wrote its own report.
    pub(super) has_criterion_report: bool,
    pub(super) environment: &'a str,
}

impl Report<'_> {
    /// Writes the page and returns its path.
    pub(super) fn write(&self, sh: &Shell) -> Result<PathBuf> {
        let path = super::target("bench/report.html")?;
        sh.write_file(&path, self.page()?)?;
        Ok(path)
    }

    fn page(&self) -> Result<String> {
        let mut page = format!(
            "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>connpool: benchmarks\
             </title>\n<style>{STYLE}</style>\n<h1>connpool: benchmarks</h1>\n"
        );
        page += "<p>The time of one operation, on a logarithmic axis; shorter is better.\n<div class=plots>\n";
        for plot in &self.plots {
            let title = in_html(&plot.title);
            writeln!(page, "<div><h3>{title}</h3>\n{}</div>", plot.svg()?)?;
        }
        page += "</div>\n";
        page.extend(self.tables.iter().map(Table::html));
        page += "<footer>\n";
        if self.has_criterion_report {
            page += "<p><a href=\"../criterion/report/index.html\">Criterion's report</a>: the \
                     distribution of the samples, and the change since the last run</p>\n";
        }
        let environment = in_html(self.environment);
        writeln!(page, "<p>{environment}</p>\n</footer>")?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::comparison;
    use crate::bench::record::sample;

    #[test]
    fn a_page_has_all_tables_and_plots_and_loads_no_resources() {
        let report = Report {
            tables: &comparison::tables(&sample()),
            plots: comparison::plots(&sample()),
            has_criterion_report: true,
            environment: "2 cores, `cargo xtask bench --peers`",
        };
        let page = report.page().expect("drawing");
        assert_eq!(page.matches("<table>").count(), 3);
        assert_eq!(page.matches("<svg").count(), 6);
        assert!(page.find("<svg") < page.find("<table>"), "the plots come first");
        assert!(page.contains("2 cores, `cargo xtask bench --peers`"));
        assert!(page.contains("href=\"../criterion/report/index.html\""));
        for loaded in ["<script", "src=", "@import", "<link"] {
            assert!(!page.contains(loaded), "{loaded}");
        }
    }
}
