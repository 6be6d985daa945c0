//! `cargo xtask tsan`: the tests with threads, watched by ThreadSanitizer.
//!
//! On the stable toolchain std comes compiled, and so without it. Hence the cfg `connpool_tsan`, by
//! which the pool and its tests trace what their locks do, and tokio takes its own from
//! parking_lot; and hence the suppressions in `xtask/tsan.supp`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use xshell::{Shell, cmd};

use crate::binary::{self, Outcome};
use crate::{Result, files};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const FOLDER: &str = "target/tsan";
const SUPPRESSIONS: &str = "xtask/tsan.supp";
const REPORT: &str = "WARNING: ThreadSanitizer";
const LIMIT: Duration = Duration::from_secs(300);

/// Tests to be watched: a name, what to build, and which of it to run.
struct Suite {
    name: &'static str,
    build: &'static [&'static str],
    filter: &'static str,
}

const CANARY: Suite = Suite {
    name: "canary",
    build: &["-p", "tsan-canary", "--lib"],
    filter: "two_threads_count_without_a_lock",
};

const POOL: &[Suite] = &[
    Suite {
        name: "core",
        build: &["-p", "connpool-core", "--test", "pool"],
        filter: "threads::",
    },
    Suite {
        name: "tokio-tcp",
        build: &["-p", "connpool-tokio", "--test", "tcp"],
        filter: "two_threads::",
    },
    Suite {
        name: "tokio-runtime",
        build: &["-p", "connpool-tokio", "--test", "runtime"],
        filter: "",
    },
];

/// Wants a report about the canary and none about the pool.
pub(crate) fn run(sh: &Shell) -> Result {
    // Without names there is nothing that the suppressions could match.
    if cmd!(sh, "llvm-symbolizer --version")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .is_err()
    {
        return Err("llvm-symbolizer is not on the PATH; it comes with LLVM: \
                    `apt-get install llvm`"
            .into());
    }
    let (_, text) = watch(sh, &CANARY)?;
    if !text.contains(REPORT) || !text.contains(CANARY.filter) {
        return Err(format!("the canary was not reported; see {}", CANARY.output()).into());
    }
    println!("canary: reported");

    let mut reports = 0;
    for suite in POOL {
        let (outcome, text) = watch(sh, suite)?;
        let count = text.matches(REPORT).count();
        println!("{}: {count} reports, {} tests", suite.name, outcome.ended());
        if outcome.ended() == 0 || (!outcome.succeeded && count == 0) {
            return Err(
                format!("{}: not all tests pass; see {}", suite.name, suite.output()).into(),
            );
        }
        if count > 0 {
            println!("{}", first_report(&text));
        }
        reports += count;
    }
    println!("canary: reported; the pool: {reports} reports");
    if reports > 0 {
        return Err(format!("{reports} reports; all of them are in {FOLDER}/*.txt").into());
    }
    Ok(())
}

impl Suite {
    fn output(&self) -> String {
        format!("{FOLDER}/{}.txt", self.name)
    }
}

/// How the tests ended, and what they and ThreadSanitizer printed.
fn watch(sh: &Shell, suite: &Suite) -> Result<(Outcome, String)> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["test", "--target", TARGET])
        .args(suite.build)
        .env("CARGO_TARGET_DIR", FOLDER)
        // Less than that, and functions go without the paths that the suppressions name.
        .env("CARGO_PROFILE_DEV_DEBUG", "limited")
        // The sanitizers are in the stable toolchain, only the flag is not stable.
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "RUSTFLAGS",
            "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg connpool_tsan",
        );
    let built = binary::build(&mut cargo).map_err(|error| format!("{}: {error}", suite.name))?;
    let suppressions = sh.current_dir().join(SUPPRESSIONS);
    let options = format!("suppressions={} exitcode=66", suppressions.display());
    let env = [("TSAN_OPTIONS".to_owned(), options)];
    fs::create_dir_all(FOLDER)?;
    let output = suite.output();
    let mut outcome = Outcome::default();
    for binary in built {
        outcome = binary.run(&[suite.filter], &env, LIMIT, Path::new(&output))?;
    }
    Ok((outcome, files::read(Path::new(&output))?))
}

/// The lines of the first report, up to its closing ruler.
fn first_report(text: &str) -> String {
    let lines = text.lines().skip_while(|line| !line.contains(REPORT));
    let report: Vec<&str> = lines.take_while(|line| !line.starts_with("====")).collect();
    report.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_report_is_cut_out_of_what_was_printed() {
        let text = "test a ... ok\n====\nWARNING: ThreadSanitizer: data race\n  Write\n====\n\
                    ====\nWARNING: ThreadSanitizer: another\n====\n";
        let expected = "WARNING: ThreadSanitizer: data race\n  Write";
        assert_eq!(first_report(text), expected);
    }
}
