//! A copy of the sources to put bugs into, and to run tests in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use xshell::{Shell, cmd};

use super::bug::Run;
use crate::binary::{self, Outcome};
use crate::files;
use crate::result::Result;

const SOURCE: &str = "target/seeded-bugs/source";
const TARGET: &str = "target/seeded-bugs/target";
const OUTPUT: &str = "target/seeded-bugs/output.txt";

/// A copy of everything that git tracks or would, kept from one run to the next so that cargo
/// builds anew only what a bug changes.
pub(crate) struct Worktree {
    /// Every file, by its path from the root.
    original: BTreeMap<PathBuf, Vec<u8>>,
    source: PathBuf,
    target: PathBuf,
}

impl Worktree {
    pub(crate) fn new(sh: &Shell) -> Result<Worktree> {
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
        Ok(Worktree {
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
        let mut cargo = Command::new("cargo");
        cargo
            .arg("test")
            .args(&run.args)
            .current_dir(&self.source)
            .env("CARGO_TARGET_DIR", &self.target)
            // Nobody debugs what is meant to fail, and it builds faster.
            .env("CARGO_PROFILE_DEV_DEBUG", "false")
            .envs(run.env.iter().map(|(key, value)| (key, value)));
        let binaries = binary::build(&mut cargo).map_err(|error| format!("`{run}`: {error}"))?;
        let mut outcome = Outcome::default();
        for binary in binaries {
            let args = [&["--exact"], tests].concat();
            outcome.add(binary.run(&args, &run.env, limit, Path::new(OUTPUT))?);
        }
        Ok(outcome)
    }
}
