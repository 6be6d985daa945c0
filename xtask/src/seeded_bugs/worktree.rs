//! A copy of the sources in which bugs are seeded and tests run.

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

/// A copy of all files that git tracks or would track. It is kept between runs, so that cargo
/// rebuilds only what a bug changes.
pub(crate) struct Worktree {
    /// The content of every file, by its path from the root.
    original: BTreeMap<PathBuf, Vec<u8>>,
    source: PathBuf,
    target: PathBuf,
}

impl Worktree {
    pub(crate) fn new(sh: &Shell) -> Result<Worktree> {
        let list = cmd!(sh, "git ls-files -z --cached --others --exclude-standard");
        let mut original = BTreeMap::new();
        for path in list.quiet().read()?.split_terminator('\0').map(Path::new) {
            // git still lists files that were deleted but not committed.
            if path.exists() {
                let content = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
                original.insert(path.to_owned(), content);
            }
        }
        let root = sh.current_dir();
        Ok(Worktree { original, source: root.join(SOURCE), target: root.join(TARGET) })
    }

    /// Restores the copy to the original sources. Writes only files that differ, since cargo
    /// rebuilds what was written.
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
            "the patch no longer applies; repeat the change in the current sources and refresh it \
             with `git diff -U2`:\n{}",
            error.trim_end()
        )
        .into())
    }

    /// Builds the binaries of `run` and runs exactly `tests`, for at most `limit`.
    ///
    /// A compile error is an error: it proves nothing about the tests.
    pub(crate) fn test(&self, run: &Run, tests: &[&str], limit: Duration) -> Result<Outcome> {
        let mut cargo = Command::new("cargo");
        cargo
            .arg("test")
            .args(&run.args)
            .current_dir(&self.source)
            .env("CARGO_TARGET_DIR", &self.target)
            // Debug info is not needed, and the build is faster without it.
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
