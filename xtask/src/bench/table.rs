//! Tables for the terminal, Markdown and HTML.

use std::fmt::Write;

use comfy_table::{CellAlignment, LineStyle, presets};

/// A table with a title. The first column names the row, the others are figures.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Table {
    pub(super) title: String,
    /// The names of the columns, possibly of several lines.
    pub(super) header: Vec<String>,
    /// A name that starts with spaces belongs to the row above.
    pub(super) rows: Vec<Vec<String>>,
    /// The footnotes.
    pub(super) notes: Vec<String>,
}

impl Table {
    pub(super) fn terminal(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()));
        table.set_header(&self.header).add_rows(&self.rows);
        for figures in table.column_iter_mut().skip(1) {
            figures.set_cell_alignment(CellAlignment::Right);
        }
        let mut lines = vec![self.title.clone(), table.to_string()];
        lines.extend_from_slice(&self.notes);
        lines.join("\n")
    }

    /// Formats the table without its title, whose heading level depends on the document.
    pub(super) fn markdown(&self) -> String {
        let line = |row: &[String]| {
            let cells: Vec<_> = row.iter().map(|cell| in_markdown(cell)).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule = "---:|".repeat(self.header.len().saturating_sub(1));
        let mut text = line(&self.header) + &format!("|---|{rule}\n");
        text.extend(self.rows.iter().map(|row| line(row)));
        for (at, note) in self.notes.iter().enumerate() {
            let before = if at == 0 { "\n" } else { "" };
            let _ = writeln!(text, "{before}* {}", in_markdown(note));
        }
        text
    }

    pub(super) fn html(&self) -> String {
        let line = |row: &[String], tag: &str| {
            let cells = row.iter().map(|cell| format!("<{tag}>{}", in_html(cell)));
            format!("<tr>{}\n", cells.collect::<String>())
        };
        let mut text = format!("<h2>{}</h2>\n<table>\n", in_html(&self.title));
        text += &line(&self.header, "th");
        text.extend(self.rows.iter().map(|row| line(row, "td")));
        text += "</table>\n";
        for note in &self.notes {
            let _ = writeln!(text, "<p class=note>{}</p>", in_html(note));
        }
        text
    }
}

fn in_markdown(text: &str) -> String {
    in_html(text).replace('|', "\\|")
}

/// Escapes text for HTML.
pub(super) fn in_html(text: &str) -> String {
    let shown = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let shown = shown.replace('\n', "<br>");
    match shown.strip_prefix("  ") {
        Some(name) => format!("&emsp;{name}"),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        Table {
            title: "Pools & more".to_owned(),
            header: row(["median", "connpool", "qp\n0.2.1"]),
            rows: vec![row(["look", "70 ns", "hangs ¹"]), row(["  alone", "9 ns", ""])],
            notes: vec!["¹ qp: a|b <c>".to_owned()],
        }
    }

    #[test]
    fn in_markdown_figures_are_right_aligned_and_pipes_escaped() {
        assert_eq!(
            table().markdown(),
            "| median | connpool | qp<br>0.2.1 |\n\
             |---|---:|---:|\n\
             | look | 70 ns | hangs ¹ |\n\
             | &emsp;alone | 9 ns |  |\n\
             \n\
             * ¹ qp: a\\|b &lt;c&gt;\n"
        );
    }
}
