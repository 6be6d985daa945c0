//! A copy of the sources to put bugs into, and to run tests in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use xshell::{Shell, cmd};

use super::bug::Run;
use crate::{Result, files, process};

const SOURCE: &str = "target/seeded-bugs/source";
const TARGET: &str = "target/seeded-bugs/target";
const OUTPUT: &str = "target/seeded-bugs/output.txt";

/// A copy of everything that git tracks or would, kept from one run to the next so that cargo
/// builds anew only what a bug changes.
pub(crate) struct Scratch {
    /// Every file, by its path from the root.
    original: BTreeMap<PathBuf, Vec<u8>>,
    source: PathBuf,
    target: PathBuf,
}

impl Scratch {
    pub(crate) fn new(sh: &Shell) -> Result<Scratch> {
        let list = cmd!(sh, "git ls-files -z --cached --others --exclude-standard");
        let mut original = BTreeMap::new();
        for path in list.quiet().read()?.split_terminator('\0').map(Path::new) {
            // One that is gone but not committed is still listed.
            if path.exists() {
                let content = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
                original.insert(path.to_owned(), content);
            }
        }
        let root = sh.current_dir();
        Ok(Scratch {
            original,
            source: root.join(SOURCE),
            target: root.join(TARGET),
        })
    }

    /// Makes the copy as the sources are. Writes only what differs: to cargo, a file that was
    /// written is a file that was changed.
    pub(crate) fn restore(&self) -> Result {
        fs::create_dir_all(&self.source)?;
        let wanted: BTreeSet<PathBuf> = self.original.keys().map(|p| self.source.join(p)).collect();
        for path in files::all(&self.source)? {
            if !wanted.contains(&path) {
                fs::remove_file(&path)?;
            }
        }
        for (path, content) in &self.original {
            let copy = self.source.join(path);
            if !fs::read(&copy).is_ok_and(|old| old == *content) {
                fs::create_dir_all(copy.parent().unwrap_or(&self.source))?;
                fs::write(&copy, content)?;
            }
        }
        Ok(())
    }

    pub(crate) fn apply(&self, patch: &Path) -> Result {
        let output = Command::new("git")
            .args(["apply", "--whitespace=nowarn", "--directory", SOURCE])
            .arg(patch)
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!(
            "it no longer applies; make the same change to the sources of today and refresh it \
             with `git diff -U2`:\n{}",
            error.trim_end()
        )
        .into())
    }

    /// Builds what `run` tests and runs those of `tests`, and no others, for at most `limit`.
    ///
    /// What does not compile is an error: it shows nothing about the tests.
    pub(crate) fn test(&self, run: &Run, tests: &[&str], limit: Duration) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for binary in self.build(run)? {
            let output = File::create(OUTPUT)?;
            let mut child = Command::new(&binary.path)
                .current_dir(binary.folder)
                .envs(run.env.iter().map(|(key, value)| (key, value)))
                .arg("--exact")
                .args(tests)
                .stdin(Stdio::null())
                .stdout(output)
                .stderr(Stdio::null())
                .spawn()
                .map_err(|error| format!("{}: {error}", binary.path.display()))?;
            let ended = process::wait(&mut child, limit)?;
            let output = String::from_utf8_lossy(&fs::read(OUTPUT)?).into_owned();
            outcome.add(Outcome::read(&output, ended.is_none()));
        }
        Ok(outcome)
    }

    fn build(&self, run: &Run) -> Result<Vec<Binary>> {
        let output = Command::new("cargo")
            .arg("test")
            .args(&run.args)
            .args(["--no-run", "--message-format", "json-render-diagnostics"])
            .current_dir(&self.source)
            .env("CARGO_TARGET_DIR", &self.target)
            // Nobody debugs what is meant to fail, and it builds faster.
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .envs(run.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("`{run} --no-run`: {}: it does not compile", output.status).into());
        }
        let binaries = test_binaries(&String::from_utf8_lossy(&output.stdout))?;
        if binaries.is_empty() {
            return Err(format!("`{run}` builds no test").into());
        }
        Ok(binaries)
    }
}

/// A built test binary and the folder in which cargo would run it.
#[derive(Debug, PartialEq)]
struct Binary {
    path: PathBuf,
    folder: PathBuf,
}

/// The test binaries among what cargo says that it has built.
fn test_binaries(messages: &str) -> Result<Vec<Binary>> {
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

/// How tests ended.
#[derive(Default)]
pub(crate) struct Outcome {
    passed: BTreeMap<String, bool>,
    /// Whether some did not, and were killed.
    pub(crate) hangs: bool,
}

impl Outcome {
    pub(crate) fn read(output: &str, hangs: bool) -> Outcome {
        let ends = output.lines().filter_map(|line| {
            let (name, end) = line.strip_prefix("test ")?.split_once(" ... ")?;
            match end {
                "ok" => Some((name.to_owned(), true)),
                "FAILED" => Some((name.to_owned(), false)),
                _ => None,
            }
        });
        Outcome {
            passed: ends.collect(),
            hangs,
        }
    }

    /// Whether a test passed; `None`: it did not end, or there is none of that name.
    pub(crate) fn passed(&self, test: &str) -> Option<bool> {
        self.passed.get(test).copied()
    }

    fn add(&mut self, other: Outcome) {
        self.passed.extend(other.passed);
        self.hangs |= other.hangs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_tests_are_read_from_what_they_print() {
        let outcome = Outcome::read(
            "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\
             test a::d has been running for over 60 seconds\nfailures:\n    a::c\n",
            false,
        );
        assert_eq!(outcome.passed("a::b"), Some(true));
        assert_eq!(outcome.passed("a::c"), Some(false));
        assert_eq!(outcome.passed("a::d"), None);
    }

    #[test]
    fn only_what_was_built_for_tests_is_run() {
        let messages = r#"
            ignored
{"reason":"compiler-artifact","manifest_path":"/w/core/Cargo.toml","profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","manifest_path":"/w/core/Cargo.toml","profile":{"test":true},"executable":"/t/pool-1"}
{"reason":"build-finished","success":true}
"#;
        let binary = Binary {
            path: "/t/pool-1".into(),
            folder: "/w/core".into(),
        };
        assert_eq!(test_binaries(messages).expect("messages"), [binary]);
    }
}
