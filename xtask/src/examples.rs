//! `cargo xtask examples`: runs every example with the commands in its documentation.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use xshell::{Shell, cmd};

use crate::common::Result;

const FOLDERS: &[&str] = &["examples", "examples/tls/src"];
const RUN: &str = "//! $ cargo run --release ";
const LIMIT: Duration = Duration::from_secs(120);

/// Runs every command that an example documents.
pub(crate) fn run(sh: &Shell) -> Result {
    let mut runs = Vec::new();
    for folder in FOLDERS {
        for path in sh.read_dir(folder)? {
            if path.extension().is_some_and(|extension| extension == "rs") {
                let declared = runs_of(&sh.read_file(&path)?);
                runs.extend(declared.map_err(|error| format!("{}: {error}", path.display()))?);
            }
        }
    }
    // Build first, so that the time limit covers the run only; and as the runs do, with the same packages,
    // since other features would build everything again.
    cmd!(sh, "cargo build --release --examples").run()?;
    cmd!(sh, "cargo build --release -p example-tls").run()?;
    for run in &runs {
        eprintln!("$ {run}");
        run_to_its_end(run)?;
    }
    Ok(())
}

/// Parses the commands from the documentation of an example.
fn runs_of(source: &str) -> Result<Vec<String>> {
    let runs = source.lines().filter(|line| line.starts_with(RUN));
    let runs: Vec<_> = runs.map(|line| line["//! $ ".len()..].trim_end().to_owned()).collect();
    if runs.is_empty() {
        return Err(format!("no command is documented: `{RUN}..`").into());
    }
    Ok(runs)
}

/// Runs a command, and kills it after `LIMIT`.
fn run_to_its_end(run: &str) -> Result {
    let mut words = run.split_whitespace();
    let mut child = Command::new(words.next().unwrap_or_default())
        .args(words)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("`{run}`: {error}"))?;
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("`{run}`: {status}").into()),
            None => thread::sleep(Duration::from_millis(20)),
        }
    }
    child.kill()?;
    child.wait()?;
    Err(format!("`{run}`: still running after {LIMIT:?}, killed").into())
}
