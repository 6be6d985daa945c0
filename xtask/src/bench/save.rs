//! Saves the tables in the documents, between markers.

use xshell::Shell;

use super::comparison;
use super::record::Record;
use super::table::Table;
use crate::common::Result;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

const README: &str = "README.md";
const BENCHMARKS: &str = "docs/BENCHMARKS.md";

/// Checks that the documents have markers, before the long measurement.
pub(super) fn check(sh: &Shell) -> Result {
    for document in [README, BENCHMARKS] {
        put(document, &sh.read_file(document)?, "")?;
    }
    Ok(())
}

/// Writes the short table to the README and all tables to BENCHMARKS.md.
pub(super) fn all(sh: &Shell, tables: &[Table], records: &[Record], environment: &str) -> Result {
    let short = comparison::short_table(records).markdown();
    refresh(sh, README, &format!("{short}\n{environment}\n"))?;

    let titled = |table: &Table| format!("### {}\n\n{}\n", table.title, table.markdown());
    let all: String = tables.iter().map(titled).collect();
    refresh(sh, BENCHMARKS, &format!("{all}{environment}\n"))?;
    println!("Saved: {README}, {BENCHMARKS}");
    Ok(())
}

fn refresh(sh: &Shell, document: &str, content: &str) -> Result {
    Ok(sh.write_file(document, put(document, &sh.read_file(document)?, content)?)?)
}

/// Replaces the text between the markers.
fn put(document: &str, text: &str, content: &str) -> Result<String> {
    let split = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let Some((before, after)) = split else {
        return Err(format!(
            "{document}: no markers for the table; add the lines `{BEGIN}` and, below it, \
             `{END}`"
        )
        .into());
    };
    Ok(format!("{before}{BEGIN}\n{content}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let text = format!("# A\n\n{BEGIN}\nold\n{END}\n\nB\n");
        let put = put("A.md", &text, "new\n").expect("there are markers");
        assert_eq!(put, format!("# A\n\n{BEGIN}\nnew\n{END}\n\nB\n"));
    }

    #[test]
    fn missing_markers_are_an_error_that_names_file_and_marker() {
        for text in ["# A\n".to_owned(), format!("{END}\n{BEGIN}\n")] {
            let error = put("A.md", &text, "new\n").expect_err("there is no place");
            let error = error.to_string();
            assert!(error.contains("A.md") && error.contains(BEGIN), "{error}");
        }
    }
}
