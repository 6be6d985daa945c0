//! `cargo xtask test`: runs and counts all tests of the workspace.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::result::Result;

/// The arguments of `cargo xtask test`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Arguments for `cargo test`, such as a part of the tests' names
    #[arg(allow_hyphen_values = true)]
    cargo: Vec<String>,
    /// Arguments for the tests
    #[arg(last = true)]
    harness: Vec<String>,
}

/// The counts of passed, failed and ignored tests.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct TestSummary {
    passed: usize,
    failed: usize,
    ignored: usize,
    ignored_names: Vec<String>,
}

/// Runs the tests, prints their output, and counts them.
///
/// Ignored tests, or no tests at all, are an error like a failing test.
pub(crate) fn run(args: &Args) -> Result<TestSummary> {
    let mut command = Command::new("cargo");
    command.args(["test", "--workspace", "--all-features"]);
    command.args(&args.cargo);
    if !args.harness.is_empty() {
        command.arg("--").args(&args.harness);
    }

    let shown = shown(&command);
    eprintln!("$ {shown}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`{shown}`: {error}"))?;
    let summary = match child.stdout.take() {
        Some(stdout) => count(BufReader::new(stdout), io::stdout())?,
        None => TestSummary::default(),
    };
    let status = child.wait()?;

    let verdict = if status.success() { summary.verdict() } else { Err(status.to_string()) };
    match verdict {
        Ok(()) => Ok(summary),
        Err(reason) => {
            println!("\n{summary}");
            Err(format!("`{shown}`: {reason}").into())
        }
    }
}

impl TestSummary {
    fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += number_before(counts, "passed");
            self.failed += number_before(counts, "failed");
            self.ignored += number_before(counts, "ignored");
        } else if let Some((name, _)) =
            line.strip_prefix("test ").and_then(|test| test.split_once(" ... ignored"))
        {
            self.ignored_names.push(name.to_owned());
        }
    }

    fn verdict(&self) -> std::result::Result<(), String> {
        match self {
            TestSummary { passed: 0, .. } => Err("no test passed".to_owned()),
            TestSummary { ignored: 0, .. } => Ok(()),
            TestSummary { ignored, .. } => {
                Err(format!("{ignored} ignored: {}", self.ignored_names.join(", ")))
            }
        }
    }
}

impl fmt::Display for TestSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Copies the lines from `input` to `output` while parsing them.
fn count(mut input: impl BufRead, mut output: impl Write) -> io::Result<TestSummary> {
    let mut summary = TestSummary::default();
    let mut line = Vec::new();
    // Bytes, since a test may print invalid UTF-8.
    while input.read_until(b'\n', &mut line)? > 0 {
        output.write_all(&line)?;
        output.flush()?;
        summary.read(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(summary)
}

/// Parses the number in front of `word`, as in `3 passed; 0 failed;`.
fn number_before(counts: &str, word: &str) -> usize {
    counts
        .split([';', '.'])
        .filter_map(|part| part.trim().strip_suffix(word))
        .find_map(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(output: &str) -> TestSummary {
        let mut copy = Vec::new();
        let summary = count(output.as_bytes(), &mut copy).expect("reading from memory");
        assert_eq!(copy, output.as_bytes());
        summary
    }

    #[test]
    fn the_results_of_every_binary_are_added_up() {
        let summary = counted(
            "running 3 tests\n\
             test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             noise\n\
             test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out\n",
        );
        assert_eq!(summary.to_string(), "13 passed, 2 failed");
    }

    #[test]
    fn a_colored_result_counts_like_a_plain_one() {
        let summary = counted("test result: \u{1b}[32mok\u{1b}[m. 4 passed; 0 failed; 0 ignored\n");
        assert_eq!(summary.to_string(), "4 passed, 0 failed");
    }

    #[test]
    fn an_ignored_test_is_named_in_the_verdict() {
        let summary = counted(
            "test lease::outlives_the_pool ... ok\n\
             test wait::is_slow ... ignored, takes an hour\n\
             test src/lib.rs - Pool (line 7) ... ignored\n\
             test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(
            summary.verdict(),
            Err("2 ignored: wait::is_slow, src/lib.rs - Pool (line 7)".to_owned())
        );
    }

    #[test]
    fn a_run_without_tests_fails() {
        let summary = counted("test result: ok. 0 passed; 0 failed; 0 ignored\n");
        assert_eq!(summary.verdict(), Err("no test passed".to_owned()));
    }

    #[test]
    fn test_output_may_be_invalid_utf8() {
        let mut copy = Vec::new();
        let summary = count(&b"\xff\xfe\n"[..], &mut copy).expect("reading from memory");
        assert_eq!(summary, TestSummary::default());
        assert_eq!(copy, b"\xff\xfe\n");
    }
}
