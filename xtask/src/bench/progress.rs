//! Runs benchmarks with a progress bar.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use indicatif::{ProgressBar, ProgressStyle};
use xshell::Cmd;

use crate::result::Result;

/// Runs a command with `count` benchmarks. A line on stderr that consists of `prefix` and a name
/// starts a benchmark; other lines with the prefix report on the current one.
pub(super) fn watch(bench: Cmd<'_>, prefix: &str, count: usize) -> Result {
    let shown = bench.to_string();
    let mut child = Command::from(bench)
        .stdin(Stdio::null())
        // The results are read from files.
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`{shown}`: {error}"))?;

    let style = ProgressStyle::with_template("{elapsed:>4} [{bar:24}] {pos}/{len} {msg}")?;
    let bar = ProgressBar::new(count as u64).with_style(style);
    let mut others = Vec::new();
    let mut at = 0;
    let stderr = child.stderr.take().into_iter();
    for line in stderr.flat_map(|stderr| BufReader::new(stderr).lines()) {
        let line = line?;
        if let Some(name) = begun(&line, prefix) {
            bar.set_message(name.to_owned());
            bar.set_position(at);
            at += 1;
            // There is no terminal to draw a bar on.
            if bar.is_hidden() {
                eprintln!("{at}/{count} {name}");
            }
        } else if !line.starts_with(prefix) {
            others.push(line);
        }
    }
    bar.finish_and_clear();

    let status = child.wait()?;
    if status.success() {
        return Ok(());
    }
    eprintln!("{}", others.join("\n"));
    Err(format!("`{shown}`: {status}; see the output of the failed benchmark above").into())
}

/// Returns the name of the benchmark that starts, if any.
fn begun<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    line.strip_prefix(prefix).filter(|rest| !rest.contains(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_is_named_once_when_it_begins() {
        let lines = [
            "Benchmarking GetPut_Parallel/smol",
            "Benchmarking GetPut_Parallel/smol: Warming up for 300.00 ms",
            "thread 'main' panicked",
        ];
        let begun = lines.map(|line| begun(line, "Benchmarking "));
        assert_eq!(begun, [Some("GetPut_Parallel/smol"), None, None]);
    }
}
