//! `cargo xtask examples`: runs every example with the commands in its documentation.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use xshell::{Shell, cmd};

use crate::files;
use crate::process;
use crate::result::Result;

const FOLDER: &str = "examples";
const RUN: &str = "//! $ cargo run --release --example ";
const LIMIT: Duration = Duration::from_secs(120);

/// Runs every command that an example documents.
pub(crate) fn run(sh: &Shell) -> Result {
    let runs = declared_runs(Path::new(FOLDER))?;
    // Build first, so that the time limit covers the run only.
    cmd!(sh, "cargo build --release --examples").run()?;
    for run in &runs {
        eprintln!("$ {run}");
        run_to_its_end(run)?;
    }
    Ok(())
}

fn declared_runs(folder: &Path) -> Result<Vec<String>> {
    let mut runs = Vec::new();
    for path in files::in_folder(folder)? {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let declared = runs_of(&name, &files::read(&path)?);
            runs.extend(declared.map_err(|error| format!("{}: {error}", path.display()))?);
        }
    }
    if runs.is_empty() {
        return Err(format!("{}: there is no example", folder.display()).into());
    }
    Ok(runs)
}

/// Parses the commands from the documentation of the example `name`.
fn runs_of(name: &str, source: &str) -> std::result::Result<Vec<String>, String> {
    let mut runs = Vec::new();
    for (number, line) in (1..).zip(source.lines()) {
        let Some(rest) = line.strip_prefix(RUN) else {
            continue;
        };
        if rest.split_whitespace().next() != Some(name) {
            return Err(format!("line {number} does not run the example `{name}`"));
        }
        // The command runs without a shell, so it must not need one.
        if let Some(sign) = rest.chars().find(|c| "\"'\\|&;<>$`#".contains(*c)) {
            return Err(format!("line {number} needs a shell because of `{sign}`"));
        }
        runs.push(line.trim_start_matches("//! $ ").trim_end().to_owned());
    }
    if runs.is_empty() {
        return Err(format!("no command documented: `{RUN}{name}`"));
    }
    Ok(runs)
}

fn run_to_its_end(run: &str) -> Result {
    let mut words = run.split_whitespace();
    let mut child = Command::new(words.next().unwrap_or_default())
        .args(words)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("`{run}`: {error}"))?;
    match process::wait(&mut child, LIMIT)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("`{run}`: {status}").into()),
        None => Err(format!("`{run}`: still running after {LIMIT:?}, killed").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_declared_run_is_taken_in_order() {
        let source = "\
            //! An echo.\n\
            //!\n\
            //! $ cargo run --release --example echo\n\
            //! $ cargo run --release --example echo -- --peers 3\n\
            \n\
            fn main() {}\n";
        assert_eq!(
            runs_of("echo", source),
            Ok(vec![
                "cargo run --release --example echo".to_owned(),
                "cargo run --release --example echo -- --peers 3".to_owned(),
            ])
        );
    }

    #[test]
    fn an_example_that_declares_no_run_is_an_error() {
        assert!(runs_of("echo", "//! An echo.\nfn main() {}\n").is_err());
    }

    #[test]
    fn an_example_that_runs_another_is_an_error() {
        let source = "//! $ cargo run --release --example echo2\n";
        assert!(runs_of("echo", source).is_err());
    }

    #[test]
    fn a_run_that_needs_a_shell_is_an_error() {
        let source = "//! $ cargo run --release --example echo | tail\n";
        assert!(runs_of("echo", source).is_err());
    }
}
