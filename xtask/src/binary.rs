//! Test binaries: built by cargo, run one by one, with a time limit.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::process;
use crate::result::Result;

/// A test binary and the directory in which cargo would run it.
#[derive(Debug, PartialEq)]
pub(crate) struct Binary {
    path: PathBuf,
    folder: PathBuf,
}

/// Builds the binaries that `cargo_test` would run.
pub(crate) fn build(cargo_test: &mut Command) -> Result<Vec<Binary>> {
    let output = cargo_test
        .args(["--no-run", "--message-format", "json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("it does not compile ({})", output.status).into());
    }
    let binaries = among(&String::from_utf8_lossy(&output.stdout))?;
    if binaries.is_empty() {
        return Err("it has no tests".into());
    }
    Ok(binaries)
}

impl Binary {
    /// Runs the binary for at most `limit` and writes its output to the file `output`.
    pub(crate) fn run(
        &self,
        args: &[&str],
        env: &[(String, String)],
        limit: Duration,
        output: &Path,
    ) -> Result<Outcome> {
        let file = File::create(output).map_err(|e| format!("{}: {e}", output.display()))?;
        let mut child = Command::new(&self.path)
            .current_dir(&self.folder)
            .args(args)
            .envs(env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.path.display()))?;
        let ended = process::wait(&mut child, limit)?;
        let printed = fs::read(output)?;
        Ok(Outcome {
            succeeded: ended.is_some_and(|status| status.success()),
            hangs: ended.is_none(),
            ..Outcome::read(&String::from_utf8_lossy(&printed))
        })
    }
}

/// Parses the test binaries from cargo's messages.
fn among(messages: &str) -> Result<Vec<Binary>> {
    let mut binaries = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line)?;
        let path = |key: &str| message[key].as_str().map(Path::new);
        match (path("executable"), path("manifest_path")) {
            (Some(executable), Some(manifest)) if message["profile"]["test"] == true => {
                binaries.push(Binary {
                    path: executable.to_owned(),
                    folder: manifest.parent().unwrap_or(Path::new(".")).to_owned(),
                });
            }
            _ => {}
        }
    }
    Ok(binaries)
}

/// The outcome of a test run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    tests: BTreeMap<String, bool>,
    /// All tests passed.
    pub(crate) succeeded: bool,
    /// Some tests did not finish and were killed.
    pub(crate) hangs: bool,
}

impl Outcome {
    /// Parses the output of a test binary.
    pub(crate) fn read(printed: &str) -> Outcome {
        let ends = printed.lines().filter_map(|line| {
            let (name, end) = line.strip_prefix("test ")?.split_once(" ... ")?;
            match end {
                "ok" => Some((name.to_owned(), true)),
                "FAILED" => Some((name.to_owned(), false)),
                _ => None,
            }
        });
        Outcome { tests: ends.collect(), ..Outcome::default() }
    }

    /// Returns whether a test passed, or `None` if it did not finish or does not exist.
    pub(crate) fn passed(&self, test: &str) -> Option<bool> {
        self.tests.get(test).copied()
    }

    /// Merges the outcome of another run.
    pub(crate) fn add(&mut self, other: Outcome) {
        self.tests.extend(other.tests);
        self.succeeded &= other.succeeded;
        self.hangs |= other.hangs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_parsed_from_the_output() {
        let outcome = Outcome::read(
            "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\
             test a::d has been running for over 60 seconds\nfailures:\n    a::c\n",
        );
        assert_eq!(outcome.passed("a::b"), Some(true));
        assert_eq!(outcome.passed("a::c"), Some(false));
        assert_eq!(outcome.passed("a::d"), None);
        assert_eq!(outcome.tests.len(), 2);
    }

    #[test]
    fn only_test_binaries_are_run() {
        let messages = r#"
            ignored
{"reason":"compiler-artifact","manifest_path":"/w/core/Cargo.toml","profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","manifest_path":"/w/core/Cargo.toml","profile":{"test":true},"executable":"/t/pool-1"}
{"reason":"build-finished","success":true}
"#;
        let binary = Binary { path: "/t/pool-1".into(), folder: "/w/core".into() };
        assert_eq!(among(messages).expect("messages"), [binary]);
    }
}
